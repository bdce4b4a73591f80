#!/usr/bin/env bash
# Builds container images without docker and without a registry, by the scripts that are the stages of the Dockerfile, as
# docker archives: `quorate-local load FILE`, `ctr -n k8s.io images import FILE` and `docker load -i FILE` take them.
#
#   scripts/image.sh [--profile dev|release] [--tag TAG] [--output DIR] [NAME...]
#
# NAMEs are quorate and quorate-operator, both by default; the profile is release, the tags are the workspace's version and
# dev, and DIR is $QUORATE_CACHE/images. Prints the archives' paths.
set -euo pipefail
here=$(cd "$(dirname "$0")" && pwd)
root=$(dirname "$here")
. "$here/env.sh"

usage() { sed -n 's/^#   \(scripts.*\)/usage: \1/p' "$0" >&2; exit 2; }

profile=release output=$QUORATE_CACHE/images names=()
tags=("$(sed -n 's/^version = "\(.*\)"$/\1/p' "$root/Cargo.toml" | head -1)" dev)
while [ $# -gt 0 ]; do
  case $1 in
    --profile) profile=${2-}; shift 2 || usage ;;
    --tag) tags=("${2-}"); shift 2 || usage ;;
    --output) output=${2-}; shift 2 || usage ;;
    -*) usage ;;
    *) names+=("$1"); shift ;;
  esac
done
[ ${#names[@]} -gt 0 ] || names=(quorate quorate-operator)

# The value of a line of the Dockerfile's stage NAME, such as USER.
stage_line() { # NAME KEYWORD
  awk -v name="$1" -v word="$2" '$1 == "FROM" {inside = ($4 == name)} inside && $1 == word {sub(/^[A-Z]+ /, ""); print}' "$root/Dockerfile"
}

"$here/image/build.sh" "$profile" "${names[@]}"
# With the dev profile it is built already.
[ "$profile" = dev ] || (cd "$root" && scripts/cargo build --quiet -p quorate-e2e --bin quorate-local)
mkdir -p "$output"
# On the disk of the output, and owned by root as in docker where we are root.
work=$(mktemp -d "$output/.root.XXXXXX")
trap 'rm -rf "$work"' EXIT
for name in "${names[@]}"; do
  "$here/image/assemble.sh" "$name" "$profile" "$work/$name"
  mapfile -t entrypoint < <(stage_line "$name" ENTRYPOINT | grep -o '"[^"]*"' | tr -d '"')
  [ ${#entrypoint[@]} -gt 0 ] || { echo "image: the Dockerfile has no stage '$name' with an ENTRYPOINT" >&2; exit 1; }
  "$CARGO_TARGET_DIR/debug/quorate-local" pack --root "$work/$name" "${tags[@]/#/--reference=docker.io/library/$name:}" \
    --user "$(stage_line "$name" USER)" --output "$output/$name.tar" --entrypoint "${entrypoint[@]}"
done
