#!/bin/sh
# Finds or fetches the PostgreSQL that the tests start clusters of their own with, and writes target/tools/postgres.env,
# which tells where its programs are: the machine's; else, as root, one that is installed with apt-get; else one that is
# unpacked into target/tools. Where none can be had the tests with it are skipped, and that is said; with CI=true it is
# an error.
set -eu
cd "$(dirname "$0")/.."
tools=$PWD/target/tools
package=postgresql-15
mkdir -p "$tools"

# The directory of programs in which the first of these places has all that the tests start.
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

install() {
    [ "$(id -u)" = 0 ] && command -v apt-get >/dev/null || return 1
    echo "tools/postgres.sh: installing $package" >&2
    # Without the cluster that Debian makes and starts at once.
    mkdir -p /etc/postgresql-common/createcluster.d
    echo 'create_main_cluster = false' >/etc/postgresql-common/createcluster.d/vintedbot-tests.conf
    { apt-get update -qq && DEBIAN_FRONTEND=noninteractive apt-get install -qq --no-install-recommends "$package"; } >&2
}

unpack() {
    tools/deb.sh - "$package" || return 1
    root=$tools/$package/root
    libs=$(find "$root" -name 'lib*.so*' -exec dirname {} + | sort -u | paste -sd: -)
    found "$root"/usr/lib/postgresql/*/bin/initdb
}

installed || { install && installed; } || unpack || {
    libs=
    echo "tools/postgres.sh: NO PostgreSQL: THE TESTS OF THE SHARED CATALOG WILL BE SKIPPED (apt-get install $package)" >&2
}

cat >"$tools/postgres.env.new" <<EOF
export VINTEDBOT_TEST_POSTGRES='$programs'
export VINTEDBOT_TEST_POSTGRES_LIBS='$libs'
EOF
mv "$tools/postgres.env.new" "$tools/postgres.env"
[ -n "$programs" ] || [ "${CI:-}" != true ]
