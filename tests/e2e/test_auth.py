# SPDX-License-Identifier: Apache-2.0
"""US-112: who logs in. With `auth = "guest"` and "relay" no guest ever gets a session that was
authenticated with credentials other than its own: two guests, same host, database and user, one with
a wrong password, in every order, on a cold and a warm pool, before and after the password changes on
the server. The guest is guests/dbprobe.c, which answers a request for a password in clear."""
import time
from contextlib import contextmanager
from itertools import product

import pytest
from harness import Background
from infra import wait_until
from test_postgres import BOTH, Probe, SqlError, config

ROLE, RIGHT, WRONG = "auth_app", "the right one", "the wrong one"


@pytest.fixture
def role(postgres):
    """A role whose password is RIGHT; how a guest says it does not matter to the server."""
    postgres.terminate_backends(ROLE)
    postgres.sql(f"DROP ROLE IF EXISTS {ROLE}; CREATE ROLE {ROLE} LOGIN PASSWORD '{RIGHT}'")
    yield ROLE
    postgres.terminate_backends(ROLE)
    postgres.sql(f"DROP ROLE IF EXISTS {ROLE}")


@pytest.fixture
def guests(warp, guest):
    """guests(PG, KIND, auth=...): a running service whose guests bring their own passwords."""
    @contextmanager
    def start(pg, kind, auth="guest", **more):
        settings = config(pg, **more)
        database = settings["databases"]["test"]
        del database["user"], database["password_env"]
        database["auth"] = auth
        with warp.serve(guest(f"dbprobe-{kind}"), settings) as server:
            yield Probe(server, pg)

    return start


def login(p, password, **params):
    """The backend's pid, or the SQLSTATE of the refusal."""
    try:
        return p.pid(user=ROLE, password=password, **params)
    except SqlError as e:
        return e.code


def sure(result):
    assert isinstance(result, int), result
    return result


@BOTH
@pytest.mark.parametrize("warm", ["cold", "warm", "busy"])
def test_us_112_a_wrong_password_never_enters(guests, postgres, role, kind, warm):
    """Every order of four visits."""
    with guests(postgres, kind, pool_size=3) as p:
        for order in product([RIGHT, WRONG], repeat=4):
            postgres.terminate_backends(ROLE)
            held = None
            if warm == "warm":
                sure(login(p, RIGHT))
            if warm == "busy":
                held = p.background("SELECT pg_sleep(0.4)", user=ROLE, password=RIGHT)
                p.wait_running(user=ROLE)
            for password in order:
                result = login(p, password)
                if password == RIGHT:
                    sure(result)
                else:
                    assert result == "28P01"
            if held:
                held.result()


@BOTH
def test_us_112_both_at_once(guests, postgres, role, kind):
    with guests(postgres, kind, pool_size=2) as p:
        for _ in range(5):
            visits = [
                (password, Background(lambda password=password: login(p, password)))
                for password in [RIGHT, WRONG] * 4
            ]
            for password, visit in visits:
                if password == RIGHT:
                    sure(visit.result())
                else:
                    assert visit.result() == "28P01"


@BOTH
@pytest.mark.parametrize("warm", [False, True])
def test_us_112_a_password_change_counts_within_the_ttl(guests, postgres, role, kind, warm):
    """Used all the time or never: after credential_ttl the old password is no good."""
    ttl = 3.0
    with guests(postgres, kind, pool_size=2, credential_ttl=f"{int(ttl)}s") as p:
        if warm:
            pooled = sure(login(p, RIGHT))
        changed = time.monotonic()
        postgres.sql(f"ALTER ROLE {ROLE} PASSWORD 'another one'")
        if not warm:
            assert login(p, RIGHT) == "28P01"
        else:
            assert login(p, RIGHT) == pooled or time.monotonic() - changed > ttl / 2
            while login(p, RIGHT) == pooled:
                assert time.monotonic() - changed < ttl + 1.5, "the old password still works"
                assert sure(login(p, "another one")) != pooled
                time.sleep(0.05)
        assert login(p, RIGHT) == "28P01"
        sure(login(p, "another one"))
        assert login(p, WRONG) == "28P01"


@BOTH
def test_us_112_the_connect_may_bring_the_password(guests, postgres, role, kind):
    """What the shim's connect was given is used where the start-up has the same user; the guest is
    asked for nothing then. Sessions are the same ones, however the password came."""
    with guests(postgres, kind, pool_size=2) as p:
        first = sure(login(p, RIGHT, give=1))
        assert login(p, WRONG, give=1) == "28P01"
        p.wait_idle()
        assert login(p, RIGHT) == first
        assert login(p, RIGHT, give=1) == first


@BOTH
def test_us_112_guesses_do_not_lock_the_right_one_out(guests, postgres, role, kind):
    with guests(postgres, kind, pool_size=2) as p:
        sure(login(p, RIGHT))
        for i in range(60):
            assert login(p, f"guess {i}") == "28P01"
        start = time.monotonic()
        sure(login(p, RIGHT))
        assert time.monotonic() - start < 1


@BOTH
def test_us_112_relay_has_a_connection_of_its_own(guests, postgres, kind):
    """The guest speaks with the server from the first byte: each has a backend that ends with it.
    (The role's own method is cleartext, which dbprobe can answer.)"""
    with guests(postgres, kind, auth="relay", pool_size=2) as p:
        user = dict(user="app_plain", password=postgres.password)
        first = p.pid(**user)
        assert p.pid(**user) != first
        with pytest.raises(SqlError) as e:
            p.pid(user="app_plain", password=WRONG)
        assert e.value.code == "28P01"
        wait_until(lambda: not postgres.backends("app_plain"), "the backends have ended")


def test_us_112_no_password_in_the_log(guests, postgres, role):
    with guests(postgres, "p2") as p:
        sure(login(p, RIGHT))
        assert login(p, WRONG) == "28P01"
    text = p.server.log.text
    assert "db_" in text, "the log tells of connections"
    assert RIGHT not in text and WRONG not in text
