#!/bin/sh
# Moves the debug information of a program (70 of 96 MB) into PROGRAM.debug. Backtraces and gdb use that file if it lies
# beside the program; the program runs without it.
set -eu
program=$1

if objdump -h "$program" | grep -q ' \.debug_line '; then
    objcopy --only-keep-debug "$program" "$program.debug"
    objcopy --strip-debug --add-gnu-debuglink="$program.debug" "$program" "$program.stripped"
    mv "$program.stripped" "$program"
fi
