# Sourced by the Makefile's recipes and scripts/cargo: where built things live outside the clone.
# A second clone therefore compiles no dependency again.
export QUORATE_CACHE="${QUORATE_CACHE:-${XDG_CACHE_HOME:-$HOME/.cache}/quorate}"
export QUORATE_ROCKSDB_VERSION="0.19.0+11.8.1"
export ROCKSDB_LIB_DIR="$QUORATE_CACHE/rocksdb-$QUORATE_ROCKSDB_VERSION"
export ROCKSDB_STATIC=1
export CARGO_TARGET_DIR="${CARGO_TARGET_DIR:-$QUORATE_CACHE/target}"
# Debian's toolchain has no cc alias with headers for every driver; RocksDB, zstd and lz4 compile with gcc.
export CC="${CC:-gcc}" CXX="${CXX:-g++}"
