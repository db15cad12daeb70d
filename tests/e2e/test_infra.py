# SPDX-License-Identifier: Apache-2.0
"""US-701: the servers that the tests stand on."""
import json
import os
import re
import signal
import socket
import socketserver
import struct
import subprocess
import sys
import threading
import time
import urllib.request
from pathlib import Path

import pytest
from infra import INFRA, Postgres, free_port, is_running, read_env, wait_until


def script(name, *args, **env):
    return subprocess.run(
        [INFRA / name, *map(str, args)], capture_output=True, text=True, timeout=120,
        env={**os.environ, **{k: str(v) for k, v in env.items()}},
    )  # fmt: skip


@pytest.fixture
def pg(tmp_path):
    server = Postgres(tmp_path / "pg")
    yield server
    server.close()


def auth_request(pg, user):
    """The code of the AuthenticationRequest that a login of `user` gets (protocol 3.0)."""
    body = struct.pack("!I", 196608) + f"user\0{user}\0database\0warpgrid\0\0".encode()
    with socket.create_connection((pg.host, pg.port), timeout=5) as s:
        s.sendall(struct.pack("!I", len(body) + 4) + body)
        answer = s.recv(9, socket.MSG_WAITALL)
    assert answer[:1] == b"R"
    return struct.unpack("!I", answer[5:9])[0]


def test_us_701_seed(pg):
    assert pg.scalar("SELECT count(*) FROM test_users") == "5"
    columns = pg.sql(
        "SELECT column_name, data_type, is_nullable FROM information_schema.columns "
        "WHERE table_name = 'test_users' ORDER BY ordinal_position"
    )
    assert columns == [
        ["id", "integer", "NO"],
        ["name", "text", "NO"],
        ["email", "text", "NO"],
        ["created_at", "timestamp with time zone", "NO"],
    ]
    pg.sql("INSERT INTO test_analytics (event) VALUES ('seen')")
    again = pg.psql("INSERT INTO test_users (name, email) VALUES ('x', 'ada@example.com')", check=False)
    assert again.returncode != 0 and "duplicate key" in again.stderr


@pytest.mark.parametrize(
    "user, code", [("warpgrid_app", 10), ("app_md5", 5), ("app_plain", 3), ("app_trust", 0)]
)
def test_roles_log_in_each_their_own_way(pg, user, code):
    assert auth_request(pg, user) == code
    assert pg.psql("SELECT count(*) FROM test_users", user=user).stdout == "5\n"
    refused = pg.psql("SELECT 1", user=user, password="wrong", check=False)
    assert (refused.returncode == 0) == (user == "app_trust")


def test_second_start_finds_the_first(pg):
    out = script("up.sh", pg.folder)
    assert out.returncode == 0
    assert read_env(out.stdout.strip()) == pg.env


def test_two_starts_at_once_make_one_server(tmp_path):
    folder = tmp_path / "pg"
    both = [
        subprocess.Popen([INFRA / "up.sh", folder], stdout=subprocess.PIPE, text=True, stderr=subprocess.DEVNULL)
        for _ in range(2)
    ]
    answers = [p.communicate(timeout=60)[0] for p in both]
    try:
        assert [p.returncode for p in both] == [0, 0]
        assert answers[0] == answers[1]
    finally:
        assert script("down.sh", folder).returncode == 0


def test_stop_removes_everything_and_is_repeatable(tmp_path):
    pg = Postgres(tmp_path / "pg", "--pgbouncer")
    pids = [int(pg.env["WARPGRID_PG_PID"]), int(pg.env["WARPGRID_PGBOUNCER_PID"])]
    assert pg.psql("SELECT 7", user=pg.user, port=pg.env["PGBOUNCER_PORT"]).stdout == "7\n"
    for _ in range(2):
        assert script("down.sh", pg.folder).returncode == 0
    assert not Path(pg.env["WARPGRID_PG_HOME"]).exists()
    assert not (pg.folder / "env").exists()
    for pid in pids:
        assert not is_running(pid)


def test_start_after_a_crash(tmp_path):
    pg = Postgres(tmp_path / "pg")
    os.kill(int(pg.env["WARPGRID_PG_PID"]), signal.SIGKILL)
    wait_until(lambda: pg.psql("SELECT 1", check=False).returncode != 0, "the server is gone")
    pg = Postgres(tmp_path / "pg")
    try:
        assert pg.scalar("SELECT count(*) FROM test_users") == "5"
    finally:
        pg.close()


def test_restart_keeps_port_and_stop_follows_it(pg):
    pg.restart()
    assert pg.scalar("SELECT 1") == "1"


def test_settings_reach_the_server(tmp_path):
    pg = Postgres(tmp_path / "pg", "--set", "log_connections=off", "--set=max_connections=17")
    try:
        assert pg.scalar("SHOW max_connections") == "17"
        assert pg.scalar("SHOW log_connections") == "off"
    finally:
        pg.close()


@pytest.mark.parametrize("name", ["up.sh", "down.sh", "wait-for-deps.sh"])
def test_help_and_usage(name):
    out = script(name, "--help")
    assert out.returncode == 0 and "usage:" in out.stdout
    out = script(name, "--no-such-option")
    assert out.returncode == 2 and "usage:" in out.stderr


def test_missing_postgres_says_what_to_install(tmp_path):
    out = script("up.sh", tmp_path / "pg", PG_BINDIR=tmp_path)
    assert out.returncode == 1
    assert "error: cannot find PostgreSQL" in out.stderr and "hint:" in out.stderr
    assert not (tmp_path / "pg" / "env").exists()


class Pong(socketserver.BaseRequestHandler):
    def handle(self):
        if self.request.recv(64).startswith(b"PING\r\n"):
            self.request.sendall(b"+PONG\r\n+OK\r\n")


def test_us_701_wait_for_deps(pg):
    redis = socketserver.ThreadingTCPServer(("127.0.0.1", 0), Pong)
    threading.Thread(target=redis.serve_forever, daemon=True).start()
    registry = subprocess.Popen(
        [sys.executable, INFRA / "mock_registry.py"], stdout=subprocess.PIPE, text=True
    )
    url = registry.stdout.readline().strip()
    ports = {
        "PGPORT": pg.port,
        "REDIS_PORT": redis.server_address[1],
        "REGISTRY_PORT": url.rsplit(":", 1)[1],
    }
    try:
        out = script("wait-for-deps.sh", **ports)
        assert (out.returncode, out.stderr) == (0, "")
        # One that is missing, and one that talks something else, are each named.
        out = script("wait-for-deps.sh", "--timeout", 1, **{**ports, "REDIS_PORT": free_port()})
        assert out.returncode == 1 and out.stderr == "error: not ready after 1 s: redis\n"
        out = script("wait-for-deps.sh", "--timeout", 0, "postgres", "redis", **{**ports, "PGPORT": ports["REDIS_PORT"]})
        assert out.returncode == 1 and out.stderr.endswith(": postgres\n")
    finally:
        registry.kill()
        registry.wait()
        redis.shutdown()
        redis.server_close()


def test_wait_for_deps_sees_a_late_server(tmp_path):
    port = free_port()
    waiting = subprocess.Popen(
        [INFRA / "wait-for-deps.sh", "--timeout", "30", "redis"], env={**os.environ, "REDIS_PORT": str(port)}
    )
    time.sleep(0.5)
    assert waiting.poll() is None
    with socketserver.ThreadingTCPServer(("127.0.0.1", port), Pong) as late:
        threading.Thread(target=late.serve_forever, daemon=True).start()
        assert waiting.wait(timeout=10) == 0
        late.shutdown()


def test_mock_registry():
    import http.client
    import json

    p = subprocess.Popen([sys.executable, INFRA / "mock_registry.py"], stdout=subprocess.PIPE, text=True)
    try:
        host = p.stdout.readline().strip().removeprefix("http://")
        c = http.client.HTTPConnection(host, timeout=5)

        def ask(method, path, body=None):
            c.request(method, path, body)
            r = c.getresponse()
            return r.status, json.loads(r.read())

        assert ask("GET", "/v1/services/db.test.warp.local") == (
            200,
            {"name": "db.test.warp.local", "addresses": ["127.0.0.1"]},
        )
        assert ask("GET", "/v1/services/nobody")[0] == 404
        assert ask("PUT", "/v1/services/web.warp.local", '["10.1.2.3", "::1"]')[0] == 200
        assert ask("GET", "/v1/services")[1]["services"]["web.warp.local"] == ["10.1.2.3", "::1"]
        c.request("GET", "/v1/services")
        first = c.getresponse()
        first.read()
        c.request("GET", "/v1/services", headers={"if-none-match": first.headers["etag"]})
        again = c.getresponse()
        assert (again.status, again.read()) == (304, b"")
        assert ask("PUT", "/v1/services/web.warp.local", '["not an address"]')[0] == 400
        assert ask("DELETE", "/v1/services/web.warp.local")[0] == 200
        assert ask("GET", "/v1/services/web.warp.local")[0] == 404
    finally:
        p.kill()
        p.wait()


def test_us_701_compose_file():
    text = (INFRA / "docker-compose.yml").read_text()
    services = dict(re.findall(r"^  ([a-z-]+):\n((?:    .*\n|\n)+)", text, re.M))
    assert set(services) == {"postgres", "redis", "mock-registry"}
    assert "image: postgres:16\n" in services["postgres"] and "seed.sql" in services["postgres"]
    assert "image: redis:7\n" in services["redis"]
    for name, body in services.items():
        assert "tmpfs:" in body, f"{name} must start clean"
        assert '"127.0.0.1:' in body, f"{name} must not be reachable from outside"


def test_us_701_the_whole_stack_without_docker(tmp_path):
    """Up, wait, ask each one in its own language, down."""
    folder = tmp_path / "stack"
    up = script("up.sh", "--all", folder)
    assert up.returncode == 0, up.stderr
    env = read_env(up.stdout.strip())
    try:
        again = script("up.sh", "--all", folder)
        assert again.stdout == up.stdout and read_env(again.stdout.strip()) == env
        ports = {k: env[k] for k in ("PGPORT", "REDIS_PORT", "REGISTRY_PORT")}
        waited = script("wait-for-deps.sh", "--timeout", "20", **ports)
        assert waited.returncode == 0, waited.stderr
        asked = subprocess.run(["psql", "-XAtc", "SELECT 1"], env={**os.environ, **env}, capture_output=True, text=True)
        assert asked.stdout == "1\n", asked.stderr
        ping = subprocess.run(["redis-cli", "-p", env["REDIS_PORT"], "PING"], capture_output=True, text=True)
        assert ping.stdout == "PONG\n"
        with urllib.request.urlopen(f"http://127.0.0.1:{env['REGISTRY_PORT']}/v1/services", timeout=10) as r:
            assert "db.test.warp.local" in json.load(r)["services"]
        pids = [int(env[f"WARPGRID_{name}_PID"]) for name in ("PG", "REDIS", "REGISTRY")]
        assert all(is_running(pid) for pid in pids)
    finally:
        down = script("down.sh", folder)
    assert down.returncode == 0, down.stderr
    assert not any(is_running(pid) for pid in pids)
    assert script("down.sh", folder).returncode == 0, "twice is fine"
