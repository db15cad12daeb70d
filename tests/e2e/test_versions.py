# SPDX-License-Identifier: Apache-2.0
"""US-504: versions of interfaces. What the host has is found by what a guest wants of the same minor
series; anything else is an error that names both versions, before anything is served or run."""
import json
import re
import subprocess

import pytest
import wat
from harness import toml
from infra import ROOT
from libc import tool

WIT = {"0.2": ROOT / "wit" / "shim", "0.3": ROOT / "wit" / "shim-async"}
# What the host calls, and does not have for guests.
ENTRIES = {"wasi:http/handler", "wasi:http/incoming-handler", "wasi:cli/run"}


def version_of(wasi, package):
    """The version of a WASI package that the host is built from."""
    text = (WIT[wasi] / "deps" / f"{package}.wit").read_text()
    return re.search(rf"^package wasi:{package}@([\d.]+);", text, re.M).group(1)


P2, P3 = version_of("0.2", "http"), version_of("0.3", "http")
SHIM = "0.1.0"

# What a guest wants, and the versions of it that the host has.
IMPORTS = [
    ("wasi:http/client@0.4.0", P3),
    ("wasi:http/types@0.4.0", f"{P2} and {P3}"),
    ("wasi:io/streams@0.3.0", P2),
    ("wasi:clocks/system-clock@0.2.0", P3),
    ("wasi:http/client@0.3.0-rc-2025-09-16", P3),
    ("wasi:http/types@1.0.0", f"{P2} and {P3}"),
    ("warpgrid:shim-async/dns@0.2.0", SHIM),
    ("warpgrid:shim/database-proxy@0.0.9", SHIM),
]
EXPORTS = [
    ("wasi:http/handler@0.4.0", P3),
    ("wasi:http/handler@0.3.0-draft", P3),
    ("wasi:http/incoming-handler@0.3.0", P2),
    ("wasi:cli/run@1.0.0", f"{P2} and {P3}"),
]


def both_tell(warp, folder, names, has):
    """validate, serve and run refuse it, name what is wanted and what there is, and what to do."""
    versions = re.compile(rf"(?<![\d.]){re.escape(has)}(?![\d.])")
    for command in ("validate", "serve", "run"):
        out = warp(command, "guest.wat", cwd=folder)
        text = out.stdout + out.stderr
        assert out.returncode == 1, (command, text)
        assert names in text and versions.search(text.replace(names, "")), (command, text)
        assert "bindings of" in text and "newer than 0.1.0" in text, (command, text)
        assert "http://" not in text


@pytest.mark.parametrize("name, has", IMPORTS)
def test_us_504_an_import_of_another_version_names_both(warp, tmp_path, name, has):
    (tmp_path / "guest.wat").write_text(wat.command(imports=wat.importing(name)))
    both_tell(warp, tmp_path, name, has)


@pytest.mark.parametrize("name, has", EXPORTS)
def test_us_504_an_export_of_another_version_names_both(warp, tmp_path, name, has):
    (tmp_path / "guest.wat").write_text(wat.command(export=name))
    both_tell(warp, tmp_path, name, has)
    found = json.loads(warp("validate", "guest.wat", "--json", cwd=tmp_path).stdout)
    assert found["ok"] is False and found["kind"] == "neither a service nor a command"
    (export,) = found["exports"]
    assert export["name"] == name and export["status"] == "unknown" and has in export["reason"]


def test_us_504_an_interface_in_no_version(warp, tmp_path):
    for name in ("wasi:http/teapot@0.3.0", "wasi:keyvalue/store@0.2.0", "wasi:http/handler@0.3.0"):
        (tmp_path / "guest.wat").write_text(wat.command(imports=wat.importing(name)))
        for command in ("validate", "run"):
            out = warp(command, "guest.wat", cwd=tmp_path)
            text = out.stdout + out.stderr
            assert out.returncode == 1 and name in text and "no interface of that name" in text, text


@pytest.mark.parametrize("name", ["wasi:http/client@0.3.9", "warpgrid:shim-async/dns@0.1.7"])
def test_us_504_an_addition_that_the_host_lacks(warp, tmp_path, name):
    """The series fits and the function is missing: only linking tells, so validate links, too."""
    (tmp_path / "guest.wat").write_text(wat.command(imports=wat.importing(name)))
    both_tell(warp, tmp_path, name, P3 if name.startswith("wasi") else SHIM)
    found = json.loads(warp("validate", "guest.wat", "--json", cwd=tmp_path).stdout)
    assert found["ok"] is False and name in found["problem"]


def test_us_504_a_handler_without_its_function(warp, tmp_path):
    """An export of the right series that is not what the host calls."""
    (tmp_path / "guest.wat").write_text(wat.command(export="wasi:http/handler@0.3.7"))
    for command in ("validate", "serve"):
        out = warp(command, "guest.wat", cwd=tmp_path)
        text = out.stdout + out.stderr
        assert out.returncode == 1 and "wasi:http/handler@0.3.7" in text and f"handler@{P3}" in text, text


def test_us_504_what_else_a_component_exports_is_its_own_affair(warp, tmp_path):
    """A service of WASI 0.2 may carry a handler of a later WASI for later hosts."""
    more = '(export "wasi:http/handler@0.4.0" (instance $cli)) (export "acme:x/y@9.0.0" (instance $cli))'
    (tmp_path / "guest.wat").write_text(wat.command().rstrip()[:-1] + more + ")")
    assert warp("run", "guest.wat", cwd=tmp_path).returncode == 0
    out = warp("validate", "guest.wat", cwd=tmp_path)
    assert out.returncode == 0 and "ok: it can be run here" in out.stdout, out.stdout


# ---- all of them ----------------------------------------------------------------------------


def interfaces(wasi):
    """Every interface of our package and of the WASI beside it, with its version."""
    found = []
    for folder in (WIT[wasi], WIT[wasi] / "deps"):
        texts = [f.read_text() for f in sorted(folder.glob("*.wit"))]
        for text in texts:
            named = re.compile(r"^package ([\w:-]+)@([\d.]+);", re.M)
            package = named.search(text) or named.search("\n".join(texts))
            for name in re.findall(r"^interface ([\w-]+) ", text, re.M):
                found.append(f"{package.group(1)}/{name}@{package.group(2)}")
    return found


def component(folder, wasi, names, patch=None):
    """A component with exactly these imports, of functions that nobody calls, by wasm-tools; `patch`
    replaces the last number of WASI's version everywhere."""
    wit = folder / "wit"
    for part in (WIT[wasi], WIT[wasi] / "deps"):
        to = wit / "deps" / (part.name if part.name != "deps" else "")
        for file in part.glob("*.wit"):
            target = to / (file.stem if part.name == "deps" else "") / file.name
            target.parent.mkdir(parents=True, exist_ok=True)
            target.write_text(file.read_text())
    lines = "".join(f"  import {n};\n" for n in names)
    lines += f"  export wasi:cli/run@{version_of(wasi, 'cli')};\n"
    (wit / "all.wit").write_text(f"package test:all;\nworld all {{\n{lines}}}\n")
    if patch is not None:
        for file in wit.rglob("*.wit"):
            text = re.sub(r"@(since|deprecated)\(.*?\)", "", file.read_text())  # of a version that is later now
            file.write_text(re.sub(r"((?:wasi|warpgrid):\S*@\d+\.\d+)\.\d+", rf"\1.{patch}", text))
    tools = tool("wasm-tools")
    core, whole = folder / "core.wasm", folder / "all.wasm"
    subprocess.run([tools, "component", "embed", "--dummy", "--world", "all", wit, "-o", core], check=True, timeout=60)
    subprocess.run([tools, "component", "new", core, "-o", whole], check=True, timeout=60)
    return whole


@pytest.mark.parametrize("patch", [None, 0, 99])
@pytest.mark.parametrize("wasi", WIT)
def test_us_504_every_interface_of_the_contract_is_linked(warp, tmp_path, wasi, patch):
    """Those of wit/ are what the host has: none is missing in its list, and each links with all of its
    functions, whatever the last number of the version that a guest was built with."""
    names = [n for n in interfaces(wasi) if n.split("@")[0] not in ENTRIES]
    assert len(names) > 20
    out = warp("validate", component(tmp_path, wasi, names, patch), "--json", cwd=tmp_path)
    found = json.loads(out.stdout)
    assert out.returncode == 0 and found["ok"], [i for i in found["imports"] if i["status"] != "ok"] or found
    seen = {i["name"].split("@")[0] for i in found["imports"]}
    assert seen == {n.split("@")[0] for n in names}


@pytest.mark.parametrize("wasi", WIT)
def test_us_504_what_the_host_says_that_it_has_is_in_the_contract(warp, tmp_path, wasi):
    """The version in the message is that of wit/, for every interface."""
    names = [n for n in interfaces(wasi) if n.split("@")[0] not in ENTRIES]
    for name in names:
        text = wat.command(imports=wat.importing(re.sub("@.*", "@7.0.0", name)))
        (tmp_path / "guest.wat").write_text(text)
        reason = json.loads(warp("validate", "guest.wat", "--json", cwd=tmp_path).stdout)["imports"][0]["reason"]
        assert re.search(rf"(?<![\d.]){re.escape(name.split('@')[1])}(?![\d.])", reason), (name, reason)


# ---- side by side ---------------------------------------------------------------------------


def test_us_504_sync_and_async_side_by_side(warp, guest, tmp_path):
    """Each is called by what it exports; nothing tells the host which is which."""
    config = {
        "http": {"listen": ["127.0.0.1:0"], "workers": 1},
        "services": {
            "sync": {"component": str(guest("hello-p2")), "path": ["/sync"]},
            "async": {"component": str(guest("hello-p3")), "path": ["/async"]},
        },
    }
    for name, kind in (("hello-p2", "p2 service"), ("hello-p3", "p3 service")):
        found = json.loads(warp("validate", guest(name), "--json", cwd=tmp_path).stdout)
        assert found["kind"] == kind and found["ok"]
    with warp.serve(None, config) as server:
        calls = [server.background("GET", path) for path in ("/sync", "/async") * 8]
        assert [c.result().body for c in calls] == [b"hello from C\n"] * 16


def test_us_504_one_wrong_service_keeps_all_from_starting(warp, guest, tmp_path):
    (tmp_path / "next.wat").write_text(wat.command(export="wasi:http/handler@0.4.0"))
    services = {
        "now": {"component": str(guest("hello-p3")), "path": ["/"]},
        "next": {"component": "next.wat", "path": ["/next"]},
    }
    (tmp_path / "warp.toml").write_text(toml({"http": {"listen": ["127.0.0.1:0"]}, "services": services}))
    out = warp("serve", cwd=tmp_path)
    assert out.returncode == 1 and "http://" not in out.stdout
    assert "wasi:http/handler@0.4.0" in out.stderr and P3 in out.stderr and "next" in out.stderr
