#!/bin/sh
# The build compiles libjpeg-turbo, with its SIMD code: that takes cmake and nasm. The Makefile puts
# target/tools/{cmake,nasm}/bin at the end of PATH, for the case that the machine has none.
set -eu
tools=$(dirname "$0")

for program in cmake nasm; do
    "$program" --version >/dev/null 2>&1 || "$tools/deb.sh" "$program" "$program"
done
