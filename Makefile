# `make` alone lists the targets. Everything built stands outside the clone in $QUORATE_CACHE (scripts/env.sh).
SHELL := /bin/bash
.DEFAULT_GOAL := help
NODES ?= 3
PROFILE ?= release

.PHONY: help setup build fmt lint deny advisories generate check-generated test test-unit test-integration test-e2e test-long sim differential chaos sim-hours fuzz up down bench image clean

help: ## List the targets
	@awk -F ':.*## ' '/^[a-z0-9-]+:.*## / {printf "  %-18s %s\n", $$1, $$2}' $(MAKEFILE_LIST)

setup: ## Install what this machine lacks and build RocksDB and the Kubernetes parts once
	@scripts/setup.sh

build: ## Build the release binaries (they stand in the cache's target/release)
	@scripts/in-copy scripts/cargo build --release -p quorate -p quoratectl -p quorate-operator -p quorate-e2e -p quorate-bench --bins

fmt: ## Format the Rust sources
	@scripts/cargo fmt --all

lint: ## Check the format and run clippy with warnings as errors
	@scripts/in-copy scripts/stages.sh format lint

deny: ## Check the licences, sources and bans of dependencies by deny.toml
	@scripts/in-copy scripts/stages.sh deny

advisories: ## Check the dependencies against RustSec's advisories (fetches its database: needs the network, and is no part of make test)
	@scripts/deny.sh advisories

generate: ## Write the generated files anew (CRDs, docs/flags.md)
	@scripts/in-copy scripts/generate.sh --into "$(CURDIR)"

check-generated: ## Fail when a generated file is stale
	@scripts/in-copy scripts/stages.sh generated

test: ## Everything that CI runs: setup, format, lint, dependencies, generated files, unit, integration, end-to-end
	@scripts/test.sh

test-unit: ## Unit tests only
	@scripts/in-copy scripts/stages.sh unit

test-integration: ## Integration tests only (real RocksDB, loopback, one process)
	@scripts/in-copy scripts/stages.sh integration

test-e2e: ## End-to-end tests only (real processes, real Kubernetes; needs root)
	@scripts/in-copy scripts/stages.sh e2e

test-long: ## What is too long for `make test`: thousands of simulated clusters, 30 rounds of crashes and of power cuts
	@scripts/test.sh long

sim: ## Simulate SEEDS whole clusters under faults from FIRST_SEED on, of MEMBERS voters at most (defaults 2000, 1 and 3)
	@QUORATE_COMMIT=$$(git describe --always --dirty=+) scripts/in-copy scripts/sim.sh --seeds $(or $(SEEDS),2000) --first-seed $(or $(FIRST_SEED),1) --members $(or $(MEMBERS),3)

sim-hours: ## Write the totals of the log of simulated hours into docs/correctness.md
	@scripts/cargo run -q --profile sim -p quorate-sim -- hours --log "$$(. scripts/env.sh && echo $$QUORATE_CACHE)/logs/sim-hours.tsv" --write-page docs/correctness.md

fuzz: ## Fuzz every decoder for DURATION seconds each (default 60; TARGET=name for one)
	@scripts/in-copy scripts/fuzz.sh

chaos: ## Break a cluster of real members for DURATION seconds and judge it (default 1800; MEMBERS=3 or 5, SEED=...; needs root)
	@scripts/in-copy scripts/cargo build --release -p quorate -p quorate-e2e --bins
	@. scripts/env.sh && QUORATE_COMMIT=$${QUORATE_COMMIT:-$$(git describe --always --dirty=+ 2>/dev/null || echo unknown)} "$$CARGO_TARGET_DIR/release/quorate-chaos" run --seconds $(or $(DURATION),1800) --members $(or $(MEMBERS),3) $(if $(SEED),--seed $(SEED))

differential: ## Compare Quorate with etcd for DURATION seconds (default 1200; SEED=first seed)
	@scripts/in-copy scripts/cargo build --release -p quorate -p quorate-differential --bins
	@. scripts/env.sh && "$$CARGO_TARGET_DIR/release/quorate-differential" --duration $(or $(DURATION),1200) $(if $(SEED),--first-seed $(SEED)) --table

up: ## Start Kubernetes on this machine, with the operator and a cluster of three members (NODES=1 or 3; PROFILE=dev builds quicker; needs root)
	@scripts/setup.sh
	@scripts/in-copy scripts/up.sh --nodes $(NODES) --profile $(PROFILE) $(if $(IMAGES),--images "$(IMAGES)")

down: ## Stop and remove all that `make up` started
	@. scripts/env.sh && "$$CARGO_TARGET_DIR/debug/quorate-local" down

bench: ## Measure Quorate beside etcd on this machine
	@scripts/in-copy scripts/cargo build --release -p quorate -p quorate-bench --bins
	@. scripts/env.sh && "$$CARGO_TARGET_DIR/release/quorate-bench" run --suite quick

image: ## Build the container images without a registry
	@scripts/in-copy scripts/image.sh

clean: ## Remove this clone's leftovers (never the cache)
	@rm -rf target .cache
