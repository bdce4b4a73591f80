#!/usr/bin/env bash
# Assembles the root of a minimal image: the programs, the shared libraries they need, CA certificates, a user that is
# not root, /tmp and an empty data folder. A stage of the Dockerfile; scripts/image.sh runs it on this machine.
#
#   scripts/image/rootfs.sh ROOT PROGRAM...     PROGRAMs land in ROOT/usr/bin
set -euo pipefail
[ $# -ge 2 ] || { echo "usage: $0 ROOT PROGRAM..." >&2; exit 2; }
[ "$(id -u)" = 0 ] || { echo "$0: needs root, because the data folder belongs to another user: run it with sudo" >&2; exit 1; }
root=$1; shift
user=65532

rm -rf "$root"
mkdir -p "$root"/{usr/bin,usr/lib,usr/lib64,etc/ssl/certs,var/lib,proc,sys,dev}
for folder in bin lib lib64; do ln -s "usr/$folder" "$root/$folder"; done
install -d -m 1777 "$root/tmp"
install -d -m 0700 -o $user -g $user "$root/var/lib/quorate"

copy_library() { # FILE: into the same path of the root, through the links above
  local target=$root/usr${1#/usr}
  [ -e "$target" ] || install -D -m 0755 "$1" "$target"
}

for program in "$@"; do
  install -m 0755 "$program" "$root/usr/bin/$(basename "$program")"
  # Prints "name => path (address)" and, for the loader, "path (address)"; nothing of a static program.
  while read -r library; do copy_library "$library"; done < <(ldd "$program" 2>/dev/null | grep -o '/[^ ]*')
done

cat > "$root/etc/passwd" <<EOF
root:x:0:0:root:/:/sbin/nologin
quorate:x:$user:$user:quorate:/var/lib/quorate:/sbin/nologin
EOF
printf 'root:x:0:\nquorate:x:%s:\n' $user > "$root/etc/group"
printf 'hosts: files dns\n' > "$root/etc/nsswitch.conf"
if [ -e /etc/ssl/certs/ca-certificates.crt ]; then
  install -m 0644 /etc/ssl/certs/ca-certificates.crt "$root/etc/ssl/certs/ca-certificates.crt"
fi
