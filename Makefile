# Everything is built with the one profile, dev, into target/debug.
SHELL := /bin/bash
.DEFAULT_GOAL := help
.NOTPARALLEL:
.PHONY: help programs demo demo-search benchmark-small predictor predictor-equivariant simulate soak fuzz test test-slow bench check clean

help: ## List the targets
	@sed -n 's/^\([a-z-]*\):.*## \(.*\)/\1\t\2/p' Makefile | expand -t 14

programs:
	cargo build --locked --workspace --bins

demo: ## Unlearn wrong labels on two local workers; the report is out/demo/report.html
	scripts/setup --for demo
	$(MAKE) programs
	target/debug/rewind demo --out out/demo

demo-search: ## Repeat the search of the demonstration's settings
	scripts/setup --for demo
	$(MAKE) programs
	target/debug/rewind demo --search --out out/demo-search

benchmark-small: ## Make benchmarks/small/results.json and its report again (PROTOCOLS="label-noise standard"; resumable)
	scripts/setup --for demo
	$(MAKE) programs
	scripts/benchmark-small $(PROTOCOLS)

predictor: ## Make and evaluate predictors/conditioned.safetensors again, in target/predictor (hours)
	scripts/setup --for test
	$(MAKE) programs
	scripts/predictor

predictor-equivariant: ## Make predictors/equivariant.safetensors again
	scripts/setup --for demo
	$(MAKE) programs
	target/debug/train-predictor --out predictors/equivariant.safetensors

simulate: ## Run the control plane under 10,000 schedules of faults
	cargo run --locked --package rewind-simulation --bin simulate

soak: ## The same for MINUTES=60, with seeds that were never used
	cargo run --locked --package rewind-simulation --bin simulate -- \
		--minutes $(or $(MINUTES),60) --first-seed $$(date +%s)0000

fuzz: ## Spoil the input of every parser for MINUTES=60, with seeds that were never used
	cargo test --locked --workspace --test hostile_bytes --test planted_bugs
	end=$$(($$(date +%s) + 60 * $(or $(MINUTES),60))); while [ $$(date +%s) -lt $$end ]; do \
		export HOSTILE_SEED=$$(date +%s%N); echo "HOSTILE_SEED=$$HOSTILE_SEED"; \
		cargo test --quiet --locked --workspace --test hostile_bytes || exit 1; \
		cargo test --quiet --locked --workspace --lib --bin rewind hostile || exit 1; \
		cargo test --quiet --locked --workspace --test against_numpy spoilt || exit 1; \
	done

test: ## Run all tests but the slow ones
	scripts/setup --for test
	$(MAKE) programs
	cargo test --locked --workspace --no-fail-fast

test-slow: ## Run the slow tests only
	scripts/setup --for test
	$(MAKE) programs
	cargo test --locked --workspace --no-fail-fast -- --ignored

bench: ## Print figures beside PyTorch's; they are in out/bench/bench.json (installs 5 GB)
	scripts/setup --for bench
	cargo build --locked --workspace --example bench
	.venv/bin/python scripts/bench

check: ## Formatting, lints, and the invariants of ARCHITECTURE.md
	scripts/setup --for check
	cargo fmt --all --check
	scripts/check-architecture --self-test
	scripts/check-architecture
	cargo clippy --locked --workspace --all-targets -- -D warnings

clean: ## Remove what was built and reported; libtorch, the digits and PyTorch stay
	rm -rf target out
