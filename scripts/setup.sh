#!/usr/bin/env bash
# Makes a machine ready to build and test: Debian packages, the Rust and Go toolchains (checked, never installed),
# RocksDB, the Kubernetes parts and cargo-deny in the cache. Says nothing new and changes nothing when all is there.
set -euo pipefail
here=$(cd "$(dirname "$0")" && pwd)
root=$(dirname "$here")
. "$here/env.sh"

RUST_MIN=1.95
GO_MIN=1.26

# What is looked for, and the Debian and Ubuntu package that brings it.
# A word with a slash is a file pattern, "python:M" a Python module, anything else a command.
NEEDED="
make                            make
gcc                             gcc
g++                             g++
clang                           clang
/usr/lib/llvm-*/lib/libclang.so    libclang-dev
git                             git
curl                            curl
rsync                           rsync
flock                           util-linux
ps                              procps
ip                              iproute2
mkfs.ext4                       e2fsprogs
mount                           mount
containerd                      containerd
runc                            runc
/usr/lib/cni/bridge             containernetworking-plugins
iptables                        iptables
nft                             nftables
conntrack                       conntrack
ethtool                         ethtool
ebtables                        ebtables
modprobe                        kmod
socat                           socat
python3                         python3
python:ensurepip                python3-venv
/etc/ssl/certs/ca-certificates.crt  ca-certificates
"

present() {
  case "$1" in
    python:*) python3 -c "import ${1#python:}" >/dev/null 2>&1 ;;
    */*) compgen -G "$1" >/dev/null ;;
    *) command -v "$1" >/dev/null 2>&1 ;;
  esac
}

missing_packages() {
  local what package
  while read -r what package; do
    [ -z "$what" ] || present "$what" || printf '%s ' "$package"
  done <<<"$NEEDED"
}

install_packages() {
  local packages as_root=""
  packages=$(missing_packages)
  if [ -z "$packages" ]; then
    echo "setup: system packages are complete"
    return
  fi
  if ! command -v apt-get >/dev/null; then
    cat >&2 <<TEXT
setup: this is neither Debian nor Ubuntu. Install with your package manager what these Debian packages hold, then run 'make setup' again:
  $packages
In words: a C and C++ compiler (gcc, g++), clang with libclang's shared library, make, git, curl, rsync, util-linux, iproute2, procps, e2fsprogs,
containerd, runc, the CNI plugins in /usr/lib/cni, iptables, nftables, conntrack, ethtool, ebtables, kmod, socat, python3 with venv.
TEXT
    exit 1
  fi
  if [ "$(id -u)" != 0 ]; then
    command -v sudo >/dev/null || { printf 'setup: run as root, or install sudo: apt-get install -y %s\n' "$packages" >&2; exit 1; }
    as_root="sudo"
  fi
  echo "setup: installing $packages"
  # The lists may be old or absent, so a first failure is answered by an update and one more attempt.
  # shellcheck disable=SC2086  # words on purpose
  $as_root env DEBIAN_FRONTEND=noninteractive apt-get install -y --no-install-recommends $packages >/dev/null 2>&1 || {
    $as_root apt-get update -q
    $as_root env DEBIAN_FRONTEND=noninteractive apt-get install -y --no-install-recommends $packages
  }
  packages=$(missing_packages)
  [ -z "$packages" ] || { echo "setup: still missing after the installation: $packages" >&2; exit 1; }
}

# version_at_least HAVE WANT
version_at_least() { [ "$(printf '%s\n%s\n' "$2" "$1" | sort -V | head -1)" = "$2" ]; }

check_rust() {
  local have
  command -v cargo >/dev/null || {
    echo "setup: Rust is missing. Install it from https://rustup.rs (or 'apt-get install rustup && rustup default stable'), open a new shell, run 'make setup' again" >&2
    exit 1
  }
  have=$(cd "$root" && rustc --version 2>/dev/null | awk '{print $2}') || true
  if [ -z "$have" ] && command -v rustup >/dev/null; then
    echo "setup: installing the toolchain of rust-toolchain.toml"
    (cd "$root" && rustup toolchain install) || true
    have=$(cd "$root" && rustc --version 2>/dev/null | awk '{print $2}') || true
  fi
  [ -n "$have" ] || { echo "setup: the toolchain that rust-toolchain.toml names is not installed: run 'rustup toolchain install' in $root" >&2; exit 1; }
  version_at_least "$have" "$RUST_MIN" || { echo "setup: Rust $have is too old, $RUST_MIN or newer is needed: run 'rustup update stable'" >&2; exit 1; }
  local part
  for part in fmt clippy; do
    (cd "$root" && cargo $part --version >/dev/null 2>&1) || { echo "setup: cargo $part is missing: run 'rustup component add rustfmt clippy' in $root" >&2; exit 1; }
  done
  echo "setup: Rust $have"
}

check_go() {
  local have
  command -v go >/dev/null || { echo "setup: Go $GO_MIN or newer is missing: install it as https://go.dev/doc/install says, open a new shell, run 'make setup' again" >&2; exit 1; }
  have=$(cd / && go env GOVERSION | sed 's/^go//; s/ .*//')
  version_at_least "$have" "$GO_MIN" || { echo "setup: Go $have is too old, $GO_MIN or newer is needed: see https://go.dev/doc/install" >&2; exit 1; }
  echo "setup: Go $have"
}

install_packages
check_rust
check_go
"$here/rocksdb.sh"
"$here/tools.sh"
"$here/deny.sh" --install
"$here/clients.sh"
echo "setup: done; everything built stands in $QUORATE_CACHE"
