#!/bin/sh
# Prepares rustfmt, clippy and cargo-deny for `make lint`. The Makefile puts target/tools/cargo/bin, where cargo-deny is installed,
# at the end of PATH.
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
    # Without optimisation and debug information it compiles in a fraction of the time.
    CARGO_PROFILE_DEV_DEBUG=false CARGO_PROFILE_DEV_OPT_LEVEL=0 \
        cargo install cargo-deny --version "$deny" --locked --debug --root target/tools/cargo || {
        echo "tools/lint.sh: by hand: cargo install cargo-deny --version $deny --locked" >&2
        exit 1
    }
fi
