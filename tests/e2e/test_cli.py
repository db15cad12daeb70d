# SPDX-License-Identifier: Apache-2.0
"""`warp run` and `warp validate` as a user types them."""
import json
import re
import signal
import subprocess
import time
import urllib.request

import pytest
import wat
from infra import ROOT, process_cpu_s, wait_until

BOTH = pytest.mark.parametrize("kind", ["p2", "p3"])


# ---- warp run -------------------------------------------------------------------------------


@pytest.fixture
def tool(warp, guest, tmp_path):
    """tool("p2", VERB, ARGS...): runs a command; the p3 one has the same verbs."""

    def run(kind, *args, options=(), **more):
        app = guest("tool" if kind == "p2" else "cli-p3")
        return warp("run", app, *options, "--", *args, cwd=tmp_path, **more)

    return run


@BOTH
def test_run_passes_arguments(tool, kind):
    given = ["one", "two words", "--help", "", "ünï", "-"]
    out = tool(kind, "args", *given)
    assert (out.returncode, out.stdout.splitlines()) == (0, given), out.stderr


@BOTH
def test_run_passes_environment_as_told(tool, kind):
    options = ["--env", "COLOR=blue", "--env", "EMPTY=", "--env", "PAIR=a=b"]
    out = tool(kind, "env", options=options, env={"SECRET": "of the host"})
    assert out.returncode == 0, out.stderr
    lines = out.stdout.splitlines()
    assert {"COLOR=blue", "EMPTY=", "PAIR=a=b"} <= set(lines)
    assert not any(x.startswith(("SECRET=", "HOME=", "PATH=")) for x in lines), "the host's own"


@BOTH
def test_run_passes_standard_streams(tool, kind):
    data = bytes(range(256)) * 4000
    out = tool(kind, "cat", input=data)
    assert (out.returncode, out.stdout, out.stderr) == (0, data, b"1024000 bytes\n")
    out = tool(kind, "print", "lines", "stderr")
    assert (out.stdout, out.stderr) == ("", "first line\nsecond line\n")


@BOTH
@pytest.mark.parametrize("given, code", [(0, 0), (1, 1), (42, 1)])
def test_run_passes_the_exit_code(tool, kind, given, code):
    """Stable WASI knows two of them: success and failure."""
    out = tool(kind, "exit", str(given))
    assert (out.returncode, out.stdout, out.stderr) == (code, "", "")


@BOTH
def test_run_gives_folders_only_as_told(tool, tmp_path, kind):
    (tmp_path / "data").mkdir()
    (tmp_path / "data" / "note.txt").write_text("from the host\n")
    out = tool(kind, "read", "/data/note.txt")
    assert out.returncode == 1 and "from the host" not in out.stdout
    readable, writable = ["--dir", "data::/data"], ["--dir", "data::/data:rw"]
    out = tool(kind, "read", "/data/note.txt", options=readable)
    assert (out.returncode, out.stdout) == (0, "from the host\n")
    out = tool(kind, "write", "/data/new.txt", "x", options=readable)
    assert out.returncode == 1 and not (tmp_path / "data" / "new.txt").exists()
    out = tool(kind, "write", "/data/new.txt", "x", options=writable)
    assert out.returncode == 0 and (tmp_path / "data" / "new.txt").read_text() == "x"
    out = tool(kind, "read", "/data/../../etc/passwd", options=readable)
    assert out.returncode == 1 and "root:" not in out.stdout


def test_run_missing_folder(warp, guest, tmp_path):
    out = warp("run", guest("tool"), "--dir", "nowhere::/data", "--", "cwd", cwd=tmp_path)
    assert out.returncode == 1 and out.stderr.startswith("error: ") and "nowhere" in out.stderr


def test_run_failure_of_the_guest_is_1(warp, tmp_path):
    (tmp_path / "fails.wat").write_text(wat.command("i32.const 1"))
    out = warp("run", "fails.wat", cwd=tmp_path)
    assert (out.returncode, out.stdout) == (1, "")


def test_run_trap_has_a_backtrace(warp, tmp_path):
    (tmp_path / "trap.wat").write_text(wat.command("unreachable"))
    out = warp("run", "trap.wat", cwd=tmp_path)
    assert out.returncode == 1
    assert out.stderr.startswith("error: ") and "unreachable" in out.stderr
    assert "where_it_fails" in out.stderr


@pytest.mark.parametrize("sig, code", [(signal.SIGINT, 130), (signal.SIGTERM, 130)])
def test_run_is_interrupted(warp, tmp_path, sig, code):
    (tmp_path / "spin.wat").write_text(wat.command("(loop $forever (br $forever)) i32.const 0"))
    p = warp.popen("run", "spin.wat", cwd=tmp_path)
    wait_until(lambda: process_cpu_s(p.pid) > 0.2, "the guest spins", 60)
    start = time.monotonic()
    p.send_signal(sig)
    assert p.wait(20) == code
    assert time.monotonic() - start < 5
    assert "panic" not in p.stderr.read().decode()


# ---- warp serve -----------------------------------------------------------------------------


def test_serve_json_is_one_object_a_line(warp, guest, tmp_path):
    p = warp.popen("serve", guest("hello-p2"), "--json", "--listen", "127.0.0.1:0", cwd=tmp_path)
    try:
        found = json.loads(p.stdout.readline())
        assert found["ok"] is True and found["event"] == "listening" and found["version"] == 1
        assert re.fullmatch(r"http://127\.0\.0\.1:\d+", found["urls"][0])
        p.send_signal(signal.SIGTERM)
        assert p.wait(20) == 0
        for line in p.stdout:
            json.loads(line)
    finally:
        p.kill()
        p.wait()


def test_serve_log_as_json(warp, guest, tmp_path):
    p = warp.popen(
        "serve", guest("lab-p2"), "--log-format", "json", "--listen", "127.0.0.1:0", cwd=tmp_path
    )
    try:
        url = p.stdout.readline().decode().strip()
        urllib.request.urlopen(url + "/print?what=binary", timeout=20).read()
        p.send_signal(signal.SIGTERM)
        assert p.wait(20) == 0
        events = [json.loads(line) for line in p.stderr]
    finally:
        p.kill()
        p.wait()
    assert events[0]["event"] == "engine_started" and events[0]["level"] == "info"
    assert "guest_stdout" in [e["event"] for e in events]


# ---- warp validate --------------------------------------------------------------------------


def test_validate_tells_what_a_component_is(warp, guest, tmp_path):
    out = warp("validate", guest("hello-p2"), cwd=tmp_path)
    assert out.returncode == 0, out.stderr
    assert "wasi:http/incoming-handler@0.2" in out.stdout
    out = warp("validate", guest("hello-p3"), cwd=tmp_path)
    assert out.returncode == 0 and "wasi:http/handler@0.3" in out.stdout


def test_validate_json(warp, guest, tmp_path):
    out = warp("validate", guest("hello-p2"), "--json", cwd=tmp_path)
    assert out.returncode == 0 and out.stderr == ""
    found = json.loads(out.stdout)
    assert found["kind"] == "p2 service"
    names = [i["name"] for i in found["imports"]]
    assert any(n.startswith("wasi:http/types@0.2") for n in names)
    assert [e["name"] for e in found["exports"]][0].startswith("wasi:http/incoming-handler@0.2")


def test_validate_compares_shims_with_the_configuration(warp, tmp_path):
    (tmp_path / "guest.wat").write_text(wat.command(imports=wat.SHIM_IMPORTS["threading"]))
    assert warp("validate", "guest.wat", cwd=tmp_path).returncode == 0
    (tmp_path / "warp.toml").write_text("[shims]\nthreading = false\n")
    out = warp("validate", "guest.wat", cwd=tmp_path)
    assert out.returncode == 1
    text = out.stdout + out.stderr
    assert "warpgrid:shim/threading@0.1.0" in text and "warp.toml:2" in text
    out = warp("validate", "guest.wat", "--json", cwd=tmp_path)
    assert out.returncode == 1
    (found,) = [i for i in json.loads(out.stdout)["imports"] if "threading" in i["name"]]
    assert found["status"] == "disabled" and "warp.toml:2" in found["reason"]


def test_validate_unknown_and_later_imports(warp, tmp_path):
    (tmp_path / "a.wat").write_text(wat.command(imports=wat.UNKNOWN_IMPORT))
    later = wat.SHIM_IMPORTS["threading"].replace("warpgrid:shim/", "warpgrid:shim-async/")
    (tmp_path / "b.wat").write_text(wat.command(imports=later))
    for name, status in (("a.wat", "unknown"), ("b.wat", "unavailable")):
        out = warp("validate", name, "--json", cwd=tmp_path)
        assert out.returncode == 1
        assert status in [i["status"] for i in json.loads(out.stdout)["imports"]]


# ---- scripts of the repository --------------------------------------------------------------


@pytest.mark.parametrize("script", sorted(p.name for p in (ROOT / "benches").glob("*.sh") if p.name != "lib.sh"))
def test_benches_have_help(script):
    out = subprocess.run([ROOT / "benches" / script, "--help"], capture_output=True, text=True, timeout=10)
    assert out.returncode == 0 and out.stdout.startswith(f"usage: {script}")
