# A menu: `make` lists it. CI runs the same recipes through .ci/run.

SECONDS ?= 600
CASES ?= 5000
SEEDS ?= 2000
ROUNDS ?= 200
FLIPS ?= 10000
DATA_DIR ?= ./data
BENCH_DIR ?= .
PEERS ?= kafka,jetstream,redis
export CARGO_TERM_COLOR ?= auto

.DEFAULT_GOAL := help
.PHONY: help run test test-rust test-vectors test-python test-node check check-format check-lints check-docs check-licences check-advisories bench bench-all bench-check bench-node bench-store compare soak soak-sim soak-fuzz soak-crash soak-kill soak-power soak-flips soak-regions faults faults-docs install-tools

# $(call part,DIRECTORY,PROGRAM,COMMAND): runs COMMAND in DIRECTORY, where the tree has it. Without PROGRAM
# the part is skipped and says so; in CI (the variable CI is set) that is a failure.
part = @if [ ! -d $(1) ]; then :; elif command -v $(2) >/dev/null; then cd $(1) && $(3); elif [ -n "$$CI" ]; then echo "$(1): $(2) is missing" >&2; exit 1; else echo "$(1): skipped, $(2) is not installed"; fi

help: ## list these recipes
	@grep -hE '^[a-z-]+:.*## ' $(MAKEFILE_LIST) | awk -F ':.*## ' '{ printf "  make %-14s %s\n", $$1, $$2 }'

run: ## start the broker on 127.0.0.1:7400 (DATA_DIR=./data)
	cargo run --release -- serve --data-dir $(DATA_DIR)

test: test-rust test-vectors test-python test-node ## run every test, those of the clients in other languages too

test-rust: ## only the Rust tests, doc tests included
	cargo test --workspace -q

test-vectors: ## only the golden sessions of agents, by a script of their own
	$(call part,tests,python3,python3 asp_vectors.py)

test-python: ## only the Python client's tests
	$(call part,clients/python,python3,python3 -m unittest discover)

test-node: ## only the Node client's tests, with the broker in target/ or the one that NPAYLOAD_BIN names
	$(call part,clients/node,npm,npm ci && npm test)

check: check-format check-lints check-docs check-licences check-advisories ## formatting, lints, documentation, licences, advisories

check-format:
	cargo fmt --all --check

check-lints:
	cargo clippy --workspace --all-targets -q -- -D warnings

check-docs:
	RUSTDOCFLAGS="-D warnings" cargo doc --workspace --no-deps --document-private-items -q

check-licences:
	@if command -v cargo-deny >/dev/null; then cargo deny --log-level warn check licenses bans sources; elif [ -n "$$CI" ]; then echo "licences: cargo-deny is missing" >&2; exit 1; else echo "licences: not checked, cargo-deny is not installed (make install-tools)"; fi

bench: ## run the benches: codec, append, replay, sessions
	cargo bench --workspace --benches

bench-node: ## measure what the Node client promises, with a release build of the broker; installs kafkajs, NATS and Kafka beside it to compare
	cargo build --release
	cd clients/node && npm ci && npm run bench

bench-all: bench-programs ## every figure to be reached beside the limits of the same run; 21 GiB of disk, hours (QUICK=1 to try it, BENCH_DIR=.)
	./target/release/npayload-bench --dir $(BENCH_DIR) limits
	./target/release/npayload-bench --dir $(BENCH_DIR) rows $(if $(QUICK),--quick --rounds 1)

bench-check: bench-programs ## hold instructions of the codecs and ratios to the limits against tools/bench/stored.json (QUICK=1: instructions alone)
	./target/release/npayload-bench --dir $(BENCH_DIR) check $(if $(QUICK),--instructions)

bench-store: bench-programs ## measure what bench-check holds figures against, and store it: on a quiet machine (QUICK=1: instructions alone)
	./target/release/npayload-bench --dir $(BENCH_DIR) check --store $(if $(QUICK),--instructions)

compare: bench-programs ## the same work with npayload and its peers in turn, side by side (PEERS=kafka,jetstream,redis,s2, QUICK=1 to try it)
	cd tools/compare && ./install $(if $(findstring s2,$(PEERS)),s2) && go vet . && go test . && go build -o npayload-compare . && ./npayload-compare -dir $(abspath $(BENCH_DIR)) -peers $(PEERS) -json compare.json $(if $(QUICK),-quick -rounds 1 -seconds 1)

.PHONY: bench-programs
bench-programs:
	cargo build --profile bench -q -p npayload -p npayload-bench

soak: soak-sim soak-crash soak-kill soak-power soak-flips soak-regions soak-fuzz faults ## long runs: simulation, crash tests, kills, power cuts, bit flips, regions, fuzzing (SECONDS=600 for each target), deliberate faults

soak-crash: ## only the long crash and model tests (CASES=5000 for each property)
	NPAYLOAD_SOAK=1 PROPTEST_CASES=$(CASES) cargo test --release --workspace -- --include-ignored

soak-sim: ## only the simulation of the whole broker (SEEDS=2000)
	NPAYLOAD_SIM_SEEDS=$(SEEDS) cargo test --release --test suite -- sim:: --nocapture

soak-kill: ## only the kills of the real binary, with a channel of 1 GiB (ROUNDS=200)
	NPAYLOAD_SOAK=1 ROUNDS=$(ROUNDS) cargo test --release --test suite -- --nocapture kill::

soak-power: ## only the power cuts under the real binary (ROUNDS=200)
	ROUNDS=$(ROUNDS) cargo test --release --test suite -- --nocapture power_loss::

soak-flips: ## only random bit flips over whole data directories (FLIPS=10000)
	NPAYLOAD_FLIPS=$(FLIPS) cargo test --release -p npayload -p npayload-inspect flip -- --nocapture

soak-regions: ## only what regions do: the simulation of three (SEEDS=2000), links that are cut and regions that are killed at full size
	NPAYLOAD_REGION_SEEDS=$(SEEDS) cargo test --release --test suite -- region_sim:: --nocapture
	NPAYLOAD_SOAK=1 cargo test --release --test suite -- --nocapture --test-threads 1 region_faults:: regions::kills regions_long:: regions_long_each::

soak-fuzz: ## only the fuzzing of every decoder
	cd fuzz && for target in $$(cargo fuzz list); do cargo +nightly fuzz run "$$target" -- -max_total_time=$(SECONDS) || exit 1; done

faults: ## try deliberate faults in a copy of the code: each must turn its tests red (FAULTS=name for some)
	cargo run -q -p npayload-faults -- $(FAULTS)

faults-docs: ## write the list of faults into docs/durability.md
	cargo run -q -p npayload-faults -- --write-docs

check-advisories: ## known weaknesses of dependencies, where their database can be reached
	@if ! command -v cargo-deny >/dev/null; then echo "advisories: not checked, cargo-deny is not installed (make install-tools)"; elif timeout 60 cargo deny --log-level error fetch db >/dev/null 2>&1; then cargo deny --log-level warn check --disable-fetch advisories; else echo "advisories: not checked, their database cannot be reached from here"; fi

install-tools: ## install what `check` and `soak` can use: rustfmt, clippy, nightly for fuzzing, cargo-deny, cargo-fuzz
	rustup component add rustfmt clippy && rustup toolchain install nightly --profile minimal && cargo install --locked cargo-deny cargo-fuzz
