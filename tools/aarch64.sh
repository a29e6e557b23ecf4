#!/bin/sh
# Compiles the unit tests of imaging for 64-bit ARM and runs them under qemu-user: `make test-aarch64`. So code for NEON is compared
# with portable code and with libjpeg-turbo on a machine of another architecture. Arguments are options of the tests.
#
# rustup fetches the standard library and tools/deb.sh qemu. The cross compiler has to be installed: unpacked in another place it
# does not find its libraries.
set -eu
cd "$(dirname "$0")/.."
target=aarch64-unknown-linux-gnu
gcc=aarch64-linux-gnu-gcc

fail() {
    echo "tools/aarch64.sh: $1" >&2
    exit 1
}

command -v "$gcc" >/dev/null || fail "$gcc is missing: apt-get install gcc-aarch64-linux-gnu"
qemu-aarch64 --version >/dev/null 2>&1 || tools/deb.sh qemu-aarch64 qemu-user
PATH="$PATH:$PWD/target/tools/qemu-aarch64/bin"
if [ ! -d "$(rustc --print sysroot)/lib/rustlib/$target/lib" ]; then
    command -v rustup >/dev/null || fail "the standard library for $target is missing, and rustup to fetch it"
    rustup target add "$target"
fi

# qemu finds the loader and the libraries of the target under this directory.
libc=$("$gcc" -print-file-name=libc.so.6)
QEMU_LD_PREFIX=$(dirname "$(dirname "$libc")")
export QEMU_LD_PREFIX
export CARGO_TARGET_AARCH64_UNKNOWN_LINUX_GNU_LINKER=$gcc
export CARGO_TARGET_AARCH64_UNKNOWN_LINUX_GNU_RUNNER=qemu-aarch64
# An emulated processor takes four times as long as the surveyed time allows.
cargo test --locked --target "$target" --lib -- imaging:: --skip expensive_scans_decode_within_the_surveyed_time "$@"
