#!/usr/bin/env bash
# Builds the programs that the end-to-end tests run beside ours (Kubernetes, Helm, etcd, CoreDNS, pause) from the Go modules in
# e2e/tools/, once for each content of a module, into $QUORATE_CACHE/tools/NAME-HASH/, and links them all in
# $QUORATE_CACHE/tools/bin. Building again is a no-op.
#
#   scripts/tools.sh           build what is missing
#   scripts/tools.sh --list    print the folders that this tree's modules build into, and whether they are there
set -euo pipefail
here=$(cd "$(dirname "$0")" && pwd)
. "$here/env.sh"

sources=$here/../e2e/tools
tools=$QUORATE_CACHE/tools
modules="pause etcd etcdctl coredns helm kubernetes"

# Bounded parallelism: these builds share the machine with others.
export CGO_ENABLED=0 GOFLAGS="-p=${QUORATE_GO_PARALLEL:-2} -buildvcs=false -trimpath"

# The folder of a module: its content and the recipe that builds it name it.
folder() { # NAME
  local hash
  hash=$( (cd "$sources/$1" && cat go.mod go.sum main.go 2>/dev/null || true; declare -f "build_$1") | sha256sum | cut -c1-12)
  printf '%s/%s-%s' "$tools" "$1" "$hash"
}

version() { # MODULE-PATH: the version that the go.mod of the current folder requires
  awk -v path="$1" '$1 == path {print $2; exit} $1 == "require" && $2 == path {print $3; exit}' go.mod
}

build_pause() { go build -ldflags "-s -w" -o "$1/" . ; }
build_etcd() { go build -ldflags "-s -w" -o "$1/" . ; }
build_coredns() { go build -ldflags "-s -w" -o "$1/" . ; }
build_etcdctl() { go build -ldflags "-s -w" -o "$1/" go.etcd.io/etcd/etcdctl/v3 go.etcd.io/etcd/etcdutl/v3; }
build_helm() {
  # `helm version` names the release, as the one that Helm publishes does.
  go build -ldflags "-s -w -X helm.sh/helm/v4/internal/version.version=$(version helm.sh/helm/v4)" -o "$1/" helm.sh/helm/v4/cmd/helm
}
build_kubernetes() {
  local release major minor flag=k8s.io/component-base/version
  release=$(version k8s.io/kubernetes)
  major=${release#v}; major=${major%%.*}
  minor=${release#v*.}; minor=${minor%%.*}
  # Without the linker flags the parts call themselves v0.0.0-master and refuse each other.
  go build -tags selinux,notest,grpcnotrace \
    -ldflags "-s -w -X $flag.gitVersion=$release -X $flag.gitMajor=$major -X $flag.gitMinor=$minor" \
    -o "$1/" k8s.io/kubernetes/cmd/{kube-apiserver,kube-controller-manager,kube-scheduler,kubelet,kube-proxy,kubectl}
}

programs() { # NAME: what a module's folder must hold
  case $1 in
    etcdctl) echo etcdctl etcdutl ;;
    kubernetes) echo kube-apiserver kube-controller-manager kube-scheduler kubelet kube-proxy kubectl ;;
    *) echo "$1" ;;
  esac
}

built() { # NAME FOLDER
  local program
  for program in $(programs "$1"); do [ -x "$2/$program" ] || return 1; done
}

if [ "${1:-}" = --list ]; then
  for name in $modules; do
    target=$(folder "$name")
    if built "$name" "$target"; then state=built; else state=missing; fi
    printf '%-8s %-11s %s\n' "$state" "$name" "$target"
  done
  exit 0
fi
[ $# = 0 ] || { echo "usage: $0 [--list]" >&2; exit 2; }

mkdir -p "$tools/bin"
# One builder at a time; a second one waits and then finds everything built.
exec 9> "$tools/.lock"
flock 9

for name in $modules; do
  target=$(folder "$name")
  if built "$name" "$target"; then
    echo "tools: $name is built ($target)"
  else
    command -v go >/dev/null || { echo "tools: $name needs Go 1.26 or newer: install it (https://go.dev/dl) and run this again" >&2; exit 1; }
    echo "tools: building $name into $target"
    start=$SECONDS
    # Into a folder beside it first, so that an interrupted build is never taken for a whole one.
    rm -rf "$target.part" && mkdir -p "$target.part"
    (cd "$sources/$name" && nice -n 10 bash -c "$(declare -f version "build_$name"); set -euo pipefail; build_$name '$target.part'")
    rm -rf "$target" && mv "$target.part" "$target"
    echo "tools: $name built in $((SECONDS - start)) s"
  fi
  for program in $(programs "$name"); do ln -sfn "$target/$program" "$tools/bin/$program"; done
done
