#!/usr/bin/env bash
# Runs the stages of `make test` one after the other in the current folder, which is the fixed copy (scripts/in-copy), and
# ends with the line "N passed, N failed" over all test runners. A failed stage does not stop the later ones.
#
#   scripts/stages.sh                the stages of `make test`
#   scripts/stages.sh STAGE ...      only these: format lint deny generated unit integration differential e2e chaos long
set -uo pipefail
here=$(cd "$(dirname "$0")" && pwd)
. "$here/env.sh"
cd "$here/.."
export CARGO_TERM_COLOR=never RUST_BACKTRACE=1

logs="$QUORATE_CACHE/logs"
mkdir -p "$logs"
started=${QUORATE_TEST_STARTED:-$(date +%s)}
cache=${QUORATE_CACHE_WAS:-warm}
total_passed=0
total_failed=0
TOTAL_BUDGET_WARM=2100  # 35 minutes
TOTAL_BUDGET_EMPTY=4200 # 70 minutes

# Seconds per stage on two cores: with a warm cache, with an empty one, and the limit after which a stage is stopped.
budget() {
  case "$1" in
    format) echo 10 15 120 ;;
    lint) echo 150 500 1800 ;;
    deny) echo 10 20 900 ;;
    generated) echo 60 400 900 ;;
    unit) echo 270 650 2400 ;;
    integration) echo 200 300 2400 ;;
    differential) echo 180 300 900 ;;
    e2e) echo 840 1060 3000 ;;
    chaos) echo 300 350 900 ;;
    long) echo 3600 4200 7200 ;;
  esac
}

# Every test of quorate-e2e but chaos, which is a stage of its own.
e2e_tests() {
  local file name
  for file in e2e/tests/*.rs e2e/tests/*/main.rs; do
    name=${file#e2e/tests/}
    name=${name%/main.rs}
    name=${name%.rs}
    [ "$name" = chaos ] || printf -- '--test %s ' "$name"
  done
}

run_format() { cargo fmt --all --check; }
run_lint() { cargo clippy --workspace --all-targets -- -D warnings; }
run_deny() { scripts/deny.sh; }
run_generated() { scripts/generate.sh --check; }
run_unit() { cargo test --workspace --no-fail-fast --lib --bins; }
run_integration() { cargo test --workspace --no-fail-fast --exclude quorate-e2e --exclude quorate-differential --test '*'; }
run_differential() { cargo build -p quorate --bins && cargo test --no-fail-fast -p quorate-differential --test '*' -- --nocapture; }
run_e2e() { scripts/failpoints.sh && cargo build --workspace --bins && cargo test --no-fail-fast -p quorate-e2e $(e2e_tests); }
# Serial, and with all output: the seed of a failure is in it.
run_chaos() { cargo build --workspace --bins && cargo test -p quorate-e2e --test chaos -- --nocapture; }
run_long() {
  local status=0
  # Each suite ends with its summary; a failing seed names the command that replays it.
  scripts/sim.sh --seeds 3000 || status=1
  scripts/sim.sh --seeds 500 --members 5 || status=1
  cargo build --workspace --bins && QUORATE_TEST_LONG=1 cargo test -p quorate-e2e --test crash -- --nocapture || status=1
  return $status
}

# Stages in which a run of no test at all is a failure: it means that the runner found nothing, not that all is well.
has_tests() { case "$1" in unit | integration | differential | e2e | chaos | long) return 0 ;; *) return 1 ;; esac }

# Sums the closing lines of cargo's test runner in a log: "PASSED FAILED".
count() {
  sed -n 's/^test result: [^.]*\. \([0-9]*\) passed; \([0-9]*\) failed;.*/\1 \2/p' "$1" |
    awk '{passed += $1; failed += $2} END {printf "%d %d\n", passed, failed}'
}

# What a person wants to see while a stage runs; everything is in its log.
condensed() {
  case "$1" in
    e2e) grep --line-buffered -E '^ +Running|^test |^error' ;;
    long) grep --line-buffered -E '^ +Running|^test |^error|^seed |^[0-9]+ seeds' ;;
    *) grep --line-buffered -E '^ +Running|^test result|^test .* FAILED|^error' ;;
  esac || true
}

# Why a stage failed: what the failed tests said, compile errors, or else the end of the log.
explain() {
  local said
  said=$(awk '/^failures:$/ {on = 1} on {print} /^test result/ {on = 0} /^error/ {lines = 12} lines-- > 0 && !on {print}' "$1" | head -200)
  printf -- '-- from %s\n' "$1"
  if [ -n "$said" ]; then printf '%s\n' "$said"; else tail -60 "$1"; fi
}

# An interrupted run takes the stage with it: `timeout` passes the signal on to all that it started.
child=""
stop() {
  [ -z "$child" ] || kill -TERM "$child" 2>/dev/null
  exit 130
}
trap stop INT TERM

run_stage() {
  local stage=$1 log="$logs/$1.log" warm empty limit allowed begin took status=0 passed failed verdict=ok
  read -r warm empty limit <<<"$(budget "$stage")"
  allowed=$warm
  [ "$cache" = warm ] || allowed=$empty
  printf '== %s (budget %d s)\n' "$stage" "$allowed"
  begin=$SECONDS
  : >"$log"
  # The stage is this script again, so that `timeout` can stop all of it.
  timeout --kill-after=60 "$limit" "$here/stages.sh" --only "$stage" >"$log" 2>&1 &
  child=$!
  tail --pid=$child -n +1 -s 0.5 -f "$log" 2>/dev/null | condensed "$stage"
  wait $child || status=$?
  child=""
  took=$((SECONDS - begin))
  read -r passed failed <<<"$(count "$log")"
  if [ "$status" = 124 ] || [ "$status" = 137 ]; then
    verdict="STOPPED at its limit of $limit s"
  elif [ "$status" != 0 ]; then
    verdict="FAILED (exit $status)"
  elif has_tests "$stage" && [ "$passed" = 0 ]; then
    verdict="FAILED: no test ran"
  elif [ "$failed" != 0 ]; then
    verdict="FAILED"
  fi
  # A stage that fails without a failed test (a compile error, a crash of the runner) counts as one failure.
  if [ "$verdict" != ok ] && [ "$failed" = 0 ]; then failed=1; fi
  total_passed=$((total_passed + passed))
  total_failed=$((total_failed + failed))
  if [ "$verdict" != ok ]; then
    explain "$log"
  fi
  local counted=""
  if has_tests "$stage"; then counted=", $passed passed, $failed failed"; fi
  printf '== %s %s: %d s (budget %d s%s)%s\n' "$stage" "$verdict" "$took" "$allowed" "$([ "$took" -le "$allowed" ] || echo ', OVER')" "$counted"
}

if [ "${1:-}" = --only ]; then
  "run_$2"
  exit
fi
[ $# -gt 0 ] || set -- format lint deny generated unit integration differential e2e chaos
for stage in "$@"; do
  [ -n "$(budget "$stage")" ] || { echo "stages: unknown stage $stage (there are: format lint deny generated unit integration differential e2e chaos long)" >&2; exit 2; }
done
for stage in "$@"; do run_stage "$stage"; done

allowed=$TOTAL_BUDGET_WARM
[ "$cache" = warm ] || allowed=$TOTAL_BUDGET_EMPTY
took=$(($(date +%s) - started))
printf '== all stages: %d s (budget %d s%s, %s cache)\n' "$took" "$allowed" "$([ "$took" -le "$allowed" ] || echo ', OVER')" "$cache"
printf '%d passed, %d failed\n' "$total_passed" "$total_failed"
[ "$total_failed" = 0 ]
