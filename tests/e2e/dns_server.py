# SPDX-License-Identifier: Apache-2.0
"""A small name server for tests: one zone, UDP on 127.0.0.1, and a count of what it was asked."""
import ipaddress
import socket
import struct
import threading

TYPES = {"A": 1, "CNAME": 5, "PTR": 12, "TXT": 16, "AAAA": 28, "SRV": 33}
NXDOMAIN, NOERROR = 3, 0


def encode_name(name):
    parts = (p.encode() for p in name.rstrip(".").split("."))
    return b"".join(bytes([len(p)]) + p for p in parts) + b"\0"


def encode_data(kind, value):
    if kind in ("A", "AAAA"):
        return ipaddress.ip_address(value).packed
    if kind == "TXT":
        return bytes([len(value)]) + value.encode()
    if kind == "SRV":
        priority, weight, port, target = value.split()
        return struct.pack(">HHH", int(priority), int(weight), int(port)) + encode_name(target)
    return encode_name(value)


class DnsServer:
    """`zone` is {(NAME, TYPE): [VALUE, ...]}; names are lower case without a dot at the end. A name in
    `silent` gets no answer until release() is called."""

    def __init__(self, zone, ttl=60, silent=()):
        self.zone = dict(zone)
        self.ttl = ttl
        self.silent = set(silent)
        self.asked = []  # (name, type), in order
        self._late = []
        self._lock = threading.Lock()
        self._socket = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
        self._socket.bind(("127.0.0.1", 0))
        self.address = "127.0.0.1:{}".format(self._socket.getsockname()[1])
        self._thread = threading.Thread(target=self._serve, daemon=True)

    def __enter__(self):
        self._thread.start()
        return self

    def __exit__(self, *_):
        stop = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
        stop.sendto(b"", self._socket.getsockname())
        stop.close()
        self._thread.join(10)
        self._socket.close()

    def count(self, name):
        with self._lock:
            return sum(1 for asked, _ in self.asked if asked == name)

    def release(self):
        """Answers what was kept back, and keeps nothing back any more."""
        with self._lock:
            self.silent.clear()
            late, self._late = self._late, []
        for query, peer in late:
            self._socket.sendto(self._answer(query), peer)

    def _serve(self):
        while True:
            query, peer = self._socket.recvfrom(4096)
            if not query:
                return
            name, kind, _ = self._question(query)
            with self._lock:
                self.asked.append((name, kind))
                if name in self.silent:
                    self._late.append((query, peer))
                    continue
            self._socket.sendto(self._answer(query), peer)

    @staticmethod
    def _question(query):
        at, labels = 12, []
        while query[at]:
            labels.append(query[at + 1 : at + 1 + query[at]].decode("latin-1"))
            at += 1 + query[at]
        number = struct.unpack(">H", query[at + 1 : at + 3])[0]
        kind = next((k for k, n in TYPES.items() if n == number), str(number))
        return ".".join(labels).lower(), kind, query[12 : at + 5]

    def _answer(self, query):
        name, kind, question = self._question(query)
        records, seen = [], name
        while kind != "CNAME" and (alias := self.zone.get((seen, "CNAME"))):
            records.append((seen, "CNAME", alias[0]))
            seen = alias[0]
        records += [(seen, kind, value) for value in self.zone.get((seen, kind), [])]
        known = any(zone_name == seen for zone_name, _ in self.zone)
        body = b"".join(
            encode_name(owner) + struct.pack(">HHIH", TYPES[k], 1, self.ttl, len(encode_data(k, v)))
            + encode_data(k, v)
            for owner, k, v in records
        )  # fmt: skip
        code = NOERROR if known else NXDOMAIN
        head = query[:2] + struct.pack(">HHHHH", 0x8580 | code, 1, len(records), 0, 0)
        return head + question + body
