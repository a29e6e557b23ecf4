#!/bin/sh
# Runs the tests, the fuzz smoke test and the check of the systemd unit for `make test`. Temporary files stay in target/scratch,
# which is removed at the end. The run fails if a process that it started is still alive ten seconds after the tests.
set -eu
cd "$(dirname "$0")/.."
for found in clients postgres redis prometheus; do
    # shellcheck source=/dev/null
    . "./target/tools/$found.env"
done

# As root the tests start PostgreSQL as another user, which has to reach the files. Names of its sockets are limited to 107 bytes.
scratch=$PWD/target/scratch
if [ "${#scratch}" -gt 60 ]; then
    echo "tools/test.sh: the path of this tree is long, so temporary files go to ${TMPDIR:-/tmp}" >&2
elif [ "$(id -u)" != 0 ] || setpriv --reuid=65534 --regid=65534 --clear-groups test -r Makefile 2>/dev/null; then
    rm -rf "$scratch"
    mkdir -p "$scratch"
    export TMPDIR="$scratch"
fi
export VINTEDBOT_TEST_RUN="$$"
# Python writes its compiled modules next to the sources otherwise.
export PYTHONDONTWRITEBYTECODE=1

# Lists the processes that inherited the environment of this run. The commands here run without it.
survivors() {
    env -u VINTEDBOT_TEST_RUN sh -c \
        "grep -lsz '^VINTEDBOT_TEST_RUN=$$\$' /proc/[0-9]*/environ | cut -d/ -f3"
}

finish() {
    status=$?
    rm -rf "$scratch"
    exit "$status"
}
trap finish EXIT
trap 'exit 130' INT
trap 'exit 143' TERM

cargo test --locked
tools/fuzz.sh smoke
tools/unit.sh

for _ in 1 2 3 4 5 6 7 8 9 10; do
    left=$(survivors || true)
    [ -n "$left" ] || exit 0
    env -u VINTEDBOT_TEST_RUN sleep 1
done
echo "tools/test.sh: these processes of the tests are still alive:" >&2
for pid in $left; do
    tr '\0' ' ' <"/proc/$pid/cmdline" >&2
    echo " (process $pid)" >&2
done
exit 1
