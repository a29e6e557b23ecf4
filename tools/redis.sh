#!/bin/sh
# Finds a redis-server for the tests, or fetches one, and writes its path to target/tools/redis.env. If there is none, the path is
# empty, and a message says that its tests are skipped; with CI=true that is an error.
set -eu
cd "$(dirname "$0")/.."
tools=$PWD/target/tools
mkdir -p "$tools"

server=$(command -v redis-server) || server=
if [ -z "$server" ] && tools/deb.sh redis-server redis-server; then
    server=$tools/redis-server/bin/redis-server
fi
if [ -z "$server" ]; then
    echo "tools/redis.sh: NO redis-server: TESTS WITH IT WILL BE SKIPPED (apt-get install redis-server)" >&2
fi

echo "export VINTEDBOT_TEST_REDIS='$server'" >"$tools/redis.env.new"
mv "$tools/redis.env.new" "$tools/redis.env"
[ -n "$server" ] || [ "${CI:-}" != true ]
