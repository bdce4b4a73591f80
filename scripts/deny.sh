#!/usr/bin/env bash
# Judges the dependencies of Cargo.lock by deny.toml with cargo-deny, which is built once for each version into
# $QUORATE_CACHE/tools/cargo-deny-VERSION.
#
#   scripts/deny.sh                build it if it is missing, then check bans, licenses and sources (no network but for crates that
#                                  are not there yet)
#   scripts/deny.sh CHECK ...      these checks; `advisories` fetches the advisory database and so needs the network
#   scripts/deny.sh --install      build it only
set -euo pipefail
here=$(cd "$(dirname "$0")" && pwd)
. "$here/env.sh"
cd "$here/.."

DENY_VERSION=0.20.2
installed=$QUORATE_CACHE/tools/cargo-deny-$DENY_VERSION

install_deny() {
  [ ! -x "$installed/bin/cargo-deny" ] || return 0
  mkdir -p "$QUORATE_CACHE/tools" "$QUORATE_CACHE/build"
  exec 9>"$QUORATE_CACHE/build/cargo-deny.lock"
  flock 9 # a second run waits here and then finds it built
  [ ! -x "$installed/bin/cargo-deny" ] || return 0
  echo "deny: building cargo-deny $DENY_VERSION once"
  local work=$QUORATE_CACHE/build/cargo-deny-$DENY_VERSION start=$SECONDS
  rm -rf "$installed" "$installed.part"
  # Its own profile optimizes over all crates at once, which takes most of the time and saves nothing here. From / no
  # configuration of this clone applies to it.
  (cd / && CARGO_TARGET_DIR="$work" CARGO_PROFILE_RELEASE_LTO=off CARGO_PROFILE_RELEASE_CODEGEN_UNITS=16 CARGO_PROFILE_RELEASE_OPT_LEVEL=1 \
    cargo install --quiet --locked --version "=$DENY_VERSION" --root "$installed.part" cargo-deny 9>&-)
  mv "$installed.part" "$installed"
  rm -rf "$work"
  echo "deny: built in $((SECONDS - start)) s"
}

case "${1:-}" in
  --install) install_deny; echo "deny: cargo-deny $DENY_VERSION is in $installed"; exit 0 ;;
  -*) sed -n 's/^#   \(scripts.*\)/usage: \1/p' "$0" >&2; exit 2 ;;
esac
[ $# -gt 0 ] || set -- bans licenses sources
install_deny
# A build fetches the crates of its own platform only, and cargo-deny reads the manifests of all.
cargo fetch --quiet --locked
offline=--offline
case " $* " in *" advisories "*) offline="" ;; esac
# shellcheck disable=SC2086  # empty on purpose
exec "$installed/bin/cargo-deny" --workspace $offline check "$@"
