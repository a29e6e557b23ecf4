#!/bin/sh
# The RUSTC_WRAPPER of `tools/fuzz.sh smoke`: instruments this crate and its fuzz targets, and nothing else, for libFuzzer and for
# AddressSanitizer, and links libjpeg-turbo from $LIBTURBOJPEG before the one of the dependencies.
set -eu

flags="-Cpasses=sancov-module -Cllvm-args=-sanitizer-coverage-level=4"
flags="$flags -Cllvm-args=-sanitizer-coverage-inline-8bit-counters -Cllvm-args=-sanitizer-coverage-pc-table"
flags="$flags -Cllvm-args=-sanitizer-coverage-trace-compares"
flags="$flags -Cllvm-args=-simplifycfg-branch-fold-threshold=0 --cfg fuzzing"

[ "$1" != flags ] || {
    echo "$flags"
    exit 0
}
flags="$flags -Zsanitizer=address"
case " $* " in
    # Cargo asks for the configuration, by which it chooses dependencies.
    *" --print=cfg "*) exec "$@" --cfg fuzzing ;;
    *" --crate-name vintedbot_ingest "*) ;;
    *" fuzz_targets/"*)
        flags="$flags -Zpre-link-args=-Wl,--whole-archive,$LIBTURBOJPEG,--no-whole-archive"
        flags="$flags -Clink-arg=$LIBFUZZER -Clink-arg=-L$LIBSTDCXX -Clink-arg=-lstdc++"
        ;;
    *) exec "$@" ;;
esac
export RUSTC_BOOTSTRAP=1
# shellcheck disable=SC2086 # several words
exec "$@" $flags
