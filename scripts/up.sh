#!/usr/bin/env bash
# `make up`: the images from this source, then Kubernetes on this machine, the operator in it and the sample cluster.
# Runs in the fixed copy (scripts/in-copy), with the number of nodes as its argument.
set -euo pipefail
here=$(cd "$(dirname "$0")" && pwd)
. "$here/env.sh"
cd "$here/.."

nodes=${1:-3}
[ "$(id -u)" = 0 ] || { echo "up: Kubernetes needs root for its namespaces and mounts: run 'sudo make up'" >&2; exit 1; }
echo "up: building the images (minutes the first time, seconds after)"
scripts/image.sh
cargo build --quiet -p quorate -p quorate-e2e --bins
exec "$CARGO_TARGET_DIR/debug/quorate-local" demo --nodes "$nodes"
