#!/bin/sh
# Fetches the libraries that `make compare` measures beside this server (Pillow with pillow-heif, libvips, sharp) into
# target/tools, and writes their paths to target/tools/peers.env. Run tools/clients.sh before. Pillow also computes the reference
# images, so it is required; a message says if sharp cannot be fetched and is left out.
set -eu
cd "$(dirname "$0")/.."
tools=$PWD/target/tools
venv=$tools/peers-venv
modules=$tools/peers-node
# shellcheck source=/dev/null
. "$tools/clients.env"

ready_venv() {
    cmp -s tools/peers/requirements.txt "$venv/installed.txt" &&
        "$venv/bin/python" -c 'import PIL.ImageCms, pillow_heif, pyvips' 2>/dev/null
}

# Uses the pip of the clients' environment.
make_venv() {
    rm -rf "$venv"
    "$VINTEDBOT_TEST_PYTHON" -m venv --without-pip "$venv" || return 1
    PIP_NO_CACHE_DIR=1 PIP_DISABLE_PIP_VERSION_CHECK=1 "$VINTEDBOT_TEST_PYTHON" -m pip --python "$venv/bin/python" install -q \
        --only-binary :all: --no-binary pyvips -r tools/peers/requirements.txt >&2 || return 1
    cp tools/peers/requirements.txt "$venv/installed.txt"
}

if [ -z "$VINTEDBOT_TEST_PYTHON" ]; then
    echo "tools/peers.sh: needs the Python that tools/clients.sh could not get" >&2
    exit 1
fi
if ! ready_venv; then
    echo "tools/peers.sh: fetching Pillow, pillow-heif and libvips into target/tools/peers-venv" >&2
    make_venv && ready_venv
fi

sharp=
if [ -n "$VINTEDBOT_TEST_NODE" ] && tools/npm.sh peers &&
    "$VINTEDBOT_TEST_NODE" -e 'require(process.argv[1])' "$modules/node_modules/sharp" 2>/dev/null; then
    sharp=$modules
fi
[ -n "$sharp" ] || echo "tools/peers.sh: NO sharp: IT WILL NOT BE MEASURED (needs node and npm)" >&2

cat >"$tools/peers.env.new" <<EOF
export VINTEDBOT_PEERS_PYTHON='$venv/bin/python'
export VINTEDBOT_PEERS_NODE='$VINTEDBOT_TEST_NODE'
export VINTEDBOT_PEERS_SHARP='$sharp'
EOF
mv "$tools/peers.env.new" "$tools/peers.env"
