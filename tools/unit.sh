#!/bin/sh
# Checks the systemd units: systemd must know every directive, and the sandbox must not get weaker.
# It checks copies, as units of a user. For a system unit systemd-analyze needs /run/systemd, and so root on a machine where systemd
# does not run. The copy has another user and another program, because neither exists on a machine that only builds the server.
set -eu
cd "$(dirname "$0")/.."
unit=vintedbot-ingest.service
socket=vintedbot-ingest.socket

if command -v systemd-analyze >/dev/null; then
    analyze=systemd-analyze
elif tools/deb.sh systemd-analyze systemd; then
    analyze=target/tools/systemd-analyze/bin/systemd-analyze
else
    echo "tools/unit.sh: NO systemd-analyze: deploy/$unit WAS NOT CHECKED" >&2
    [ "${CI:-}" != true ]
    exit
fi

dir=$(mktemp -d)
trap 'rm -rf "$dir"' EXIT
sed 's|^ExecStart=[^ ]*|ExecStart=/bin/true|; s|^User=.*|User=daemon|' "deploy/$unit" >"$dir/$unit"
cp "deploy/$socket" "$dir/$socket"
export XDG_RUNTIME_DIR="$dir"

# Warnings count too: a directive that systemd ignores does not protect.
"$analyze" --user verify --man=no --recursive-errors=no "$dir/$socket" "$dir/$unit" >"$dir/said" 2>&1 ||
    echo "exit status $?" >>"$dir/said"
if [ -s "$dir/said" ]; then
    cat "$dir/said" >&2
    exit 1
fi
"$analyze" --user security --offline=true --threshold=20 --no-pager "$dir/$unit" >"$dir/said" 2>&1 || {
    cat "$dir/said" >&2
    exit 1
}
tail -n 1 "$dir/said"
