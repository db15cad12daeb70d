# SPDX-License-Identifier: Apache-2.0
"""US-501, US-508: the pinned Wasmtime serves WASI 0.3, its surface is written down, and what plain
wit-bindgen makes of the WIT is a component that it takes."""
import json
import re
import subprocess

import pytest
import wat
from harness import rust_guest
from libc import ROOT, script, tool

PAGE = ROOT / "docs" / "wasi-03-api-surface.md"


def test_us_501_the_pinned_runtime_answers_with_a_wasi_03_component():
    assert script("build-wasmtime-async.sh").splitlines()[-1] == "hello from C"


def test_us_501_a_second_run_builds_nothing():
    script("build-wasmtime-async.sh")
    assert "building" not in script("build-wasmtime-async.sh")


def test_us_501_the_surface_is_what_the_wit_says():
    script("gen-wasi-03-surface.py", "--check")


def test_us_501_another_surface_is_seen(tmp_path):
    other = tmp_path / "page.md"
    other.write_text(PAGE.read_text().replace("`handle`", "`handled`"))
    said = script("gen-wasi-03-surface.py", "--check", "--page", other, code=1)
    assert "+| `handle` | async |" in said and "hint: run scripts/gen-wasi-03-surface.py" in said


def test_us_501_what_is_unstable_is_not_linked(warp, tmp_path):
    text = PAGE.read_text()
    unstable = re.findall(r"^\| `(\S+)@(\S+)` `(\S+)` \| `(\S+)` \| unstable", text, re.M)
    assert ("wasi:clocks", "0.3.0", "timezone", "to-debug-string") in unstable
    guest = tmp_path / "unstable.wat"
    guest.write_text(wat.command(imports="""
      (import "wasi:clocks/timezone@0.3.0" (instance
        (export "to-debug-string" (func (result string)))))"""))
    done = warp("run", guest)
    assert done.returncode != 0 and "wasi:clocks/timezone@0.3.0" in done.stderr


# -- Plain wit-bindgen --


@pytest.fixture(scope="module")
def handler():
    return rust_guest("rust-async-handler", "rust_async_handler")


def test_us_508_the_fixture_is_a_valid_component_of_wasi_03(warp, handler):
    subprocess.run([tool("wasm-tools"), "validate", "--features", "all", handler], check=True)
    wit = subprocess.run([tool("wasm-tools"), "component", "wit", handler], check=True, text=True,
                         capture_output=True).stdout  # fmt: skip
    assert re.search(r"^  export wasi:http/handler@0\.3\.\d+;", wit, re.M)
    assert re.search(r"^  import wasi:http/client@0\.3\.\d+;", wit, re.M)
    said = warp("validate", handler)
    assert said.returncode == 0, said.stderr


def test_us_508_the_fixture_says_which_wit_bindgen_it_needs():
    manifest = (ROOT / "tests" / "fixtures" / "rust-async-handler" / "Cargo.toml").read_text()
    assert 'wit-bindgen = { version = "0.63.0"' in manifest and "0.63 is the least" in manifest


def convert(server, body, **headers):
    answer = server.request("POST", "/convert", body, headers)
    return answer.status, json.loads(answer.body)


def test_us_508_bad_bodies_are_answered(warp, handler):
    with warp.serve(handler) as server:
        assert convert(server, '{"amount": 3')[0] == 400
        status, said = convert(server, '{"amount": "three", "to": "EUR"}')
        assert status == 400 and "invalid type" in said["error"]
        assert server.get("/").status == 404


def test_us_508_a_service_that_may_not_be_reached_is_a_502(warp, handler):
    with warp.serve(handler, {"env": {"RATES": "192.0.2.7:80"}}) as server:
        status, said = convert(server, '{"amount": 3, "to": "EUR"}')
        assert status == 502 and "HttpRequestDenied" in said["error"]
