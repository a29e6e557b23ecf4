#!/bin/sh
# `make lint` needs rustfmt, clippy and cargo-deny. The Makefile puts target/tools/cargo/bin at the end of PATH, for the
# case that the machine has no cargo-deny.
set -eu
cd "$(dirname "$0")/.."
deny=0.20.2

need() {
    cargo "$1" --version >/dev/null 2>&1 || rustup component add "$2" || {
        echo "tools/lint.sh: cargo $1 is missing: rustup component add $2" >&2
        exit 1
    }
}
need fmt rustfmt
need clippy clippy

if ! cargo deny --version >/dev/null 2>&1; then
    echo "tools/lint.sh: compiling cargo-deny $deny: some minutes, this once" >&2
    # Unoptimised and without debug information it takes a fraction of the time, and checks just the same.
    CARGO_PROFILE_DEV_DEBUG=false CARGO_PROFILE_DEV_OPT_LEVEL=0 \
        cargo install cargo-deny --version "$deny" --locked --debug --root target/tools/cargo || {
        echo "tools/lint.sh: by hand: cargo install cargo-deny --version $deny --locked" >&2
        exit 1
    }
fi
