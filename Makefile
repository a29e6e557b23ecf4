# Needs cargo, gcc and make. tools/*.sh fetch everything else into target/tools, without root and without installing anything.

TOOLS := $(CURDIR)/target/tools
# At the end, so that the machine's own programs come first. The last directory is where rustup puts cargo, for a shell that was
# started before rustup was installed.
export PATH := $(PATH):$(TOOLS)/cmake/bin:$(TOOLS)/nasm/bin:$(TOOLS)/cargo/bin:$(HOME)/.cargo/bin

.DEFAULT_GOAL := help
.NOTPARALLEL: # cargo is parallel by itself
ROUNDS := 200
SEQUENCES := 100
MINUTES := 15
FEATURES := $(shell sed -n '/^\[features\]/,/^\[/s/^\([a-z_-]*\) *=.*/\1/p' Cargo.toml | grep -v '^default$$')
.PHONY: help run build test test-aarch64 test-packages test-stack deb tarball docs lint crash model soak restarts bench compare chart load fuzz fuzz-smoke tools native clients postgres redis prometheus clean

help: ## list the targets
	@sed -n 's/^\([a-z-]*\):[^#]*## /\1\t/p' Makefile | expand -t 12

run: native ## build (release) and start the server; settings come from the environment and .env
	cargo run --release --locked

build: native ## build target/release/vintedbot-ingest, and its debug information as vintedbot-ingest.debug
	cargo build --release --locked
	@tools/split_debug.sh target/release/vintedbot-ingest

test: lint clients postgres redis prometheus ## everything that has to pass: lint, the tests, some seconds of fuzzing, the systemd unit
	@tools/test.sh

test-aarch64: native ## the unit tests of imaging for 64-bit ARM under qemu-user; needs rustup and Debian's gcc-aarch64-linux-gnu
	@tools/aarch64.sh

deb: ## make target/package/vintedbot-ingest_VERSION_ARCHITECTURE.deb with a static program, and SHA256SUMS; needs rustup and dpkg
	@tools/package.sh deb

tarball: ## make target/package/vintedbot-ingest-VERSION-MACHINE-linux.tar.gz with a static program for any Linux, SBOM and SHA256SUMS
	@tools/package.sh tarball

test-packages: ## install, upgrade, remove and purge the package in a booted Debian, and the image; needs root and Debian's tools
	@tools/package_test.sh
	@tools/image_test.sh

test-stack: ## the services of deploy/compose.yaml without Docker, and the API through the balancer with TLS; needs root
	@tools/stack_test.sh

crash: native postgres ## kill -9 under load, ROUNDS times (200) on the same data of each catalog; make test has a few rounds
	. ./target/tools/postgres.env && VINTEDBOT_CRASH_ROUNDS=$(ROUNDS) cargo test --locked --test it -- --nocapture after_kill_9

model: native postgres ## SEQUENCES (100) of random operations on each catalog, against the model of the contract; make test has a few
	. ./target/tools/postgres.env && VINTEDBOT_MODEL_SEQUENCES=$(SEQUENCES) \
		cargo test --locked --test it -- --nocapture --test-threads=1 model::

docs: native ## write the generated documents: docs/settings.md, problems.md and metrics.md, and .env.example
	UPDATE_DOCS=1 cargo test --locked --lib -- docs::

lint: native ## formatting, clippy with each set of features, the documentation, and the dependencies against deny.toml
	@tools/lint.sh
	cargo fmt --check
	cargo fmt --check --manifest-path benches/score/Cargo.toml
	cargo fmt --check --manifest-path fuzz/Cargo.toml
	cargo clippy --locked --all-targets -- -D warnings
	cargo clippy --locked --no-default-features -- -D warnings
	for feature in $(FEATURES); do cargo clippy --locked --no-default-features --features $$feature -- -D warnings || exit; done
	RUSTDOCFLAGS='-D warnings' cargo doc --locked --no-deps
	cargo deny --locked check bans licenses sources

soak: native ## MINUTES (15) of mixed load, with the memory over time
	VINTEDBOT_SOAK_MINUTES=$(MINUTES) cargo test --locked --test it -- --ignored --nocapture soak

restarts: native postgres redis ## ten restarts during 10,000 requests, of one server and of two with shared stores; make test has fewer
	. ./target/tools/postgres.env && . ./target/tools/redis.env && \
		cargo test --locked --test it -- --ignored --nocapture --test-threads=1 restarts

bench: native ## criterion's benchmarks, some minutes, and a table of them; see BENCHMARKS.md
	@mkdir -p target
	@{ cargo bench --locked --bench benches; echo $$? >target/bench.status; } | tee target/bench.txt
	@awk -f tools/bench.awk target/bench.txt; exit $$(cat target/bench.status)

compare: native clients ## the image pipeline compared with Pillow, sharp and libvips by format, which it fetches; prints Markdown
	@tools/peers.sh
	cargo build --release --locked --manifest-path benches/score/Cargo.toml --target-dir target/score
	. ./target/tools/peers.env && VINTEDBOT_SCORE=$(CURDIR)/target/score/release/score \
		cargo bench --locked --bench compare -- run

chart: ## draw docs/compare.svg from the figures in BENCHMARKS.md
	python3 tools/chart.py

load: native ## 2,000 slow phones, 10,000 idle connections and 100,000 unfinished uploads against the release build; needs 13,000 open files
	cargo bench --locked --bench load -- run
	cargo bench --locked --bench load -- uploads

fuzz-smoke: native ## every fuzz target for ten seconds, with AddressSanitizer; `make test` does it too
	tools/fuzz.sh smoke

SANITIZER ?= address
TIME ?= 1200

fuzz: native ## a campaign: make fuzz TARGET=jpeg_pipeline TIME=1200 SANITIZER=address; see fuzz/README.md
	tools/fuzz.sh run $(SANITIZER) "$(TARGET)" $(TIME)

tools: native clients postgres redis prometheus ## only fetch what the other targets need
	@tools/lint.sh

native:
	@tools/native.sh

clients:
	@tools/clients.sh

postgres:
	@tools/postgres.sh

redis:
	@tools/redis.sh

prometheus:
	@tools/prometheus.sh

clean: ## remove what was built, but not target/tools (rm -rf target does both)
	@[ ! -d target ] || find target -mindepth 1 -maxdepth 1 ! -name tools -exec rm -rf {} +
