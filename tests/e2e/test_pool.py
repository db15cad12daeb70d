# SPDX-License-Identifier: Apache-2.0
"""US-111: what a pool lives through: a server that restarts, moves, is full, slow or dead, and a
password that changes. PostgreSQL is a real one."""
import socket
import threading
import time
from pathlib import Path

import pytest
from fault_proxy import FaultProxy
from harness import Background
from infra import Postgres, free_port, wait_until
from test_operations import get
from test_postgres import HOST, SqlError, config, probe, works  # noqa: F401 (a fixture)
from test_registry import Registry

BOTH = pytest.mark.parametrize("kind", ["p2", "p3"])


def causes(site, name="test"):
    return next(d for d in site.stats()["databases"] if d["name"] == name)["causes"]


class Load:
    """Guests that ask one after the other until they are stopped; each answer is counted."""

    def __init__(self, ask, guests=4):
        self._ask, self._stop = ask, threading.Event()
        self.good, self.bad, self.wrong, self.longest_s = 0, [], [], 0.0
        self._lock = threading.Lock()
        self._threads = [threading.Thread(target=self._run, args=(i,)) for i in range(guests)]

    def _run(self, guest):
        n = 0
        while not self._stop.is_set():
            n += 1
            question, start = f"{guest}.{n}", time.monotonic()
            try:
                answer = self._ask(f"SELECT '{question}'")
                with self._lock:
                    if answer == question:
                        self.good += 1
                    else:
                        self.wrong.append((question, answer))
            except SqlError as e:
                with self._lock:
                    self.bad.append(e)
                time.sleep(0.02)
            with self._lock:
                self.longest_s = max(self.longest_s, time.monotonic() - start)

    def __enter__(self):
        for t in self._threads:
            t.start()
        return self

    def __exit__(self, *_):
        self._stop.set()
        for t in self._threads:
            t.join(60)
            assert not t.is_alive(), "a guest hangs"


# ---- a server that goes and comes ------------------------------------------------------------


@pytest.fixture
def own_postgres(tmp_path_factory):
    """A PostgreSQL of one test: own_postgres(OPTION...)."""
    made = []

    def start(*options):
        made.append(Postgres(tmp_path_factory.mktemp("own-infra"), *options))
        return made[-1]

    yield start
    for pg in made:
        pg.close()


@BOTH
@pytest.mark.parametrize("mode", ["fast", "immediate"])
def test_us_111_restart_under_load(probe, postgres, kind, mode):  # noqa: F811
    """Guests fail while it is away, none hangs or reads another's answer; then all is as before."""
    with probe(postgres, kind, pool_size=4, connect_timeout="2s") as p:
        with Load(p.value) as load:
            wait_until(lambda: load.good > 20, "it works")
            postgres.stop(mode)
            wait_until(lambda: load.bad, "it is away")
            postgres.start()
            before = load.good
            wait_until(lambda: load.good > before + 50, "it works again", 30)
        assert not load.wrong and load.longest_s < 6
        assert len(postgres.backends()) <= 4
        failures = len(load.bad)
        assert all(works(p) for _ in range(20)), "nothing is left of it"
        assert failures == len(load.bad)
        wait_until(lambda: len(postgres.backends()) <= 4, "no more than the limit")


def test_us_111_a_full_server_is_waited_for(site, own_postgres):
    """PostgreSQL takes three connections, the pool would like ten: guests wait for those three."""
    pg = own_postgres("--set", "max_connections=6", "--set", "superuser_reserved_connections=3")
    site.put("service", "dbprobe-p2")
    site.configure(config(pg, pool_size=10, connect_timeout="20s", http={"max_in_flight": 64}))
    with site.serve(env={"TEST_DB_PASSWORD": pg.password}) as server:
        calls = [Background(lambda: get(server, "/sql?q=select+pg_sleep(0.2)")) for _ in range(12)]
        answers = [c.result() for c in calls]
        assert [a.status for a in answers] == [200] * 12, [a.text for a in answers]
        found = causes(site)
        assert found["busy"] >= 1 and sum(found.values()) == found["busy"], found
        assert 1 <= site.stats()["databases"][0]["total"] <= 3


# ---- a name whose address changes ------------------------------------------------------------


def test_us_111_failover_of_the_address_behind_a_name(site, postgres):
    """Each connection is made to where the name stands at that time."""
    name, port, registry = "pg.warp.local", free_port(), Registry()
    try:
        with FaultProxy(postgres.host, postgres.port, "127.0.0.2", port) as old, FaultProxy(
            postgres.host, postgres.port, "127.0.0.3", port
        ) as new:
            registry.put(name, "127.0.0.2")
            site.put("service", "dbprobe-p2")
            tables = config(postgres, port=port, address=name)
            tables["registry"] = {"url": registry.url, "interval": "100ms"}
            tables["shims"] = {"dns": {"ttl": "0s"}}
            site.configure(tables)
            with site.serve(env={"TEST_DB_PASSWORD": postgres.password}) as server:
                assert get(server, "/sql?q=select+1").status == 200
                assert (old.accepted, new.accepted) == (1, 0)
                wait_until(lambda: site.stats()["databases"][0]["idle"] == 1, "it is clean")
                registry.put(name, "127.0.0.3")
                old.refuse()
                old.cut()
                wait_until(lambda: get(server, "/sql?q=select+1").status == 200, "the new address")
                wait_until(lambda: new.accepted >= 1, "it is dialled")
                assert old.accepted == 1
                assert causes(site)["lost"] >= 1
    finally:
        registry.stop()


def test_us_111_all_addresses_of_a_name_are_tried(site, postgres):
    """One of them refuses, one answers: no guest notices."""
    name, port = "pg.warp.local", free_port()
    with FaultProxy(postgres.host, postgres.port, "127.0.0.3", port) as proxy:
        site.put("service", "dbprobe-p2")
        tables = config(postgres, port=port, address=name)
        tables["registry"] = {name: ["127.0.0.2", "127.0.0.3", "127.0.0.4"]}
        site.configure(tables)
        with site.serve(env={"TEST_DB_PASSWORD": postgres.password}) as server:
            for _ in range(6):
                assert get(server, "/sql?q=select+1").status == 200
                proxy.cut()
            assert proxy.accepted >= 2


# ---- several servers -------------------------------------------------------------------------


def become_standby(pg):
    """The server starts again as a hot standby (of nobody)."""
    pg.stop()
    Path(pg.env["WARPGRID_PG_HOME"], "data", "standby.signal").touch()
    pg.start()
    pg.wait_ready()


@BOTH
def test_us_111_addresses_and_a_failover_between_them(site, own_postgres, kind):
    """The first is a standby, the second takes writes. Then the second goes and the first is
    promoted: writes go there, and no guest has to know."""
    one, two = own_postgres(), own_postgres()
    become_standby(one)
    # One password for both: the servers of a cluster share their roles.
    two.sql(f"ALTER ROLE {two.user} PASSWORD '{one.password}'")
    site.put("service", f"dbprobe-{kind}")
    tables = config(
        one,
        addresses=[f"127.0.0.1:{free_port()}", f"127.0.0.1:{one.port}", f"127.0.0.1:{two.port}"],
        target_session_attrs="read-write",
    )
    for key in ("address", "address_port"):
        del tables["databases"]["test"][key]
    site.configure(tables)
    with site.serve(env={"TEST_DB_PASSWORD": one.password}) as server:

        def port(expect=200):
            r = get(server, "/sql?q=select+inet_server_port()")
            return int(r.text) if r.status == expect == 200 else r.status

        assert port() == two.port
        server.log.wait_for(r"event=db_address_failed .*error=.*standby, not read-write")
        two.stop()
        one.pg_ctl("promote")
        wait_until(lambda: port() == one.port, "the promoted one is found", 20)
        two.start()
        two.wait_ready()
        assert port() == one.port, "a connection that works is kept"
        site.configure({**tables, "databases": {"test": {**tables["databases"]["test"], "target_session_attrs": "standby"}}})
        site.reload()
        r = get(server, "/sql?q=select+1")
        assert r.status == 503 and "not standby" in r.text, r.text
        assert causes(site)["role"] >= 1
        become_standby(two)
        wait_until(lambda: port() == two.port, "the standby is found", 20)
        one.sql("ALTER SYSTEM SET default_transaction_read_only = on")
        one.sql("SELECT pg_reload_conf()")
        site.configure({**tables, "databases": {"test": {**tables["databases"]["test"], "target_session_attrs": "primary"}}})
        site.reload()
        assert port() == one.port, "a primary that refuses writes is one"


# ---- databases do not touch each other -------------------------------------------------------


@pytest.mark.parametrize("how", ["mute", "silent", "slow"])
def test_us_111_a_bad_database_does_not_delay_another(site, postgres, how):
    """One accepts and says nothing, or does not even accept, or is asked for long: beside it another
    database answers as quickly as ever, on every worker."""
    with socket.socket() as mute:
        mute.bind(("127.0.0.1", 0))
        mute.listen(0 if how == "silent" else 128)
        fillers = []
        if how == "silent":  # a full backlog: connect(2) gets no answer
            for _ in range(3):
                fillers.append(socket.socket())
                fillers[-1].setblocking(False)
                fillers[-1].connect_ex(mute.getsockname())
        tables = config(postgres, connect_timeout="3s", http={"max_in_flight": 200})
        bad = dict(tables["databases"]["test"], host="bad.test.warp.local", pool_size=2)
        if how != "slow":
            bad["address_port"] = mute.getsockname()[1]
        tables["databases"]["bad"] = bad
        site.put("service", "dbprobe-p2")
        site.configure(tables)
        with site.serve(env={"TEST_DB_PASSWORD": postgres.password}) as server:
            q = "select+pg_sleep(2)" if how == "slow" else "select+1"
            stuck = [
                Background(lambda: get(server, f"/sql?host=bad.test.warp.local&q={q}")) for _ in range(20)
            ]
            wait_until(
                lambda: any(d["name"] == "bad" and d["waiting"] for d in site.stats()["databases"]),
                "guests wait for the bad one",
            )
            longest = 0.0
            for _ in range(60):
                start = time.monotonic()
                assert get(server, "/sql?q=select+1").status == 200
                longest = max(longest, time.monotonic() - start)
            assert longest < 1, longest
            found = {s.result().status for s in stuck}
            assert found == ({200, 503} if how == "slow" else {503})
        for s in fillers:
            s.close()


# ---- a new password --------------------------------------------------------------------------


def test_us_111_a_password_is_changed_without_losing_a_request(site, own_postgres):
    """The order of an administrator: ALTER ROLE, the file, reload. Connections that exist outlive the
    first; no new one is made with the old password after the last."""
    pg = own_postgres()
    secret = site.folder / "password"
    secret.write_text(pg.password)
    secret.chmod(0o600)
    site.put("service", "dbprobe-p2")
    tables = config(pg, password_file=str(secret), pool_size=4)
    del tables["databases"]["test"]["password_env"]
    site.configure(tables)
    with site.serve() as server:

        def ask(q):
            r = get(server, "/sql?q=" + q.replace(" ", "+").replace("'", "%27"))
            if r.status != 200:
                raise SqlError(r.status, r.text)
            return r.text.strip()

        with Load(ask) as load:
            wait_until(lambda: load.good > 20, "it works")
            slow = Background(lambda: get(server, "/sql?q=select+pg_sleep(1.5)"))
            wait_until(lambda: pg.sql("SELECT 1 FROM pg_stat_activity WHERE query LIKE '%sleep%' AND "
                                      "usename = 'warpgrid_app'"), "a query in progress")  # fmt: skip
            for word in ("second-secret", "third-secret"):
                full = [Background(lambda: get(server, "/sql?q=select+pg_sleep(0.3)")) for _ in range(4)]
                assert all(f.result().status == 200 for f in full)
                wait_until(lambda: site.stats()["databases"][0]["total"] == 4, "all connections exist")
                pg.sql(f"ALTER ROLE {pg.user} PASSWORD '{word}'")
                secret.write_text(word)
                site.reload()
                before = load.good
                wait_until(lambda: load.good > before + 30, "it works with the new one")
            assert slow.result().status == 200
        assert not load.bad and not load.wrong, load.bad
        for word in (pg.password, "second-secret", "third-secret"):
            assert word not in server.log.text
        pg.terminate_backends()  # new connections take the new password
        wait_until(lambda: get(server, "/sql?q=select+1").status == 200, "it logs in")
