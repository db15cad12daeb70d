# SPDX-License-Identifier: Apache-2.0
"""`warp inspect`: of files that could run here and of files that could not; of a running server and
of what answers in its place. Also `warp validate` of a project that has no component yet."""
import json
import re
import socket
import threading
from contextlib import contextmanager

import pytest
import wat
from harness import Server, pack_env, toml
from infra import free_port
from test_postgres import config as database_config

# ---- files ----------------------------------------------------------------------------------


def test_a_component(warp, guest, tmp_path):
    file = guest("c-users-p2")
    out = warp("inspect", file, cwd=tmp_path)
    assert out.returncode == 0 and out.stderr == ""
    lines = out.stdout.splitlines()
    assert lines[0] == f"{file}: component, p2 service, WASI 0.2, {file.stat().st_size} bytes"
    assert lines[1] == "needs the shims database_proxy: a host with WASI alone cannot run it"
    for line in ("exports", "imports", "  warpgrid:shim/database-proxy@0.1.0", "producers"):
        assert line in lines, line
    for title in ("sections", "in core modules", "custom sections"):
        assert re.search(rf"^{title} +bytes +count$", out.stdout, re.M), title
    assert re.search(r"^  code +\d+ +\d+$", out.stdout, re.M)
    assert re.search(r"^  processed-by: wit-", out.stdout, re.M)
    assert not any(line.endswith(" ") for line in lines)


def test_json_says_the_same_as_validate(warp, guest, tmp_path):
    for name in ("c-users-p2", "hello-p3", "tool"):
        file = guest(name)
        seen = json.loads(warp("inspect", file, "--json", cwd=tmp_path).stdout)
        judged = json.loads(warp("validate", file, "--json", cwd=tmp_path).stdout)
        assert seen["format"] == "component" and seen["bytes"] == file.stat().st_size
        for key in ("file", "kind", "wasi", "shims", "imports", "exports"):
            assert seen[key] == judged[key]
        top = [s for s in seen["sections"] if not s["inner"] and not s["custom"]]
        assert {"core module", "type", "export"} <= {s["name"] for s in top}
        assert sum(s["bytes"] for s in top) < seen["bytes"]


def test_what_could_not_run_is_described_too(warp, tmp_path):
    (tmp_path / "guest.wat").write_text(wat.command(imports=wat.UNKNOWN_IMPORT))
    assert warp("validate", "guest.wat", cwd=tmp_path).returncode == 1
    out = warp("inspect", "guest.wat", cwd=tmp_path)
    assert out.returncode == 0 and "unknown" in out.stdout and "p2 command" in out.stdout


def test_a_core_module(warp, tmp_path):
    (tmp_path / "m.wasm").write_bytes(b"\0asm\x01\0\0\0" + b"\0\x08\x04note\x01\x02\x03")
    out = warp("inspect", "m.wasm", cwd=tmp_path)
    assert out.returncode == 0
    assert out.stdout == (
        "m.wasm: core module, 18 bytes\n"
        "custom sections  bytes  count\n"
        "  note               8      1\n"
    )
    assert out.stderr.startswith("note: its imports and exports are not shown: ")
    found = json.loads(warp("inspect", "m.wasm", "--json", cwd=tmp_path).stdout)
    assert found["format"] == "module" and found["problem"] and "kind" not in found


def test_names_in_a_file_cannot_steer_the_terminal(warp, tmp_path):
    (tmp_path / "m.wasm").write_bytes(b"\0asm\x01\0\0\0" + b"\0\x06\x05\x1b[2J\x07")
    out = warp("inspect", "m.wasm", cwd=tmp_path)
    assert out.returncode == 0 and "\x1b" not in out.stdout and "\\x1b[2J\\x07" in out.stdout
    assert "\x1b" not in warp("inspect", "m.wasm", "--json", cwd=tmp_path).stdout


def test_native_code_is_loaded_only_when_trusted(warp, tmp_path):
    assert warp("init", "-y", "--name", "x", cwd=tmp_path).returncode == 0
    assert warp("pack", "--cwasm", cwd=tmp_path, env=pack_env(), timeout_s=300).returncode == 0
    out = warp("inspect", "dist/x.cwasm", cwd=tmp_path)
    assert out.returncode == 0 and "compiled component" in out.stdout and "  .text " in out.stdout
    assert "hint: pass --trusted" in out.stderr and "imports" not in out.stdout
    out = warp("inspect", "dist/x.cwasm", "--trusted", cwd=tmp_path)
    assert out.returncode == 0 and "p2 service" in out.stdout and "imports" in out.stdout
    # Without FILE: the component of warp.toml.
    out = warp("inspect", cwd=tmp_path)
    assert out.returncode == 0 and out.stdout.startswith("dist/x.wasm: component, p2 service")


@pytest.mark.parametrize(
    "data, words",
    [
        (b"", "no component"),
        (b"hello\n", "no component"),
        (b"\0asm", "cut short|something else"),
        (b"\0asm\x0d\0\x01\0\x07", "cut short"),
        (b"\0asm\x0d\0\x01\0\x07\x7fxx", "cut short"),
        (b"\x7fELF", "cut short"),
        (b"\x7fELF" + b"\xff" * 200, "outside of the file"),
    ],
)
def test_broken_files(warp, tmp_path, data, words):
    (tmp_path / "x.wasm").write_bytes(data)
    out = warp("inspect", "x.wasm", cwd=tmp_path)
    assert re.search(words, out.stderr), out
    assert out.returncode == (1 if words == "no component" else 0)


def test_missing_files(warp, tmp_path):
    out = warp("inspect", "x.wasm", cwd=tmp_path)
    assert out.returncode == 1 and "cannot read 'x.wasm': no such file" in out.stderr
    out = warp("inspect", cwd=tmp_path)
    assert out.returncode == 1 and "run 'warp pack' first" in out.stderr
    out = warp("inspect", ".", cwd=tmp_path)
    assert out.returncode == 1 and "it is no file" in out.stderr


# ---- a running server -----------------------------------------------------------------------


@contextmanager
def running(warp, component, folder, env=None):
    server = Server(warp.popen("serve", component, "--listen", "127.0.0.1:0", cwd=folder, env=env))
    try:
        server.wait_listening()
        yield server
        server.stop()
    finally:
        server.kill()


def test_running(warp, guest, tmp_path):
    port = free_port()
    (tmp_path / "warp.toml").write_text(f'name = "till"\n[admin]\nlisten = "127.0.0.1:{port}"\n')
    with running(warp, guest("hello-p2"), tmp_path) as server:
        for _ in range(3):
            assert server.get("/").status == 200
        out = warp("inspect", "--running", cwd=tmp_path)
        assert out.returncode == 0 and out.stderr == "", out
        assert out.stdout.startswith("till: serving for ")
        assert f"urls        {server.urls[0]}\n" in out.stdout
        assert f"process     {server.pid}\n" in out.stdout
        heads, row = out.stdout.split("\n\n")[1].splitlines()
        assert dict(zip(heads.replace("mean ms", "mean").split(), row.replace("p2 service", "p2").split()))["2xx"] == "3"
        assert not any(line.endswith(" ") for line in out.stdout.splitlines())
        for where in (f"127.0.0.1:{port}", f"http://127.0.0.1:{port}/", f"localhost:{port}"):
            out = warp("inspect", "--running", "--admin", where, "--json", cwd="/")
            found = json.loads(out.stdout)
            assert found["running"]["pid"] == server.pid and found["running"]["version"] == 1
            assert found["running"]["services"][0]["requests"]["2xx"] == 3
    out = warp("inspect", "--running", cwd=tmp_path)
    assert out.returncode == 1 and "connection refused" in out.stderr and "hint: is 'warp serve' running" in out.stderr


def test_running_shows_the_pools(warp, guest, postgres, tmp_path):
    port, password = free_port(), postgres.env["PGPASSWORD"]
    tables = {**database_config(postgres), "admin": {"listen": f"127.0.0.1:{port}"}}
    (tmp_path / "warp.toml").write_text(toml(tables))
    with running(warp, guest("dbprobe-p2"), tmp_path, {"TEST_DB_PASSWORD": password}) as server:
        assert server.get("/sql?q=SELECT+1").status == 200
        out = warp("inspect", "--running", cwd=tmp_path, env={"TEST_DB_PASSWORD": password})
        assert out.returncode == 0 and password not in out.stdout
        heads, row = out.stdout.split("\n\n")[2].splitlines()
        found = dict(zip(heads.split(), row.split()))
        assert (found["database"], found["connects"], found["leases"], found["limit"]) == ("test", "1", "1", "10")


def test_without_an_admin_endpoint(warp, tmp_path):
    out = warp("inspect", "--running", cwd=tmp_path)
    assert out.returncode == 1 and "'warp.toml' has no admin endpoint" in out.stderr


@pytest.mark.parametrize(
    "args, words",
    [
        (["--admin", "127.0.0.1:1"], "goes with '--running'"),
        (["--running", "x.wasm"], "takes no file"),
        (["--running", "--admin", "nonsense"], "nonsense"),
        (["--running", "--admin", "https://127.0.0.1:1"], "https"),
    ],
)
def test_mistakes(warp, tmp_path, args, words):
    out = warp("inspect", *args, cwd=tmp_path)
    assert out.returncode == 2 and words in out.stderr


@contextmanager
def answering(data, stay=False):
    """A port where each connection gets these bytes."""
    with socket.socket() as listener:
        listener.bind(("127.0.0.1", 0))
        listener.listen()
        kept = []

        def run():
            while True:
                try:
                    c, _ = listener.accept()
                except OSError:  # closed: the test is over
                    return
                c.recv(4096)
                try:
                    c.sendall(data)
                except OSError:  # it had read enough
                    pass
                kept.append(c) if stay else c.close()

        threading.Thread(target=run, daemon=True).start()
        yield listener.getsockname()[1]
        listener.shutdown(socket.SHUT_RDWR)
        for c in kept:
            c.close()


def http(body, head=b"HTTP/1.0 200 OK\r\n"):
    return head + b"\r\n" + body


@pytest.mark.parametrize(
    "data, words",
    [
        (b"", "the answer is no HTTP"),
        (b"SSH-2.0-OpenSSH\r\n", "the answer is no HTTP"),
        (http(b"x", b"HTTP/1.1 404 Not Found\r\n"), "status 404"),
        (http(b"{}", b"HTTP/1.1 200 OK\r\nContent-Length: 10\r\n"), "cut short"),
        (http(b"2\r\n{}\r\n", b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n"), "encoding"),
        (http(b"<html>"), "none of 'warp serve'"),
        (http(b"[1]"), "none of 'warp serve'"),
        (http(b'{"a":' + b"[" * 100000), "none of 'warp serve'"),
        (http(b"x" * (5 << 20)), "larger than"),
    ],
)
def test_what_is_no_admin_endpoint(warp, tmp_path, data, words):
    with answering(data) as port:
        out = warp("inspect", "--running", "--admin", f"127.0.0.1:{port}", cwd=tmp_path)
        assert out.returncode == 1 and words in out.stderr, out
        out = warp("inspect", "--running", "--admin", f"127.0.0.1:{port}", "--json", cwd=tmp_path)
        assert json.loads(out.stdout)["ok"] is False


def test_an_endpoint_that_does_not_answer(warp, tmp_path):
    with answering(b"HTTP/1.0 200 OK\r\n", stay=True) as port:
        out = warp("inspect", "--running", "--admin", f"127.0.0.1:{port}", cwd=tmp_path)
        assert out.returncode == 1 and "no answer in time" in out.stderr


def test_an_answer_with_other_members(warp, tmp_path):
    """An older or newer version: what is there is shown, and nothing can steer the terminal."""
    with answering(http(b'{"name":"a\\u001b[2J","services":[{"name":7},{}],"urls":[1],"databases":3}')) as port:
        out = warp("inspect", "--running", "--admin", f"127.0.0.1:{port}", cwd=tmp_path)
        assert out.returncode == 0 and "\x1b" not in out.stdout and "a\\x1b[2J" in out.stdout


# ---- warp validate without a component --------------------------------------------------------


def test_validate_a_project_without_component(warp, tmp_path):
    (tmp_path / "warp.toml").write_text('name = "x"\n')
    out = warp("validate", cwd=tmp_path)
    assert (out.returncode, out.stderr) == (0, "")
    assert out.stdout == "dist/x.wasm: not there yet, so not checked; 'warp pack' makes it\nok: warp.toml\n"
    found = json.loads(warp("validate", "--json", cwd=tmp_path).stdout)
    assert found["ok"] and found["config"] == "warp.toml" and found["file"] is None
    (tmp_path / "warp.toml").write_text('name = "x"\nnmae = "y"\n')
    assert warp("validate", cwd=tmp_path).returncode == 0
    out = warp("validate", "--strict", cwd=tmp_path)
    assert out.returncode == 1 and "ok:" not in out.stdout
    (tmp_path / "warp.toml").write_text("name = 1\n")
    assert warp("validate", cwd=tmp_path).returncode == 1


def test_validate_where_nothing_is(warp, tmp_path):
    out = warp("validate", cwd=tmp_path)
    assert out.returncode == 1 and "nothing to check" in out.stderr and "warp init" in out.stderr


def test_validate_every_service(warp, guest, tmp_path):
    (tmp_path / "warp.toml").write_text(
        f'[services.a]\npath = "/a"\ncomponent = "{guest("hello-p2")}"\n'
        f'[services.b]\npath = "/b"\ncomponent = "{guest("hello-p3")}"\n[services.c]\n'
    )
    out = warp("validate", cwd=tmp_path)
    assert out.returncode == 0 and out.stdout.count("ok: it can be served here") == 2
    assert "dist/c.wasm: not there yet" in out.stdout
    found = json.loads(warp("validate", "--json", cwd=tmp_path).stdout)
    assert [c["kind"] for c in found["components"]] == ["p2 service", "p3 service"]
    (tmp_path / "dist").mkdir()
    (tmp_path / "dist" / "c.wasm").write_text(wat.command(imports=wat.UNKNOWN_IMPORT))
    assert warp("validate", cwd=tmp_path).returncode == 1
