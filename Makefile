# weir: everything that is done by hand or in CI.
#
#   make setup   installs what the machine lacks (scripts/setup.sh; apt-get)
#   make run     the demo: a simulated floor at 120 times real time, then five minutes from pictures
#   make test    all tests; starts Kafka and PostgreSQL for itself and stops them
#   make lint    format, clippy, SQL
#   make build   the optimised binaries: bin/weir, bin/weir-edge
#   make bench   benchmarks
#   make check-edge-arm   type-checks the edge agent for the Raspberry Pi
#   make model   trains the shipped detector anew on rendered frames (20 minutes on two free cores)
#   make bench-edge   scans through the edge agent, on one core
#   make bench-vision   milliseconds of each stage from a JPEG to boxes and codes, on one core
#   make bench-latency   how soon an event is visible, against a Kafka of its own
#   make bench-pictures   from pictures to events over twenty seeds: up to 12,000 frames
#   make fmt     formats the Rust code
#   make onnxruntime   fetches the library that runs detectors (29 MB), prints its path

SHELL := /bin/bash
# A benchmark that fails must not look like a result.
.SHELLFLAGS := -eu -o pipefail -c
.DEFAULT_GOAL := help

export CARGO_TARGET_DIR ?= $(HOME)/.cache/weir/target
# Optimised dependencies, lightly optimised own code: what demo and tests are built with.
PROFILE := quick
CARGO := cargo
SETUP := scripts/setup.sh

.PHONY: help setup run test cargo-test cargo-test-tract build lint lint-rust lint-sql lint-deploy check-edge-arm bench bench-edge bench-vision bench-pictures bench-latency model fmt onnxruntime

help:
	@sed -n 's/^#   //p' Makefile

setup:
	@$(SETUP)

run:
	@$(SETUP) build vision
	$(CARGO) build --profile $(PROFILE) --bin weir --bin weir-edge
	$(CARGO_TARGET_DIR)/$(PROFILE)/weir demo --seed 7 --minutes 120 --speed 120 $(ARGS)

test:
	@$(SETUP) build services vision
	scripts/with-services.sh $(MAKE) --no-print-directory --keep-going cargo-test cargo-test-tract

# All members as they are shipped, then the detector that needs no library of the system.
cargo-test:
	$(CARGO) test --profile $(PROFILE) --workspace --no-fail-fast $(ARGS)

cargo-test-tract:
	$(CARGO) test --profile $(PROFILE) -p weir-vision --features tract --test detector --test shipped_model --no-fail-fast $(ARGS)

build:
	@$(SETUP) build
	$(CARGO) build --release --bin weir --bin weir-edge
	@mkdir -p bin
	for name in weir weir-edge; do strip --strip-debug -o "bin/$$name" "$(CARGO_TARGET_DIR)/release/$$name"; done

lint: lint-rust lint-sql lint-deploy

lint-rust:
	@$(SETUP) build
	$(CARGO) fmt --all --check
	$(CARGO) clippy --profile $(PROFILE) --workspace --all-targets -- -D warnings

lint-sql:
	@$(SETUP) sql
	PATH="$(HOME)/.cache/weir/sqlfluff/bin:$$PATH" sqlfluff lint --disable-progress-bar rules

lint-deploy:
	scripts/check-compose.sh

# A result takes the old one's place once it is whole.
kept = | tee benches/results/$(1).new && mv benches/results/$(1).new benches/results/$(1).txt

bench:
	@$(SETUP) build
	CARGO_PROFILE_QUICK_OPT_LEVEL=3 $(CARGO) build --profile $(PROFILE) -p weir-benches
	$(CARGO_TARGET_DIR)/$(PROFILE)/files $(ARGS) $(call kept,files)
	$(CARGO_TARGET_DIR)/$(PROFILE)/warehouse_day --seed 1 --seeds 20 $(call kept,warehouse_day)
	CARGO_PROFILE_QUICK_OPT_LEVEL=3 $(CARGO) bench --profile $(PROFILE) -p weir-vision --bench barcodes -- --codes 2 $(call kept,barcodes)

# Minutes of processor time for training, and where frames and checkpoints stay.
MINUTES := 36
MODEL_WORK := $(HOME)/.cache/weir/model-work

model:
	@$(SETUP) build model
	$(CARGO) build --profile $(PROFILE) -p weir-render
	$(HOME)/.cache/weir/model/bin/python vision/model/train.py --render $(CARGO_TARGET_DIR)/$(PROFILE)/weir-render \
		--work $(MODEL_WORK) --minutes $(MINUTES) $(ARGS)

# What a figure was measured on, and what else the machine did.
MACHINE := printf 'machine=%s, %s cores; load %s\n' "$$(sed -n 's/^model name.*: //p' /proc/cpuinfo | head -1)" "$$(nproc)" "$$(cut -d' ' -f1 /proc/loadavg)"

# One core; the lines about Kafka come from edge/tests/kafka.rs and stay.
bench-edge:
	CARGO_PROFILE_QUICK_OPT_LEVEL=3 $(CARGO) test --profile $(PROFILE) -p weir-edge --test throughput --no-run
	{ $(MACHINE); CARGO_PROFILE_QUICK_OPT_LEVEL=3 WEIR_EDGE_SCANS=600000 taskset -c 0 $(CARGO) test --profile $(PROFILE) -q \
	  -p weir-edge --test throughput -- --nocapture | grep -E '^(edge_|  )'; \
	  echo; sed -n '/^edge_kafka/,$$p' benches/results/edge.txt; } > benches/results/edge.new
	mv benches/results/edge.new benches/results/edge.txt && cat benches/results/edge.txt

bench-vision:
	@$(SETUP) build vision
	$(CARGO) bench --profile $(PROFILE) -p weir-vision --bench stages --no-run
	{ $(MACHINE); \
	  taskset -c 0 $(CARGO) bench --profile $(PROFILE) -q -p weir-vision --bench stages -- $(ARGS); } $(call kept,vision)

# Twenty seeds of the demo from pictures: two stations of 300 frames each, less what a silent camera does not take.
bench-pictures:
	@$(SETUP) build vision
	CARGO_PROFILE_QUICK_OPT_LEVEL=3 $(CARGO) build --profile $(PROFILE) -p weir-benches -p weir-server -p weir-edge
	$(CARGO_TARGET_DIR)/$(PROFILE)/pictures $(ARGS) $(call kept,pictures)

bench-latency:
	@$(SETUP) build services
	CARGO_PROFILE_QUICK_OPT_LEVEL=3 $(CARGO) build --profile $(PROFILE) -p weir-benches -p weir-server
	{ $(MACHINE); WEIR_POSTGRES=unused scripts/with-services.sh $(CARGO_TARGET_DIR)/$(PROFILE)/visibility $(ARGS); } \
	  $(call kept,visibility)

check-edge-arm:
	scripts/check-edge-arm.sh

fmt:
	$(CARGO) fmt --all

onnxruntime:
	@scripts/onnxruntime.sh
