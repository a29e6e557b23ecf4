#!/bin/sh
# Tests the Debian package where it will run: in Debian 12 that systemd has booted, in a container of systemd-nspawn. Needs root, and
# Debian's debootstrap and systemd-container. Takes a minute, and some more at the first time, when Debian is fetched into target/tools.
#
# Two versions are made of the same program. The test installs the older one, uploads a photo, upgrades under load, removes, installs
# again, and purges. The figures that it prints are: the time from `apt install` to the first answer and to the first 201, the requests
# that failed during the upgrade, and what systemd-analyze says.
set -eu
cd "$(dirname "$0")/.."
name=vintedbot-ingest
suite=bookworm
base=$PWD/target/tools/debian-$suite
photo=$PWD/tests/fixtures/heif/grid.heic
url=http://127.0.0.1:8000

missing=
for tool in debootstrap systemd-nspawn curl; do
    command -v "$tool" >/dev/null || missing="$missing $tool"
done
if [ "$(id -u)" != 0 ] || [ -n "$missing" ]; then
    echo "tools/package_test.sh: needs root, and debootstrap, systemd-container and curl;$missing: THE PACKAGE WAS NOT TESTED" >&2
    [ "${CI:-}" != true ]
    exit
fi

if [ ! -d "$base" ]; then
    echo "tools/package_test.sh: fetching Debian $suite into target/tools" >&2
    rm -rf "$base.part"
    debootstrap --variant=minbase --include=systemd-sysv,dbus "$suite" "$base.part" http://deb.debian.org/debian >&2
    mv "$base.part" "$base"
fi

scratch=$(mktemp -d)
root=$scratch/root
container=
machine=package-test-$$
finish() {
    status=$?
    trap - EXIT
    [ -z "$container" ] || kill "$container" 2>/dev/null || true
    [ -z "$container" ] || wait "$container" 2>/dev/null || true
    [ "$status" = 0 ] || [ ! -s "$scratch/log" ] || tail -n 20 "$scratch/log" >&2
    # systemd-nspawn leaves it where /run is not a tmpfs.
    rmdir "/run/systemd/nspawn/propagate/$machine" 2>/dev/null || true
    rm -rf "$scratch"
    exit "$status"
}
trap finish EXIT
trap 'exit 130' INT
trap 'exit 143' TERM

fail() {
    echo "tools/package_test.sh: FAILED: $1" >&2
    [ -z "$container" ] || inside journalctl --no-pager -n 30 -u "$name.service" >&2 || true
    exit 1
}

# expect WHAT FOUND EXPECTED
expect() {
    [ "$2" = "$3" ] || fail "$1: found '$2', expected '$3'"
}

PACKAGE_DIR=$scratch/old VERSION=0.0.1-1 tools/package.sh deb
PACKAGE_DIR=$scratch/new tools/package.sh deb
old=$(basename "$scratch"/old/*.deb)
new=$(basename "$scratch"/new/*.deb)
if command -v lintian >/dev/null; then
    lintian --fail-on error,warning "$scratch/new/$new" || fail "lintian"
else
    echo "tools/package_test.sh: no lintian here: the package was not compared with Debian's policy" >&2
fi
cp -a "$base" "$root"
cp "$scratch"/old/*.deb "$scratch"/new/*.deb "$root/root/"

# --- Without systemd, as in the build of an image: all scripts must run.

export DEBIAN_FRONTEND=noninteractive
cp -a "$root" "$scratch/bare"
chroot "$scratch/bare" apt-get install -qq --no-install-recommends "/root/$new" >"$scratch/log" 2>&1 || fail "install in a chroot"
chroot "$scratch/bare" "$name" --version >/dev/null || fail "the program in a chroot"
chroot "$scratch/bare" apt-get purge -qq "$name" >"$scratch/log" 2>&1 || fail "purge in a chroot"
rm -rf "$scratch/bare"

# --- With systemd.

systemd-nspawn --register=no --keep-unit --quiet --private-network --console=read-only --directory="$root" --machine="$machine" \
    --boot </dev/null >"$scratch/console" 2>&1 &
container=$!

# wait_for SECONDS COMMAND...
wait_for() {
    tries=$(($1 * 10))
    shift
    while [ "$tries" -gt 0 ]; do
        ! "$@" >/dev/null 2>&1 || return 0
        tries=$((tries - 1))
        sleep 0.1
    done
    return 1
}
init() { pgrep -P "$container"; }
wait_for 60 init || fail "systemd-nspawn does not start"
pid=$(init)
# Without the network of the container, which has none but the loopback: apt fetches what the package recommends.
online() { nsenter --target "$pid" --mount --uts --ipc --pid -- "$@"; }
inside() { nsenter --target "$pid" --mount --uts --ipc --pid --net -- "$@"; }
ask() { nsenter --target "$pid" --net -- curl --silent --show-error --max-time 10 "$@"; }
booted() { [ "$(inside systemctl is-system-running)" = running ]; }
wait_for 120 booted || fail "systemd does not boot: $(inside systemctl --failed --no-legend)"

install() {
    online apt-get install -qq -o Dpkg::Options::=--force-confold "/root/$1" >"$scratch/log" 2>&1 || fail "apt install $1"
}
ready() { [ "$(ask -o /dev/null -w '%{http_code}' "$url/api/v1/ready")" = 200 ]; }
seconds() { date +%s.%N; }
since() { echo "$1 $(seconds)" | awk '{ printf "%.1f s", $2 - $1 }'; }
mode() { inside stat -c '%a %U' "$1"; }

begin=$(seconds)
install "$old"
installed=$(seconds)
wait_for 10 ready || fail "the service does not answer within 10 s of its installation"
echo "answers $(since "$installed") after apt install has ended, $(since "$begin") after it began"
answer=$(ask -F "files=@$photo" -w '\n%{http_code}' "$url/api/v1/ingest/upload")
expect "status of the first upload" "$(echo "$answer" | tail -n 1)" 201
echo "first 201 $(since "$begin") after apt install began"
media=$(echo "$answer" | grep -o '/media/[0-9a-f]*\.jpg' | head -n 1)
stored() { ask --fail "$url$media" | sha256sum; }
before=$(stored)

main() { inside systemctl show -P MainPID "$name.service"; }
expect "user" "$(inside stat -c %U "/proc/$(main)")" "$name"
expect "mode of the data" "$(mode /var/lib/$name)" "700 $name"
expect "mode of the secrets" "$(mode /etc/$name.env)" "600 root"
expect "mode of the settings" "$(mode /etc/default/$name)" "600 root"
expect "enabled" "$(inside systemctl is-enabled "$name.service")" enabled
inside test -e "/usr/share/man/man1/$name-token-issue.1.gz" || true # dpkg in images of containers leaves man pages out
inside systemd-analyze --no-pager security --threshold=15 "$name.service" >"$scratch/security" || fail "systemd-analyze security: $(tail -n 1 "$scratch/security")"
tail -n 1 "$scratch/security"
inside "$name" healthcheck --ready || fail "healthcheck"
# A command with the settings and rights of the service, as docs/operations.md says.
token=$(inside systemd-run --quiet --wait --pipe --collect --uid="$name" --property=EnvironmentFile=/etc/$name.env \
    --property=EnvironmentFile=/etc/default/$name --working-directory=/var/lib/$name "$name" token issue --user 7) ||
    fail "a command as the service: $token"
status=$(ask -o /dev/null -w '%{http_code}' -H "Authorization: Bearer $token" "$url/api/v1/listings")
expect "a token of the installation's key" "$status" 200

# --- Upgrade under load.

key=$(inside sha256sum /etc/$name.env)
inside sh -c "echo LOG_LEVEL=warn >>/etc/default/$name"
settings=$(inside sha256sum /etc/default/$name)
process=$(main)
nsenter --target "$pid" --net -- sh -c "
    while [ ! -e '$scratch/enough' ]; do
        curl --silent --output /dev/null --max-time 10 --write-out '%{http_code} %{time_total}\n' '$url$media'
    done" >"$scratch/load" &
load=$!
install "$new"
wait_for 10 ready || fail "the service does not answer within 10 s of the upgrade"
touch "$scratch/enough"
wait "$load"
echo "$(grep -c . "$scratch/load") requests during the upgrade, $(grep -vc '^200 ' "$scratch/load" || true) of them failed, longest wait $(
    sort -k 2 -n "$scratch/load" | tail -n 1 | cut -d ' ' -f 2) s"
if inside systemctl cat "$name.socket" >/dev/null 2>&1 && grep -vq '^200 ' "$scratch/load"; then
    fail "requests failed during the upgrade, although a socket unit listens"
fi
expect "version" "$(inside dpkg-query -W "$name" | cut -f 2)" "$(echo "$new" | cut -d _ -f 2)"
[ "$process" != "$(main)" ] || fail "the upgrade did not restart the service"
expect "secrets after the upgrade" "$(inside sha256sum /etc/$name.env)" "$key"
expect "settings after the upgrade" "$(inside sha256sum /etc/default/$name)" "$settings"
expect "photo after the upgrade" "$(stored)" "$before"

# --- What the operator disabled stays disabled.

inside sh -c "cd /usr/lib/systemd/system && systemctl disable --quiet --now $name.*"
online apt-get install -qq --reinstall -o Dpkg::Options::=--force-confold "/root/$new" >"$scratch/log" 2>&1 || fail "reinstallation"
expect "enabled after a reinstallation" "$(inside systemctl is-enabled "$name.service" || true)" disabled
expect "active after a reinstallation" "$(inside systemctl is-active "$name.service" || true)" inactive
inside systemctl enable --quiet --now "$name.service"

# --- Remove, install again, purge.

online apt-get remove -qq "$name" >"$scratch/log" 2>&1 || fail "apt remove"
expect "processes after the removal" "$(inside sh -c 'cat /proc/[0-9]*/comm 2>/dev/null | grep vintedbot')" ""
expect "secrets after the removal" "$(inside sha256sum /etc/$name.env)" "$key"
expect "settings after the removal" "$(inside sha256sum /etc/default/$name)" "$settings"
install "$new"
wait_for 10 ready || fail "the service does not answer within 10 s of another installation"
expect "photo after another installation" "$(stored)" "$before"

online apt-get purge -qq "$name" >"$scratch/log" 2>&1 || fail "apt purge"
grep -q 'photos and drafts are kept' "$scratch/log" || fail "the purge does not say where the data is"
for gone in /etc/$name.env /etc/default/$name /usr/bin/$name /etc/systemd/system/multi-user.target.wants/$name.service; do
    ! inside test -e "$gone" -o -L "$gone" || fail "$gone is still there after the purge"
done
inside sh -c "test -n \"\$(ls /var/lib/$name/data/uploads/*.jpg)\"" || fail "the purge removed photos"
install "$new"
wait_for 10 ready || fail "the service does not answer within 10 s of an installation after the purge"
expect "photo after an installation that follows a purge" "$(stored)" "$before"
echo "installation, upgrade, removal and purge work"
