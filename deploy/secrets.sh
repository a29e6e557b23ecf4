#!/bin/sh
# Writes fresh secrets for compose.yaml to .env beside it, once: the volumes remember the first ones. All are hexadecimal,
# so that they may stand in URLs.
set -eu
cd "$(dirname "$0")"
umask 077

hex() {
    od -An -v -tx1 -N "$1" /dev/urandom | tr -d ' \n'
}

# Refuses to write over a file that is there.
set -C
cat >.env <<END
SECRET_KEY=$(hex 32)
POSTGRES_PASSWORD=$(hex 24)
REDIS_PASSWORD=$(hex 24)
GARAGE_RPC_SECRET=$(hex 32)
S3_ACCESS_KEY=GK$(hex 12)
S3_SECRET_KEY=$(hex 32)
END
echo "deploy/secrets.sh: wrote $PWD/.env" >&2
