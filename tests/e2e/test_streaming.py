# SPDX-License-Identifier: Apache-2.0
"""US-502, US-505: bodies that stream both ways. The guests are projects/rust-stream; memory is the host's
own, as its process's peak says it."""
import os
import socket
import struct
import threading
import time
import zlib
from contextlib import contextmanager

import pytest
from harness import SLOW, Background, read_responses, rust_guest
from infra import wait_until

BOTH = pytest.mark.parametrize("kind", ["p2", "p3"])
MIB = 1 << 20
# The rest is in the kernel's buffers of both sockets: 6 MiB to receive and 4 MiB to send by default.
IN_KERNEL = 24 * MIB
# An allocator takes memory in steps of 2 and 4 MiB.
NOISE = 8 * MIB


@pytest.fixture
def serve(warp):
    @contextmanager
    def start(kind, limits=None, **http):
        config = {"limits": {"body": "2GiB", "request_timeout": "120s", **(limits or {})}, "http": http}
        with warp.serve(rust_guest("rust-stream", f"stream_{kind}"), config) as server:
            yield server

    return start


def head(path, *fields, method="POST"):
    return "\r\n".join([f"{method} {path} HTTP/1.1", "Host: x", *fields, "", ""]).encode()


CHUNKED = "Transfer-Encoding: chunked"


def chunk(data):
    return b"%x\r\n%s\r\n" % (len(data), data)


class Chunks:
    """The chunks of a response as they come; pieces of 64 KiB when it has a length."""

    def __init__(self, sock):
        self.file = sock.makefile("rb", buffering=256 << 10)
        self.status = int(self.file.readline().split()[1])
        self.headers = self._fields()
        self.left = int(self.headers.get("content-length", -1))
        assert self.left >= 0 or self.headers["transfer-encoding"] == "chunked"
        self.trailers = None

    def _fields(self):
        found = {}
        while line := self.file.readline().strip():
            name, _, value = line.decode().partition(":")
            found[name.lower()] = value.strip()
        return found

    def next(self):
        """The next chunk; None at the end."""
        if self.left >= 0:
            data = self.file.read(min(self.left, 65536))
            assert data or not self.left, "the body was cut short"
            self.left -= len(data)
            return data or None
        line = self.file.readline()
        assert line.endswith(b"\r\n"), "the body was cut short"
        size = int(line.split(b";")[0], 16)
        if not size:
            self.trailers = self._fields()
            return None
        data = self.file.read(size)
        assert len(data) == size and self.file.read(2) == b"\r\n"
        return data

    def __iter__(self):
        return iter(self.next, None)


class Peak:
    """How much the most memory of a process was above what it is now."""

    def __init__(self, pid):
        self.pid = pid
        with open(f"/proc/{pid}/clear_refs", "w") as f:
            f.write("5")
        self.before = self._read("VmRSS")

    def _read(self, name):
        with open(f"/proc/{self.pid}/status") as f:
            return next(int(line.split()[1]) << 10 for line in f if line.startswith(name))

    def grown(self):
        return self._read("VmHWM") - self.before


def send_in_background(sock, parts):
    def run():
        for part in parts:
            sock.sendall(part)

    return Background(run)


def exchange(server, path, parts, *fields):
    """Sends a chunked body while it reads the answer, which it gives."""
    with server.raw() as s:
        s.sendall(head(path, CHUNKED, *fields))
        sending = send_in_background(s, [*map(chunk, parts), b"0\r\n\r\n"])
        answer = Chunks(s)
        assert answer.status == 200
        found = list(answer)
        sending.result()
        return found


# ---- bytes --------------------------------------------------------------------------------------


@BOTH
def test_us_505_a_megabyte_of_chunks_in_upper_case(serve, kind):
    parts = [b"%06d tale of a chunk\n" % i * (1 + i % 400) for i in range(310)]
    assert sum(map(len, parts)) > MIB
    with serve(kind) as server:
        assert b"".join(exchange(server, "/upper", parts)) == b"".join(parts).upper()
        assert b"".join(exchange(server, "/upper?chunk=7", [b"abc" * 9, b"d"])) == b"ABC" * 9 + b"D"


@BOTH
def test_us_505_ten_megabytes_in_chunks_of_a_kilobyte(serve, kind):
    """A chunk of the guest's is one on the wire: nobody waits for more to come."""
    expected = [b"%0*d\n" % (1023, i) for i in range(10 * 1024)]
    with serve(kind) as server:
        with server.raw() as s:
            s.sendall(head("/lines?n=10240&size=1024", method="GET"))
            assert list(Chunks(s)) == expected
        assert b"".join(exchange(server, "/copy", expected)) == b"".join(expected)


@pytest.mark.parametrize("kind, path", [("p3", "/pass"), ("p3", "/copy"), ("p2", "/copy")])
def test_us_505_a_gigabyte_goes_through_in_4_mib(serve, kind, path):
    block = os.urandom(MIB)
    with serve(kind) as server:

        def echo(mib):
            with server.raw(120) as s:
                s.sendall(head(path, f"Content-Length: {mib * MIB}"))
                sending = send_in_background(s, [block] * mib)
                crc = count = 0
                for data in Chunks(s):
                    crc = zlib.crc32(data, crc)
                    count += len(data)
                sending.result()
                expected = 0
                for _ in range(mib):
                    expected = zlib.crc32(block, expected)
                assert (count, crc) == (mib * MIB, expected)

        for _ in range(2):  # what a first request makes stays
            echo(32)
        peak = Peak(server.pid)
        start = time.monotonic()
        echo(1024)
        took = time.monotonic() - start
        print(f"{kind} {path}: {1024 / took:.0f} MiB/s, memory grew by {peak.grown() >> 10} KiB")
        assert peak.grown() < 4 * MIB
        assert took < 20 * SLOW


# ---- who waits for whom -------------------------------------------------------------------------


@BOTH
def test_us_505_chunks_are_answered_one_by_one(serve, kind):
    with serve(kind) as server, server.raw() as s:
        s.sendall(head("/copy", CHUNKED))
        answer = Chunks(s)
        for i in range(100):
            s.sendall(chunk(b"turn %d" % i))
            assert answer.next() == b"turn %d" % i
        s.sendall(b"0\r\n\r\n")
        assert answer.next() is None


@pytest.mark.parametrize("path, first", [("/copy?chunk=4&ms=1500", b"half"), ("/pass", b"half")])
def test_an_answer_does_not_wait_for_what_is_unread(serve, path, first):
    """The rest of the body is in the server's hands; the guest has not asked for it yet."""
    with serve("p3") as server, server.raw() as s:
        start = time.monotonic()
        s.sendall(head(path, CHUNKED) + chunk(b"half") + chunk(b"more") + b"0\r\n\r\n")
        answer = Chunks(s)
        assert answer.next() == first
        assert time.monotonic() - start < 1
        assert list(answer) == [b"more"]


def small_receiver(server):
    s = socket.socket()
    s.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 64 << 10)
    s.settimeout(60 * SLOW)
    s.connect(("127.0.0.1", server.port))
    return s


@BOTH
def test_us_505_a_slow_client_holds_up_the_guest(serve, kind):
    """Of 64 MiB the guest gets rid of what fits into buffers; then it waits, and the host with it."""

    def written():
        if kind == "p3":
            return int(server.get("/seen").text.split()[1])
        lines = server.log.matching(r"written \d+")
        return int(lines[-1].split("written ")[1].split('"')[0]) if lines else 0

    def stall(server):
        """What the guest wrote until it stopped, of an answer that is then read to its end."""
        before = written()
        with small_receiver(server) as s:
            s.sendall(head("/lines?n=65536", method="GET"))
            answer = Chunks(s)
            assert answer.next() == b"%0*d\n" % (1023, 0)
            wait_until(lambda: written() != before, "it writes")
            seen = [-1, written()]
            while seen[-1] != seen[-2]:
                time.sleep(0.4)
                seen.append(written())
            for i, data in enumerate(answer, 1):
                assert data == b"%0*d\n" % (1023, i)
            assert i == 65535
            answer.file.close()
        return seen[-1] - (before if kind == "p3" else 0)

    with serve(kind) as server:
        for _ in range(2):  # what first requests make stays
            stall(server)
        peak = Peak(server.pid)
        assert stall(server) < IN_KERNEL
        assert peak.grown() < NOISE


def test_us_505_a_slow_guest_holds_up_the_client(serve):
    part = b"z" * 65536
    with serve("p3") as server:
        assert server.request("POST", "/hold", part * 64).text == "4194304 true\n"
        peak = Peak(server.pid)
        with server.raw(60) as s:
            s.sendall(head("/hold?ms=2500", f"Content-Length: {64 * MIB}"))
            sent = [0]

            def send():
                for _ in range(1024):
                    s.sendall(part)
                    sent[0] += len(part)

            sending = Background(send)
            time.sleep(1.5)
            assert not sending.done and sent[0] < IN_KERNEL
            assert peak.grown() < NOISE
            (r,) = read_responses(s, 1)
            assert r.text == f"{64 * MIB} true\n"
            sending.result()
        assert peak.grown() < NOISE


# ---- trailers -----------------------------------------------------------------------------------


@pytest.mark.parametrize("kind, path", [("p3", "/pass"), ("p3", "/copy"), ("p2", "/copy")])
def test_trailers_go_through(serve, kind, path):
    with serve(kind) as server, server.raw() as s:
        for _ in range(3):
            s.sendall(
                head(path, CHUNKED, "TE: trailers", "Trailer: x-sum")
                + chunk(b"body")
                + b"0\r\nx-sum: 42\r\nx-sum-of: all\r\n\r\n"
            )
            answer = Chunks(s)
            assert list(answer) == [b"body"]
            assert answer.trailers["x-sum"] == "42"


# ---- clients that leave -------------------------------------------------------------------------


def wait_read(sock):
    """A stream of lines is under way."""
    sock.sendall(head("/lines?n=100000000", method="GET"))
    answer = Chunks(sock)
    assert answer.next() and answer.next()
    answer.file.close()


def leave_in_response(server):
    with small_receiver(server) as s:
        wait_read(s)


def leave_in_request(server):
    with server.raw() as s:
        s.sendall(head("/copy", "Content-Length: 1000") + b"a part")
        answer = Chunks(s)
        assert answer.next() == b"a part"
        answer.file.close()


@pytest.mark.parametrize("leave", [leave_in_response, leave_in_request])
def test_a_client_that_leaves_ends_its_streams_at_once(serve, leave):
    """The guest is told; the instance takes no new requests, and those that it has are answered."""
    with serve("p3") as server:
        assert server.get("/seen").text.split() == ["1", "0", "0"]
        other = server.background("GET", "/seen?ms=1200")
        time.sleep(0.3)
        leave(server)
        wait_until(lambda: int(server.get("/seen").text.split()[0]) < 4, "another instance answers", 0.5)
        assert not other.done
        number, _, broken = other.result().text.split()
        assert (number, broken) == ("2", "1")
        assert int(server.get("/seen").text.split()[2]) == 0


@BOTH
def test_a_client_that_breaks_off_its_request_frees_its_place(serve, kind):
    """Also when the guest has read that, and goes on with something else."""
    with serve(kind, max_inflight=1) as server:
        times = []
        for _ in range(3):
            with server.raw() as s:
                s.sendall(head("/hold?after=20000", "Content-Length: 1000") + b"a part")
                wait_until(lambda: server.get("/").status == 503, "its place is taken")
                start = time.monotonic()
            wait_until(lambda: server.get("/").status == 200, "its place is free")
            times.append(time.monotonic() - start)
        assert min(times) < 0.1, times


@BOTH
@pytest.mark.parametrize(
    "request_bytes",
    [
        head("/hold?ms=20000", "Content-Length: 4000000") + b"z" * 30000,
        head("/hold?ms=20000", "Content-Length: 1000", "Expect: 100-continue"),
        head("/hold?ms=20000", "Content-Length: 0") + head("/"),
    ],
    ids=["unread body", "unasked body", "pipelined"],
)
@pytest.mark.parametrize("how", ["close", "reset"])
def test_a_client_that_leaves_unread_bytes_behind_frees_its_place(serve, kind, request_bytes, how):
    """Nobody reads what comes behind them, the end of the connection."""
    with serve(kind, max_inflight=1) as server:
        times = []
        for _ in range(3):
            with server.raw() as s:
                s.sendall(request_bytes)
                wait_until(lambda: server.get("/").status == 503, "its place is taken")
                if how == "reset":
                    s.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
                start = time.monotonic()
            wait_until(lambda: server.get("/").status == 200, "its place is free", 5)
            times.append(time.monotonic() - start)
        assert min(times) < 0.15, times


@BOTH
def test_a_client_that_waits_is_not_taken_for_one_that_left(serve, kind):
    with serve(kind) as server, server.raw() as s:
        s.sendall(head("/hold?ms=700", f"Content-Length: {MIB}"))
        sending = send_in_background(s, [b"z" * MIB])
        (r,) = read_responses(s, 1)
        assert r.status == 200
        sending.result()


@BOTH
def test_a_client_that_leaves_frees_its_place_within_100_ms(serve, kind):
    with serve(kind, max_inflight=1) as server:
        times = []
        for _ in range(3):
            with small_receiver(server) as s:
                wait_read(s)
                assert server.get("/").status == 503
                start = time.monotonic()
            wait_until(lambda: server.get("/").status == 200, "its place is free")
            times.append(time.monotonic() - start)
        assert min(times) < 0.1, times


@BOTH
def test_clients_that_leave_cost_no_memory(serve, kind):
    with serve(kind) as server:

        def some():
            threads = [threading.Thread(target=leave_in_response, args=(server,)) for _ in range(8)]
            for t in threads:
                t.start()
            for t in threads:
                t.join()

        for _ in range(4):
            some()
        peak = Peak(server.pid)
        for _ in range(20):
            some()
        assert peak.grown() < NOISE
        assert server.get("/").status == 200


def test_what_goes_on_after_a_response_has_the_request_timeout(serve):
    """Other requests are answered meanwhile; a stop waits for it, as long as that and drain_timeout."""
    with serve("p3", {"request_timeout": "1s"}) as server:
        start = time.monotonic()
        assert server.get("/after?ms=700").text == "1\n"
        assert server.get("/after?ms=20000").text == "2\n"
        assert time.monotonic() - start < 0.5 * SLOW
        server.log.wait_for(r"what went on after the response took longer than 1000 ms")
        assert server.get("/after?ms=20000").text == "1\n", "another instance"
        start = time.monotonic()
        server.stop()
        assert 0.5 < time.monotonic() - start < 3 * SLOW
