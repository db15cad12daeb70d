# SPDX-License-Identifier: Apache-2.0
"""wasi:http from the guest's side (0.2 and 0.3): what may be reached, kept connections, timeouts, TLS,
streams, and services of the same process. The guests are projects/rust-outgoing, the peers are real
HTTP servers."""
import re
import socket
import socketserver
import ssl
import subprocess
import threading
import time
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer

import pytest
from harness import Background, rust_guest
from infra import free_port, wait_until
from test_operations import parse_metrics
from tls_server import Authority

BOTH = pytest.mark.parametrize("kind", ["p2", "p3"])


class Peer(ThreadingHTTPServer):
    """A server that counts its connections and says what it was asked."""

    daemon_threads = True
    request_queue_size = 128

    def __init__(self, handler, tls=None):
        super().__init__(("127.0.0.1", 0), handler)
        self.connections, self.seen = 0, []
        self.tls = tls
        self.gone = threading.Event()
        threading.Thread(target=self.serve_forever, daemon=True).start()

    def get_request(self):
        sock, address = super().get_request()
        self.connections += 1
        return (self.tls.wrap_socket(sock, server_side=True) if self.tls else sock), address

    def handle_error(self, request, client_address):
        self.gone.set()

    @property
    def port(self):
        return self.server_address[1]

    @property
    def url(self):
        return f"http://127.0.0.1:{self.port}"

    def __exit__(self, *exc):
        self.shutdown()
        self.server_close()


class Handler(BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"

    def setup(self):
        super().setup()
        self.request.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)

    def log_message(self, *_):
        pass

    def say(self, body, status=200, **headers):
        self.send_response(status)
        for name, value in headers.items():
            self.send_header(name, value)
        self.send_header("content-length", str(len(body)))
        self.end_headers()
        if self.command != "HEAD":
            self.wfile.write(body)

    def do_GET(self):
        self.server.seen.append((self.command, self.path, self.headers.get("host")))
        assert "transfer-encoding" not in self.headers and "content-length" not in self.headers
        if self.path == "/close":  # after it has said that it keeps the connection
            self.say(b"bye")
            self.close_connection = True
        elif self.path.startswith("/late"):
            time.sleep(1.5)
            self.say(b"late")
        elif self.path == "/stall":
            self.send_response(200)
            self.send_header("content-length", "10")
            self.end_headers()
            self.wfile.write(b"begun")
            self.wfile.flush()
            time.sleep(3)
        elif self.path == "/empty":
            self.say(b"", 204)
        elif self.path == "/early":
            self.wfile.write(b"HTTP/1.1 103 Early Hints\r\nlink: </x>\r\n\r\n")
            self.say(b"after a hint")
        elif self.path == "/nonsense":
            self.wfile.write(b"what is this?\r\n\r\n")
            self.close_connection = True
        elif self.path.startswith("/endless"):
            self.send_response(200)
            self.send_header("content-length", str(1 << 40))
            self.end_headers()
            while True:
                self.wfile.write(bytes(65536))
        elif self.path.startswith("/big"):
            self.send_response(200)
            size = int(self.path.split("=")[1])
            self.send_header("content-length", str(size))
            self.end_headers()
            for _ in range(size >> 16):
                self.wfile.write(bytes(65536))
        else:
            self.say(f"{self.command} {self.path}\n".encode())

    do_HEAD = do_GET

    def do_POST(self):
        """Chunks come back as they come; of /swallow... when all are there, and of ...late later."""
        if self.path.startswith("/swallow"):
            size = 0
            while part := int(self.rfile.readline(), 16):
                size += len(self.rfile.read(part))
                self.rfile.readline()
            self.rfile.readline()
            time.sleep(3 if self.path.endswith("late") else 0)
            return self.say(str(size).encode())
        self.send_response(200)
        self.send_header("transfer-encoding", "chunked")
        self.end_headers()
        if "content-length" in self.headers:
            left = int(self.headers["content-length"])
            while left:
                part = self.rfile.read1(min(left, 65536))
                left -= len(part)
                self.wfile.write(b"%x\r\n%s\r\n" % (len(part), part))
        else:
            while size := int(self.rfile.readline(), 16):
                part = self.rfile.read(size)
                self.rfile.readline()
                self.wfile.write(b"%x\r\n%s\r\n" % (size, part))
            self.rfile.readline()
        self.wfile.write(b"0\r\n\r\n")


@pytest.fixture
def peer():
    with Peer(Handler) as server:
        yield server


@pytest.fixture
def serve(warp):
    @contextmanager
    def start(kind, *allow, env=None, **tables):
        config = {"net": {"allow": list(allow)}, "http": {"reuse": 100_000}, **tables}
        with warp.serve(rust_guest("rust-outgoing", f"outgoing_{kind}"), config, env=env) as server:
            yield server

    return start


def ask(server, url, method="GET", body=None, **headers):
    sent = {"x-to": url, **{k.replace("_", "-"): str(v) for k, v in headers.items()}}
    return server.request(method, "/", body, sent)


@BOTH
def test_a_request_goes_where_it_is_allowed_to(serve, peer, kind):
    with serve(kind, f"127.0.0.1:{peer.port}") as server:
        r = ask(server, f"{peer.url}/a/path?and=query")
        assert (r.status, r.text) == (200, "GET /a/path?and=query\n")
        assert peer.seen == [("GET", "/a/path?and=query", f"127.0.0.1:{peer.port}")]
        assert ask(server, f"{peer.url}/empty").status == 204
        assert ask(server, f"{peer.url}/x", "HEAD").status == 200
        assert ask(server, f"{peer.url}/early").text == "after a hint"


@BOTH
def test_what_is_not_allowed_is_refused_with_the_line_that_would(serve, peer, kind):
    with serve(kind, "127.0.0.1:1") as server:
        r = ask(server, peer.url + "/")
        assert r.status == 502 and "HttpRequestDenied" in r.text
        hint = server.log.wait_for(r"event=connect_refused .*").group(0)
        assert f'allow = [\\"127.0.0.1:{peer.port}\\"]' in hint
        assert peer.connections == 0


@BOTH
def test_a_name_of_the_registry_leads_there(serve, peer, kind):
    """Its addresses are allowed by a rule about addresses: no name opens loopback."""
    registry = {"api.test.warp.local": ["127.0.0.1"]}
    with serve(kind, f"127.0.0.1:{peer.port}", registry=registry) as server:
        assert ask(server, f"http://api.test.warp.local:{peer.port}/x").text == "GET /x\n"
        assert peer.seen[-1][2] == f"api.test.warp.local:{peer.port}"
        r = ask(server, f"http://nobody.test.warp.local:{peer.port}/x")
        assert r.status == 502 and "DnsError" in r.text and "NXDOMAIN" in r.text


@BOTH
def test_a_database_is_no_place_for_http(serve, postgres, kind):
    tables = {"databases": {"main": {"protocol": "postgres", "host": "db.test.warp.local", "port": 5432,
                                     "address": "127.0.0.1", "address_port": postgres.port,
                                     "database": "warpgrid", "user": "x", "password": "y"}}}  # fmt: skip
    with serve(kind, **tables) as server:
        assert "HttpRequestDenied" in ask(server, "http://db.test.warp.local:5432/").text


def sockets_in(state, port):
    out = subprocess.run(["cat", "/proc/net/tcp"], capture_output=True, text=True, check=True).stdout
    return len(re.findall(rf"^ *\d+: \w+:\w+ \w+:{port:04X} {state} ", out, re.M))


@BOTH
def test_ten_thousand_requests_leave_no_pile_of_sockets(serve, kind):
    """A peer of few words, so that the requests are ours to pay for."""

    class Quick(socketserver.StreamRequestHandler):
        def handle(self):
            self.server.connections += 1
            self.request.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
            while line := self.rfile.readline():
                if line == b"\r\n":
                    self.wfile.write(b"HTTP/1.1 200 OK\r\ncontent-length: 2\r\n\r\nok")

    peer = socketserver.ThreadingTCPServer(("127.0.0.1", 0), Quick)
    peer.daemon_threads, peer.connections = True, 0
    threading.Thread(target=peer.serve_forever, daemon=True).start()
    port = peer.server_address[1]
    try:
        with serve(kind, f"127.0.0.1:{port}") as server:
            connection = server.connection()
            for _ in range(10_000):
                connection.request("GET", "/", headers={"x-to": f"http://127.0.0.1:{port}/"})
                assert connection.getresponse().read() == b"ok"
            connection.close()
            assert peer.connections <= 4
            assert sockets_in("06", port) <= 4  # TIME_WAIT
    finally:
        peer.shutdown()
        peer.server_close()


@BOTH
def test_a_connection_that_the_server_ended_is_made_again(serve, peer, kind):
    with serve(kind, f"127.0.0.1:{peer.port}") as server:
        for n in range(20):
            assert ask(server, peer.url + "/close").text == "bye"
            assert ask(server, f"{peer.url}/{n}").text == f"GET /{n}\n"
        assert 20 <= peer.connections <= 41


@BOTH
def test_timeouts_of_the_guest(serve, peer, kind):
    with serve(kind, f"127.0.0.1:{peer.port}", "192.0.2.1:80") as server:
        began = time.monotonic()
        r = ask(server, peer.url + "/late", x_first_ms=200)
        assert r.status == 502 and "HttpResponseTimeout" in r.text
        r = ask(server, "http://192.0.2.1/", x_connect_ms=200)
        assert r.status == 502 and re.search("ConnectionTimeout|DestinationUnavailable|ConnectionRefused|Unroutable", r.text)
        assert time.monotonic() - began < 3
        if kind == "p2":
            r = ask(server, peer.url + "/stall", x_between_ms=200)
            assert r.status == 502, r.text
        else:  # the head is out: what follows is cut
            with pytest.raises(Exception, match="IncompleteRead"):
                ask(server, peer.url + "/stall", x_between_ms=200)
        assert time.monotonic() - began < 4
        assert ask(server, peer.url + "/on").text == "GET /on\n"


@pytest.mark.parametrize("path, expected", [("/swallow", 200), ("/swallow-late", 502)])
def test_the_time_for_an_answer_begins_with_the_end_of_the_request(serve, peer, path, expected):
    with serve("p3", f"127.0.0.1:{peer.port}") as server, server.raw() as s:
        head = f"POST / HTTP/1.1\r\nhost: x\r\nx-to: {peer.url}{path}\r\nx-first-ms: 700\r\n"
        s.sendall(head.encode() + b"transfer-encoding: chunked\r\n\r\n")
        for _ in range(8):
            s.sendall(b"5\r\nbytes\r\n")
            time.sleep(0.2)
        began = time.monotonic()
        s.sendall(b"0\r\n\r\n")
        assert s.recv(4096).startswith(b"HTTP/1.1 %d" % expected)
        assert time.monotonic() - began < 2.5


@BOTH
def test_an_address_that_is_refused_leaves_the_others(serve, peer, kind):
    names = {"two.test.warp.local": ["192.0.2.7", "127.0.0.1"]}
    with serve(kind, f"127.0.0.1:{peer.port}", registry=names) as server:
        assert ask(server, f"http://two.test.warp.local:{peer.port}/two").text == "GET /two\n"


@BOTH
def test_what_is_sent_of_a_url(serve, peer, kind):
    """RFC 9112, section 3.2.1, and RFC 9110, section 4.2.4: a path, and no user."""
    to = f"127.0.0.1:{peer.port}"
    with serve(kind, to) as server:
        for asked, path in (("", "/"), ("?a=1", "/?a=1"), ("/x?y=%20z", "/x?y=%20z")):
            assert ask(server, f"http://{to}{asked}").text == f"GET {path}\n"
        assert ask(server, f"http://somebody:secret@{to}/in").text == "GET /in\n"
        assert {host for _, _, host in peer.seen} == {to}


@BOTH
def test_a_peer_that_is_not_there_or_talks_nonsense(serve, peer, kind):
    nobody = free_port()
    with serve(kind, f"127.0.0.1:{nobody}", f"127.0.0.1:{peer.port}") as server:
        r = ask(server, f"http://127.0.0.1:{nobody}/")
        assert r.status == 502 and "ConnectionRefused" in r.text
        r = ask(server, peer.url + "/nonsense")
        assert r.status == 502 and "HttpProtocolError" in r.text, r.text
        assert ask(server, peer.url + "/on").text == "GET /on\n"


# -- TLS --


@pytest.fixture
def secure(tmp_path):
    authority = Authority(tmp_path / "ca")
    cert, key = authority.issue("server", "localhost", san="DNS:localhost")
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.load_cert_chain(cert, key)
    with Peer(Handler, context) as server:
        yield server, authority


@BOTH
def test_tls_is_verified_to_the_name(serve, secure, kind):
    peer, authority = secure
    registry = {"wrong.test.warp.local": ["127.0.0.1"]}
    hosts = {"localhost": ["127.0.0.1"]}
    allow = f"127.0.0.1:{peer.port}"
    with serve(kind, allow, registry=registry, hosts=hosts, env={"SSL_CERT_FILE": authority.cert("ca")}) as server:
        for n in range(3):
            assert ask(server, f"https://localhost:{peer.port}/{n}").text == f"GET /{n}\n"
        assert peer.connections == 1, "kept"
        assert ask(server, f"https://localhost.:{peer.port}/dot").text == "GET /dot\n"
        # Without a scheme it is https, as Wasmtime has it.
        assert ask(server, f"https://localhost:{peer.port}/none", x_scheme="none").text == "GET /none\n"
        r = ask(server, f"https://wrong.test.warp.local:{peer.port}/")
        assert r.status == 502 and "TlsCertificateError" in r.text
    with serve(kind, allow, hosts=hosts) as server:
        r = ask(server, f"https://localhost:{peer.port}/")
        assert r.status == 502 and "TlsCertificateError" in r.text, "an authority that nobody knows"


def test_tls_with_a_peer_that_does_not_speak_it(serve, peer):
    with serve("p3", f"127.0.0.1:{peer.port}") as server:
        r = ask(server, f"https://127.0.0.1:{peer.port}/")
        assert r.status == 502 and "Tls" in r.text


# -- Streams --


def rss_kb(pid):
    with open(f"/proc/{pid}/status") as f:
        return int(re.search(r"VmRSS:\s+(\d+)", f.read()).group(1))


def test_a_body_streams_both_ways(serve, peer):
    with serve("p3", f"127.0.0.1:{peer.port}") as server, server.raw() as s, s.makefile("rb") as stream:
        s.sendall(b"POST / HTTP/1.1\r\nhost: x\r\nx-to: %s/\r\ntransfer-encoding: chunked\r\n\r\n" % peer.url.encode())
        for n in range(3):
            s.sendall(b"5\r\nhell%d\r\n" % n)
            while n == 0 and stream.readline() != b"\r\n":
                pass
            assert stream.readline() == b"5\r\n" and stream.readline() == b"hell%d\r\n" % n
        s.sendall(b"0\r\n\r\n")
        assert stream.readline() == b"0\r\n"


def test_a_large_answer_takes_no_memory(serve, peer):
    with serve("p3", f"127.0.0.1:{peer.port}") as server:
        assert len(ask(server, f"{peer.url}/big={32 << 20}").body) == 32 << 20  # buffers, and what a sanitizer keeps
        before, most = rss_kb(server.pid), 0
        connection = server.connection()
        connection.request("GET", "/", headers={"x-to": f"{peer.url}/big={100 << 20}"})
        answer, size = connection.getresponse(), 0
        while part := answer.read(1 << 20):
            size += len(part)
            most = max(most, rss_kb(server.pid))
        assert size == 100 << 20 and most - before < 8 << 10, (before, most)
        connection.close()


def test_a_client_that_leaves_ends_the_request_behind_it(serve, peer):
    with serve("p3", f"127.0.0.1:{peer.port}") as server:
        with server.raw() as s:
            s.sendall(b"GET / HTTP/1.1\r\nhost: x\r\nx-to: %s/endless\r\n\r\n" % peer.url.encode())
            assert s.recv(4096).startswith(b"HTTP/1.1 200")
        assert peer.gone.wait(10), "the peer's connection was ended"


# -- Services of the same process --


SERVICES = {
    "http": {"workers": 1, "max_concurrent": 100},
    "services": {
        "front": {"component": "dist/front.wasm", "host": "front.example"},
        "older": {"component": "dist/older.wasm", "host": "older.example"},
        "back": {"component": "dist/back.wasm", "host": "back.internal"},
    },
}


@pytest.fixture
def services(site):
    """front, which sends on, and back, which nobody outside can reach."""
    for name, kind in (("front", "p3"), ("older", "p2"), ("back", "p3")):
        part = site.folder / "dist" / f"{name}.wasm"
        part.parent.mkdir(exist_ok=True)
        part.write_bytes(rust_guest("rust-outgoing", f"outgoing_{kind}").read_bytes())
    site.configure(SERVICES)
    with site.serve() as server:
        yield server


def through(server, to, host="front.example", **headers):
    sent = {"host": host, "x-to": to, **{k.replace("_", "-"): str(v) for k, v in headers.items()}}
    return server.request("GET", "/", None, sent)


@pytest.mark.parametrize("host", ["front.example", "older.example"])
def test_a_service_is_called_by_its_name_without_a_socket(services, site, host):
    r = through(services, "http://back.warp.local/x", host)
    assert (r.status, r.text) == (200, "here\n")
    metrics = parse_metrics(site.admin("GET", "/metrics"))
    counted = {k: v for k, v in metrics.items() if "requests_total" in k and "back" in k}
    assert sum(counted.values()) == 1, metrics
    assert through(services, "https://back.warp.local/", host).text == "here\n"
    assert services.log.text.count("connect_refused") == 0


def test_a_call_that_goes_round_arrives(services, site):
    there = "http://back.warp.local/"
    r = through(services, "http://front.warp.local/", x_next=" ".join([there] * 5))
    assert (r.status, r.text) == (200, "here\n")
    assert through(services, "http://loop.warp.local/").status == 502  # no such service


def test_what_guests_ask_is_counted(services, site, peer):
    for n in range(3):
        assert through(services, "http://back.warp.local/").status == 200
    assert through(services, f"{peer.url}/one").status == 502, "not allowed"
    site.configure({**SERVICES, "net": {"allow": [f"127.0.0.1:{peer.port}"]}})
    site.reload()
    for n in range(2):
        assert through(services, f"{peer.url}/{n}", "older.example").status == 200
    metrics = parse_metrics(site.admin("GET", "/metrics"))

    def outgoing(service, **label):
        (key, value), = label.items()
        name = "requests" if key == "result" else "routes"
        return metrics[f'warpgrid_outgoing_{name}_total{{service="{service}",{key}="{value}"}}']

    assert outgoing("front", result="answered") == 3 and outgoing("front", result="failed") == 1
    assert outgoing("front", route="in_process") == 3
    assert outgoing("older", result="answered") == 2 and outgoing("older", result="failed") == 0
    assert outgoing("older", route="connected") == 1 and outgoing("older", route="kept") == 1
    stats = {s["name"]: s["outgoing"] for s in site.stats()["services"]}
    assert stats["front"] == {"answered": 3, "failed": 1, "connected": 0, "kept": 0, "in_process": 3}
    assert stats["older"] == {"answered": 2, "failed": 0, "connected": 1, "kept": 1, "in_process": 0}


def test_services_that_call_each_other_for_ever_are_stopped(services, site):
    """A fresh instance a call: by their depth. An instance that serves many at once: by max_inflight."""
    r = through(services, "http://older.warp.local/", "older.example", x_loop=1)
    assert r.status == 502 and "LoopDetected" in r.text
    r = through(services, "http://front.warp.local/", x_loop=1)
    assert r.status in (502, 503), r.text
    wait_until(lambda: site.stats()["inflight"] == 0, "all are done")
    assert through(services, "http://back.warp.local/").status == 200


def test_calls_to_itself_are_no_loop(services, site):
    """The depth of one request is not another's that the same instance serves: each calls front just after
    the call of the one before it was taken there."""
    calls = []
    for _ in range(30):
        calls.append(Background(lambda: through(services, "http://front.warp.local/", x_pause_ms=400)))
        time.sleep(0.01)
    assert {call.result().text for call in calls} == {"here\n"}


def test_timeouts_hold_for_a_service_of_the_process(services):
    back = "http://back.warp.local/"
    for host in ("front.example", "older.example"):
        began = time.monotonic()
        r = through(services, back, host, x_wait_ms=5000, x_first_ms=200)
        assert r.status == 502 and "HttpResponseTimeout" in r.text, r.text
        assert time.monotonic() - began < 3
        assert through(services, back, host, x_wait_ms=300, x_first_ms=2000).status == 200


def test_many_calls_at_once(services, site):
    calls = [Background(lambda: through(services, "http://back.warp.local/")) for _ in range(50)]
    assert {c.result().text for c in calls} == {"here\n"}
    wait_until(lambda: site.stats()["inflight"] == 0, "all are done")
