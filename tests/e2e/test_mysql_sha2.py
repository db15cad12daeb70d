# SPDX-License-Identifier: Apache-2.0
"""US-115: caching_sha2_password with a server of an independent implementation (projects/go-sha2), as
Debian has no MySQL 8: proved in full over TLS or a Unix socket, then fast. Skipped where there is no Go."""
import os
import shutil
import socket
import subprocess

import pytest
from harness import pack_env, toml
from infra import ROOT, free_port, wait_until
from test_mysql import HOST, tables
from tls_server import Authority

PASSWORD = "a secret of app"


@pytest.fixture(scope="module")
def program(tmp_path_factory):
    if not shutil.which("go"):
        pytest.skip("there is no Go to compile the server with")
    out = tmp_path_factory.mktemp("go-sha2") / "go-sha2"
    env = {**os.environ, **pack_env(), "GOFLAGS": "-mod=readonly"}
    made = subprocess.run(["go", "build", "-o", out, "."], cwd=ROOT / "tests/e2e/projects/go-sha2", env=env,
                          capture_output=True, text=True, timeout=600)  # fmt: skip
    if made.returncode != 0:
        pytest.skip(f"the server cannot be compiled: {made.stderr[-500:]}")
    return out


class Server:
    def __init__(self, program, *args):
        self.process = subprocess.Popen([program, *args], stdout=subprocess.PIPE, text=True)
        self.kind = args[:2]

    def answers(self):
        network, address = self.kind
        try:
            if network == "unix":
                s = socket.socket(socket.AF_UNIX)
                s.connect(address)
            else:
                host, port = address.rsplit(":", 1)
                s = socket.create_connection((host, int(port)), timeout=1)
            s.close()
            return True
        except OSError:
            return False

    def __enter__(self):
        wait_until(self.answers, "the server answers", 30)
        return self

    def said(self):
        """Ends it; its lines."""
        self.process.terminate()
        return self.process.communicate(timeout=30)[0].split()

    def __exit__(self, *exc):
        if self.process.poll() is None:
            self.process.kill()
            self.process.wait(30)


class Place:
    host, user, password, database, port = "127.0.0.1", "app", PASSWORD, "shop", 3306


@pytest.fixture
def talk(warp, guest, tmp_path):
    """talk(KEYS, STATEMENT...): the lines of mysqltool, each statement on a connection of its own."""
    def start(keys, *statements, password=PASSWORD, code=0):
        config = tables(Place, env={"DB_SHARE": "1"}, **{"address_port": None, **keys})
        (tmp_path / "warp.toml").write_text(toml(config))
        out = warp("run", guest("mysqltool-p2"), "--", *statements, cwd=tmp_path, env={"TEST_DB_PASSWORD": password})
        assert out.returncode == code, out.stdout + out.stderr
        return out.stdout.splitlines()

    return start


STATEMENTS = ("SELECT CONNECTION_ID()", "SET @a = 1", "SELECT @a", "USE till", "SELECT DATABASE()", "SELECT CONNECTION_ID()")


def check(lines):
    assert lines[1:5] == ["ok", "ok <>", "ok", "ok shop"], "nothing is left for the next"
    assert lines[0] == lines[5], "the same connection"


def test_us_115_in_full_over_a_unix_socket_then_fast(program, talk, tmp_path):
    path = str(tmp_path / "server.sock")
    with Server(program, "unix", path, "app", PASSWORD) as server:
        check(talk({"address": path}, *STATEMENTS))
        check(talk({"address": path}, *STATEMENTS))
        lines = talk({"address": path}, "SELECT 1", password="wrong", code=1)
        assert lines[0].startswith("error 28000 authentication-failed: ")
        said = server.said()
    # The first process logs in twice: before it has met the guest, and as that needs.
    assert said[0] == "full" and said.count("full") == 1 and "fast" in said and said[-1] == "refused"
    assert said.count("reset") >= 10


def test_us_115_in_full_over_tls_then_fast(program, talk, tmp_path):
    authority = Authority(tmp_path / "certs")
    cert, key = authority.issue("server", "server", san=f"DNS:{HOST}")
    port = free_port()
    keys = {"address_port": port, "tls": "verify-full", "tls_ca": authority.cert("ca")}
    with Server(program, "tcp", f"127.0.0.1:{port}", "app", PASSWORD, cert, key) as server:
        check(talk(keys, *STATEMENTS))
        said = server.said()
    assert said[0] == "full" and "fast" in said
