# Everything is built with the one profile, dev, into target/debug.
SHELL := /bin/bash
# The same libtorch as the programs are linked with, and all of CUDA beside it.
GPU_LIBRARY := $(CURDIR)/.libtorch-gpu/torch/lib/libtorch_cuda.so
.DEFAULT_GOAL := help
.NOTPARALLEL:
.PHONY: help cuda check-cuda test-gpu test-pretended-gpu programs demo demo-search benchmark-small predictor predictor-equivariant simulate soak fuzz test test-slow bench check clean

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
	$(MAKE) test-pretended-gpu

test-pretended-gpu: ## Run the suites of test-gpu that need no real GPU on three pretended ones
	REWIND_TEST_DEVICE=cuda REWIND_CUDA_LIBRARY=$(CURDIR)/target/debug/libpretend_cuda.so PRETEND_CUDA_DEVICES=3 \
		REWIND_COLLECTIVE=gloo cargo test --locked --workspace --no-fail-fast \
		--test devices --test fisher --test frozen_batch_norm --test methods --test probes --test random_labels --test reads \
		--test rounds --test schedules_of_methods --test snapshots_on_the_host

test-slow: ## Run the slow tests only
	scripts/setup --for test
	$(MAKE) programs
	cargo test --locked --workspace --no-fail-fast -- --ignored

cuda: ## Build librewind_cuda.so beside the programs: NCCL, for workers on GPUs (installs 4.5 GB)
	scripts/setup --for cuda
	cargo build --locked --workspace --lib --bins --features rewind-cuda/cuda

check-cuda: cuda ## The same, and what it says on a machine without a GPU
	REWIND_CUDA_LIBRARY=$(GPU_LIBRARY) cargo test --locked --workspace --features rewind-cuda/cuda \
		--test nccl_without_a_gpu -- --nocapture

test-gpu: cuda ## Run the suites that touch a device on this machine's GPUs
	scripts/test-gpu

bench: ## Print figures beside PyTorch's; they are in out/bench/bench.json
	scripts/setup --for bench
	cargo build --locked --workspace --example bench
	scripts/pytorch scripts/bench

check: ## Formatting, lints, the invariants of ARCHITECTURE.md, the image and the manifests
	scripts/setup --for check
	cargo fmt --all --check
	scripts/check-architecture --self-test
	scripts/check-architecture
	scripts/check-kubernetes --self-test
	scripts/check-kubernetes
	cargo clippy --locked --workspace --all-targets -- -D warnings

clean: ## Remove what was built and reported; libtorch, the digits and PyTorch stay
	rm -rf target out
