#!/usr/bin/env bash
# Builds the foreign clients of the end-to-end tests once into the cache: a Python environment with etcd3, and a Go program on etcd's
# own client. Keyed by their inputs; does nothing when they are there.
set -euo pipefail
here=$(cd "$(dirname "$0")" && pwd)
. "$here/env.sh"
source="$here/../e2e/clients"

key() { cat "$@" | sha256sum | cut -c1-12; }

place() { # LINK TARGET
  mkdir -p "$QUORATE_CACHE/clients"
  ln -sfn "$2" "$QUORATE_CACHE/clients/$1"
}

python_env="$QUORATE_CACHE/clients-python-$(key "$source/python/requirements.txt")"
if [ ! -e "$python_env/ready" ]; then
  echo "clients: making the Python environment"
  rm -rf "$python_env"
  python3 -m venv "$python_env"
  "$python_env/bin/pip" install --quiet --disable-pip-version-check -r "$source/python/requirements.txt"
  touch "$python_env/ready"
fi
place python "$python_env"

go_folder="$QUORATE_CACHE/clients-go-$(key "$source"/go/go.mod "$source"/go/go.sum "$source"/go/main.go)"
if [ ! -x "$go_folder/clients" ]; then
  echo "clients: building the Go client"
  mkdir -p "$go_folder"
  (cd "$source/go" && CGO_ENABLED=0 go build -trimpath -o "$go_folder/clients.new" .)
  mv "$go_folder/clients.new" "$go_folder/clients"
fi
place go "$go_folder"
