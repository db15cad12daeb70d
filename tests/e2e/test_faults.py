# SPDX-License-Identifier: Apache-2.0
"""Bad input and faults: each item of the list, and where its test is.

  invalid handle, another instance's,   unit db/session test_us113_invalid_handle; test_sdk_c.py
  double close, send after close        test_wrong_handles_and_arguments
  recv of 0 and of 4 GiB                the same; test_recv_of_4_gib
  a guest that never reads              unit db/faults test_a_guest_that_never_reads
  half a message and death              unit db/faults test_half_a_message_and_death (of the guest),
                                        db/session test_server_dies_mid_message (of the server)
  wrong protocol on the port            unit db/faults test_wrong_protocol_on_the_port; test_postgres.py
                                        test_port_that_speaks_something_else
  start-up packet too long              unit db/postgres test_greet_lengths
  negative and overflowing lengths      unit db/faults test_lengths_of_a_log_in, db/postgres
                                        test_track_lengths, db/session test_guest_garbage
  missing error fields                  unit db/faults test_missing_error_fields
  unknown auth method                   unit db/faults test_unknown_auth_methods
  a server that stalls in every state   unit db/faults test_stalls_in_every_state_of_a_log_in; of TLS:
  of login                              unit db/tls
  kill -9 in mid-result                 test_postgres.py test_us_114_kill_9_of_a_backend_in_mid_result
  network cut and delay                 test_a_cut_at_any_byte; test_postgres.py
                                        test_connection_cut_in_mid_result, test_slow_network
  pgbouncer's CVEs                      unit db/cve; test_cve_2025_2291_..., test_cve_2026_6667_...
  all of it at once, for minutes        benches/soak.sh; test_soak"""
import base64
import hashlib
import hmac
import os
import re
import subprocess
import time

import pytest
from harness import SLOW, find_build, find_warp
from infra import ROOT, wait_until
from test_postgres import BOTH, SqlError, probe, works  # noqa: F401: probe is a fixture
from test_sdk_c import dbtool  # noqa: F401: a fixture


@BOTH
def test_recv_of_4_gib(dbtool, kind):  # noqa: F811
    """As much as there is, at most 1 MiB of it at a time."""
    out = dbtool(kind, "large", 5 << 20, (4 << 30) - 1)
    assert out.returncode == 0, out.stdout
    m = re.match(r"bytes=(\d+) chunks=(\d+) rows=1 errors=0", out.stdout)
    assert int(m.group(1)) > 5 << 20 and int(m.group(2)) >= 5


def test_a_cut_at_any_byte(probe, postgres, fault_proxy):  # noqa: F811
    """Of the log-in and of the answer: an error each time, and then it works again."""
    with probe(postgres, "p2", port=fault_proxy.port) as p:
        before = fault_proxy.bytes["down"]
        assert p.value("SELECT 'whole'") == "whole"
        total = fault_proxy.bytes["down"] - before
        assert total > 300
        failed = 0
        for at in range(1, total, 29):
            fault_proxy.cut()
            fault_proxy.cut_after(at)
            try:
                assert p.value("SELECT 'whole'") == "whole"
            except SqlError as e:
                assert e.status == 503 and re.match(r"[0-9A-Z]{5} .", e.text), e
                failed += 1
            fault_proxy.cut_after(None)
            wait_until(lambda: works(p), "it works again")  # a pause follows failed connects
        assert failed >= (total // 29) * 0.8


def test_cve_2025_2291_expired_passwords(probe, postgres):  # noqa: F811
    """pgbouncer took passwords past their VALID UNTIL, because it judged them itself. Here the server
    does, at each log-in; sessions that it gave before live on, as everywhere."""
    postgres.sql("DROP ROLE IF EXISTS expiring")
    postgres.sql("CREATE ROLE expiring LOGIN PASSWORD 'soon over' VALID UNTIL 'tomorrow'")
    try:
        with probe(postgres, "p2", user="expiring", password="soon over") as p:
            assert p.value("SELECT current_user") == "expiring"
            postgres.sql("ALTER ROLE expiring VALID UNTIL 'yesterday'")
            postgres.terminate_backends("expiring")
            told = []
            for _ in range(3):  # the first may find the old connection dead
                with pytest.raises(SqlError) as e:
                    p.sql("SELECT 1")
                told.append(e.value.text)
            assert "password authentication failed" in told[-1], told
        with probe(postgres, "p3", user="expiring", password="soon over") as p:  # a cold pool
            with pytest.raises(SqlError) as e:
                p.sql("SELECT 1")
            assert e.value.code == "28000" and "28P01" in e.value.text
    finally:
        postgres.terminate_backends("expiring")
        postgres.sql("DROP ROLE expiring")


def scram_verifier(password, rounds):
    """What PostgreSQL stores of a password; CREATE ROLE takes it as it is."""
    salt = os.urandom(16)
    salted = hashlib.pbkdf2_hmac("sha256", password.encode(), salt, rounds)

    def key(name):
        return hmac.digest(salted, name, "sha256")

    stored = hashlib.sha256(key(b"Client Key")).digest()
    return "SCRAM-SHA-256$%d:%s$%s:%s" % (
        rounds, *(base64.b64encode(b).decode() for b in (salt, stored, key(b"Server Key"))))  # fmt: skip


@pytest.mark.parametrize("kind", ["p2", "p3"])
def test_cve_2026_6669_many_rounds_hold_up_nobody(probe, postgres, kind):  # noqa: F811
    """A million rounds of SCRAM are computed between the turns of the one worker's loop: other requests
    are answered meanwhile. The next connection of the pool has their sum."""
    postgres.sql("DROP ROLE IF EXISTS hardened")
    verifier = scram_verifier("well kept", 1_000_000)
    postgres.sql(f"CREATE ROLE hardened LOGIN PASSWORD '{verifier}'")
    try:
        more = {"user": "hardened", "password": "well kept", "http": {"workers": 1}, "pool_size": 2}
        with probe(postgres, kind, **more) as p:
            first = p.background("SELECT current_user, pg_sleep(1)")
            answered = 0

            def logged_in():
                nonlocal answered
                if postgres.sql("SELECT 1 FROM pg_stat_activity WHERE usename = 'hardened'"):
                    return True
                answered += p.server.get("/").status < 600
                return False

            wait_until(logged_in, "it is logged in")
            assert first.result()[0][0] == "hardened"
            began = time.monotonic()
            slow = p.background("SELECT pg_sleep(1)")
            assert p.value("SELECT current_user") == "hardened"  # on a second connection
            assert time.monotonic() - began < 1
            slow.result()
            assert answered > 0
    finally:
        postgres.terminate_backends("hardened")
        postgres.sql("DROP ROLE hardened")


@pytest.mark.parametrize("console", ["pgbouncer", "pgagroal", "admin", "warp"])
def test_cve_2026_6667_no_console_for_guests(probe, postgres, console):  # noqa: F811
    """pgbouncer's console let users do what is an administrator's. Guests find no console here: its
    names are databases like any other, and its commands are the server's to refuse."""
    with probe(postgres, "p2") as p:
        with pytest.raises(SqlError) as e:
            p.sql("SHOW POOLS", db=console)
        assert e.value.status == 503 and "not declared" in e.value.text
        for command in ("SHOW POOLS", "KILL_CLIENT 1", "KILL test", "RELOAD", "SHUTDOWN", "PAUSE"):
            with pytest.raises(SqlError) as e:
                p.sql(command)
            assert e.value.status == 400 and e.value.code in ("42601", "42704"), command
        assert p.value("SELECT 1") == "1"


def test_soak():
    """Ten seconds of benches/soak.sh: nothing wrong, nothing lost."""
    env = {**os.environ, "WARP_BIN": str(find_warp()), "WARPGRID_GUESTS": str(find_build() / "guests")}
    out = subprocess.run(
        [ROOT / "benches" / "soak.sh", "10"], env=env, capture_output=True, text=True, timeout=180 * SLOW
    )
    assert out.returncode == 0, out.stdout + out.stderr
    m = re.search(r"^RESULT soak_answers requests=(\d+) faults=\d+ wrong=0 lost=0 ", out.stdout, re.M)
    assert m and int(m.group(1)) > 20, out.stdout
