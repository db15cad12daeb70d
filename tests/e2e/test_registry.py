# SPDX-License-Identifier: Apache-2.0
"""The HTTP registry, with a small real one: test-infra/mock_registry.py."""
import http.client
import json
import re
import signal
import subprocess
import sys
import time
from contextlib import contextmanager

import pytest
from harness import SLOW, Server, find_guest, steps, toml
from infra import INFRA, free_port, wait_until

NAME = "web.warp.local"


class Registry:
    def __init__(self, port=0):
        self.process = subprocess.Popen([sys.executable, INFRA / "mock_registry.py", "--port", str(port)],
                                        stdout=subprocess.PIPE, text=True)  # fmt: skip
        self.host = self.process.stdout.readline().strip().removeprefix("http://")
        self.url = f"http://{self.host}/v1/services"

    def put(self, name, *addresses):
        c = http.client.HTTPConnection(self.host, timeout=5)
        c.request("PUT", f"/v1/services/{name}", json.dumps(addresses))
        assert c.getresponse().status == 200
        c.close()

    def stop(self):
        self.process.kill()
        self.process.wait()


@pytest.fixture
def registry():
    r = Registry()
    yield r
    r.stop()


class Site:
    def __init__(self, warp, folder):
        self.warp, self.folder = warp, folder

    def configure(self, registry, ttl="1s", **more):
        http = {"listen": ["127.0.0.1:0"], "workers": 2}
        (self.folder / "warp.toml").write_text(
            toml({"http": http, "registry": registry, "shims": {"dns": {"ttl": ttl}}, **more}))  # fmt: skip

    @contextmanager
    def serve(self, env=None):
        component = find_guest("shims-service-p2")
        self.server = Server(self.warp.popen("serve", component, cwd=self.folder, env=env))
        try:
            self.server.wait_listening()
            yield self
            self.server.stop()
        except BaseException:
            self.server.kill()
            self.server.log.join()
            print("\n".join(self.server.log.lines[-80:]))
            raise

    def ask(self, name=NAME):
        return self.server.request("POST", "/", f"resolve {name}").text.strip()

    def resolves(self, *addresses, name=NAME):
        """True when it does now, on whichever worker answers."""
        found = re.findall(r" ([^ /]+)/\d+", self.ask(name))
        return sorted(found) == sorted(addresses)

    def log(self, pattern):
        return self.server.log.matching(pattern)


@pytest.fixture
def site(warp, tmp_path):
    return Site(warp, tmp_path)


def test_us_106_names_of_an_http_registry(site, registry):
    """From the first request on: the start waited for them. A change comes within interval and TTL."""
    registry.put(NAME, "10.1.2.3", "fd00::3")
    registry.put("static.warp.local", "10.9.9.9")
    site.configure({"url": registry.url, "interval": "200ms", "static.warp.local": ["10.0.0.1"]})
    with site.serve():
        assert site.resolves("10.1.2.3", "fd00::3")
        assert site.resolves("10.0.0.1", name="static.warp.local")  # the file's names win
        registry.put(NAME, "10.1.2.4")
        wait_until(lambda: site.resolves("10.1.2.4"), "the new address", 10 * SLOW)
        assert len(site.log(r"level=info event=registry_up .*names=\d+")) == 1


def test_us_108_a_swap_does_not_flush_the_cache(site, registry):
    registry.put(NAME, "10.1.2.3")
    site.configure({"url": registry.url, "interval": "100ms"}, ttl="60s", http={
        "listen": ["127.0.0.1:0"], "workers": 1})  # fmt: skip
    with site.serve():
        assert site.resolves("10.1.2.3")
        registry.put(NAME, "10.1.2.4")
        registry.put("other.warp.local", "10.1.2.5")
        wait_until(lambda: site.resolves("10.1.2.5", name="other.warp.local"), "the new name", 10 * SLOW)
        assert site.resolves("10.1.2.3")


def test_one_that_goes_away_keeps_its_names_and_comes_back(site, registry):
    registry.put(NAME, "10.1.2.3")
    port = int(registry.host.rpartition(":")[2])
    site.configure({"url": registry.url, "interval": "100ms", "timeout": "1s"}, ttl="0s")
    with site.serve():
        assert site.resolves("10.1.2.3")
        registry.stop()
        wait_until(lambda: site.log("event=registry_down"), "the warning", 10 * SLOW)
        time.sleep(0.5)  # several more tries
        assert site.resolves("10.1.2.3")
        assert len(site.log("level=warn event=registry_down")) == 1
        back = Registry(port)
        try:
            back.put(NAME, "10.1.2.9")
            wait_until(lambda: site.resolves("10.1.2.9"), "the new address", 10 * SLOW)
            wait_until(lambda: len(site.log("event=registry_up")) == 2, "the good news", 10 * SLOW)
        finally:
            back.stop()


def test_its_own_name_may_be_one_of_ours(site, registry):
    """[hosts] says where it is; a private name goes to nobody else."""
    registry.put(NAME, "10.1.2.3")
    port = registry.host.rsplit(":", 1)[1]
    site.configure({"url": f"http://registry.warp.local:{port}/v1/services"},
                   hosts={"registry.warp.local": "127.0.0.1"})  # fmt: skip
    with site.serve():
        assert site.resolves("10.1.2.3")
    site.configure({"url": f"http://nobody.warp.local:{port}/v1/services"})
    with site.serve():
        site.server.log.wait_for("event=registry_down .*host 'nobody.warp.local' not found")


def test_a_start_without_it_serves_with_a_warning(site):
    site.configure({"url": f"http://127.0.0.1:{free_port()}/", "timeout": "1s", NAME: ["10.0.0.7"]})
    with site.serve():
        assert site.resolves("10.0.0.7")
        site.server.log.wait_for("level=warn event=registry_down")
        assert len(site.log("level=warn event=registry_down")) == 1


def test_a_start_waits_no_longer_than_the_timeout(site):
    import socket

    with socket.create_server(("127.0.0.1", 0)) as silent:
        site.configure({"url": f"http://127.0.0.1:{silent.getsockname()[1]}/", "timeout": "300ms"})
        began = time.monotonic()
        with site.serve():
            assert time.monotonic() - began < 20 * SLOW
            site.server.log.wait_for("event=registry_down")


def test_a_reload_changes_and_ends_it(site, registry):
    registry.put(NAME, "10.1.2.3")
    site.configure({NAME: ["10.0.0.1"]}, ttl="0s")

    def reload():
        site.server.process.send_signal(signal.SIGHUP)

    with site.serve():
        assert site.resolves("10.0.0.1")
        site.configure({"url": registry.url, "interval": "100ms"}, ttl="0s")
        reload()
        wait_until(lambda: site.resolves("10.1.2.3"), "the registry's address", 10 * SLOW)
        site.configure({"other.warp.local": ["10.0.0.2"]}, ttl="0s")
        reload()
        wait_until(lambda: site.ask() == "error host-not-found", "the end of the name", 10 * SLOW)


def test_us_107_statistics(site, registry):
    port = free_port()
    site.configure({NAME: ["10.0.0.1"]}, admin={"listen": [f"127.0.0.1:{port}"]}, http={
        "listen": ["127.0.0.1:0"], "workers": 1})  # fmt: skip

    def admin(path):
        c = http.client.HTTPConnection("127.0.0.1", port, timeout=10)
        c.request("GET", path)
        body = c.getresponse().read().decode()
        c.close()
        return body

    with site.serve():
        for _ in range(3):
            site.ask()
        site.ask("nobody.warp.local")
        dns = json.loads(admin("/stats"))["dns"]
        assert (dns["hits"], dns["misses"], dns["evictions"], dns["entries"]) == (2, 2, 0, 1)
        assert dns["answers"]["registry"] == 1 and dns["answers"]["domain"] == 1
        metrics = admin("/metrics").splitlines()
        assert "warpgrid_dns_cache_hits_total 2" in metrics and "warpgrid_dns_cache_misses_total 2" in metrics
        assert 'warpgrid_dns_answers_total{link="registry"} 1' in metrics
    site.server.log.join()
    assert site.log(r"level=info event=dns_stats worker=1 hits=2 misses=2 evictions=0")


def test_warp_run_asks_it_too(warp, tmp_path, registry):
    registry.put(NAME, "10.1.2.3")
    lines = steps(warp, find_guest("shims-p2"), f"resolve {NAME}", cwd=tmp_path,
                  config={"registry": {"url": registry.url}})  # fmt: skip
    assert lines[0].startswith("ok 10.1.2.3/")


def test_the_token_is_sent_and_never_shown(site):
    from http.server import BaseHTTPRequestHandler, HTTPServer
    from threading import Thread

    seen = []

    class Handler(BaseHTTPRequestHandler):
        def do_GET(self):
            seen.append(self.headers.get("authorization"))
            self.send_response(200 if seen[-1] == "Bearer s3cr3t" else 401)
            self.end_headers()
            self.wfile.write(json.dumps({"services": {NAME: ["10.1.2.3"]}}).encode())

        def log_message(self, *args):
            pass

    with HTTPServer(("127.0.0.1", 0), Handler) as server:
        Thread(target=server.serve_forever, daemon=True).start()
        url = f"http://127.0.0.1:{server.server_address[1]}/?q=hidden"
        site.configure({"url": url, "token_env": "REGISTRY_TOKEN"})
        with site.serve(env={"REGISTRY_TOKEN": "s3cr3t"}):
            assert site.resolves("10.1.2.3") and seen[0] == "Bearer s3cr3t"
        assert not site.log("s3cr3t")
        server.shutdown()


@pytest.mark.parametrize(
    "registry, message",
    [
        ({"url": "https://registry.example/"}, "https:// is not supported"),
        ({"url": "registry.example"}, "'url' must be http://HOST"),
        ({"url": ["10.0.0.1"]}, "'url' must be a string"),
        ({"url": "http://x/", "interval": "1ms"}, "'interval' must be from 100ms to"),
        ({"url": "http://x/", "token_env": "NOT_SET_AT_ALL"}, "the environment variable 'NOT_SET_AT_ALL' is not set"),
    ],
)
def test_bad_settings_are_refused_with_their_place(warp, tmp_path, registry, message):
    (tmp_path / "warp.toml").write_text(toml({"registry": registry}))
    out = warp("serve", find_guest("hello-p2"), cwd=tmp_path)
    assert out.returncode == 1 and message in out.stderr and re.search(r"warp\.toml:[23]:\d+: ", out.stderr)
