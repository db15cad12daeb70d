# SPDX-License-Identifier: Apache-2.0
"""US-507: benches/async_db_proxy.sh runs, and its sides answer alike, with the same work for the database;
how fast is for the bench to say."""
import os
import re
import subprocess

from harness import SLOW, find_build
from infra import ROOT

RESULTS = {"async_over_sync_50ms_c50", "async_over_50_sync", "async_c1_0ms_http", "async_c1_0ms_bare"}


def test_us_507_bench_runs():
    build = find_build()
    env = dict(os.environ, WARP_BIN=str(build / "warp"), WARPGRID_GUESTS=str(build / "guests"))
    out = subprocess.run(
        [ROOT / "benches" / "async_db_proxy.sh", "--quick"], env=env, capture_output=True, text=True, timeout=300 * SLOW,
    )  # fmt: skip
    assert out.returncode == 0, out.stderr
    assert "the sides answer alike" in out.stderr
    for line in ("p2_mock: 200 requests, 200 leases", "p3_mock: 200 requests, 200 leases"):
        assert line in out.stderr, out.stderr
    # 50 requests that wait; a start that is slower than the gate's patience may make it a few more than one.
    one, many = (int(re.search(rf"{side}_pg: (\d+) instance", out.stderr)[1]) for side in ("p3", "p2"))
    assert 1 <= one <= 5 and many >= 25, out.stderr
    found = re.findall(r"^RESULT (\w+) ratio=([0-9.]+) ", out.stdout, re.M)
    assert {name for name, _ in found} == RESULTS and all(float(ratio) > 0 for _, ratio in found), out.stdout
    assert out.stderr.count("async_db_proxy_0ms/") >= 3, out.stderr
