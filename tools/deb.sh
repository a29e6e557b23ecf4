#!/bin/sh
# Fetches a program from its Debian packages without installing anything. The packages, and those that they depend on and that
# this machine lacks, are unpacked under target/tools/PROGRAM. The program then runs from target/tools/PROGRAM/bin/PROGRAM. Root
# is not needed.
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
    rm -f "$apt/updated" # apt-get update may succeed without having reached a server
    echo "tools/deb.sh: $1" >&2
    echo "tools/deb.sh: please install it by hand: apt-get install $packages" >&2
    exit 1
}
packages=$*

# The directory appears only when it is complete, so no other marker is needed. Running the program shows whether it still works:
# an upgrade of the system, whose libraries it uses, may break it.
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

# Sandbox::User: the user _apt could not write to this directory. Separate lists: an ordinary user cannot refresh the system's,
# and a new image has none.
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

# NoLocking: only root can take dpkg's lock, and a download does not need it.
mkdir -p "$part/archives/partial"
apt -o Debug::NoLocking=1 -y --no-install-recommends --download-only install "$@" >&2 ||
    fail "the download of $packages failed"
for deb in "$part"/archives/*.deb; do
    case ${deb##*/} in
        libc6_* | libc-bin_*) continue ;; # programs run under this machine's loader, which needs its own libc
    esac
    [ -e "$deb" ] || fail "$packages is installed already, but $name does not run; is it on PATH?"
    dpkg-deb -x "$deb" "$part/root" || fail "$deb does not unpack"
done
rm -rf "$part/archives"

if [ "$program" != - ]; then
    real=$(cd "$part" && find root/usr/bin root/usr/sbin root/bin -name "$program" 2>/dev/null | head -n 1)
    [ -n "$real" ] || fail "there is no $program in $packages"
    loader=$(ldd /bin/sh | sed -n 's|^[[:space:]]*\(/[^ ]*\) .*|\1|p')
    # shellcheck disable=SC2016 # $top is the wrapper's
    libs=$(cd "$part" && find root -name 'lib*.so*' -exec dirname {} + | sort -u | sed 's|^|$top/|' | paste -sd: -)
    mv "$part/$real" "$part/$real.real"
    # The library path is an argument of the loader: compilers that cmake starts would inherit a variable. The wrapper replaces the
    # program itself, because cmake and python search for modules, and for the program to start again, from their own path.
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
