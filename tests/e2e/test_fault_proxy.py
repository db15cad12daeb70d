# SPDX-License-Identifier: Apache-2.0
"""The fault proxy does what it says; else the tests through it would prove nothing."""
import socket
import socketserver
import threading
import time

import pytest
from fault_proxy import FaultProxy
from infra import wait_until


class Echo(socketserver.BaseRequestHandler):
    def handle(self):
        try:
            while data := self.request.recv(65536):
                self.request.sendall(data)
        except ConnectionError:
            pass


class Server(socketserver.ThreadingTCPServer):
    daemon_threads = True


@pytest.fixture
def proxy():
    with Server(("127.0.0.1", 0), Echo) as server:
        threading.Thread(target=server.serve_forever, daemon=True).start()
        with FaultProxy(*server.server_address) as p:
            yield p
        server.shutdown()


def connect(proxy):
    s = socket.create_connection(("127.0.0.1", proxy.port), timeout=5)
    s.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
    return s


def echo(s, data):
    s.sendall(data)
    got = b""
    while len(got) < len(data):
        piece = s.recv(65536)
        if not piece:
            break
        got += piece
    return got


def test_passes_bytes_and_eof(proxy):
    data = bytes(range(256)) * 4096
    with connect(proxy) as s:
        t = threading.Thread(target=lambda: (s.sendall(data), s.shutdown(socket.SHUT_WR)))
        t.start()
        got = b""
        while piece := s.recv(65536):
            got += piece
        t.join()
    assert got == data
    wait_until(lambda: proxy.open_connections == 0, "the pair is gone")


def test_split_keeps_every_byte(proxy):
    proxy.split(1)
    with connect(proxy) as s:
        assert echo(s, bytes(range(256))) == bytes(range(256))


def test_stall_and_resume(proxy):
    with connect(proxy) as s:
        assert echo(s, b"one") == b"one"
        proxy.stall("down")
        s.sendall(b"two")
        s.settimeout(0.3)
        with pytest.raises(TimeoutError):
            s.recv(10)
        proxy.resume()
        s.settimeout(5)
        assert s.recv(10) == b"two"


def test_delay(proxy):
    with connect(proxy) as s:
        proxy.delay(0.1)
        start = time.monotonic()
        assert echo(s, b"x") == b"x"
        assert time.monotonic() - start >= 0.2


def test_cut_resets(proxy):
    with connect(proxy) as s:
        echo(s, b"x")
        proxy.cut()
        with pytest.raises(ConnectionResetError):
            s.recv(1)


def test_cut_after_lets_exactly_that_much_pass(proxy):
    with connect(proxy) as s:
        proxy.cut_after(1000)
        got = b""
        with pytest.raises(ConnectionResetError):
            s.sendall(b"y" * 5000)
            while piece := s.recv(100):
                got += piece
        assert len(got) <= 1000
        assert proxy.bytes["down"] == 1000


def test_refuse_and_accept_again(proxy):
    with connect(proxy) as old:
        echo(old, b"x")
        proxy.refuse()
        with pytest.raises(ConnectionRefusedError):
            connect(proxy)
        assert echo(old, b"still") == b"still"
        proxy.accept()
        with connect(proxy) as s:
            assert echo(s, b"new") == b"new"
    assert proxy.accepted == 2
