#!/usr/bin/env python3
# SPDX-License-Identifier: Apache-2.0
"""usage: audit-licenses.py [--check]

Writes docs/licenses.md: what a build of `warp` contains or links, and under which licence. Crates
come from the lock files by `cargo metadata`; the rest is the table below. --check writes nothing and
exits with 1 when the page is not up to date, or when a crate's licence is not on the list of those
that may be linked into an Apache-2.0 program without further conditions on it.
"""
import json
import re
import subprocess
import sys
from pathlib import Path

ROOT = Path(__file__).resolve().parent.parent
PAGE = ROOT / "docs" / "licenses.md"
ACCEPTED = {
    "0BSD", "Apache-2.0", "Apache-2.0 WITH LLVM-exception", "BSD-2-Clause", "BSD-3-Clause", "BSL-1.0",
    "ISC", "MIT", "MIT-0", "Unicode-3.0", "Unlicense", "Zlib", "CC0-1.0",
}  # fmt: skip
OTHERS = [
    ("libuv", "event loop", "MIT", "linked, from the system"),
    ("c-ares", "DNS", "MIT", "linked, from the system"),
    ("OpenSSL 3", "hashes, TLS", "Apache-2.0", "linked, from the system"),
    ("jansson", "JSON", "MIT", "linked, from the system"),
    ("glibc", "C library", "LGPL-2.1-or-later", "linked, from the system"),
    ("tz database", "time zones", "public domain", "built in, from the system's tzdata"),
    ("wasi-libc", "C library of guests", "Apache-2.0 WITH LLVM-exception, MIT", "in packed components"),
    ("compiler-rt", "compiler runtime of guests", "Apache-2.0 WITH LLVM-exception", "in packed components"),
    ("jansson", "JSON of guests", "MIT", "in packed components that use it"),
    ("libpq, psql", "PostgreSQL's client for guests", "PostgreSQL", "in components that use it; fetched and built on request"),
    ("WASI interfaces", "WIT files under wit/*/deps", "Apache-2.0 WITH LLVM-exception", "in this repository"),
    ("cmocka", "unit tests", "Apache-2.0", "tests only"),
    ("Redis 7.0", "server of tests", "BSD-3-Clause", "tests only, a program of its own"),
    ("MariaDB", "server of tests", "GPL-2.0-only", "tests only, a program of its own"),
    ("Vitess", "server of a test", "Apache-2.0", "tests only, a program of its own"),
    ("pytest", "end-to-end tests", "MIT", "tests only"),
    ("jsonschema, attrs, pyrsistent", "test of the JSON Schema", "MIT", "tests only"),
]


def crates(folder, platform, kinds=(None,)):
    """(name, version, licence) of every crate that a workspace links; build tools are left out. `kinds`
    are Cargo's kinds of dependencies of the workspace itself."""
    out = subprocess.run(
        ["cargo", "metadata", "--format-version", "1", "--locked", "--all-features", "--filter-platform", platform],
        cwd=folder, check=True, capture_output=True, text=True,
    )  # fmt: skip
    meta = json.loads(out.stdout)
    packages = {p["id"]: p for p in meta["packages"]}
    nodes = {n["id"]: n for n in meta["resolve"]["nodes"]}
    todo, seen = list(meta["workspace_members"]), set()
    while todo:
        node = todo.pop()
        if node in seen:
            continue
        seen.add(node)
        wanted = kinds if node in meta["workspace_members"] else (None,)
        for dep in nodes[node]["deps"]:
            if any(k["kind"] in wanted for k in dep["dep_kinds"]):
                todo.append(dep["pkg"])
    ours = set(meta["workspace_members"])
    found = {(packages[i]["name"], packages[i]["version"], packages[i]["license"] or "none") for i in seen - ours}
    return sorted(found)


def accepted(expression):
    """True when one of the alternatives of each part is on the list."""
    expression = expression.replace("/", " OR ")
    return all(
        any(choice.strip(" ()") in ACCEPTED for choice in part.split(" OR "))
        for part in re.split(r" AND ", expression)
    )


def by_licence(found):
    """A line for each licence, with an empty one behind it."""
    names = {}
    for name, version, licence in found:
        names.setdefault(" ".join(licence.replace("/", " OR ").split()), []).append(f"{name} {version}")
    return [line for licence in sorted(names) for line in (f"**{licence}**: {', '.join(names[licence])}", "")]


def page(runtime, guests, benches):
    lines = [
        "# Licences",
        "",
        "WarpGrid is under the Apache License 2.0 (LICENSE). This page lists what a build contains or links.",
        "Written by `scripts/audit-licenses.py`; do not edit.",
        "",
        "| what | for | licence | how |",
        "| --- | --- | --- | --- |",
        *(f"| {' | '.join(row)} |" for row in OTHERS),
        "",
        "## Crates in the runtime library",
        "",
        *by_licence(runtime),
        "## Crates in guests of warpgrid-async, with all its features",
        "",
        *by_licence(guests),
        "## Crates in the benchmark async_db_proxy",
        "",
        "Built when it is run; in no artifact.",
        "",
        *by_licence(benches),
    ]
    return "\n".join(lines)


def main():
    if sys.argv[1:] not in ([], ["--check"]):
        sys.exit(__doc__)
    runtime = crates(ROOT, "x86_64-unknown-linux-gnu")
    guests = crates(ROOT / "crates" / "warpgrid-async", "wasm32-wasip2")
    benches = crates(ROOT / "benches" / "async_db_proxy", "x86_64-unknown-linux-gnu", (None, "dev"))
    bad = [c for c in runtime + guests + benches if not accepted(c[2])]
    for name, version, licence in bad:
        print(f"error: crate {name} {version} is under '{licence}', which is not on the list", file=sys.stderr)
    text = page(runtime, guests, benches)
    if "--check" not in sys.argv:
        PAGE.write_text(text)
    elif not PAGE.exists() or PAGE.read_text() != text:
        print("error: docs/licenses.md is not up to date\nhint: run scripts/audit-licenses.py", file=sys.stderr)
        return 1
    return 1 if bad else 0


if __name__ == "__main__":
    sys.exit(main())
