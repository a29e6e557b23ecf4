#!/bin/sh
# Prepares a C++ compiler for libFuzzer and prints its path: the machine's own, or a script in target/tools that lets the
# machine's gcc use the C++ parts of Debian's package g++. tools/fuzz.sh calls it.
set -eu
cd "$(dirname "$0")/.."
tools=$PWD/target/tools

for compiler in c++ g++ clang++; do
    if command -v "$compiler"; then
        exit
    fi
done

# The C++ parts have to be of the version of the installed gcc.
version=$(gcc -dumpversion 2>/dev/null | cut -d. -f1)
if [ -z "$version" ]; then
    echo "tools/cxx.sh: gcc is missing: apt-get install gcc" >&2
    exit 1
fi
tools/deb.sh - "g++-$version"
root=$tools/g++-$version/root
parts=$(dirname "$(find "$root" -name cc1plus | head -n 1)")
includes=
for dir in "$root/usr/include/c++/$version" "$root/usr/include"/*/"c++/$version" "$root/usr/include/c++/$version/backward"; do
    includes="$includes -isystem '$dir'"
done
mkdir -p "$tools/c++/bin"
cat >"$tools/c++/bin/c++" <<EOF
#!/bin/sh
exec gcc -B'$parts' $includes -L'$parts' "\$@"
EOF
chmod 755 "$tools/c++/bin/c++"
printf '#include <vector>\n#include <cstdlib>\nint f() { return std::vector<int>(3).size(); }\n' |
    "$tools/c++/bin/c++" -std=c++17 -x c++ -fsyntax-only - >&2
echo "$tools/c++/bin/c++"
