# SPDX-License-Identifier: Apache-2.0
"""US-111: a database pool as it is seen from outside: /metrics, /stats, `warp stats`, the log."""
import json
import re
import signal

import pytest
from harness import Background, Terminal
from infra import wait_until
from test_operations import get, parse_metrics
from test_postgres import config as database_config

CAUSES = {"connect", "auth", "tls", "role", "busy", "timeout", "protocol", "reset", "ping", "lost"}


@pytest.fixture
def shop(site, postgres):
    """A served dbprobe whose pool may be configured; stopped by the test's own `with`."""

    def start(*args, password=None, **more):
        site.put("service", "dbprobe-p2")
        site.configure(database_config(postgres, **more))
        return site.serve(*args, env={"TEST_DB_PASSWORD": password or postgres.password})

    return start


def pools(site):
    return site.stats()["databases"]


def test_us_111_metrics_tell_all_of_a_pool(shop, site, postgres):
    with shop(pool_size=3) as server:
        for _ in range(4):
            assert get(server, "/sql?q=select+1").status == 200
        slow = Background(lambda: get(server, "/sql?q=select+pg_sleep(1)"))
        wait_until(lambda: pools(site)[0]["active"] == 1, "a session in use")
        s = parse_metrics(site.admin("GET", "/metrics"))
        labels = f'pool="test",database="{postgres.database}"'

        def value(name, more=""):
            return s[f"warpgrid_db_{name}{{{labels}{more}}}"]

        assert value("connections_active") == 1 and value("connections_limit") == 3
        assert 1 <= value("connections") <= 3 and value("waiting") == 0
        assert value("connections") >= value("connections_active") + value("connections_idle")
        assert value("leases_total") == 5 and value("connects_total") + value("reuses_total") == 5
        assert value("resets_total") >= 2 and value("reaped_total") == 0 and value("timeouts_total") == 0
        assert value("received_bytes_total") > 500 and value("sent_bytes_total") > 100
        assert {c for c in CAUSES if value("failures_total", f',cause="{c}"') == 0} == CAUSES
        bounds = [float(m[1]) for m in (re.search(r'wait_seconds_bucket\{.*le="([0-9.]+)"', k) for k in s) if m]
        assert bounds == sorted(bounds) and bounds[0] == 0.001 and bounds[-1] == 10
        counts = [value("wait_seconds_bucket", f',le="{b:g}"') for b in bounds]
        assert counts == sorted(counts)
        assert value("wait_seconds_bucket", ',le="+Inf"') == value("wait_seconds_count") == 5
        assert value("wait_seconds_sum") < 5
        assert slow.result().status == 200
        pool = pools(site)[0]
        assert set(pool["causes"]) == CAUSES and sum(pool["wait"]["buckets"].values()) == 5
        assert pool["received_bytes"] >= value("received_bytes_total") and pool["resets"] >= 2
        assert 0 <= pool["wait"]["p50_ms"] <= pool["wait"]["p99_ms"]


def test_us_111_failures_are_counted_by_cause(shop, site, postgres):
    with shop(password="wrong", connect_timeout="500ms") as server:
        assert get(server, "/sql?q=select+1").status == 503
        assert pools(site)[0]["causes"]["auth"] >= 1
    with shop(password=postgres.password) as server:
        assert get(server, "/sql?q=select+1").status == 200
        wait_until(lambda: pools(site)[0]["idle"] == 1, "an idle connection")
        postgres.terminate_backends()
        wait_until(lambda: pools(site)[0]["causes"]["lost"] == 1, "the loss is counted")
        assert pools(site)[0]["total"] == 0
        server.log.wait_for(r"level=info event=db_closed .*cause=lost")


def test_us_111_a_connection_s_life_in_the_log(shop, site, postgres):
    with shop("--log-level", "debug", idle_timeout="500ms") as server:
        assert get(server, "/sql?q=select+1").status == 200
        conn = server.log.wait_for(r"event=db_connecting .*conn=(\d+)").group(1)
        for event in ("connected .*ms=", "leased .*waited_ms=", "returned .*held_ms=", "reset .*ms="):
            name, _, rest = event.partition(" ")
            server.log.wait_for(rf"event=db_{name} .*conn={conn} {rest}")
        server.log.wait_for(rf"event=db_closed .*conn={conn} cause=idle age_ms=\d+ leases=1")
        assert postgres.password not in server.log.text


def test_us_111_a_slow_wait_is_told(shop, postgres):
    with shop(pool_size=1, slow_wait="200ms") as server:
        slow = Background(lambda: get(server, "/sql?q=select+pg_sleep(1)"))
        server.log.wait_for(r"event=db_connected")
        waits = [Background(lambda: get(server, "/sql?q=select+1")) for _ in range(3)]
        line = server.log.wait_for(r"level=warn event=db_slow_wait .*").group(0)
        assert "pool_size=1" in line and "active=1" in line
        assert int(re.search(r"longest_lease_ms=(\d+)", line)[1]) >= 150
        assert int(re.search(r"waited_ms=(\d+)", line)[1]) >= 200
        assert slow.result().status == 200 and all(w.result().status == 200 for w in waits)


# ---- warp stats -----------------------------------------------------------------------------


def test_us_111_warp_stats_prints_one_table_or_document(shop, site, warp, postgres):
    with shop() as server:
        admin = f"127.0.0.1:{site.admin_port}"
        out = warp("stats", "--admin", admin, cwd="/")
        assert out.returncode == 0 and out.stdout == "service: serving, 0 pools\nno guest has asked for a database yet\n"
        for _ in range(3):
            assert get(server, "/sql?q=select+1").status == 200
        for args in ((), ("--once",)):
            out = warp("stats", *args, "--admin", admin, cwd="/")
            assert out.returncode == 0 and out.stderr == "", out
            head, _, heads, row = out.stdout.splitlines()
            assert head == "service: serving, 1 pool"
            found = dict(zip(heads.replace("wait p", "p").replace("per s", "s").split(), row.split()))
            assert found["pool"] == "test" and found["limit"] == "10" and found["leases"] == "3"
        found = json.loads(warp("stats", "--json", "--admin", admin, cwd="/").stdout)
        assert (found["version"], found["command"], found["ok"]) == (1, "stats", True)
        assert found["pid"] == server.pid and found["databases"][0]["leases"] == 3
        assert set(found["databases"][0]["causes"]) == CAUSES
    out = warp("stats", "--admin", admin, cwd="/")
    assert out.returncode == 1 and "connection refused" in out.stderr
    out = warp("stats", "extra", cwd="/")
    assert out.returncode == 2


@pytest.mark.parametrize("way", ["q", "ctrl-c", "sigterm"])
def test_us_111_warp_stats_is_live_on_a_terminal(shop, site, warp, way):
    with shop() as server:
        assert get(server, "/sql?q=select+1").status == 200
        t = Terminal(warp, ["stats", "--admin", f"127.0.0.1:{site.admin_port}"], "/", width=120)
        t.wait_for("q ends it")
        assert "\x1b[H\x1b[J" in t.text and "test" in t.text
        assert get(server, "/sql?q=select+1").status == 200
        for _ in range(2):  # two frames more: the second is of after that request
            t.text = ""
            t.wait_for("q ends it")
        row = next(line for line in t.text.splitlines() if line.startswith("test "))
        assert row.split()[7] == "2", t.text
        if way == "sigterm":
            t.process.send_signal(signal.SIGTERM)
        else:
            t.type("q" if way == "q" else "\x03")
        assert t.end() == 0


def test_us_111_warp_stats_ends_with_the_server(shop, site, warp):
    with shop():
        t = Terminal(warp, ["stats", "--admin", f"127.0.0.1:{site.admin_port}"], "/", width=120)
        t.wait_for("q ends it")
    assert t.end() == 1
    assert "cannot ask" in t.text
