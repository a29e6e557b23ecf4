#!/bin/sh
# Makes the directories that the last stage of deploy/Dockerfile copies: DIR/root, and DIR/data, whose files belong to the server's user.
#
#   tools/image_root.sh DIR
set -eu
cd "$(dirname "$0")/.."
dir=$1
umask 022

program=$(tools/static.sh)
mkdir -p "$dir/root/usr/local/bin" "$dir/root/etc/ssl/certs" "$dir/data"
strip -o "$dir/root/usr/local/bin/vintedbot-ingest" "$program"
# For PostgreSQL, S3, Redis and photos over TLS.
cp -L /etc/ssl/certs/ca-certificates.crt "$dir/root/etc/ssl/certs/"
echo 'vintedbot:x:10001:10001::/var/lib/vintedbot-ingest:/sbin/nologin' >"$dir/root/etc/passwd"
echo 'vintedbot:x:10001:' >"$dir/root/etc/group"
install -d -m 1777 "$dir/root/tmp"
install -d -m 700 "$dir/data/vintedbot-ingest"
