#!/usr/bin/env bash
# Assembles the root of one image from the programs that build.sh built. A stage of the Dockerfile; scripts/image.sh runs
# it on this machine.
#
#   scripts/image/assemble.sh quorate|quorate-operator dev|release ROOT
set -euo pipefail
here=$(cd "$(dirname "$0")" && pwd)
. "$here/../env.sh"
. "$here/programs.sh"
[ $# = 3 ] || { echo "usage: $0 quorate|quorate-operator dev|release ROOT" >&2; exit 2; }
name=$1 profile=$2 root=$3

programs=$(image_programs "$name")
# Cargo's folder of the profile dev is named debug.
folder=$CARGO_TARGET_DIR/${profile/#dev/debug}
paths=()
for program in $programs; do
  [ -x "$folder/$program" ] || { echo "$0: $folder/$program is missing: run scripts/image/build.sh $profile" >&2; exit 1; }
  paths+=("$folder/$program")
done
"$here/rootfs.sh" "$root" "${paths[@]}"
# Names of functions stay for backtraces; tables of lines are most of a dev program.
for program in $programs; do strip --strip-debug "$root/usr/bin/$program"; done
