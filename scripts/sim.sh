#!/usr/bin/env bash
# Runs the simulator on all cores and adds a line to the log of simulated hours, $QUORATE_CACHE/logs/sim-hours.tsv.
#
#   scripts/sim.sh [ARGUMENT ...]    the arguments are quorate-sim's; $QUORATE_COMMIT is the commit that the log names
set -euo pipefail
here=$(cd "$(dirname "$0")" && pwd)
. "$here/env.sh"
cargo build -q --profile sim -p quorate-sim
exec "$CARGO_TARGET_DIR/sim/quorate-sim" --log "$QUORATE_CACHE/logs/sim-hours.tsv" --commit "${QUORATE_COMMIT:-unknown}" "$@"
