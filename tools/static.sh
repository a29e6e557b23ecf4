#!/bin/sh
# Builds the program that packages contain: linked statically with musl, so that it runs on every Linux and in an image without files.
# Prints its path. rustup adds the target; musl-gcc is fetched into target/tools if the machine has none.
set -eu
cd "$(dirname "$0")/.."
tools/native.sh >&2

target=$(uname -m)-unknown-linux-musl
if [ ! -d "$(rustc --print sysroot)/lib/rustlib/$target" ]; then
    rustup target add "$target" >&2 || {
        echo "tools/static.sh: rustc has no target $target here: rustup target add $target" >&2
        exit 1
    }
fi

# Compiles libjpeg-turbo and the allocator.
if command -v musl-gcc >/dev/null; then
    compiler=musl-gcc
else
    tools/deb.sh - musl-tools
    root=$PWD/target/tools/musl-tools/root
    compiler=$root/musl-gcc
    # The paths of the package are those of an installation.
    sed "s|/usr/|$root/usr/|g" "$root/usr/lib/$(uname -m)-linux-musl/musl-gcc.specs" >"$root/musl-gcc.specs"
    printf '#!/bin/sh\nexec gcc "$@" -specs %s\n' "$root/musl-gcc.specs" >"$compiler"
    chmod 755 "$compiler"
fi

export "CC_$(echo "$target" | tr - _)=$compiler"
cargo build --release --locked --target "$target" >&2
echo "target/$target/release/vintedbot-ingest"
