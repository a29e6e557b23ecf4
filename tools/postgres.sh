#!/bin/sh
# Finds or fetches the PostgreSQL with which the tests start their own clusters, and writes the path of its programs to
# target/tools/postgres.env: the machine's own; else one that is unpacked into target/tools. PostgreSQL does not run as root, so as
# root the tests start it as another user. If that user cannot read this tree, PostgreSQL is installed with apt-get. If there is
# none, a message says that its tests are skipped; with CI=true that is an error.
set -eu
cd "$(dirname "$0")/.."
tools=$PWD/target/tools
package=postgresql-15
mkdir -p "$tools"

# Sets `programs` to the first of these directories that has all programs that the tests start.
found() {
    for initdb in "$@"; do
        programs=$(dirname "$(readlink -f "$initdb" 2>/dev/null)") || continue
        { [ -x "$programs/initdb" ] && [ -x "$programs/postgres" ] && [ -x "$programs/pg_isready" ]; } || continue
        LD_LIBRARY_PATH=$libs "$programs/postgres" --version >/dev/null 2>&1 || continue
        return 0
    done
    programs=
    return 1
}

libs=
installed() {
    found /usr/lib/postgresql/15/bin/initdb "$(command -v initdb || true)" /usr/lib/postgresql/*/bin/initdb
}

# Whether the user that runs PostgreSQL can read what is unpacked here.
readable() {
    [ "$(id -u)" != 0 ] || setpriv --reuid=65534 --regid=65534 --clear-groups test -r Makefile 2>/dev/null
}

install() {
    ! readable && command -v apt-get >/dev/null || return 1
    echo "tools/postgres.sh: installing $package" >&2
    # Without the cluster that Debian would create and start.
    mkdir -p /etc/postgresql-common/createcluster.d
    echo 'create_main_cluster = false' >/etc/postgresql-common/createcluster.d/vintedbot-tests.conf
    { apt-get update -qq && DEBIAN_FRONTEND=noninteractive apt-get install -qq --no-install-recommends "$package"; } >&2
}

unpack() {
    readable || return 1
    tools/deb.sh - "$package" || return 1
    root=$tools/$package/root
    libs=$(find "$root" -name 'lib*.so*' -exec dirname {} + | sort -u | paste -sd: -)
    found "$root"/usr/lib/postgresql/*/bin/initdb
}

installed || unpack || { install && installed; } || {
    libs=
    echo "tools/postgres.sh: NO PostgreSQL: THE TESTS OF THE SHARED CATALOG WILL BE SKIPPED (apt-get install $package)" >&2
}

cat >"$tools/postgres.env.new" <<EOF
export VINTEDBOT_TEST_POSTGRES='$programs'
export VINTEDBOT_TEST_POSTGRES_LIBS='$libs'
EOF
mv "$tools/postgres.env.new" "$tools/postgres.env"
[ -n "$programs" ] || [ "${CI:-}" != true ]
