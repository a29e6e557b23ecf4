#!/bin/sh
# Makes what a release consists of, in target/package: the Debian package, the tarball, the SBOM and SHA256SUMS. Equal sources at the
# same path give equal files: times are those of the commit, owners are root, names are sorted.
#
#   tools/package.sh deb|tarball
#
# VERSION overrides the version of the Debian package, and PACKAGE_DIR the directory, for tools/package_test.sh.
set -eu
cd "$(dirname "$0")/.."
umask 022
name=vintedbot-ingest
kind=$1
out=${PACKAGE_DIR:-$PWD/target/package}
release=$(sed -n '/^\[package\]/,/^\[/s/^version = "\(.*\)"/\1/p' Cargo.toml)
SOURCE_DATE_EPOCH=${SOURCE_DATE_EPOCH:-$(git log -1 --format=%ct 2>/dev/null || date -r Cargo.lock +%s)}
export SOURCE_DATE_EPOCH LC_ALL=C

program=$(tools/static.sh)
mkdir -p "$out"
work=$(mktemp -d "$out/work.XXXXXX")
trap 'rm -rf "$work"' EXIT
trap 'exit 130' INT
trap 'exit 143' TERM

# The debug information, 70 MB, is a file of its own. gdb and backtraces find it next to the program.
objcopy --only-keep-debug --compress-debug-sections=zlib "$program" "$out/$name.debug"
chmod 644 "$out/$name.debug"
objcopy --strip-all --remove-section=.comment --add-gnu-debuglink="$out/$name.debug" "$program" "$work/$name"
mkdir "$work/man" "$work/completions"
"$work/$name" man --directory "$work/man"
for shell in bash zsh fish; do
    "$work/$name" completions "$shell" >"$work/completions/$name.$shell"
done
tools/sbom.py "$(uname -m)-unknown-linux-musl" >"$work/sbom.cdx.json"
cp "$work/sbom.cdx.json" "$out/$name-$release.cdx.json"

# put MODE FILE... DIRECTORY/: installs files.
put() {
    mode=$1
    shift
    for last in "$@"; do :; done
    mkdir -p "$last"
    install -m "$mode" "$@"
}

# put_gz FILE TARGET: installs a compressed file.
put_gz() {
    mkdir -p "${2%/*}"
    gzip -9nc "$1" >"$2"
}

tarball() {
    top=$name-$release-$(uname -m)-linux
    tree=$work/$top
    put 755 "$work/$name" "$tree/"
    put 644 README.md CHANGELOG.md SECURITY.md LICENSE-* "$work/sbom.cdx.json" "$tree/"
    put 644 docs/operations.md docs/api.md docs/settings.md docs/problems.md docs/metrics.md "$tree/docs/"
    put 644 deploy/$name.* deploy/Caddyfile deploy/alerts.yaml deploy/grafana.json "$tree/deploy/"
    put 644 "$work"/man/* "$tree/man/"
    put 644 "$work"/completions/* "$tree/completions/"
    tar --sort=name --owner=0 --group=0 --numeric-owner --mtime="@$SOURCE_DATE_EPOCH" -C "$work" -cf - "$top" |
        gzip -9n >"$out/$top.tar.gz"
}

# fill FILE TARGET: replaces the names in a template.
fill() {
    sed "s|@VERSION@|$version|; s|@ARCHITECTURE@|$architecture|; s|@SIZE@|$size|; s|@UNITS@|$units|" "$1" >"$2"
}

deb() {
    command -v dpkg-deb >/dev/null || {
        echo "tools/package.sh: no dpkg-deb here; make tarball needs none" >&2
        exit 1
    }
    version=${VERSION:-$release-1}
    architecture=$(dpkg --print-architecture)
    tree=$work/tree
    doc=$tree/usr/share/doc/$name

    put 755 "$work/$name" "$tree/usr/bin/"
    # The listener before the service, which is the order in which they are stopped.
    units=
    for unit in $name.socket $name.service; do
        [ -e "deploy/$unit" ] || continue
        sed 's|/usr/local/bin/|/usr/bin/|' "deploy/$unit" >"$work/$unit"
        put 644 "$work/$unit" "$tree/usr/lib/systemd/system/"
        units=${units:+$units }$unit
    done
    mkdir -p "$tree/usr/lib/sysusers.d" "$tree/etc/default" "$tree/DEBIAN"
    install -m 644 deploy/$name.sysusers "$tree/usr/lib/sysusers.d/$name.conf"
    # Operators write passwords into it.
    install -m 600 deploy/debian/default "$tree/etc/default/$name"
    for page in "$work"/man/*; do
        put_gz "$page" "$tree/usr/share/man/man1/${page##*/}.gz"
    done
    put 644 "$work/completions/$name.fish" "$tree/usr/share/fish/vendor_completions.d/"
    mkdir -p "$tree/usr/share/bash-completion/completions" "$tree/usr/share/zsh/vendor-completions"
    install -m 644 "$work/completions/$name.bash" "$tree/usr/share/bash-completion/completions/$name"
    install -m 644 "$work/completions/$name.zsh" "$tree/usr/share/zsh/vendor-completions/_$name"
    put 644 deploy/debian/copyright docs/operations.md docs/api.md docs/settings.md "$work/sbom.cdx.json" "$doc/"
    put 644 deploy/alerts.yaml deploy/grafana.json "$doc/"
    put_gz CHANGELOG.md "$doc/changelog.gz"
    cat >"$work/changelog" <<EOF
$name ($version) stable; urgency=medium

  * Release $release. changelog.gz lists its changes.

 -- vintedbot-ingest contributors <packages@vintedbot-ingest.invalid>  $(date -u -R -d "@$SOURCE_DATE_EPOCH")
EOF
    put_gz "$work/changelog" "$doc/changelog.Debian.gz"
    mkdir -p "$tree/usr/share/lintian/overrides"
    install -m 644 deploy/debian/lintian-overrides "$tree/usr/share/lintian/overrides/$name"

    size=$(du -sk --apparent-size "$tree" | cut -f 1)
    fill deploy/debian/control "$tree/DEBIAN/control"
    for script in postinst prerm postrm; do
        fill "deploy/debian/$script" "$tree/DEBIAN/$script"
        chmod 755 "$tree/DEBIAN/$script"
    done
    echo "/etc/default/$name" >"$tree/DEBIAN/conffiles"
    (cd "$tree" && find usr -type f | sort | xargs md5sum >DEBIAN/md5sums)
    dpkg-deb --root-owner-group -Zxz --build "$tree" "$out/${name}_${version}_$architecture.deb" >/dev/null
}

"$kind"
cd "$out"
# The file of debug information is not for every user, but who takes it can check it too.
find . -maxdepth 1 -type f ! -name SHA256SUMS -printf '%P\n' | sort | xargs sha256sum >"$work/SHA256SUMS"
mv "$work/SHA256SUMS" SHA256SUMS
cat SHA256SUMS
