# SPDX-License-Identifier: Apache-2.0
"""`spin`: looking for short answers must not cost guests of long queries their CPU."""
from infra import process_cpu_s
from test_postgres import probe  # noqa: F401

ROWS = 2000
# Each row fills the server's buffer, so that each is a wait of its own.
SLOW = f"SELECT repeat('x', 9000), pg_sleep(0.0015) FROM generate_series(1, {ROWS})"
WINDOW_S = 150e-6


def cpu_of_slow_rows(probe, postgres, spin):  # noqa: F811
    with probe(postgres, "p2", spin=spin) as p:
        p.value("SELECT 1")
        before = process_cpu_s(p.server.pid)
        assert len(p.sql(SLOW)) == ROWS
        return process_cpu_s(p.server.pid) - before


def test_long_waits_are_left_alone(probe, postgres):  # noqa: F811
    off = cpu_of_slow_rows(probe, postgres, "off")
    auto = cpu_of_slow_rows(probe, postgres, "auto")
    assert auto - off < ROWS * WINDOW_S / 2, f"{auto:.3f} s against {off:.3f} s without"

