# Sourced: which programs an image holds.
image_programs() { # NAME
  case $1 in
    quorate) echo quorate quoratectl ;;
    quorate-operator) echo quorate-operator ;;
    *) echo "image: there is no image '$1': choose quorate or quorate-operator" >&2; return 2 ;;
  esac
}
