#!/bin/sh
# Fetches the npm packages of tools/NAME/package-lock.json into target/tools/NAME-node: tools/npm.sh NAME. VINTEDBOT_TEST_NODE is
# node, and tools/clients.sh has run before, or runs now.
set -eu
cd "$(dirname "$0")/.."
name=$1
tools=$PWD/target/tools
modules=$tools/$name-node

# Debian has npm in a separate package. The wheel from which tools/clients.sh takes node has it too.
npm() {
    if command -v npm >/dev/null; then
        command npm "$@"
    else
        cli=$(find "$tools/clients-venv/lib" -path '*/node_modules/npm/bin/npm-cli.js' 2>/dev/null | head -n 1)
        [ -n "$cli" ] && "$VINTEDBOT_TEST_NODE" "$cli" "$@"
    fi
}

! cmp -s "tools/$name/package-lock.json" "$modules/installed.json" || exit 0
echo "tools/npm.sh: fetching the packages of tools/$name/package.json into target/tools/$name-node" >&2
rm -rf "$modules"
mkdir -p "$modules"
cp "tools/$name/package.json" "tools/$name/package-lock.json" "$modules/"
# What has to be compiled comes compiled, so install scripts need not run.
npm ci --prefix "$modules" --cache "$tools/npm-cache" --ignore-scripts --no-audit --no-fund --loglevel=error >&2
cp "tools/$name/package-lock.json" "$modules/installed.json"
