# SPDX-License-Identifier: Apache-2.0
"""US-111: how long connections live and who has them: min_idle, max_lifetime, workers that share, a
peer that vanishes, a name that moves. PostgreSQL is a real one."""
import signal
import time

from dns_server import DnsServer
from fault_proxy import FaultProxy
from harness import Background
from infra import free_port, wait_until
from test_operations import get
from test_postgres import config

NAME = "pg.example.test"


def pool(site, name="test"):
    """The figures of a database; its pool is there soon after a start."""

    def found():
        return next((d for d in site.stats()["databases"] if d["name"] == name), None)

    return wait_until(found, f"{name} has a pool")


def serve(site, pg, *args, tables=None, **more):
    site.put("service", "dbprobe-p2")
    site.configure(tables or config(pg, **more))
    return site.serve(*args, env={"TEST_DB_PASSWORD": pg.password})


def pid(server):
    r = get(server, "/sql?q=select+pg_backend_pid()")
    assert r.status == 200, r.text
    return int(r.text)


# ---- min_idle -------------------------------------------------------------------------------


def test_us_111_min_idle_is_there_before_the_first_guest(site, postgres):
    """Two workers share the four; what is lost comes back without a guest asking."""
    with serve(site, postgres, min_idle=4, pool_size=6) as server:
        wait_until(lambda: len(postgres.backends()) == 4, "four connections")
        assert pool(site)["idle"] == 4 and pool(site)["leases"] == 0
        before = {b for b, _ in postgres.backends()}
        assert pid(server) in before
        assert pool(site)["connects"] == 4 and pool(site)["reuses"] == 0  # its first lease
        postgres.terminate_backends()
        wait_until(lambda: len({b for b, _ in postgres.backends()} - before) == 4, "four new ones")
        assert pool(site)["causes"]["lost"] == 4


def test_us_111_min_idle_waits_for_a_server_that_is_down(site, postgres):
    """A few attempts, not a storm; then it is there again."""
    port = free_port()
    with serve(site, postgres, port=port, min_idle=50, pool_size=50):
        wait_until(lambda: pool(site)["failures"] >= 4, "it is tried again and again", 15)
        start, before = time.monotonic(), pool(site)["failures"]
        time.sleep(3)
        assert pool(site)["failures"] - before <= 2 * (time.monotonic() - start + 1)
        with FaultProxy(postgres.host, postgres.port, "127.0.0.1", port):
            wait_until(lambda: pool(site)["idle"] == 50, "all are there", 15)


# ---- max_lifetime ---------------------------------------------------------------------------


def test_us_111_lifetimes_end_without_a_guest_noticing(site, postgres):
    with serve(site, postgres, max_lifetime="1s", pool_size=2) as server:
        slow = Background(lambda: get(server, "/sql?q=select+pg_sleep(3),'whole'"))
        seen, end = set(), time.monotonic() + 3
        while time.monotonic() < end:
            seen.add(pid(server))
        assert len(seen) >= 3
        answer = slow.result()
        assert answer.status == 200 and "whole" in answer.text
        server.log.wait_for(r"level=info event=db_closed .*cause=lifetime")
        wait_until(lambda: pool(site)["total"] == 0, "the idle ones end, too", 5)
        assert sum(pool(site)["causes"].values()) == 0


# ---- workers --------------------------------------------------------------------------------


def test_us_111_one_connection_serves_two_workers(site, postgres):
    """An idle connection goes to the worker whose guest waits: there is one log-in for both."""
    with serve(site, postgres, "--log-level", "debug", pool_size=1) as server:
        for _ in range(10):
            calls = [Background(lambda: pid(server)) for _ in range(8)]
            assert len({c.result() for c in calls}) == 1
            if all(f"worker={w} " in line for w in (1, 2) for line in [leases(server)]):
                break
        assert pool(site)["connects"] == 1 and pool(site)["leases"] >= 8
        assert "worker=1 " in leases(server) and "worker=2 " in leases(server)


def leases(server):
    return "".join(line + " " for line in server.log.text.splitlines() if "event=db_leased" in line)


# ---- peers that vanish ----------------------------------------------------------------------


def test_us_111_a_half_open_peer_is_dropped_and_counted(site, postgres, fault_proxy):
    """No byte comes through any more, and no one says so: the health check ends the idle one, the
    guest's own deadline its wait; nothing hangs, and the pool works when the network does."""
    with serve(site, postgres, port=fault_proxy.port, health_interval="300ms", recv_timeout="1s",
               connect_timeout="1s") as server:  # fmt: skip
        assert pid(server)
        busy = Background(lambda: get(server, "/sql?q=select+pg_sleep(2)"))
        wait_until(lambda: pool(site)["active"] == 1, "one in use")
        old = pid(server)
        wait_until(lambda: pool(site)["idle"] == 1, "one idle")
        fault_proxy.stall()
        start = time.monotonic()
        assert busy.result().status == 503
        wait_until(lambda: pool(site)["causes"]["ping"] == 1, "the idle one is counted", 15)
        wait_until(lambda: pool(site)["total"] == 0, "both are gone", 15)
        assert time.monotonic() - start < 12
        assert get(server, "/sql?q=select+1").status == 503
        wait_until(lambda: pool(site)["causes"]["timeout"] >= 1, "the attempt is counted")
        fault_proxy.resume()
        wait_until(lambda: get(server, "/sql?q=select+1").status == 200, "it works again")
        assert pid(server) != old


# ---- names ----------------------------------------------------------------------------------


def test_us_111_failover_needs_no_patience_with_the_cache(site, postgres):
    """The zone says a minute; an address that is dead is asked for again at once."""
    port = free_port()
    with DnsServer({(NAME, "A"): ["127.0.0.2"]}, ttl=60) as dns, FaultProxy(
        postgres.host, postgres.port, "127.0.0.2", port
    ) as old, FaultProxy(postgres.host, postgres.port, "127.0.0.3", port) as new:
        tables = config(postgres, port=port, address=NAME)
        tables["shims"] = {"dns": {"servers": [dns.address], "ttl": "60s"}}
        tables["http"] = {"workers": 1}
        with serve(site, postgres, tables=tables) as server:
            assert pid(server)
            asked = dns.count(NAME)
            assert pid(server) and dns.count(NAME) == asked
            dns.zone[(NAME, "A")] = ["127.0.0.3"]
            old.refuse()
            old.cut()
            start = time.monotonic()
            wait_until(lambda: get(server, "/sql?q=select+1").status == 200, "the new address", 10)
            assert time.monotonic() - start < 5
            assert new.accepted >= 1 and old.accepted == 1 and dns.count(NAME) > asked


def test_us_111_a_name_without_an_answer_delays_no_other_database(site, postgres):
    with DnsServer({(NAME, "A"): ["127.0.0.1"]}, silent=[NAME]) as dns:
        tables = config(postgres, connect_timeout="2s", http={"max_in_flight": 100})
        tables["shims"] = {"dns": {"servers": [dns.address]}}
        tables["databases"]["lost"] = dict(
            tables["databases"]["test"], host="lost.test.warp.local", address=NAME
        )
        with serve(site, postgres, tables=tables) as server:
            stuck = [
                Background(lambda: get(server, "/sql?host=lost.test.warp.local&q=select+1"))
                for _ in range(10)
            ]
            wait_until(lambda: dns.count(NAME) > 0, "the name is asked for")
            longest = 0.0
            for _ in range(50):
                start = time.monotonic()
                assert get(server, "/sql?q=select+1").status == 200
                longest = max(longest, time.monotonic() - start)
            assert longest < 1, longest
            assert {s.result().status for s in stuck} == {503}
            dns.release()
            wait_until(
                lambda: get(server, "/sql?host=lost.test.warp.local&q=select+1").status == 200,
                "it has an address now",
            )


def test_us_111_connections_spread_over_several_servers(site, postgres):
    """load_balance: both are used; when one goes, the other serves all."""
    with FaultProxy(postgres.host, postgres.port) as one, FaultProxy(
        postgres.host, postgres.port
    ) as two:
        tables = config(postgres, load_balance=True, pool_size=20, min_idle=20)
        database = tables["databases"]["test"]
        del database["address"], database["address_port"]
        database["addresses"] = [f"127.0.0.1:{p.port}" for p in (one, two)]
        with serve(site, postgres, tables=tables) as server:
            wait_until(lambda: pool(site)["idle"] == 20, "all connections")
            assert one.accepted >= 2 and two.accepted >= 2 and one.accepted + two.accepted == 20
            one.refuse()
            one.cut()
            wait_until(lambda: two.accepted == 20 and pool(site)["idle"] == 20, "the other has them")
            assert pid(server)
            assert pool(site)["failures"] == 0


# ---- configuration --------------------------------------------------------------------------


def test_us_111_every_figure_is_a_database_s_own(site, postgres):
    """[shims.database_proxy] gives the defaults, [databases.NAME] overrides them; a reload brings new
    ones without losing a connection's guest."""
    tables = config(postgres, pool_size=2)
    tables["shims"] = {"database_proxy": {"pool_size": 7, "min_idle": 1}}
    other = dict(tables["databases"]["test"], host="other.test.warp.local", min_idle=3)
    del other["pool_size"]
    tables["databases"]["other"] = other
    with serve(site, postgres, tables=tables) as server:
        wait_until(lambda: len(site.stats()["databases"]) == 2, "both have a pool")
        wait_until(lambda: (pool(site)["idle"], pool(site, "other")["idle"]) == (1, 3), "min_idle of each")
        assert (pool(site)["limit"], pool(site, "other")["limit"]) == (2, 7)
        slow = Background(lambda: get(server, "/sql?q=select+pg_sleep(1),'whole'"))
        wait_until(lambda: pool(site)["active"] == 1, "a query in progress")
        tables["databases"]["test"]["pool_size"] = 5
        site.configure(tables)
        server.process.send_signal(signal.SIGHUP)
        wait_until(lambda: pool(site)["limit"] == 5, "the new limit")
        answer = slow.result()
        assert answer.status == 200 and "whole" in answer.text


def test_us_111_min_idle_above_the_limit_is_refused(site, warp, postgres):
    site.put("service", "dbprobe-p2")
    site.configure(config(postgres, pool_size=2, min_idle=3))
    out = warp("serve", cwd=site.folder, env={"TEST_DB_PASSWORD": postgres.password})
    assert out.returncode == 1
    assert "'min_idle' is 3, more than its 'pool_size' of 2" in out.stderr and "hint:" in out.stderr
