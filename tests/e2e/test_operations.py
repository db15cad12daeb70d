# SPDX-License-Identifier: Apache-2.0
"""Operating `warp serve`: several services in a process, reload by swap, the admin endpoint."""
import fcntl
import http.client
import json
import os
import re
import signal
import socket
import subprocess
import termios
import threading
import time

import pytest
from harness import SLOW, Server, ask, read_responses
from infra import wait_until
from test_postgres import config as database_config

BOTH = pytest.mark.parametrize("kind", ["p2", "p3"])
WAT_COMMAND = """(component
  (core module $m (func (export "run") (result i32) i32.const 0))
  (core instance $i (instantiate $m))
  (func $run (result (result)) (canon lift (core func $i "run")))
  (instance $x (export "run" (func $run)))
  (export "wasi:cli/run@0.2.0" (instance $x)))"""


def get(server, path="/", host="x"):
    return server.request("GET", path, headers={"Host": host})


# ---- several services ------------------------------------------------------------------------


def test_services_are_routed_by_host_and_path(site):
    site.put("a", "lab-p2")
    site.put("b", "lab-p3")
    site.put("c", "hello-p2")
    site.configure({
        "env": {"WHO": "all", "ALSO": "shared"},
        "services": {
            "a": {"host": "a.example.com", "env": {"WHO": "a"}},
            "b": {"host": ["*.b.example.com"], "component": "dist/b.wasm", "env": {"WHO": "b"}},
            "c": {"path": ["/hello", "/hi/"]},
        },
    })  # fmt: skip
    with site.serve() as server:
        assert get(server, "/env?name=WHO", "a.example.com").text == "a"
        assert get(server, "/env?name=ALSO", "a.example.com").text == "shared"
        assert get(server, "/env?name=WHO", "x.b.example.com:8080").text == "b"
        assert get(server, "/hello", "other").status == 200
        assert get(server, "/hi/there", "other").status == 200
        assert get(server, "/hello", "b.example.com").status == 200  # not below itself
        missing = get(server, "/nothing", "other")
        assert missing.status == 404 and "no service" in missing.text
        services = {s["name"]: s for s in site.stats()["services"]}
        assert services["a"]["hosts"] == ["a.example.com"] and services["a"]["paths"] == ["/"]
        assert services["b"]["kind"] == "p3 service"
        assert services["c"]["paths"] == ["/hello", "/hi"]
        assert services["a"]["requests"]["2xx"] == 2
        assert services["c"]["requests"]["2xx"] == 3


def test_services_of_one_process_log_by_their_names(site):
    site.put("a", "lab-p2")
    site.configure({"name": "both", "services": {"a": {"path": "/"}}})
    with site.serve() as server:
        assert get(server, "/print?what=lines").status == 200
        server.log.wait_for(r"app=a .*event=guest_stdout|event=guest_stdout .*app=a")


@pytest.mark.parametrize(
    "services, says",
    [
        ({"a": {"path": "api"}}, "'api' is not the beginning of a path"),
        ({"a": {"host": "http://x"}}, "'http://x' is not a host"),
        ({"a": {}, "b": {}}, "service 'b' gets the same requests as 'a'"),
        ({"a b": {}}, 'a service\'s name must be'),
        ({"a": {"paht": "/"}}, "unknown key 'paht'; did you mean 'path'"),
    ],
)
def test_bad_services_are_told_with_their_place(site, warp, services, says):
    site.put("a", "hello-p2")
    site.put("b", "hello-p2")
    site.configure({"services": services})
    out = warp("validate", site.guest("hello-p2"), "--config", site.folder / "warp.toml")
    assert re.search(r"warp\.toml:\d+:\d+: ", out.stderr) and says in out.stderr, out.stderr


def test_a_service_that_cannot_be_loaded_is_named(site, warp):
    site.put("a", "hello-p2")
    site.configure({"services": {"a": {"path": "/a"}, "b": {"path": "/b"}}})
    out = warp("serve", cwd=site.folder)
    assert out.returncode == 1
    assert "service 'b': cannot read 'dist/b.wasm': no such file" in out.stderr


def test_a_file_on_the_command_line_is_served_alone(site):
    site.configure({"services": {"a": {"path": "/a"}}})
    with site.serve(site.guest("hello-p2")) as server:
        assert get(server, "/anything").status == 200


@pytest.mark.parametrize("hosts", [("a", "b"), ("b", "a")])
def test_a_request_with_two_hosts_is_refused(site, hosts):
    """Whoever stands in front may have looked at the other one (RFC 9112, section 3.2)."""
    site.put("a", "lab-p2")
    site.put("b", "lab-p2")
    site.configure({"services": {"a": {"host": "a"}, "b": {"host": "b"}}})
    with site.serve() as server, server.raw() as s:
        s.sendall("GET /count HTTP/1.1\r\nHost: {}\r\nHost: {}\r\n\r\n".format(*hosts).encode())
        assert read_responses(s, 1)[0].status == 400
    with site.serve() as server, server.raw() as s:
        s.sendall(b"GET http://user@a/count HTTP/1.1\r\nHost: a\r\n\r\n")
        assert read_responses(s, 1)[0].status == 200


# ---- reload ----------------------------------------------------------------------------------


@pytest.mark.parametrize("before, after", [("p2", "p3"), ("p3", "p2")])
def test_sighup_swaps_the_component_and_keeps_connections(site, before, after):
    site.put("service", f"lab-{before}")
    site.configure({"env": {"WHO": "old"}})
    with site.serve() as server, server.raw() as s:
        ask_who = b"GET /env?name=WHO HTTP/1.1\r\nHost: x\r\n\r\n"
        s.sendall(ask_who)
        assert read_responses(s, 1)[0].text == "old"
        site.put("service", f"lab-{after}")
        site.configure({"env": {"WHO": "new"}})
        server.process.send_signal(signal.SIGHUP)
        server.log.wait_for(r"event=reloaded generation=2", 30)
        s.sendall(ask_who)
        assert read_responses(s, 1)[0].text == "new"
        assert site.stats()["services"][0]["kind"] == f"{after} service"
        # What the old one had is gone: its idle instance too.
        wait_until(lambda: site.stats()["services"][0]["instances"] <= 1, "one instance at most")


@BOTH
def test_a_request_in_flight_finishes_with_the_old_code(site, kind):
    site.put("service", f"lab-{kind}")
    site.configure({})
    with site.serve() as server:
        slow = server.background("GET", "/sleep?ms=1500")
        wait_until(lambda: site.stats()["inflight"] == 1, "the request in flight")
        site.put("service", "hello-p2")
        site.reload()
        assert get(server, "/sleep?ms=0").text.startswith("hello"), "the new code answers already"
        assert not slow.done
        assert slow.result().status == 200 and not slow.result().text.startswith("hello")


BAD = [
    ("warp.toml", b"[http]\nworkers = 'two'\n", r"warp\.toml:2:\d+: 'workers' must be"),
    ("warp.toml", b"[http\n", r"warp\.toml:1:\d+: "),
    ("warp.toml", None, r"cannot read 'warp\.toml': no such file"),
    ("dist/service.wasm", b"", "is empty"),
    ("dist/service.wasm", b"\0asm\x0d\0\1\0\1\xff", "truncated"),
    ("dist/service.wasm", WAT_COMMAND.encode(), "it exports neither"),
    ("dist/service.wasm", None, "no such file"),
]


@pytest.mark.parametrize("name, content, says", BAD)
def test_a_failed_reload_keeps_what_is_served(site, name, content, says):
    site.put("service", "hello-p2")
    site.configure({})
    with site.serve() as server:
        good = (site.folder / name).read_bytes()
        if content is None:
            (site.folder / name).unlink()
        else:
            (site.folder / name).write_bytes(content)
        r = site.admin("POST", "/reload")
        assert r.status == 422 and r.json["ok"] is False and r.json["generation"] == 1
        assert re.search(says, r.json["error"]), r.json
        server.log.wait_for(r"level=error .*event=reload_failed|event=reload_failed")
        assert get(server).text.startswith("hello")
        last = site.stats()["last_reload"]
        assert last["ok"] is False and re.search(says, last["error"])
        (site.folder / name).write_bytes(good)
        assert site.reload()["generation"] == 2
        assert site.stats()["last_reload"]["ok"] is True


def test_services_come_and_go_by_reload(site):
    site.put("a", "hello-p2")
    site.put("b", "lab-p2")
    site.configure({"services": {"a": {"path": "/"}}})
    with site.serve() as server:
        assert get(server, "/status?code=418").text.startswith("hello")
        site.configure({"services": {"a": {"path": "/a"}, "b": {"path": "/status"}}})
        site.reload()
        assert get(server, "/status?code=418").status == 418
        assert get(server, "/").status == 404
        before = {s["name"]: s["requests"]["2xx"] for s in site.stats()["services"]}
        assert before == {"a": 1, "b": 0}, "a service keeps its counters"


def test_keys_that_need_a_restart_are_told_and_kept(site):
    site.put("service", "hello-p2")
    site.configure({"http": {"workers": 2}, "limits": {"memory": "64MiB"}})
    with site.serve() as server:
        site.configure({"http": {"workers": 1, "listen": ["127.0.0.1:9"]}, "limits": {"memory": "1GiB"}})
        r = site.reload()
        assert r["needs_restart"] == "http.listen, http.workers, limits.memory"
        server.log.wait_for(r'event=reload_needs_restart keys="http.listen, http.workers')
        assert get(server).status == 200
        assert site.stats()["workers"] == 2


def test_what_the_command_line_says_survives_a_reload(site):
    site.put("service", "lab-p2")
    site.configure({})
    site.configure({"env": {"WHO": "file"}})
    with site.serve("--env", "WHO=cli", "--workers", "1") as server:
        assert get(server, "/env?name=WHO").text == "cli"
        r = site.reload()
        assert r["needs_restart"] == ""
        assert get(server, "/env?name=WHO").text == "cli"


def test_reloads_are_told_as_json(site):
    site.put("service", "hello-p2")
    site.configure({})
    site.server = None
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(Server, "wait_listening", lambda self: self.urls.append(
            json.loads(self.out.wait_for(r"^{.*listening", 60).string)["urls"][0]))  # fmt: skip
        with site.serve("--json") as server:
            server.process.send_signal(signal.SIGHUP)
            line = json.loads(server.out.wait_for(r"reloaded", 30).string)
            assert line == {"version": 1, "command": "serve", "ok": True, "event": "reloaded", "generation": 2}
            (site.folder / "warp.toml").write_text("lang = 1\n")
            server.process.send_signal(signal.SIGHUP)
            line = json.loads(server.out.wait_for(r"\"ok\":false", 30).string)
            assert line["generation"] == 2 and "warp.toml:1" in line["error"]


@BOTH
def test_no_request_fails_while_components_are_swapped(site, kind):
    """The small twin of benches/hot_swap.sh: 20 swaps between two components under load."""
    site.put("service", f"hello-{kind}")
    site.configure({})
    with site.serve() as server:
        stop, bad, done = threading.Event(), [], [0] * 4

        def load(n):
            c = server.connection(60)
            while not stop.is_set():
                try:
                    r = ask(c, "GET", "/count")
                    if r.status != 200:
                        bad.append(r)
                except OSError as e:
                    bad.append(e)
                done[n] += 1
            c.close()

        threads = [threading.Thread(target=load, args=(n,)) for n in range(4)]
        for t in threads:
            t.start()
        try:
            for n in range(20):
                site.put("service", f"lab-{kind}" if n % 2 == 0 else f"hello-{kind}")
                assert site.reload()["generation"] == n + 2
        finally:
            stop.set()
            for t in threads:
                t.join()
        assert not bad, bad[:3]
        assert sum(done) > 100
        requests = site.stats()["services"][0]["requests"]
        assert requests["2xx"] == sum(done) and requests["5xx"] == 0


def test_an_idle_sighup_storm_ends_in_the_last_state(site):
    site.put("service", "lab-p2")
    site.configure({"env": {"WHO": "0"}})
    with site.serve() as server:
        for n in range(1, 30):
            site.configure({"env": {"WHO": str(n)}})
            server.process.send_signal(signal.SIGHUP)
        wait_until(lambda: get(server, "/env?name=WHO").text == "29", "the last configuration", 30 * SLOW)


def test_a_stop_during_a_reload_ends_in_order(site):
    site.put("service", "lab-p2")
    site.configure({})
    with site.serve() as server:
        for _ in range(3):
            server.process.send_signal(signal.SIGHUP)
        server.stop()


def test_a_closed_terminal_ends_it_and_does_not_reload(warp, site):
    site.put("service", "lab-p2")
    site.configure({})
    master, slave = os.openpty()
    process = subprocess.Popen(
        [warp.binary, "serve"], cwd=site.folder, env=warp.env(), stdin=slave, stdout=subprocess.PIPE,
        stderr=subprocess.PIPE, start_new_session=True,
        preexec_fn=lambda: fcntl.ioctl(0, termios.TIOCSCTTY, 0),
    )  # fmt: skip
    os.close(slave)
    server = Server(process)
    try:
        server.wait_listening()
        os.kill(process.pid, signal.SIGHUP)  # from a person at the terminal: a reload
        server.log.wait_for(r"event=reloaded generation=2", 30)
        os.close(master)
        assert server.wait() == 0
        assert not server.log.matching("generation=3")
    finally:
        server.kill()


# ---- databases over a reload -----------------------------------------------------------------


def test_unchanged_databases_keep_their_connections(site, postgres):
    site.put("service", "dbprobe-p2")
    tables = database_config(postgres)
    site.configure(tables)
    with site.serve(env={"TEST_DB_PASSWORD": postgres.password}) as server:
        first = get(server, "/sql?q=select+pg_backend_pid()").text
        site.configure({**tables, "limits": {"request_timeout": "20s"}})
        site.reload()
        pids = {get(server, "/sql?q=select+pg_backend_pid()").text for _ in range(8)}
        assert first in pids
        assert len(postgres.backends()) <= 2


def test_a_database_that_moved_in_the_registry_gets_a_new_pool(site, postgres):
    site.put("service", "dbprobe-p2")
    tables = database_config(postgres)
    tables["databases"]["test"]["address"] = "pg.warp.local"
    tables["registry"] = {"pg.warp.local": ["127.0.0.1"]}
    site.configure(tables)
    with site.serve(env={"TEST_DB_PASSWORD": postgres.password}) as server:
        old = get(server, "/sql?q=select+pg_backend_pid()").text
        tables["registry"]["other.warp.local"] = ["127.0.0.9"]
        site.configure(tables)
        site.reload()
        assert get(server, "/sql?q=select+pg_backend_pid()").text == old, "nothing about it changed"
        tables["registry"]["pg.warp.local"] = ["::1"]
        site.configure(tables)
        site.reload()
        moved = get(server, "/sql?q=select+pg_backend_pid()")
        assert moved.text != old  # also when the server does not listen there
        wait_until(lambda: int(old) not in [int(b) for b in postgres.backends()], "the old one's end")


def test_changed_databases_get_new_pools_and_the_old_ones_drain(site, postgres):
    site.put("service", "dbprobe-p2")
    tables = database_config(postgres)
    site.configure(tables)
    with site.serve(env={"TEST_DB_PASSWORD": postgres.password}) as server:
        old = get(server, "/sql?q=select+pg_backend_pid()").text.strip()
        assert site.stats()["databases"][0]["limit"] == 10
        slow = server.background("GET", "/sql?q=select+pg_sleep(1.5)")
        wait_until(lambda: site.stats()["databases"][0]["active"] == 1, "a query in progress")
        tables["databases"]["test"]["pool_size"] = 3
        site.configure(tables)
        site.reload()
        new = get(server, "/sql?q=select+pg_backend_pid()").text.strip()
        assert new != old
        assert slow.result().status == 200, "the old pool serves what it began"
        wait_until(lambda: old not in [str(b) for b in postgres.backends()], "the old connection's end")
        assert site.stats()["databases"][0]["limit"] == 3


# ---- the admin endpoint ----------------------------------------------------------------------


def test_admin_health_metrics_and_stats(site):
    site.put("service", "lab-p2")
    site.configure({"name": "shop", "services": {"service": {}}})
    with site.serve() as server:
        assert get(server, "/status?code=204").status == 204
        assert get(server, "/status?code=503").status == 503
        assert get(server, "/trap").status == 500
        health = site.admin("GET", "/healthz")
        assert (health.status, health.text) == (200, "ok\n")
        assert site.admin("HEAD", "/healthz").status == 200
        stats = site.stats()
        assert stats["version"] == 1 and stats["name"] == "shop" and stats["pid"] == server.pid
        assert stats["state"] == "serving" and stats["generation"] == 1 and stats["workers"] == 2
        assert stats["urls"] == server.urls and stats["last_reload"] is None
        service = stats["services"][0]
        assert service["requests"] == {"1xx": 0, "2xx": 1, "3xx": 0, "4xx": 0, "5xx": 2}
        assert service["failures"] == 1
        assert 0 < service["latency_ms"]["p50"] <= service["latency_ms"]["p99"] < 30000
        samples = parse_metrics(site.admin("GET", "/metrics"))
        assert samples['warpgrid_requests_total{service="service",code="5xx"}'] == 2
        assert samples['warpgrid_request_duration_seconds_count{service="service"}'] == 3
        assert samples['warpgrid_request_duration_seconds_bucket{service="service",le="+Inf"}'] == 3
        assert samples['warpgrid_guest_failures_total{service="service"}'] == 1
        assert samples["warpgrid_up"] == 1 and samples["warpgrid_inflight_requests"] == 0
        assert samples["process_resident_memory_bytes"] > 1 << 20


def parse_metrics(response):
    """Samples of the Prometheus text format; each metric has its TYPE before its samples."""
    assert response.headers["content-type"].startswith("text/plain")
    samples, types = {}, {}
    for line in response.text.splitlines():
        if line.startswith("# TYPE "):
            _, _, name, kind = line.split()
            assert name not in types
            types[name] = kind
        elif not line.startswith("#"):
            m = re.fullmatch(r"([a-z_]+)(\{[^}]*\})? (\S+)", line)
            assert m, line
            base = re.sub(r"_(bucket|sum|count)$", "", m[1]) if m[1] not in types else m[1]
            assert base in types, line
            assert m[1] + (m[2] or "") not in samples
            samples[m[1] + (m[2] or "")] = float(m[3])
    return samples


def test_admin_metrics_of_databases(site, postgres):
    site.put("service", "dbprobe-p2")
    site.configure(database_config(postgres))
    with site.serve(env={"TEST_DB_PASSWORD": postgres.password}) as server:
        for _ in range(3):
            assert get(server, "/sql?q=select+1").status == 200
        samples = parse_metrics(site.admin("GET", "/metrics"))
        assert samples[f'warpgrid_db_leases_total{{pool="test",database="{postgres.database}"}}'] == 3
        # Given back, and reset for the next guest.
        wait_until(lambda: site.stats()["databases"][0]["idle"] >= 1, "an idle connection")
        db = site.stats()["databases"][0]
        assert db["name"] == "test" and db["leases"] == 3 and db["active"] == 0


def test_admin_refuses_what_it_does_not_know(site):
    site.put("service", "hello-p2")
    site.configure({})
    with site.serve() as server:
        assert site.admin("GET", "/nothing").status == 404
        assert site.admin("GET", "/reload").status == 405
        assert site.admin("POST", "/stats").status == 405
        # A page of the web that made its name point here, or that posts a form.
        assert site.admin("POST", "/drain", {"Host": "evil.example.com"}).status == 403
        assert site.admin("POST", "/drain", {"Origin": "http://evil.example.com"}).status == 403
        assert site.admin("GET", "/stats", {"Host": f"localhost:{site.admin_port}"}).status == 200
        # It is no part of the public side, nor that of it.
        assert get(server, "/healthz").text.startswith("hello")
        assert site.stats()["state"] == "serving"


def test_drain_ends_the_process_when_its_requests_are_done(site):
    site.put("service", "lab-p2")
    site.configure({})
    with site.serve() as server:
        slow = server.background("GET", "/sleep?ms=1000")
        wait_until(lambda: site.stats()["inflight"] == 1, "the request in flight")
        assert site.admin("POST", "/drain").status == 202
        health = site.admin("GET", "/healthz")
        assert (health.status, health.text) == (503, "draining\n")
        assert site.stats()["state"] == "draining"
        assert slow.result().status == 200
        assert server.wait() == 0
        server.check_clean()


@pytest.mark.parametrize("address", ["0.0.0.0:0", "[::]:0", "192.0.2.1:80", "example.com:80"])
def test_admin_listens_on_loopback_only(site, warp, address):
    site.put("service", "hello-p2")
    out = warp("serve", "--admin", address, cwd=site.folder)
    assert out.returncode == 2 and "loopback only" in out.stderr
    site.configure({"admin": {"listen": address}})
    out = warp("serve", cwd=site.folder)
    assert out.returncode == 1 and re.search(r"warp\.toml:\d+:\d+: .*cannot listen", out.stderr)


def test_admin_port_in_use_is_told(site, warp):
    site.put("service", "hello-p2")
    with socket.create_server(("127.0.0.1", 0)) as taken:
        port = taken.getsockname()[1]
        out = warp("serve", "--admin", f"127.0.0.1:{port}", "--listen", "127.0.0.1:0", cwd=site.folder)
        assert out.returncode == 1
        assert f"admin endpoint: cannot listen on 127.0.0.1:{port}: the port is in use" in out.stderr


def test_without_admin_there_is_no_second_port(site):
    site.put("service", "hello-p2")
    site.configure({"admin": {}})
    with site.serve() as server:
        time.sleep(0.2)
        assert not server.log.matching("admin_listening")
        assert get(server).status == 200
