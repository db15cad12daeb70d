# SPDX-License-Identifier: Apache-2.0
"""US-106 to US-108: names of an HTTP registry, test-infra/mock_registry.py, as guests see them."""
import http.client
import json
import re
import subprocess
import sys
import time

import pytest
from harness import SLOW
from infra import ROOT, wait_until
from test_names import every_service, site  # noqa: F401


class HttpRegistry:
    """test-infra/mock_registry.py as a process."""

    def __init__(self, port=0):
        command = [sys.executable, ROOT / "test-infra" / "mock_registry.py", "--port", str(port)]
        self.process = subprocess.Popen(command, stdout=subprocess.PIPE, text=True)
        self.port = int(re.search(r":(\d+)", self.process.stdout.readline()).group(1))
        self.url = f"http://127.0.0.1:{self.port}/v1/services"

    def put(self, name, found):
        c = http.client.HTTPConnection("127.0.0.1", self.port, timeout=10)
        c.request("PUT", f"/v1/services/{name}", json.dumps(found))
        assert c.getresponse().status == 200
        c.close()

    def stop(self):
        self.process.terminate()
        self.process.wait(10)
        self.process.stdout.close()


@pytest.fixture
def http_registry():
    r = HttpRegistry()
    yield r
    if r.process.poll() is None:
        r.stop()


@every_service
def test_us_108_an_http_registry(site, http_registry, kind):
    s = site(kind)
    http_registry.put("orders.warp.local", ["10.3.3.3"])
    s.configure({
        "registry": {"url": http_registry.url, "interval": "100ms", "static.warp.local": ["10.0.0.1"]},
        "shims": {"dns": {"ttl": "1s"}},
    })  # fmt: skip
    with s.serve():
        assert s.resolve("orders.warp.local") == ["10.3.3.3"]
        assert s.resolve("static.warp.local") == ["10.0.0.1"]
        http_registry.put("orders.warp.local", ["10.4.4.4", "10.4.4.5"])
        both = ["10.4.4.4", "10.4.4.5"]
        wait_until(lambda: s.resolve("orders.warp.local") == both, "the new addresses", 10 * SLOW)


def test_us_108_an_http_registry_that_is_down(site, http_registry):
    """The last good table stays, one warning says why, one line says that it is back."""
    s = site("stock-p2")
    http_registry.put("orders.warp.local", ["10.3.3.3"])
    s.configure({"registry": {"url": http_registry.url, "interval": "100ms"}, "shims": {"dns": {"ttl": "0s"}}})
    with s.serve():
        assert s.resolve("orders.warp.local") == ["10.3.3.3"]
        http_registry.stop()
        s.server.log.wait_for(r"level=warn event=registry_\S+")
        time.sleep(0.6)  # some more polls
        assert s.resolve("orders.warp.local") == ["10.3.3.3"]
        assert len(s.server.log.matching(r"level=warn event=registry_")) == 1
        back = HttpRegistry(http_registry.port)
        try:
            back.put("orders.warp.local", ["10.5.5.5"])
            after = ["10.5.5.5"]
            wait_until(lambda: s.resolve("orders.warp.local") == after, "the new address", 10 * SLOW)
        finally:
            back.stop()
