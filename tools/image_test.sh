#!/bin/sh
# Tests the last stage of deploy/Dockerfile with buildah, without a registry: what the first stage would make comes from
# tools/image_root.sh, which the first stage runs too. Checks the size and the user, and that the server in the image is healthy.
# Needs root and Debian's buildah.
set -eu
cd "$(dirname "$0")/.."
most=30000000 # bytes

if [ "$(id -u)" != 0 ] || ! command -v buildah >/dev/null; then
    echo "tools/image_test.sh: needs root and buildah: THE IMAGE WAS NOT TESTED" >&2
    [ "${CI:-}" != true ]
    exit
fi

scratch=$(mktemp -d)
server=
finish() {
    status=$?
    trap - EXIT
    [ -z "$server" ] || kill "$server" 2>/dev/null || true
    store rm --all >/dev/null 2>&1 || true
    rm -rf "$scratch"
    exit "$status"
}
trap finish EXIT
trap 'exit 130' INT
trap 'exit 143' TERM
store() { buildah --storage-driver vfs --root "$scratch/storage" --runroot "$scratch/run" "$@"; }
fail() {
    echo "tools/image_test.sh: FAILED: $1" >&2
    exit 1
}

tools/image_root.sh "$scratch/stage/image"
store build --quiet --isolation chroot --format docker --build-context build="$scratch/stage" --file deploy/Dockerfile \
    --tag vintedbot-ingest "$scratch/stage" >"$scratch/log" 2>&1 || fail "$(cat "$scratch/log")"

image() { store inspect --type image --format "$1" vintedbot-ingest; }
root=$(store mount "$(store from vintedbot-ingest)")
size=$(du -sb --apparent-size "$root" | cut -f 1)
echo "the image has $size bytes in $(find "$root" -type f | wc -l) files"
[ "$size" -lt "$most" ] || fail "the image is larger than $most bytes"
[ "$(image '{{.OCIv1.Config.User}}')" = 10001:10001 ] || fail "the user is $(image '{{.OCIv1.Config.User}}')"
[ "$(stat -c %a:%u:%g "$root/var/lib/vintedbot-ingest")" = 700:10001:10001 ] || fail "the data does not belong to the user"

# As the image says, but for the port. There is no shell in it: unshare executes the program itself.
port=$((20000 + $$ % 10000))
entry=$(image '{{index .OCIv1.Config.Entrypoint 0}}')
mkdir -p "$root/proc"
cat >"$scratch/in_image" <<EOF
exec env -i HOST=0.0.0.0 PORT=$port unshare --mount --root="$root" --mount-proc \
    --wd="$(image '{{.OCIv1.Config.WorkingDir}}')" --setgid=10001 --setuid=10001 "$entry" "\$@"
EOF
sh "$scratch/in_image" >"$scratch/server" 2>&1 &
server=$!
tries=50
until sh "$scratch/in_image" healthcheck 2>/dev/null; do
    tries=$((tries - 1))
    [ "$tries" -gt 0 ] || fail "the server in the image is not healthy: $(cat "$scratch/server")"
    sleep 0.2
done
kill "$server"
wait "$server" || fail "the server in the image ended with $?"
server=
! sh "$scratch/in_image" healthcheck 2>/dev/null || fail "a server that ended is healthy"
echo "the server in the image is healthy, and stops by SIGTERM"
