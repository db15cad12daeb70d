#!/usr/bin/env python3
# SPDX-License-Identifier: Apache-2.0
"""Writes docs/wasi-03-api-surface.md: every interface of WASI 0.3 and of warpgrid:shim-async that the
host links, from the WIT that it links."""
import argparse
import difflib
import json
import os
import shutil
import subprocess
import sys
from pathlib import Path

ROOT = Path(__file__).resolve().parent.parent
PAGE = ROOT / "docs" / "wasi-03-api-surface.md"


def die(what, hint):
    sys.exit(f"error: {what}\nhint: {hint}")


def versions():
    lines = (ROOT / "versions.env").read_text().splitlines()
    return dict(line.split("=", 1) for line in lines if "=" in line and not line.startswith("#"))


def find_wasm_tools():
    cache = os.environ.get("WARPGRID_CACHE") or os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache"
    ours = Path(cache) / "warpgrid" / "tools" / "wasm-tools"
    found = os.environ.get("WASM_TOOLS") or (str(ours) if ours.exists() else shutil.which("wasm-tools"))
    return found or die("wasm-tools is not installed", "run: scripts/bootstrap.sh test")


def find_crate(version):
    home = Path(os.environ.get("CARGO_HOME") or Path.home() / ".cargo")
    found = sorted(home.glob(f"registry/src/*/wasmtime-wasi-http-{version}"))
    return found[0] if found else die(
        f"crate wasmtime-wasi-http {version} was not fetched", "run: cargo fetch --locked")


class Wit:
    """A resolved package tree, as wasm-tools prints it."""

    def __init__(self, tool, folder):
        command = [tool, "component", "wit", "--json", "--all-features", str(folder)]
        done = subprocess.run(command, capture_output=True, text=True)
        if done.returncode:
            die(f"cannot read {folder}: {done.stderr.strip()}", "is the WIT whole?")
        self.tree = json.loads(done.stdout)

    def type(self, ref):
        """The type as WIT writes it."""
        if ref is None:
            return "_"
        if isinstance(ref, str):
            return ref
        entry = self.tree["types"][ref]
        if entry["name"]:
            return entry["name"]
        kind = entry["kind"]
        if isinstance(kind, str):
            return kind
        ((name, of),) = kind.items()
        if name == "handle":
            ((how, what),) = of.items()
            return self.type(what) if how == "own" else f"borrow<{self.type(what)}>"
        if name == "result":
            if of["ok"] is None and of["err"] is None:
                return "result"
            parts = [self.type(of["ok"])] + ([self.type(of["err"])] if of["err"] is not None else [])
            return f"result<{', '.join(parts)}>"
        if name == "tuple":
            return f"tuple<{', '.join(self.type(t) for t in of['types'])}>"
        if name == "type":
            return self.type(of)
        return f"{name}<{self.type(of)}>" if of is not None else name

    def function(self, function):
        """Its name, whether it is async, and its signature."""
        kind = function["kind"]
        how, owner = next(iter(kind.items())) if isinstance(kind, dict) else (kind, None)
        name = function["name"].removeprefix("[async]")
        name = name.split("]")[-1] if how == "constructor" else name.split("]")[-1].replace(".", "#")
        params = function["params"][1:] if how.endswith("method") else function["params"]
        given = ", ".join(f"{p['name']}: {self.type(p['type'])}" for p in params)
        result = function.get("result")
        gives = f" -> {self.type(result)}" if result is not None and how != "constructor" else ""
        label = {"static": " (static)", "async-static": " (static)", "constructor": " (constructor)"}
        return name + label.get(how, ""), how.startswith("async"), f"({given}){gives}"


def stability(item, outer=None):
    """What the gate says; what has none follows what it is in."""
    gate = item.get("stability")
    if not gate:
        return outer or "not gated"
    ((kind, of),) = gate.items()
    return f"since {of['since']}" if kind == "stable" else f"unstable: {of['feature']}"


def count(number, noun):
    return f"{number} {noun}{'' if number == 1 else 's'}"


def package_lines(wit, package):
    number = next(i for i, p in enumerate(wit.tree["packages"]) if p["name"] == package)
    yield f"## `{package}`\n"
    for face in wit.tree["interfaces"]:
        if face["package"] != number:
            continue
        whole = stability(face)
        asyncs = sum(wit.function(f)[1] for f in face["functions"].values())
        streams = sum("stream<" in wit.function(f)[2] for f in face["functions"].values())
        yield f"### `{face['name']}`\n"
        types, functions = count(len(face["types"]), "type"), count(len(face["functions"]), "function")
        if not face["functions"]:
            yield f"{whole}; {types}, no function.\n"
            continue
        yield f"{whole}; {types}, {functions}: {asyncs} async, {streams} with streams.\n"
        yield "| function | | signature | stability |\n|---|---|---|---|"
        for function in face["functions"].values():
            name, is_async, signature = wit.function(function)
            mark = "async" if is_async else ""
            shown = signature.replace("|", "\\|")
            yield f"| `{name}` | {mark} | `{shown}` | {stability(function, whole)} |"
        yield ""


def page(tool):
    pins = versions()
    version = pins["WASMTIME_VERSION"]
    crate = find_crate(version)
    commit = json.loads((crate / ".cargo_vcs_info.json").read_text())["git"]["sha1"]
    wasi, ours = Wit(tool, crate / "src" / "p3" / "wit"), Wit(tool, ROOT / "wit" / "shim-async")
    of_wasi = [p["name"] for p in wasi.tree["packages"] if p["name"].startswith("wasi:")
               and "@" in p["name"]]
    unstable = [
        (p["name"], face["name"], wit.function(f)[0], stability(f, stability(face)))
        for wit in (wasi, ours) for p in wit.tree["packages"]
        if p["name"] in of_wasi + ["warpgrid:shim-async@0.1.0"]
        for face in wit.tree["interfaces"]
        if wit.tree["packages"][face["package"]]["name"] == p["name"]
        for f in face["functions"].values() if stability(f, stability(face)).startswith("unstable")
    ]
    unstable = list(dict.fromkeys(unstable))
    lines = [
        "# WASI 0.3: what the host links\n",
        "<!-- Written by scripts/gen-wasi-03-surface.py; a test compares it. -->\n",
        "| | |\n|---|---|",
        f"| Wasmtime | {version}, pinned {pins['WASMTIME_PINNED']} |",
        f"| its commit | `{commit}` |",
        f"| WASI | {', '.join('`' + n + '`' for n in of_wasi)} |",
        "| this host's own | `warpgrid:shim-async@0.1.0` |\n",
        "A component may have been built against any 0.3.x: what it imports is looked up by name in the",
        "same minor series. `since` and `unstable` are the gates that the WIT carries; the host links",
        "nothing that is unstable, and a component that imports such a function does not start.\n",
        "## Unstable\n",
    ]
    if unstable:
        lines.append("| interface | function | gate |\n|---|---|---|")
        lines += [f"| `{p}` `{i}` | `{f}` | {g} |" for p, i, f, g in unstable]
        lines.append("")
    else:
        lines.append("Nothing.\n")
    for name in of_wasi:
        lines += package_lines(wasi, name)
    lines += package_lines(ours, "warpgrid:shim-async@0.1.0")
    return "\n".join(lines).rstrip() + "\n"


def main():
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--check", action="store_true", help="write nothing; exit 1 when the page differs")
    parser.add_argument("--page", type=Path, default=PAGE, help="another file than the one of docs/")
    options = parser.parse_args()
    text = page(find_wasm_tools())
    if not options.check:
        options.page.write_text(text)
        return
    old = options.page.read_text() if options.page.exists() else ""
    if old != text:
        diff = difflib.unified_diff(old.splitlines(), text.splitlines(), str(options.page.name), "now", lineterm="", n=0)
        print("\n".join(list(diff)[:20]), file=sys.stderr)
        die(f"{options.page.name} is not what the WIT says", "run scripts/gen-wasi-03-surface.py and commit the page")


if __name__ == "__main__":
    main()
