# Sourced by the Makefile's recipes and by every script here: where built things live outside the clone.
# A second clone therefore compiles no dependency again.
export QUORATE_CACHE="${QUORATE_CACHE:-${XDG_CACHE_HOME:-$HOME/.cache}/quorate}"

# RocksDB, built once by scripts/rocksdb.sh; the version is that of librocksdb-sys in Cargo.lock.
export QUORATE_ROCKSDB_VERSION="0.19.0+11.8.1"
export ROCKSDB_LIB_DIR="$QUORATE_CACHE/rocksdb-$QUORATE_ROCKSDB_VERSION"
export ROCKSDB_STATIC=1

# One target folder for every clone, and one fixed folder that `make test` syncs a clone into (scripts/in-copy).
export CARGO_TARGET_DIR="${CARGO_TARGET_DIR:-$QUORATE_CACHE/target}"
export QUORATE_SRC="$QUORATE_CACHE/src"

# A test hears of its package in these. A cargo that it starts must not: ring's build script watches them, and would be run anew,
# with all that stands on it built anew, in that cargo and in the next one outside.
unset "${!CARGO_PKG_@}" "${!CARGO_MANIFEST_@}" "${!CARGO_BIN_@}" CARGO_CRATE_NAME CARGO_PRIMARY_PACKAGE

# C and C++ below the crates are compiled with gcc, so that a machine with another `cc` builds the same.
export CC="${CC:-gcc}" CXX="${CXX:-g++}"

# mount, ip and nft stand in sbin, which a plain user's PATH lacks.
export PATH="$PATH:/usr/local/sbin:/usr/sbin:/sbin"

# The very version of rust-toolchain.toml, also where rustup has it only under the name "stable" and may fetch nothing.
QUORATE_RUST_VERSION="1.95.0"
if [ -z "${RUSTUP_TOOLCHAIN:-}" ] && command -v rustup >/dev/null 2>&1 \
  && ! ls -d "${RUSTUP_HOME:-$HOME/.rustup}/toolchains/$QUORATE_RUST_VERSION-"* >/dev/null 2>&1; then
  case "$(RUSTUP_TOOLCHAIN=stable rustc --version 2>/dev/null || true)" in
    "rustc $QUORATE_RUST_VERSION "*) export RUSTUP_TOOLCHAIN=stable ;;
  esac
fi
