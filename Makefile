# The front door: `make` lists what there is. Builds and tools are kept in the user's cache folder, so that a
# fresh clone finds them again.
SHELL := /bin/bash
.DEFAULT_GOAL := help

CACHE ?= $(or $(XDG_CACHE_HOME),$(HOME)/.cache)/ratifyd
export CARGO_TARGET_DIR ?= $(CACHE)/target
HOST := $(shell rustc -vV 2>/dev/null | sed -n 's/^host: //p')
SHIM := $(CARGO_TARGET_DIR)/$(HOST)/shim/ratify-image-verifier
RELEASE := $(CARGO_TARGET_DIR)/release

# Runs $(2) and says how long it took, as stage $(1).
stage = @start=$$(date +%s); echo "== $(1)"; { $(2); } && echo "== $(1): $$(($$(date +%s) - start)) s"

.PHONY: help
help: ## List the targets
	@awk -F ':.*## ' '/^[a-z-]+:.*## / { printf "  make %-11s %s\n", $$1, $$2 }' $(MAKEFILE_LIST)

.PHONY: tools
tools: ## Fetch the real programs that tests, demo and bench use
	$(call stage,tools,tests/tools/needs && tests/tools/fetch)

.PHONY: shim
shim: ## Build the shim: static, with only the crates that it needs
	$(call stage,shim,tests/tools/needs && RUSTFLAGS="-C target-feature=+crt-static" cargo build --locked --quiet --profile shim \
		--target $(HOST) --no-default-features --features shim --bin ratify-image-verifier)

.PHONY: build
build: ## Build the daemon and ratifyctl for use, and the shim
	$(call stage,build,tests/tools/needs && cargo build --locked --quiet --release --bin ratifyd --bin ratifyctl)
	@$(MAKE) --no-print-directory shim
	@echo "$(RELEASE)/ratifyd"; echo "$(RELEASE)/ratifyctl"; echo "$(SHIM)"

CARGO_DEB := $(CACHE)/cargo-deb-3.8.0/bin/cargo-deb
CARGO_RPM := $(CACHE)/cargo-generate-rpm-0.21.1/bin/cargo-generate-rpm

$(CARGO_DEB):
	env -u CARGO_TARGET_DIR cargo install --locked --quiet --version 3.8.0 --root $(CACHE)/cargo-deb-3.8.0 cargo-deb

$(CARGO_RPM):
	env -u CARGO_TARGET_DIR cargo install --locked --quiet --version 0.21.1 --root $(CACHE)/cargo-generate-rpm-0.21.1 cargo-generate-rpm

# Another machine's packages are built by TARGET=TRIPLE, with a linker for it. For aarch64 that is Debian's
# gcc-aarch64-linux-gnu with libc6-dev-arm64-cross; for others name it in CARGO_TARGET_..._LINKER.
export CARGO_TARGET_AARCH64_UNKNOWN_LINUX_GNU_LINKER ?= aarch64-linux-gnu-gcc
.PHONY: package
package: build $(CARGO_DEB) $(CARGO_RPM) ## Make .deb, .rpm and an archive; TARGET=TRIPLE: for another machine
ifneq ($(TARGET),)
	@rustup target list --installed | grep -qx $(TARGET) || rustup target add $(TARGET)
	$(call stage,build for $(TARGET),cargo build --locked --quiet --release --target $(TARGET) --bin ratifyd --bin ratifyctl)
	$(call stage,shim for $(TARGET),RUSTFLAGS="-C target-feature=+crt-static" cargo build --locked --quiet --profile shim \
		--target $(TARGET) --no-default-features --features shim --bin ratify-image-verifier)
endif
	$(call stage,package,CARGO_DEB="$(CARGO_DEB)" CARGO_RPM="$(CARGO_RPM)" RUNS="$(RELEASE)/ratifyctl" \
		BUILT="$(CARGO_TARGET_DIR)$(if $(TARGET),/$(TARGET))/release" \
		SHIM="$(CARGO_TARGET_DIR)/$(or $(TARGET),$(HOST))/shim/ratify-image-verifier" packaging/build $(TARGET))

.PHONY: demo
demo: tools shim ## Show an allow, a deny with its reason, and the report, on real programs
	$(call stage,build,cargo build --locked --quiet --bin ratifyd --bin ratifyctl)
	@TOOLS="$$(tests/tools/fetch --print)" SHIM="$(SHIM)" BIN="$(CARGO_TARGET_DIR)/debug" tests/demo

.PHONY: lint
lint: ## Format, clippy with warnings as errors, docs, units, crates
	$(call stage,format,tests/tools/needs && cargo fmt --check)
	$(call stage,clippy,cargo clippy --locked --quiet --all-targets -- -D warnings)
	$(call stage,clippy of the shim alone,cargo clippy --locked --quiet --no-default-features --features shim --lib --bin ratify-image-verifier -- -D warnings)
	$(call stage,clippy of the library alone,cargo clippy --locked --quiet --no-default-features --features registry$(comma)notation$(comma)cosign --lib -- -D warnings)
	$(call stage,docs,RUSTDOCFLAGS="-D warnings" cargo doc --locked --quiet --no-deps --document-private-items --lib)
	$(call stage,versions of the fuzz targets,cargo metadata --locked --format-version 1 --manifest-path fuzz/Cargo.toml >/dev/null)
	$(call stage,units,tests/tools/units)
	$(call stage,crates,$(MAKE) --no-print-directory $(DENY) && tests/tools/deny $(DENY))

# Looks at licences, second TLS or crypto stacks, sources and advisories (deny.toml).
DENY := $(CACHE)/cargo-deny-0.20.2/bin/cargo-deny

$(DENY):
	env -u CARGO_TARGET_DIR cargo install --locked --quiet --no-default-features --version 0.20.2 --root $(CACHE)/cargo-deny-0.20.2 cargo-deny

comma := ,

.PHONY: test
test: tools shim ## Run every test: unit, integration, end to end (the last need root)
	$(call stage,test,RATIFYD_SHIM="$(SHIM)" cargo test --locked --no-fail-fast)

.PHONY: test-node
test-node: package ## Install, use, upgrade and remove the package on a node that boots (root)
	$(call stage,tools of the node,tests/tools/fetch --node)
	@TOOLS="$$(tests/tools/fetch --print)" ROOT="$$(CACHE="$(CACHE)" tests/node/root)" \
		DEB="$$(ls -t $(CARGO_TARGET_DIR)/packages/ratifyd_*_$$(dpkg --print-architecture).deb | head -n 1)" \
		ARCHIVE="$$(ls -t $(CARGO_TARGET_DIR)/packages/ratifyd-*-linux-$$(uname -m).tar.gz | head -n 1)" tests/node/run

.PHONY: test-matrix
test-matrix: build ## Pull by ctr, nerdctl and CRI through containerd of every series (root; builds each once)
	$(call stage,tools of the matrix,tests/tools/fetch --matrix)
	@TOOLS="$$(tests/tools/fetch --print)" BIN="$(RELEASE)" SHIM="$(SHIM)" tests/node/matrix

.PHONY: fuzz
fuzz: ## Fuzz every parser, TIME=60 seconds each; TARGET=NAME: one
	@tests/tools/needs && CACHE="$(CACHE)" TIME="$(or $(TIME),60)" TARGET="$(TARGET)" fuzz/run

# Without the features that the programs need: what is measured is then not built with what tests add to it.
BENCH := cargo bench --locked --quiet --no-default-features --features registry,notation,cosign,shim
PROGRAMS := TOOLS="$$(tests/tools/fetch --print)" SHIM="$(SHIM)" BIN="$(RELEASE)"

.PHONY: bench
bench: bench-pure tools build ## Measure the pure functions, then pulls against /bin/true, notation and cosign, plugins against a bare spawn, then rates and growth
	$(call stage,bench of pulls,$(PROGRAMS) $(BENCH) --bench node)
	$(call stage,bench of Cosign,$(PROGRAMS) $(BENCH) --bench cosign)
	$(call stage,bench of plugins,$(PROGRAMS) $(BENCH) --bench plugin)
	$(call stage,bench of rates,$(PROGRAMS) $(BENCH) --bench rate)

.PHONY: load
load: tools build ## Replay 200, 2,000 and 10,000 pulls from a registry that throttles; fail when a promise is broken
	$(call stage,load,$(PROGRAMS) $(BENCH) --bench load)

.PHONY: bench-pure
bench-pure: ## Measure the pure functions against the bare signature checks
	$(call stage,bench of pure functions,tests/tools/needs && $(BENCH) --bench pure -- --quiet)
