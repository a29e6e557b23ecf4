#!/bin/sh
# Gets a program out of its Debian packages without installing anything: packages are unpacked, together with
# whatever they depend on and this machine lacks, under target/tools/PROGRAM, and run from
# target/tools/PROGRAM/bin/PROGRAM. Nothing here needs root, so root and ordinary users go the same way.
#
#   tools/deb.sh PROGRAM PACKAGE...     ("-" for PROGRAM: only unpack, into target/tools/PACKAGE/root)
set -eu
cd "$(dirname "$0")/.."

program=$1
shift
name=$program
[ "$program" != - ] || name=$1
dir=$PWD/target/tools/$name
apt=$PWD/target/tools/apt

fail() {
    rm -f "$apt/updated" # an update may call itself a success without having reached anything
    echo "tools/deb.sh: $1" >&2
    echo "tools/deb.sh: please install it by hand: apt-get install $packages" >&2
    exit 1
}
packages=$*

# The directory only ever appears whole, so its presence is the stamp; running the program says if it still works
# (it would not after an upgrade of the system it borrows libraries from).
if [ "$program" = - ]; then
    [ ! -d "$dir" ] || exit 0
else
    ! "$dir/bin/$program" --version >/dev/null 2>&1 || exit 0
fi
for tool in apt-get dpkg-deb ldd; do
    command -v "$tool" >/dev/null || fail "no $tool here to fetch $name with"
done

mkdir -p "$apt/lists/partial" "$apt/cache/archives/partial"
part=$(mktemp -d "$dir.XXXXXX")
chmod 755 "$part"
trap 'rm -rf "$part"' EXIT
trap 'exit 130' INT
trap 'exit 143' TERM

# Sandbox::User: the usual _apt could not write to a directory of ours. The lists are ours as well, since an ordinary
# user cannot refresh the system's, and a fresh image has none.
apt() {
    DEBIAN_FRONTEND=noninteractive apt-get -qq -o APT::Sandbox::User=root -o Acquire::Languages=none \
        -o Acquire::Retries=3 -o Dir::State="$apt" -o Dir::State::lists="$apt/lists" \
        -o Dir::State::status=/var/lib/dpkg/status -o Dir::Cache="$apt/cache" \
        -o Dir::Cache::pkgcache= -o Dir::Cache::srcpkgcache= -o Dir::Cache::archives="$part/archives" "$@"
}

echo "tools/deb.sh: unpacking $packages into target/tools/$name" >&2
if [ -z "$(find "$apt/updated" -mmin -60 2>/dev/null)" ]; then
    apt update >&2 || fail "apt-get update failed"
    touch "$apt/updated"
fi

# NoLocking: dpkg's lock belongs to root, and a download has no need of it.
mkdir -p "$part/archives/partial"
apt -o Debug::NoLocking=1 -y --no-install-recommends --download-only install "$@" >&2 ||
    fail "the download of $packages failed"
for deb in "$part"/archives/*.deb; do
    case ${deb##*/} in
        libc6_* | libc-bin_*) continue ;; # programs run under this machine's loader, which wants its own libc
    esac
    [ -e "$deb" ] || fail "$packages is installed already, but $name does not run; is it on PATH?"
    dpkg-deb -x "$deb" "$part/root" || fail "$deb does not unpack"
done
rm -rf "$part/archives"

if [ "$program" != - ]; then
    real=$(cd "$part" && find root/usr/bin root/bin -name "$program" 2>/dev/null | head -n 1)
    [ -n "$real" ] || fail "there is no $program in $packages"
    loader=$(ldd /bin/sh | sed -n 's|^[[:space:]]*\(/[^ ]*\) .*|\1|p')
    # shellcheck disable=SC2016 # $top is the wrapper's
    libs=$(cd "$part" && find root -name 'lib*.so*' -exec dirname {} + | sort -u | sed 's|^|$top/|' | paste -sd: -)
    mv "$part/$real" "$part/$real.real"
    # The library path goes to the loader rather than into the environment, which the compilers started by cmake
    # would inherit. The wrapper takes the program's own place because cmake and python look around themselves
    # (for modules, and for the program to start again) starting from the path they were called by.
    cat >"$part/$real" <<EOF
#!/bin/sh
self=\$(readlink -f "\$0")
top=\${self%/$real}
exec $loader --library-path "$libs" --argv0 "\$0" "\$self.real" "\$@"
EOF
    chmod 755 "$part/$real"
    mkdir "$part/bin"
    ln -s "../$real" "$part/bin/$program"
    "$part/bin/$program" --version >/dev/null || fail "$program does not run once unpacked"
fi

rm -rf "$dir"
mv -T "$part" "$dir" || fail "cannot put $dir in place"
