# SPDX-License-Identifier: Apache-2.0
"""US-121, US-122: every shim on and off alone, for WASI 0.2 and 0.3, in C and in Rust."""
import json
import re

import pytest
from harness import find_guest, rust_guest, toml

SHIMS = ("filesystem", "dns", "signals", "database_proxy", "threading")
KINDS = [(lang, generation) for lang in ("c", "rust") for generation in ("p2", "p3")]
# What a guest of one shim prints when it has it.
PROOF = {
    "c": {
        "filesystem": "filesystem: virtual", "dns": "dns: 1 addresses", "signals": "signals: ",
        "database_proxy": "database-proxy: error 0", "threading": "threading 1: ok",
    },
    "rust": {
        "filesystem": "ok ", "dns": "ok ", "signals": "ok", "database_proxy": "error invalid-handle",
        "threading": "ok",
    },
}  # fmt: skip
NAMES = {"registry": {"db.test.warp.local": ["10.1.2.3"], "localhost": ["127.0.0.1"]}}

every_kind = pytest.mark.parametrize("lang, generation", KINDS, ids=["-".join(k) for k in KINDS])
every_shim = pytest.mark.parametrize("shim", SHIMS)


def interface(shim, generation):
    """Threading has no call that waits, so there is one interface for both generations."""
    package = "shim-async" if generation == "p3" and shim != "threading" else "shim"
    return f"warpgrid:{package}/{shim.replace('_', '-')}@0.1.0"


def component(lang, generation, shim):
    """A guest that imports one shim, or "all" of them."""
    if lang == "c":
        return find_guest(f"uses-{shim.replace('_', '-')}" + ("-p3" if generation == "p3" else ""))
    name = "shims" if shim == "all" else f"only_{shim}"
    return rust_guest("rust-shims", f"{name}_{generation}")


def shims(on):
    return {"shims": {shim: shim in on for shim in SHIMS}, **NAMES}


def imports(warp, file):
    out = warp("inspect", file, "--json")
    assert out.returncode == 0, out.stderr
    names = (i["name"] for i in json.loads(out.stdout)["imports"])
    return {name for name in names if name.startswith("warpgrid:")}


def check_runs(warp, folder, file, proof):
    out = warp("run", file, cwd=folder)
    assert (out.returncode, out.stdout[: len(proof)]) == (0, proof), out.stdout + out.stderr
    judged = warp("validate", file, "--json", cwd=folder)
    assert judged.returncode == 0, judged.stdout


def check_refused(warp, folder, file, missing, generation):
    """The error of `run`, and of `validate`, names one of the missing ones and the line of it."""
    out = warp("run", file, cwd=folder)
    assert out.returncode == 1 and out.stdout == "", out.stdout + out.stderr
    error, hint = out.stderr.split("hint: ", 1)
    lines = (folder / "warp.toml").read_text().splitlines()
    named = [shim for shim in missing if interface(shim, generation) in error]
    assert named, out.stderr
    number = lines.index(f"{named[0]} = false") + 1
    assert f"warp.toml:{number}" in out.stderr, out.stderr
    assert f"{named[0]} = true" in hint
    judged = warp("validate", file, "--json", cwd=folder)
    assert judged.returncode == 1, judged.stdout
    bad = {i["name"] for i in json.loads(judged.stdout)["imports"] if i["status"] != "ok"}
    assert bad == {interface(shim, generation) for shim in missing}


@pytest.mark.parametrize("generation", ["p2", "p3"])
def test_us_122_a_c_guest_imports_what_it_calls_and_no_more(warp, guest, generation):
    """The SDK's worlds have every shim; what a program does not call is not in its component."""
    for shim in SHIMS:
        assert imports(warp, component("c", generation, shim)) == {interface(shim, generation)}
    assert imports(warp, component("c", generation, "all")) == {interface(s, generation) for s in SHIMS}
    for name in (f"hello-{generation}", f"stock-service-{generation}", "stock"):
        assert imports(warp, guest(name)) == set()


@every_shim
@every_kind
def test_us_122_one_shim_on(warp, tmp_path, lang, generation, shim):
    (tmp_path / "warp.toml").write_text(toml(shims({shim})))
    check_runs(warp, tmp_path, component(lang, generation, shim), PROOF[lang][shim])
    others = [s for s in SHIMS if s != shim]
    check_refused(warp, tmp_path, component(lang, generation, "all"), others, generation)
    check_refused(warp, tmp_path, component(lang, generation, others[0]), others[:1], generation)


@every_shim
@every_kind
def test_us_122_one_shim_off(warp, tmp_path, lang, generation, shim):
    others = [s for s in SHIMS if s != shim]
    (tmp_path / "warp.toml").write_text(toml(shims(others)))
    for other in others:
        check_runs(warp, tmp_path, component(lang, generation, other), PROOF[lang][other])
    check_refused(warp, tmp_path, component(lang, generation, shim), [shim], generation)
    check_refused(warp, tmp_path, component(lang, generation, "all"), [shim], generation)


@pytest.mark.parametrize("config", [None, {}, {"shims": {}}, shims(SHIMS)])
@every_kind
def test_us_122_all_on(warp, tmp_path, lang, generation, config):
    """Without a word about them, too."""
    if config is not None:
        (tmp_path / "warp.toml").write_text(toml({**config, **NAMES}))
    for shim in SHIMS:
        if config is None and shim == "dns" and lang == "c":
            continue  # its name is in no registry then
        check_runs(warp, tmp_path, component(lang, generation, shim), PROOF[lang][shim])
    check_runs(warp, tmp_path, component(lang, generation, "all"), "")


@every_kind
def test_us_122_none(warp, guest, tmp_path, lang, generation):
    (tmp_path / "warp.toml").write_text(toml(shims(())))
    for shim in SHIMS:
        check_refused(warp, tmp_path, component(lang, generation, shim), [shim], generation)
    check_refused(warp, tmp_path, component(lang, generation, "all"), SHIMS, generation)
    out = warp("run", guest("stock"), "--", "say hello", cwd=tmp_path)
    assert (out.returncode, out.stdout) == (0, "ok hello\n")


@pytest.mark.parametrize("on", [SHIMS, (), *((s,) for s in SHIMS)], ids=lambda on: "+".join(on) or "none")
@pytest.mark.parametrize("generation", ["p2", "p3"])
def test_us_121_the_log_of_the_start_lists_what_is_on(warp, guest, generation, on):
    """A guest that uses none of them is served whatever is off."""
    with warp.serve(guest(f"hello-{generation}"), shims(on)) as server:
        line = server.log.wait_for("event=engine_started.*").group(0)
        assert server.get("/").status == 200
    listed = re.search(r"\bshims=(\S*)", line).group(1)
    assert set(filter(None, listed.strip('"').split(","))) == set(on), line


@pytest.mark.parametrize("generation", ["p2", "p3"])
def test_us_122_a_service_is_refused_before_it_listens(warp, guest, tmp_path, generation):
    config = {"http": {"listen": ["127.0.0.1:0"]}, **shims([s for s in SHIMS if s != "signals"])}
    (tmp_path / "warp.toml").write_text(toml(config))
    out = warp("serve", guest(f"shims-service-{generation}"), cwd=tmp_path)
    assert out.returncode == 1 and out.stdout == ""
    assert interface("signals", generation) in out.stderr and "signals = true" in out.stderr
