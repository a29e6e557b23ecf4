#!/bin/sh
# Builds and runs the fuzz targets on the stable toolchain; fuzz/README.md has the details.
#
#   tools/fuzz.sh smoke                                    every target for some seconds, two at a time, with AddressSanitizer
#   tools/fuzz.sh build SANITIZER                          SANITIZER is address or none
#   tools/fuzz.sh run SANITIZER TARGET SECONDS [OPTION...] a campaign; options are libFuzzer's, or more directories of files
#   tools/fuzz.sh shrink SANITIZER TARGET FILE             makes a finding as small as it can
#   tools/fuzz.sh merge SANITIZER TARGET                   drops inputs from the corpus that add no coverage; keeps the seeds
#
# The directories and compiler flags are those of cargo-fuzz, which is not needed. RUSTC_BOOTSTRAP lets the stable compiler take
# -Zsanitizer, whose runtime is part of the toolchain.
set -eu
cd "$(dirname "$0")/.."

host=$(rustc -vV | sed -n 's/^host: //p')
targets=$(sed -n 's|^path = "fuzz_targets/\(.*\)\.rs"$|\1|p' fuzz/Cargo.toml)
# Two targets run at a time, so all of them take 50 seconds after the build.
smoke_seconds=${SMOKE_SECONDS:-10}

# libFuzzer names inputs by their SHA-1, which has 40 digits. Other names are committed seeds.
found_inputs='????????????????????????????????????????'

fail() {
    echo "tools/fuzz.sh: $1" >&2
    exit 1
}

known() {
    for target in $targets; do
        [ "$target" != "$1" ] || return 0
    done
    fail "there is no target $1; there are: $(echo "$targets" | tr '\n' ' ')"
}

# The server of upload_request keeps its files in memory if possible. Other tests cover its promises about disks.
scratch() {
    shm=/dev/shm
    [ -w "$shm" ] || shm=${TMPDIR:-/tmp}
    TMPDIR=$(mktemp -d "$shm/vintedbot-fuzz.XXXXXX")
    export TMPDIR
    trap 'rm -rf "$TMPDIR"' EXIT
    trap 'exit 130' INT
    trap 'exit 143' TERM
}

# The directory of the C++ standard library, for a compiler that is not installed where the linker looks.
standard_library() {
    dirname "$("$CXX" -print-file-name=libstdc++.a)"
}

# The committed seeds of a target, without what campaigns on this machine have found.
copy_seeds() {
    mkdir -p "$2"
    find "fuzz/corpus/$1" -type f ! -name "$found_inputs" -exec cp {} "$2" \;
}

build() {
    flags=$(tools/fuzz-rustc.sh flags)
    case $1 in
        none) ;;
        address)
            flags="$flags -Zsanitizer=address"
            export RUSTC_BOOTSTRAP=1
            # C code too, but only that of the target: build scripts run without the sanitizer.
            name=$(echo "$host" | tr - _)
            export "CFLAGS_$name=-fsanitize=address -fno-omit-frame-pointer -g1"
            ;;
        *) fail "SANITIZER is address or none, not $1" ;;
    esac
    CXX=$(tools/cxx.sh) || fail "libFuzzer needs a C++ compiler"
    export CXX
    RUSTFLAGS="$flags -Lnative=$(standard_library)" cargo build --release --locked --bins --manifest-path fuzz/Cargo.toml \
        --target "$host" --target-dir "target/fuzz/$1"
    bin=target/fuzz/$1/$host/release
}

# Where cargo puts the sources of a crate.
sources_of() {
    cargo metadata --locked --manifest-path fuzz/Cargo.toml --format-version 1 |
        grep -o "[^\"]*/$1-[0-9][^\"/]*/" | head -n 1
}

# Compiles libFuzzer from the sources in its crate.
libfuzzer() {
    sources=$(sources_of libfuzzer-sys)libfuzzer
    [ -d "$sources" ] || fail "the sources of libfuzzer-sys are not where cargo puts them"
    mkdir -p "$TMPDIR/libfuzzer"
    (cd "$TMPDIR/libfuzzer" && printf '%s\n' "$sources"/*.cpp | xargs -n 4 -P 2 "$CXX" -std=c++17 -O1 -w -c)
    ar rcs "$LIBFUZZER.part" "$TMPDIR"/libfuzzer/*.o
    mv "$LIBFUZZER.part" "$LIBFUZZER"
}

# Compiles the libjpeg-turbo of turbojpeg-sys with AddressSanitizer and without SIMD, whose assembler code is not instrumented.
libturbojpeg() {
    mkdir -p "$TMPDIR/libturbojpeg"
    tools/bin/cmake -S "$1" -B "$TMPDIR/libturbojpeg" -DCMAKE_BUILD_TYPE=None -DENABLE_SHARED=0 -DWITH_SIMD=0 \
        -DCMAKE_C_FLAGS="-O1 -g1 -fsanitize=address -fno-omit-frame-pointer" >/dev/null
    tools/bin/cmake --build "$TMPDIR/libturbojpeg" --parallel 2 --target turbojpeg-static >/dev/null
    mv "$TMPDIR/libturbojpeg/libturbojpeg.a" "$LIBTURBOJPEG"
}

# Runs a target. With the address sanitizer libjpeg-turbo runs without SIMD: its assembler code is not instrumented.
fuzz() {
    sanitizer=$1 program=$2 target=$3
    shift 3
    [ "$sanitizer" = none ] || export JSIMD_FORCENONE=1
    "$program" -timeout=20 -rss_limit_mb=2048 -artifact_prefix="fuzz/artifacts/$target/" \
        -dict="fuzz/dictionaries/$target.dict" -print_final_stats=1 "$@"
}

case ${1:-} in
    smoke)
        if ! CXX=$(tools/cxx.sh); then
            echo "tools/fuzz.sh: NO C++ compiler for libFuzzer: THE FUZZ TARGETS WERE NOT RUN" >&2
            [ "${CI:-}" != true ]
            exit
        fi
        export CXX
        scratch
        # The build uses the directory, profile and features of the tests, so all dependencies are compiled already. Only this
        # crate and libjpeg-turbo are instrumented, and the heap of all.
        mkdir -p target/fuzz
        awk '/^\[/ { on = /^\[profile\.dev/ } on' Cargo.toml >target/fuzz/profile.toml
        LIBFUZZER=$PWD/target/fuzz/libfuzzer.a
        LIBSTDCXX=$(standard_library)
        export LIBFUZZER LIBSTDCXX
        [ -e "$LIBFUZZER" ] || libfuzzer
        sources=$(sources_of turbojpeg-sys)libjpeg-turbo
        [ -d "$sources" ] || fail "the sources of turbojpeg-sys are not where cargo puts them"
        LIBTURBOJPEG=$PWD/target/fuzz/$(basename "$(dirname "$sources")").a
        export LIBTURBOJPEG
        [ -e "$LIBTURBOJPEG" ] || libturbojpeg "$sources"
        RUSTC_WRAPPER=$PWD/tools/fuzz-rustc.sh cargo build --locked --bins --manifest-path fuzz/Cargo.toml \
            --no-default-features --features smoke --config target/fuzz/profile.toml --target-dir target
        echo "$targets" | xargs -n 1 -P 2 tools/fuzz.sh smoke-one || fail "a target failed; the input that fails is in fuzz/artifacts"
        ;;
    smoke-one)
        target=$2
        mkdir -p "fuzz/artifacts/$target" "$TMPDIR/$target"
        copy_seeds "$target" "$TMPDIR/$target.seeds"
        log=$TMPDIR/$target.log
        if fuzz address "target/debug/$target" "$target" -max_total_time="$smoke_seconds" -seed=1 \
            "$TMPDIR/$target" "$TMPDIR/$target.seeds" >"$log" 2>&1; then
            awk -v target="$target" '/ cov: / { line = $0 } /number_of_executed_units/ { runs = $2 }
                END { match(line, /cov: [0-9]+/); printf "fuzz %-18s %8d runs, %s\n", target, runs, substr(line, RSTART, RLENGTH) }' "$log"
        else
            cat "$log" >&2
            exit 1
        fi
        ;;
    build)
        build "$2"
        ;;
    run)
        sanitizer=$2 target=$3 seconds=$4
        shift 4
        known "$target"
        scratch
        build "$sanitizer"
        mkdir -p "fuzz/artifacts/$target"
        fuzz "$sanitizer" "$bin/$target" "$target" -max_total_time="$seconds" "$@" "fuzz/corpus/$target"
        ;;
    shrink)
        known "$3"
        scratch
        build "$2"
        fuzz "$2" "$bin/$3" "$3" -minimize_crash=1 -runs=100000 -max_total_time=120 -exact_artifact_path="$4.small" "$4"
        ;;
    merge)
        known "$3"
        scratch
        build "$2"
        copy_seeds "$3" "$TMPDIR/merged"
        fuzz "$2" "$bin/$3" "$3" -merge=1 "$TMPDIR/merged" "fuzz/corpus/$3"
        find "fuzz/corpus/$3" -type f -name "$found_inputs" -delete
        cp "$TMPDIR/merged"/* "fuzz/corpus/$3"
        ;;
    *)
        sed -n 's/^#   //p' "$0" >&2
        exit 64
        ;;
esac
