# SPDX-License-Identifier: Apache-2.0
"""Bad input and faults of MySQL and Redis: what test_faults.py lists for PostgreSQL, and where it is.

                                        MySQL                              Redis
  what a guest leaves behind            db/mysql_real, test_us_115_...     db/redis_reuse_real test_us117_...
                                        _servers_without_com_reset_...     test_in_doubt_it_is_closed
  half a message and death              db/mysql_life_real                 db/redis_reuse_real test_in_doubt_...,
    of the guest, of the server         test_left_in_the_middle, test_lost db/redis_real test_a_server_that_goes
  wrong protocol on the port            test_a_server_of_another_protocol
  lengths, sequence numbers, hostile    db/mysql_walk test_hostile_...,    db/redis
    guests and servers                  fuzz/mysql_{client,server}         fuzz/redis_{client,server}
  a server that stalls                  db/mysql_life_real, db/redis_real (health), test_protocols.py
  network cut, bytes one by one         test_a_cut_at_any_byte, test_every_byte_apart
  a full server                         test_a_full_server_is_waited_for
  wrong credentials, and who has whose  db/mysql_auth_real                 db/redis_real test_log_in,
    session                                                                test_us116_guest_auth
  many guests that leave in the middle  db/mysql_storm_real                db/redis_reuse_real test_many_guests
  all of it at once, for minutes        benches/soak.sh; test_faults.py test_soak"""
import re
from itertools import permutations

import pytest
from fault_proxy import FaultProxy
from harness import Background
from infra import MySQL, Redis, wait_until
from test_protocols import PROTOCOLS, Service, Side

OTHERS = pytest.mark.parametrize("side", ["mysql", "redis"], indirect=True)


@pytest.fixture
def side(request):
    return Side(request.param, request.getfixturevalue(request.param))


def whole(side):
    """A question, and its answer's lines."""
    return ("ECHO whole\nPING", ["$5 whole", "+PONG"]) if side.name == "redis" else ("SELECT 'whole'", ["whole"])


def works(service, side):
    text, lines = whole(side)
    r = service.server.get(side.path(text))
    return r.status == 200 and r.text.splitlines() == lines


@OTHERS
def test_a_cut_at_any_byte(site, side):
    """Of the log-in and of the answer: an error each time, and then it works again."""
    with FaultProxy(side.server.host, side.server.port) as proxy:
        with Service(site, "p2", side, address_port=proxy.port) as service:
            assert works(service, side)
            proxy.cut()
            wait_until(lambda: service.pool(side)["total"] == 0, "the cut is noticed")
            before = proxy.bytes["down"]
            assert works(service, side)
            total, failed, step = proxy.bytes["down"] - before, 0, 1 if side.name == "redis" else 9
            assert total > 20
            for at in range(1, total, step):
                proxy.cut()
                proxy.cut_after(at)
                text, lines = whole(side)
                r = service.server.get(side.path(text))
                if r.status == 200:
                    assert r.text.splitlines() == lines
                else:
                    assert r.status in (400, 503) and re.match(r"([0-9A-Z]{5}|RESP) .", r.text), r
                    failed += 1
                proxy.cut_after(None)
                wait_until(lambda: works(service, side), "it works again", 20)  # a pause follows failed connects
            assert failed >= (total // step) * 0.5, (failed, total)


@PROTOCOLS
@pytest.mark.parametrize("size", [1, 3])
def test_every_byte_apart(site, side, size):
    """Both ways, log-in, reset and answers: it takes longer, and that is all."""
    with FaultProxy(side.server.host, side.server.port) as proxy:
        proxy.split(size)
        with Service(site, "p2", side, address_port=proxy.port) as service:
            assert len({service.id(side) for _ in range(3)}) == 1
            assert all(works(service, side) for _ in range(3))


@pytest.mark.parametrize(
    "side, other", list(permutations(["postgres", "mysql", "redis"], 2)), indirect=["side"]
)
def test_a_server_of_another_protocol(site, side, other, request):
    """An error that says so, soon, and nothing of the other server's words taken for an answer."""
    port = request.getfixturevalue(other).port
    with Service(site, "p2", side, address_port=port, connect_timeout="2s") as service:
        text, _ = whole(side)
        r = service.server.get(side.path(text))
        assert r.status == 503 and re.match(r"[0-9A-Z]{5} ", r.text), r
        assert side.server.password not in r.text + service.server.log.text


def test_us_115_a_burst_of_first_guests_is_greeted_by_one_connection(site, mysql):
    """What the server says first is learned once; then the pool is as large as it may be, no larger."""
    side = Side("mysql", mysql)

    def connections():
        return int(mysql.run("SHOW GLOBAL STATUS LIKE 'Connections'")[0][1])

    with Service(site, "p2", side, pool_size=4) as service:
        before = connections()
        calls = [Background(lambda: service.server.get(side.path(side.slow(0.1)))) for _ in range(24)]
        answers = [c.result() for c in calls]
        assert [a.status for a in answers] == [200] * len(calls), [a.text for a in answers]
        most = 2 + 4 + 1  # a greeting for each worker at worst, the pool, and the one that asks here
        assert connections() - before <= most


@OTHERS
def test_a_full_server_is_waited_for(site, side, tmp_path):
    """The pool would like more connections than it takes: guests wait for those that there are."""
    (tmp_path / "own").mkdir()
    if side.name == "mysql":
        room, own = 10, MySQL(tmp_path / "own")
        own.run("SET GLOBAL max_connections = 10; CREATE USER few@'%' IDENTIFIED BY 'app secret'; "
                "GRANT ALL ON shop.* TO few@'%'")  # fmt: skip
        own.user = "few"
    else:
        room, own = 3, Redis(tmp_path / "own", "maxclients 3")
    try:
        full = Side(side.name, own)
        with Service(site, "p2", full, pool_size=3 * room, connect_timeout="20s") as service:
            calls = [Background(lambda: service.server.get(full.path(full.slow(0.3)))) for _ in range(4 * room)]
            answers = [c.result() for c in calls]
            assert [a.status for a in answers] == [200] * len(calls), [a.text for a in answers]
            assert service.pool(full)["causes"]["busy"] >= 1, service.pool(full)
            wait_until(lambda: 1 <= service.pool(full)["total"] <= room, "no attempt is under way any more")
    finally:
        own.close()
