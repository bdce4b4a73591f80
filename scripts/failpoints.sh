#!/usr/bin/env bash
# Builds the server with its points of failure as `quorate-failpoints`, beside the `quorate` that is released.
set -euo pipefail
here=$(cd "$(dirname "$0")" && pwd)
. "$here/env.sh"
cd "$here/.."

# Cargo puts both under one name; the copy is a whole one, because cargo's own file may be a hard link to what it rebuilds.
cargo build -p quorate --features failpoints --bin quorate
cp --remove-destination "$CARGO_TARGET_DIR/debug/quorate" "$CARGO_TARGET_DIR/debug/quorate-failpoints.new"
mv "$CARGO_TARGET_DIR/debug/quorate-failpoints.new" "$CARGO_TARGET_DIR/debug/quorate-failpoints"
