#!/usr/bin/env bash
# Builds the programs of the images. A stage of the Dockerfile; scripts/image.sh runs it on this machine.
#
#   scripts/image/build.sh dev|release [NAME...]     NAMEs are images, all by default
set -euo pipefail
here=$(cd "$(dirname "$0")" && pwd)
. "$here/programs.sh"
case ${1-} in dev | release) profile=$1; shift ;; *) echo "usage: $0 dev|release [NAME...]" >&2; exit 2 ;; esac
[ $# -gt 0 ] || set -- quorate quorate-operator

packages=()
for name in "$@"; do
  programs=$(image_programs "$name")
  # A program has the name of its package.
  for program in $programs; do packages+=(-p "$program"); done
done
# The dev profile is that of the tests: the very selection that they build, since any other compiles much of it anew.
[ "$profile" != dev ] || packages=(--workspace)
cd "$here/../.."
scripts/cargo build --profile "$profile" "${packages[@]}" --bins
