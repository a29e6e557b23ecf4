#!/bin/sh
# Checks the systemd unit: that systemd understands all of it, and that its sandbox stays as tight as it is.
# What is looked at is a copy, read as a user's unit: as the system's, systemd-analyze would need /run/systemd, which
# takes root where systemd does not run. Hence the other User; and the program is not installed where it is built.
set -eu
cd "$(dirname "$0")/.."
unit=vintedbot-ingest.service

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
sed 's|^ExecStart=[^ ]*|ExecStart=/bin/true|; s|^DynamicUser=yes|User=daemon|' "deploy/$unit" >"$dir/$unit"
export XDG_RUNTIME_DIR="$dir"

# Warnings count as well: a directive that systemd ignores is one that does not protect.
"$analyze" --user verify --man=no --recursive-errors=no "$dir/$unit" >"$dir/said" 2>&1 ||
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
