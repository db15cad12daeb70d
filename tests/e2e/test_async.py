# SPDX-License-Identifier: Apache-2.0
"""US-506: guests that ask for many sessions at once. Stock guests through their sockets (see
test_sockets.py); what the server sees is sampled all the while."""
import threading
import time

import pytest
from harness import Background, word
from test_postgres import HOST
from test_sockets import ask, do, sentinel_of, serve  # noqa: F401: fixtures

SLEEP = "SELECT pg_sleep(0.2), pg_backend_pid()"


class Watch:
    """The largest number of sessions that the server has seen of the role."""

    def __init__(self, pg):
        self.pg, self.most = pg, 0
        self._stop = threading.Event()
        self._thread = threading.Thread(target=self._run, daemon=True)

    def _run(self):
        while not self._stop.wait(0.02):
            self.most = max(self.most, len(self.pg.backends()))

    def __enter__(self):
        self._thread.start()
        self._began = time.monotonic()
        return self

    def __exit__(self, *exc):
        self.took = time.monotonic() - self._began
        self._stop.set()
        self._thread.join()


def check(lines, watch):
    """20 answers over 5 sessions, in time."""
    assert len(lines) == 20, lines
    pids = {line.rsplit("|", 1)[-1] for line in lines}
    assert len(pids) <= 5 and all(pid.isdigit() for pid in pids), lines
    assert 1 <= watch.most <= 5
    assert 0.8 <= watch.took < 10


@pytest.mark.parametrize("kind", ["p2", "p3", "tokio"])
def test_us_506_twenty_checkouts_of_one_guest_on_a_pool_of_five(ask, postgres, kind):  # noqa: F811
    """WASI 0.2 by pollables (start-connect, subscribe, finish-connect), WASI 0.3 by async connects, and
    tokio: nobody waits for ever, the pool is never larger than it may be."""
    host = sentinel_of(ask) if kind == "p2" else HOST
    place = f"{host} 5432 warpgrid {postgres.user}"
    step = f"checkouts 20 {word(SLEEP)}" if kind == "tokio" else f"checkouts 20 {place} {word(SLEEP)}"
    with Watch(postgres) as watch:
        lines = list(ask(kind, step, pool_size=5, connect_timeout="20s"))
    check(lines[0].split()[1:], watch)


@pytest.mark.parametrize("kind", ["p2", "p3"])
def test_us_506_twenty_requests_on_a_pool_of_five(serve, postgres, kind):  # noqa: F811
    with serve(kind, pool_size=5, connect_timeout="20s") as web:
        with Watch(postgres) as watch:
            calls = [web.background(SLEEP) for _ in range(20)]
            lines = [c.result()[0] for c in calls]
    check(lines, watch)


def test_us_506_twenty_checkouts_of_one_request_on_a_pool_of_five(serve, postgres):  # noqa: F811
    with serve("p3", pool_size=5, connect_timeout="20s") as web:
        with Watch(postgres) as watch:
            lines = web.get("/many", SLEEP, n=20)
    check(lines[1:], watch)


@pytest.mark.parametrize("kind", ["p2", "p3"])
def test_us_506_three_sequential_queries_in_one_request(serve, kind):  # noqa: F811
    with serve(kind) as web:
        rows = web.sql("SELECT 1, 'one'", "SELECT i FROM generate_series(2, 3) i", "SELECT 4, 'four'")
        assert rows == ["1|one", "2", "3", "4|four"]


def test_us_506_fifty_queries_of_one_instance_overlap(serve):  # noqa: F811
    """50 statements of 50 ms, 2.5 s one after the other; what it takes exactly is for a bench to say."""
    with serve("p3", pool_size=50) as web:
        best = min(float(web.get("/warm", "SELECT pg_sleep(0.05)", n=50)[0]) for _ in range(3))
        assert 50 <= best < 50 * 50 / 5


@pytest.mark.parametrize("kind", ["p2", "p3"])
def test_us_506_other_requests_go_on_while_one_waits(serve, kind):  # noqa: F811
    with serve(kind) as web:
        web.sql("SELECT 1")
        slow = web.background("SELECT pg_sleep(2)")
        time.sleep(0.3)
        start = time.monotonic()
        for _ in range(5):
            assert web.sql("SELECT 1") == ["1"]
        assert time.monotonic() - start < 1.5 and not slow.done
        assert slow.result() == [""]


def test_us_506_guests_of_two_workers_share_the_limit(serve, postgres):  # noqa: F811
    with serve("p3", pool_size=5, connect_timeout="20s", http={"workers": 2}) as web:
        with Watch(postgres) as watch:
            calls = [Background(lambda: web.get("/many", SLEEP, n=5)) for _ in range(4)]
            lines = [line for c in calls for line in c.result()[1:]]
    check(lines, watch)
