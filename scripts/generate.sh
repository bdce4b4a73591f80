#!/usr/bin/env bash
# Writes the files that are generated from code (crds/, docs/flags.md) or, with --check, fails when a committed one is stale.
set -euo pipefail
here=$(cd "$(dirname "$0")" && pwd)
. "$here/env.sh"
cd "$here/.."

# Writes every generated file below the folder $1, as it lies in the repository.
generate() {
  mkdir -p "$1/crds" "$1/docs"
  cargo run --quiet -p quorate-operator --bin crdgen -- "$1/crds"
  cargo run --quiet -p quorate --bin quorate -- --print-flags-doc >"$1/docs/flags.md"
}

case "${1:-}" in
  "") generate . ;;
  --into) generate "$2" ;;
  --check)
    fresh=$(mktemp -d)
    trap 'rm -rf "$fresh"' EXIT
    generate "$fresh"
    if ! { diff -ru crds "$fresh/crds" && diff -u docs/flags.md "$fresh/docs/flags.md"; }; then
      echo "generate: the files above are stale: run 'make generate' and commit the result" >&2
      exit 1
    fi
    echo "generate: crds/ and docs/flags.md are up to date"
    ;;
  *) echo "usage: scripts/generate.sh [--check | --into FOLDER]" >&2; exit 2 ;;
esac
