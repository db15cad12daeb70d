# SPDX-License-Identifier: Apache-2.0
"""What all three protocols of the pool have in common, each with its real server: US-115, US-116, US-117,
and of US-703 that one service with several databases has one connection to each.

The guest is guests/dbprobe.c, which speaks a little of each protocol."""
import signal
import time
from urllib.parse import urlencode

import pytest
from fault_proxy import FaultProxy
from harness import Background
from infra import wait_until

KINDS = pytest.mark.parametrize("kind", ["p2", "p3"])
PROTOCOLS = pytest.mark.parametrize("side", ["postgres", "mysql", "redis"], indirect=True)


class Side:
    """A database of a protocol, and what a guest says in it."""

    def __init__(self, name, server):
        self.name, self.server, self.host = name, server, f"{name}.test.warp.local"
        self.port = {"postgres": 5432, "mysql": 3306, "redis": 6379}[name]
        self.id = {"postgres": "SELECT pg_backend_pid()", "mysql": "SELECT CONNECTION_ID()", "redis": "CLIENT ID"}[name]

    def table(self, **more):
        keys = {"protocol": self.name, "host": self.host, "address": "127.0.0.1", "address_port": self.server.port}
        if self.name != "redis":
            keys.update(database=self.server.database, user=self.server.user)
        return {**keys, "password_env": f"TEST_{self.name.upper()}", **more}

    def slow(self, seconds):
        """A question that takes so long and is answered with `whole`."""
        return {
            "postgres": f"SELECT pg_sleep({seconds}), 'whole'",
            "mysql": f"SELECT SLEEP({seconds}), 'whole'",
            "redis": f"BLPOP nothing {seconds}\nECHO whole",
        }[self.name]

    def path(self, text):
        database = getattr(self.server, "database", "")
        proto = {} if self.name == "postgres" else {"proto": self.name}
        p = {"host": self.host, "port": self.port, "db": database, "user": "anybody", "q": text, **proto}
        return "/sql?" + urlencode(p)

    def sessions(self):
        """The pool's, as the server sees them."""
        if self.name == "postgres":
            return [int(pid) for pid, _ in self.server.backends()]
        return self.server.sessions()

    def kill(self, session):
        if self.name == "postgres":
            self.server.terminate_backends()
        elif self.name == "mysql":
            self.server.run(f"KILL {session}")
        else:
            assert self.server.ask("CLIENT", "KILL", "ID", session) == ":1"


@pytest.fixture
def side(request):
    return Side(request.param, request.getfixturevalue(request.param))


class Service:
    """dbprobe with the databases of some sides."""

    def __init__(self, site, kind, *sides, limits=None, **more):
        self.site, self.sides = site, sides
        site.put("service", f"dbprobe-{kind}")
        env = {}
        for s in sides:
            env[f"{s.name.upper()}_HOST"] = s.host
            env[f"{s.name.upper()}_DB"] = getattr(s.server, "database", "")
        self.tables = {"databases": {s.name: s.table(**more) for s in sides}, "limits": limits or {}, "env": env}
        site.configure(self.tables)
        self.running = site.serve(env={f"TEST_{s.name.upper()}": s.server.password for s in sides})

    def __enter__(self):
        self.server = self.running.__enter__()
        return self

    def __exit__(self, *how):
        return self.running.__exit__(*how)

    def ask(self, side, text):
        r = self.server.get(side.path(text))
        assert r.status == 200, r.text
        return r.text.strip()

    def id(self, side):
        return int(self.ask(side, side.id).lstrip(":"))

    def slow(self, side, seconds):
        """A question that is being answered."""
        begun = Background(lambda: self.server.get(side.path(side.slow(seconds))))
        wait_until(lambda: self.pool(side)["active"] == 1, "a question in progress")
        return begun

    def pool(self, side):
        def found():
            return next((d for d in self.site.stats()["databases"] if d["name"] == side.name), None)

        return wait_until(found, "it has a pool")


@PROTOCOLS
@KINDS
def test_us_117_guest_after_guest_has_the_same_session(site, side, kind):
    with Service(site, kind, side) as service:
        assert len({service.id(side) for _ in range(5)}) == 1
        wait_until(lambda: service.pool(side)["idle"] == 1, "it was given back")
        pool = service.pool(side)
        greeted = side.name == "mysql"  # the first guest of all is greeted as the server greeted the host
        assert (pool["connects"], pool["leases"], pool["total"]) == (1 + greeted, 5 + greeted, 1)


@PROTOCOLS
@KINDS
def test_us_114_an_opened_place_leases_when_its_start_up_is_whole(site, side, kind):
    """The one connection of the pool is busy, and to open another waits for nothing."""
    with Service(site, kind, side, pool_size=1) as service:
        r = service.server.get(side.path(side.id) + "&late=1")
        assert r.status == 200, r.text
        assert int(r.text.strip().lstrip(":")) == service.id(side)
        r = service.server.get(side.path(side.id).replace(side.host, "db.nowhere") + "&late=1")
        assert (r.status, r.text.split()[0]) == (503, "08004")
        assert f"not-allowed: connect: no database is declared at db.nowhere:{side.port}" in r.text
        r = service.server.get(side.path(side.id).replace(side.host, "x" * 300) + "&late=1")
        assert "invalid-argument: connect: the host has 300 bytes, 1 to 253 are taken" in r.text


@PROTOCOLS
def test_us_117_a_session_that_the_server_ended_is_noticed(site, side):
    with Service(site, "p2", side) as service:
        first = service.id(side)
        wait_until(lambda: service.pool(side)["idle"] == 1, "it was given back")
        side.kill(first)
        wait_until(lambda: service.pool(side)["total"] == 0, "it is gone from the pool")
        assert service.pool(side)["causes"]["lost"] == 1
        assert service.id(side) != first


@PROTOCOLS
def test_us_117_the_health_check_finds_a_silent_server(site, side):
    with FaultProxy(side.server.host, side.server.port) as proxy:
        more = {"address_port": proxy.port, "health_interval": "200ms", "connect_timeout": "1s"}
        with Service(site, "p2", side, **more) as service:
            first = service.id(side)
            wait_until(lambda: service.pool(side)["idle"] == 1, "it was given back")
            proxy.stall()
            wait_until(lambda: service.pool(side)["causes"]["ping"] == 1, "no answer to the check", 15)
            wait_until(lambda: service.pool(side)["total"] == 0, "it is gone from the pool")
            proxy.resume()
            assert service.id(side) != first


@PROTOCOLS
@KINDS
def test_us_115_us_116_a_stop_lets_what_runs_finish(site, side, kind):
    with Service(site, kind, side) as service:
        service.id(side)
        slow = service.slow(side, 1.5)
        service.server.process.send_signal(signal.SIGTERM)
        answer = slow.result()
        assert answer.status == 200 and "whole" in answer.text, answer
        assert service.server.wait() == 0
        assert side.sessions() == []
        service.server.check_clean()


@PROTOCOLS
def test_us_115_us_116_a_stop_ends_what_takes_longer_than_drain_timeout(site, side):
    with Service(site, "p2", side, limits={"drain_timeout": "300ms"}) as service:
        slow = service.slow(side, 8)
        since = time.monotonic()
        service.server.process.send_signal(signal.SIGTERM)
        service.server.wait()
        assert time.monotonic() - since < 6
        assert slow.result().status in (500, 503, 504)
        wait_until(lambda: side.sessions() == [], "no session is left", 30)


@PROTOCOLS
@KINDS
def test_us_115_us_116_a_reload_lets_what_runs_finish(site, side, kind):
    with Service(site, kind, side) as service:
        old = service.id(side)
        slow = service.slow(side, 1.5)
        service.tables["databases"][side.name]["pool_size"] = 3
        site.configure(service.tables)
        site.reload()
        assert service.id(side) != old, "new guests are another pool's"
        answer = slow.result()
        assert answer.status == 200 and "whole" in answer.text, answer
        wait_until(lambda: old not in side.sessions(), "the old session's end")
        assert service.pool(side)["limit"] == 3


@KINDS
def test_us_703_one_service_has_one_connection_to_each_of_its_databases(site, postgres, mysql, redis, kind):
    """Both ends say so: the host's figures, and each server's list of sessions."""
    sides = [Side("postgres", postgres), Side("mysql", mysql), Side("redis", redis)]
    with Service(site, kind, *sides) as service:
        for i in range(20):
            path = "/all?" + urlencode({"postgres": f"SELECT {i}", "mysql": f"SELECT {i} + 100", "redis": f"ECHO r{i}"})
            r = service.server.get(path)
            assert (r.status, r.text.split()) == (200, [str(i), str(i + 100), f"${len(f'r{i}')}", f"r{i}"])
            # A guest that comes while the only one is reset gets another, where the pool has room.
            for s in sides:
                wait_until(lambda s=s: service.pool(s)["idle"] == 1, "it was given back")
        metrics = site.admin("GET", "/metrics").text
        for s in sides:
            assert len(s.sessions()) == 1, s.name
            database = getattr(s.server, "database", "0")
            labels = f'{{pool="{s.name}",database="{database}"'
            lines = [line for line in metrics.splitlines() if line.startswith(f"warpgrid_db_connections{labels}")]
            assert sum(int(line.rsplit(" ", 1)[1]) for line in lines) == 1, lines
