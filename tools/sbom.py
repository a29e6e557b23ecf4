#!/usr/bin/env python3
"""Writes the software bill of materials of the static program, as CycloneDX 1.5 in JSON: what is linked into it, with versions, licences
and checksums. Build tools, macros and tests are not in it. Needs cargo only. Equal sources give equal files.

    SOURCE_DATE_EPOCH=SECONDS tools/sbom.py TARGET >FILE
"""

import datetime
import json
import os
import re
import subprocess
import sys
import uuid


def output(*command):
    return subprocess.run(command, check=True, stdout=subprocess.PIPE, text=True).stdout


def licences(expression):
    """Crates of old write MIT/Apache-2.0 for a choice."""
    return [{"expression": expression.replace("/", " OR ")}] if expression else []


def crates(target):
    """Returns the components by "name version", and the dependencies of each."""
    with open("Cargo.lock", encoding="utf-8") as file:
        checksums = dict(
            (f"{name} {version}", checksum)
            for name, version, checksum in re.findall(
                r'\[\[package\]\]\nname = "(.+)"\nversion = "(.+)"\nsource = ".+"\nchecksum = "(.+)"', file.read()
            )
        )
    edges = "normal,no-proc-macro"
    arguments = ["--edges", edges, "--prefix", "depth", "--no-dedupe", "--format", "|{p}|{l}|{r}"]
    components, uses, above = {}, {}, []
    for line in output("cargo", "tree", "--locked", "--target", target, *arguments).splitlines():
        depth, package, licence, repository = line.split("|")
        name, version = package.split()[:2]
        version = version.removeprefix("v")
        key = f"{name} {version}"
        component = {
            "type": "library" if int(depth) else "application",
            "bom-ref": f"pkg:cargo/{name}@{version}",
            "name": name,
            "version": version,
            "licenses": licences(licence),
            "purl": f"pkg:cargo/{name}@{version}",
        }
        if key in checksums:
            component["hashes"] = [{"alg": "SHA-256", "content": checksums[key]}]
        if repository:
            component["externalReferences"] = [{"type": "vcs", "url": repository}]
        components[key] = component
        uses.setdefault(key, set())
        del above[int(depth) :]
        if above:
            uses[above[-1]].add(key)
        above.append(key)
    return components, uses


def c_libraries(target):
    """Returns the libraries in C as (name, version, licence, crate). Scanners know them by these names, not by those of the crates."""
    packages = json.loads(output("cargo", "metadata", "--locked", "--format-version", "1"))["packages"]
    directory = {package["name"]: os.path.dirname(package["manifest_path"]) for package in packages}

    def found(path, pattern):
        with open(path, "rb") as file:
            return re.search(pattern, file.read()).groups()

    header = f"{directory['libmimalloc-sys']}/c_src/mimalloc/v3/include/mimalloc.h"
    mimalloc = found(header, rb"#define MI_MALLOC_VERSION +(\d)(\d\d)(\d\d)\b")
    turbo = found(f"{directory['turbojpeg-sys']}/libjpeg-turbo/CMakeLists.txt", rb"\nset\(VERSION (\d+)\.(\d+)\.(\d+)\)")
    sysroot = output("rustc", "--print", "sysroot").strip()
    musl = found(f"{sysroot}/lib/rustlib/{target}/lib/self-contained/libc.a", rb"\0(1)\.(\d+)\.(\d+)\0")
    for name, version, licence, crate in [
        ("libjpeg-turbo", turbo, "IJG AND BSD-3-Clause AND Zlib", "turbojpeg-sys"),
        ("mimalloc", mimalloc, "MIT", "libmimalloc-sys"),
        ("musl", musl, "MIT", None),
    ]:
        yield name, ".".join(str(int(part)) for part in version), licence, crate


def main(target):
    components, uses = crates(target)
    program = next(key for key, component in components.items() if component["type"] == "application")
    for name, version, licence, crate in c_libraries(target):
        key = f"{name} {version} (C)"
        purl = f"pkg:generic/{name}@{version}"
        components[key] = {
            "type": "library",
            "bom-ref": purl,
            "name": name,
            "version": version,
            "licenses": licences(licence),
            "purl": purl,
        }
        uses[key] = set()
        user = next((other for other in components if crate and other.startswith(f"{crate} ")), program)
        uses[user].add(key)

    reference = lambda key: components[key]["bom-ref"]
    time = datetime.datetime.fromtimestamp(int(os.environ["SOURCE_DATE_EPOCH"]), datetime.timezone.utc)
    document = {
        "bomFormat": "CycloneDX",
        "specVersion": "1.5",
        "version": 1,
        "metadata": {
            "timestamp": time.strftime("%Y-%m-%dT%H:%M:%SZ"),
            "component": components[program],
            "properties": [{"name": "cdx:rustc:sbom:target:triple", "value": target}],
        },
        "components": [components[key] for key in sorted(components) if key != program],
        "dependencies": [
            {"ref": reference(key), "dependsOn": sorted(map(reference, uses[key]))} for key in sorted(components)
        ],
    }
    # From what it describes, so that equal contents have an equal number.
    contents = json.dumps(document, sort_keys=True)
    document["serialNumber"] = f"urn:uuid:{uuid.uuid5(uuid.NAMESPACE_URL, contents)}"
    json.dump(document, sys.stdout, indent=1)
    print()


main(*sys.argv[1:])
