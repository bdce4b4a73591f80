#!/usr/bin/env bash
# `make up`: the images from this source, then Kubernetes on this machine, the operator in it and the sample cluster.
# Runs in the fixed copy (scripts/in-copy). $QUORATE_LOCAL_DIR is the folder of the cluster (default: local in the cache).
#
#   scripts/up.sh [--nodes N] [--profile dev|release] [--images DIR]
#
# N is 3, the profile release and DIR, which the images are written into, $QUORATE_CACHE/images.
set -euo pipefail
here=$(cd "$(dirname "$0")" && pwd)
. "$here/env.sh"
cd "$here/.."

usage() { sed -n 's/^#   \(scripts.*\)/usage: \1/p' "$0" >&2; exit 2; }

nodes=3 profile=release images=$QUORATE_CACHE/images
while [ $# -gt 0 ]; do
  case $1 in
    --nodes) nodes=${2-}; shift 2 || usage ;;
    --profile) profile=${2-}; shift 2 || usage ;;
    --images) images=${2-}; shift 2 || usage ;;
    *) usage ;;
  esac
done
[ "$(id -u)" = 0 ] || { echo "up: Kubernetes needs root for its namespaces and mounts: run 'sudo make up'" >&2; exit 1; }
echo "up: building the images (minutes the first time, seconds after)"
scripts/image.sh --profile "$profile" --output "$images"
# The selection that the tests build: another one would build its dependencies anew.
cargo build --quiet --workspace --bins
exec "$CARGO_TARGET_DIR/debug/quorate-local" demo --nodes "$nodes" --images "$images"
