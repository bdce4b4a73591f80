#!/usr/bin/env bash
# `make fuzz`: builds the fuzz targets with coverage counters in our own crates, and runs each for DURATION seconds (default 60).
# TARGET=name runs one. Corpora and findings stay in the cache's folder `fuzz`.
set -euo pipefail
here=$(cd "$(dirname "$0")" && pwd)
. "$here/env.sh"

"$here/cargo" build -p quorate-fuzz --bin quorate-fuzz
# The wrapper gives workspace crates the counters that libFuzzer steers by; crates from the registry are those of the tests. All
# assertions and overflow checks stay in, and the optimizer makes up for them.
RUSTC_WORKSPACE_WRAPPER="$here/fuzz-rustc" CARGO_PROFILE_DEV_OPT_LEVEL=2 \
  "$here/cargo" build -p quorate-fuzz --features libfuzzer --bin quorate-fuzz-target
built="$CARGO_TARGET_DIR/debug"
arguments=(--fuzzer "$built/quorate-fuzz-target" --work "$QUORATE_CACHE/fuzz" --seconds "${DURATION:-60}")
[ -z "${TARGET:-}" ] || arguments+=(--target "$TARGET")
exec "$built/quorate-fuzz" "${arguments[@]}"
