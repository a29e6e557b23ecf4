#!/bin/sh
# Finds Prometheus and its promtool for the tests, or fetches them, and writes their paths to target/tools/prometheus.env. If there are
# none, the paths are empty, and a message says that their tests are skipped; with CI=true that is an error.
set -eu
cd "$(dirname "$0")/.."
tools=$PWD/target/tools
mkdir -p "$tools"

server=$(command -v prometheus) && promtool=$(command -v promtool) || server=
if [ -z "$server" ] && tools/deb.sh prometheus prometheus; then
    server=$tools/prometheus/bin/prometheus
    promtool=$tools/prometheus/root/usr/bin/promtool
fi
if [ -z "$server" ]; then
    promtool=
    echo "tools/prometheus.sh: NO prometheus: TESTS WITH IT WILL BE SKIPPED (apt-get install prometheus)" >&2
fi

cat >"$tools/prometheus.env.new" <<END
export VINTEDBOT_TEST_PROMETHEUS='$server'
export VINTEDBOT_TEST_PROMTOOL='$promtool'
END
mv "$tools/prometheus.env.new" "$tools/prometheus.env"
[ -n "$server" ] || [ "${CI:-}" != true ]
