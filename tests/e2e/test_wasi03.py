# SPDX-License-Identifier: Apache-2.0
"""US-501, US-508: the pinned Wasmtime serves WASI 0.3, its surface is written down, and what plain
wit-bindgen makes of the WIT is a component that it takes."""
import json
import re
import subprocess
import threading
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer

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


@contextmanager
def rates(known):
    """A service of rates on a port of its own: GET /rates/NAME; yields its authority and what it was
    asked."""
    asked = []

    class Rates(BaseHTTPRequestHandler):
        protocol_version = "HTTP/1.1"

        def do_GET(self):
            asked.append(self.path)
            body = known.get(self.path.removeprefix("/rates/"))
            self.send_response(404 if body is None else 200)
            self.send_header("content-length", str(len(body or b"")))
            self.end_headers()
            self.wfile.write(body or b"")

        def log_message(self, *_):
            pass

    server = ThreadingHTTPServer(("127.0.0.1", 0), Rates)
    server.daemon_threads = True
    thread = threading.Thread(target=server.serve_forever)
    thread.start()
    try:
        yield f"127.0.0.1:{server.server_port}", asked
    finally:
        server.shutdown()
        thread.join()
        server.server_close()


@pytest.mark.skipif(
    not (ROOT / "crates" / "warpgrid-runtime" / "src" / "outgoing.rs").is_file(),
    reason="needs outgoing HTTP, which the host does not have yet",
)
def test_us_508_the_full_cycle_with_a_service(warp, handler):
    """JSON in, a question to a real service over HTTP, other JSON out."""
    known = {"EUR": b'{"rate": 2.5}', "XXX": b'{"rate": "none"}'}
    with rates(known) as (authority, asked):
        config = {"env": {"RATES": authority}, "net": {"allow": [authority]}}
        with warp.serve(handler, config) as server:
            assert convert(server, '{"amount": 3, "to": "EUR"}') == (200, {"to": "EUR", "amount": 7.5, "rate": 2.5})
            status, said = convert(server, '{"amount": 3, "to": "GBP"}')
            assert status == 502 and "status 404" in said["error"]
            status, said = convert(server, '{"amount": 3, "to": "XXX"}')
            assert status == 502 and "invalid type" in said["error"]
            calls = [server.background("POST", "/convert", '{"amount": 2, "to": "EUR"}') for _ in range(20)]
            assert all(c.result().json["amount"] == 5.0 for c in calls)
        assert asked[:3] == ["/rates/EUR", "/rates/GBP", "/rates/XXX"] and len(asked) == 23
