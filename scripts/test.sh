#!/usr/bin/env bash
# `make test` and .ci/run: makes the machine ready, syncs this clone into the fixed source folder and runs the stages there.
# With arguments only those stages run (scripts/stages.sh lists them); without, all that `make test` means.
set -euo pipefail
here=$(cd "$(dirname "$0")" && pwd)
. "$here/env.sh"

mkdir -p "$QUORATE_CACHE/logs"
# An empty cache has another budget: RocksDB and the Kubernetes parts are built in it first.
if [ -s "$ROCKSDB_LIB_DIR/librocksdb.a" ] && [ -d "$CARGO_TARGET_DIR/debug/deps" ]; then export QUORATE_CACHE_WAS=warm; else export QUORATE_CACHE_WAS=empty; fi
export QUORATE_TEST_STARTED=$(date +%s)

log="$QUORATE_CACHE/logs/setup.log"
# $QUORATE_CACHE_WAS decides: 1800 s for RocksDB (12 minutes), the Kubernetes parts and Helm (12 minutes), cargo-deny (3 minutes) and the
# packages.
budget=15
[ "$QUORATE_CACHE_WAS" = warm ] || budget=1800
printf '== setup (budget %d s, %s cache)\n' "$budget" "$QUORATE_CACHE_WAS"
status=0
"$here/setup.sh" 2>&1 | tee "$log" || status=$?
took=$(($(date +%s) - QUORATE_TEST_STARTED))
if [ "$status" != 0 ]; then
  printf '== setup FAILED after %d s (budget %d s); log: %s\n0 passed, 1 failed\n' "$took" "$budget" "$log"
  exit 1
fi
printf '== setup ok: %d s (budget %d s)\n' "$took" "$budget"
# The copy has no history; the simulator's log of hours names the commit.
export QUORATE_COMMIT=${QUORATE_COMMIT:-$(git -C "$here" describe --always --dirty=+ 2>/dev/null || echo unknown)}
exec "$here/in-copy" scripts/stages.sh "$@"
