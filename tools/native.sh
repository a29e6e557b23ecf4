#!/bin/sh
# The build compiles libjpeg-turbo and the assembler code of the AV1 decoder, which takes cmake and nasm. What the machine
# lacks is unpacked into target/tools. Build scripts run side by side, so only one process at a time fetches.
set -eu
cd "$(dirname "$0")/.."
mkdir -p target/tools

if [ "${1:-}" != locked ] && command -v flock >/dev/null; then
    exec flock target/tools/native.lock tools/native.sh locked
fi
for program in cmake nasm; do
    "$program" --version >/dev/null 2>&1 || tools/deb.sh "$program" "$program"
done
