#!/usr/bin/env bash
# Writes the files that are generated from code (CRDs, docs/flags.md) or, with --check, fails when a committed one is stale.
set -euo pipefail
here=$(cd "$(dirname "$0")" && pwd)
. "$here/env.sh"
cd "$here/.."

# The folders that hold generated files, beside others.
folders="crds charts docs"

# Writes every generated file below the folder $1, which holds the folders above as the repository does.
generate() {
  cargo run --quiet -p quorate-operator --bin crdgen -- "$1"
  cargo run --quiet -p quorate --bin quorate -- --print-flags-doc >"$1/docs/flags.md"
}

case "${1:-}" in
  "") generate . ;;
  --into) generate "$2" ;;
  --check)
    fresh=$(mktemp -d)
    trap 'rm -rf "$fresh"' EXIT
    # shellcheck disable=SC2086  # words on purpose
    cp -r $folders "$fresh/"
    generate "$fresh" >/dev/null
    stale=0
    for folder in $folders; do diff -ru "$folder" "$fresh/$folder" || stale=1; done
    if [ $stale = 1 ]; then
      echo "generate: what is marked with - above is stale: run 'make generate' and commit the result" >&2
      exit 1
    fi
    echo "generate: all generated files are up to date"
    ;;
  *) echo "usage: scripts/generate.sh [--check | --into FOLDER]" >&2; exit 2 ;;
esac
