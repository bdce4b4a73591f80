#!/usr/bin/env bash
# Builds RocksDB once into $ROCKSDB_LIB_DIR as a static library; does nothing when it is there.
#
# Its crate compiles the C++ for each profile anew (12 minutes on two cores, and 1.5 GB with debug information), so the
# archive is built here with opt-level 3 and no debug information, and every profile of the workspace links to it.
# What matters to a build afterwards is in scripts/env.sh: ROCKSDB_LIB_DIR (absolute) and ROCKSDB_STATIC=1; the bindings
# are generated at build time and need libclang.
set -euo pipefail
here=$(cd "$(dirname "$0")" && pwd)
root=$(dirname "$here")
. "$here/env.sh"

fail() { printf 'rocksdb: %s\n' "$*" >&2; exit 1; }

# The archive must be of the very version that the workspace's bindings are generated from.
check_version() {
  [ -f "$root/Cargo.lock" ] || fail "Cargo.lock is missing in $root: restore it with 'git checkout Cargo.lock'"
  local locked
  locked=$(awk '/^name = /{name=$3} /^version = /{if (name == "\"librocksdb-sys\"") {gsub(/"/, "", $3); print $3}}' "$root/Cargo.lock")
  [ -n "$locked" ] || fail "Cargo.lock holds no librocksdb-sys: is a crate of the workspace still using rocksdb?"
  [ "$locked" = "$QUORATE_ROCKSDB_VERSION" ] || fail "Cargo.lock has librocksdb-sys $locked, scripts/env.sh has $QUORATE_ROCKSDB_VERSION:
  set QUORATE_ROCKSDB_VERSION=\"$locked\" in scripts/env.sh and run 'make setup' again (the library is then built once, about 12 minutes)"
}

# The features of RocksDB's C++ part, as the workspace asks for them.
features() {
  sed -n 's/^rocksdb = .*features = \[\(.*\)\].*/\1/p' "$root/Cargo.toml"
}

# Prints one line every 20 seconds: how many object files exist of how many.
progress() {
  local total=$1 out=$2 start=$SECONDS
  while sleep 20; do
    printf 'rocksdb: %4d of about %d files compiled after %d s\n' \
      "$(find "$out" -name '*.o' 2>/dev/null | wc -l)" "$total" $((SECONDS - start))
  done
}

build() {
  local work=$1 wanted
  wanted=$(features)
  [ -n "$wanted" ] || fail "no line 'rocksdb = { … features = [ … ] }' in $root/Cargo.toml"
  mkdir -p "$work/src"
  : > "$work/src/lib.rs"
  cat > "$work/Cargo.toml" <<TOML
[package]
name = "rocksdb-once"
version = "0.0.0"
edition = "2024"
[workspace]
[dependencies]
librocksdb-sys = { version = "=${QUORATE_ROCKSDB_VERSION%%+*}", default-features = false, features = [$wanted] }
[profile.release]
opt-level = 3
debug = false
TOML
  progress 400 "$work/target" & local ticker=$!
  # shellcheck disable=SC2064  # the process id is wanted now
  trap "kill $ticker 2>/dev/null || true" EXIT
  (cd "$work" && env -u ROCKSDB_LIB_DIR -u ROCKSDB_STATIC CARGO_TARGET_DIR="$work/target" \
    cargo build --release >"$work/build.log" 2>&1) || { tail -40 "$work/build.log" >&2; fail "the build failed; all of its output is in $work/build.log"; }
  kill $ticker 2>/dev/null || true
  trap - EXIT
}

# Moves the archive into place in one step, so that nobody ever links to half of it.
install_archive() {
  local archive=$1 staged
  staged=$(mktemp -d "$QUORATE_CACHE/rocksdb-staged.XXXXXX")
  cp "$archive" "$staged/librocksdb.a"
  features > "$staged/features"
  chmod 755 "$staged"
  rm -rf "$ROCKSDB_LIB_DIR"
  mv -T "$staged" "$ROCKSDB_LIB_DIR"
}

# Whether the archive is there and was built with the features that the workspace asks for.
ready() {
  [ -s "$ROCKSDB_LIB_DIR/librocksdb.a" ] && [ "$(cat "$ROCKSDB_LIB_DIR/features" 2>/dev/null)" = "$(features)" ]
}

check_version
if ready; then
  echo "rocksdb: $QUORATE_ROCKSDB_VERSION is in $ROCKSDB_LIB_DIR"
  exit 0
fi
mkdir -p "$QUORATE_CACHE/build"
exec 9>"$QUORATE_CACHE/build/rocksdb.lock"
flock 9 # a second run waits here and then finds the library
ready && exit 0
echo "rocksdb: building $QUORATE_ROCKSDB_VERSION once (about 12 minutes on two cores)"
work="$QUORATE_CACHE/build/rocksdb-$QUORATE_ROCKSDB_VERSION"
build "$work" 9>&-
archive=$(find "$work/target/release/build" -name librocksdb.a -size +0 | head -1)
[ -n "$archive" ] || fail "cargo built no librocksdb.a below $work/target: see $work/build.log"
install_archive "$archive"
rm -rf "$work"
echo "rocksdb: ready in $ROCKSDB_LIB_DIR ($(du -h "$ROCKSDB_LIB_DIR/librocksdb.a" | cut -f1))"
