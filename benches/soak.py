# SPDX-License-Identifier: Apache-2.0
"""The soak test behind soak.sh: questions, faults, and the books about both.

A question ends in one of four ways: its result, which is checked; a whole HTTP answer that tells an
error; hung up by the client, on purpose; or none of these, which counts as lost. One case is told
apart: a trap or a time limit ends an instance of WASI 0.3 with all that is in flight there, and an
answer whose head it had already given can then only be cut. That is a fault of the neighbour's, named
cut_answer, if such an end was seen at that moment, and lost otherwise."""
import http.client
import os
import random
import re
import sys
import tempfile
import threading
import time
from collections import Counter
from contextlib import ExitStack
from itertools import product
from pathlib import Path
from urllib.parse import urlencode

from fault_proxy import FaultProxy
from harness import Warp, find_guest, find_warp
from soak_sides import SIDES

CLIENTS = 8
SQLSTATE = re.compile(r"[0-9A-Z]{5} .")


class Books:
    def __init__(self):
        self.lock = threading.Lock()
        self.asked, self.faults, self.injected = Counter(), Counter(), Counter()
        self.wrong, self.lost, self.written = [], [], []
        self.cut, self.ended = [], []  # answers that broke off; when an instance of WASI 0.3 ended

    def settle(self):
        """Whose fault each cut was."""
        for when, kind, text in self.cut:
            if kind == "p3" and any(abs(when - end) < 1 for end in self.ended):
                self.faults["cut_answer"] += 1
            else:
                self.lost.append(text)

    def note(self, what, *key):
        with self.lock:
            if isinstance(what, Counter):
                what[key[0]] += 1
            else:
                what.append(key[0])


class Client(threading.Thread):
    """Asks one question after the other."""

    OPS = [("canary", 40), ("echo", 20), ("insert", 12), ("big", 8), ("sleep", 6), ("error", 4),
           ("leave", 4), ("abort", 3), ("trap", 2), ("spin", 1)]  # fmt: skip

    def __init__(self, number, port, sides, rng, books, until):
        super().__init__(name=f"client-{number}")
        self.number, self.port, self.sides, self.books, self.until = number, port, sides, books, until
        self.rng, self.count = rng, 0

    def run(self):
        names, weights = zip(*self.OPS)
        while time.monotonic() < self.until():
            op = self.rng.choices(names, weights)[0]
            try:
                self.ask(op)
            except Exception as e:  # noqa: BLE001: a bug of this script must not end a thread in silence
                self.books.note(self.books.lost, f"{op}: the script failed: {e!r}")

    def ask(self, op):
        self.count += 1
        token = f"t{self.number}x{self.count}x{self.rng.getrandbits(48):x}"
        side = self.rng.choice(self.sides)
        text, check = side.question(op, token, self.rng)
        kind = self.rng.choice(["p2", "p3"])
        path = f"/{op}" if text is None else "/sql"
        params = side.params(self.rng.choice(side.hosts))
        if text is not None:
            params["q"] = text
        # The instance ends with its connection in hand; one of WASI 0.3 lives on and keeps it.
        if self.rng.random() < (0.5 if kind == "p2" else 0.02) and op in ("leave", "canary"):
            params["keep"] = "1"
        self.books.note(self.books.asked, f"{side.name}_{op}")
        connection = http.client.HTTPConnection("127.0.0.1", self.port, timeout=60)
        try:
            connection.request("GET", f"{path}?{urlencode(params)}", headers={"Host": f"{kind}.soak.example"})
            if op == "abort":
                time.sleep(self.rng.random() * 0.2)
                return
            answer = connection.getresponse()
            body = answer.read().decode()
        except (http.client.IncompleteRead, http.client.RemoteDisconnected) as e:
            if op != "abort":
                self.books.note(self.books.cut, (time.monotonic(), kind, f"{op} {kind} {token}: {e!r}"))
            return
        except (OSError, http.client.HTTPException) as e:
            if op != "abort":
                self.books.note(self.books.lost, f"{op} {kind} {token}: {e!r}")
            return
        finally:
            connection.close()
        self.judge(side, op, kind, token, answer.status, body, check)

    def judge(self, side, op, kind, token, status, body, check):
        b = self.books
        where = f"{side.name} {op} {kind} {token}: {status} {body[:200]!r}"
        if status == 200 and check is not None:
            if not check(body.splitlines() or [""]):
                b.note(b.wrong, where)
            elif op == "insert":
                b.note(b.written, (side.name, token))
        elif op == "error" and status == 400 and body.startswith(side.refusal):
            pass
        elif status == 503 and SQLSTATE.match(body) or status == 400 and side.is_fault(body):
            b.note(b.faults, f"{side.name}_{body.split(' ', 1)[0]}")
        elif status in (500, 503, 504) and body:
            b.note(b.faults, f"http_{status}")
            if kind == "p3":
                b.note(b.ended, time.monotonic())
        else:
            b.note(b.wrong, where)


class Chaos(threading.Thread):
    """One fault after the other, whatever the state of things."""

    KINDS = [("terminate", 30), ("cut", 20), ("stall", 10), ("delay", 8), ("cut_after", 12), ("refuse", 8),
             ("kill9", 5), ("restart", 4)]  # fmt: skip

    def __init__(self, side, rng, books, until):
        super().__init__(name=f"chaos-{side.name}")
        self.side, self.proxy, self.rng, self.books, self.until = side, side.proxy, rng, books, until

    def run(self):
        names, weights = zip(*self.KINDS)
        while time.monotonic() < self.until():
            time.sleep(self.rng.uniform(0.1, 0.9))
            what = self.rng.choices(names, weights)[0]
            self.books.note(self.books.injected, what)
            try:
                getattr(self, what)()
            except Exception as e:  # noqa: BLE001: as in Client
                self.books.note(self.books.lost, f"{self.name}: {what} failed: {e!r}")

    def terminate(self):
        self.side.terminate()

    def kill9(self):
        self.side.kill9()
        self.side.wait_ready()

    def restart(self):
        self.side.restart()
        self.side.wait_ready()

    def cut(self):
        self.proxy.cut()

    def cut_after(self):
        self.proxy.cut_after(self.rng.randrange(1, 200000))
        time.sleep(0.5)
        self.proxy.cut_after(None)

    def stall(self):
        way = self.rng.choice(["up", "down", "both"])
        self.proxy.stall(way)
        time.sleep(self.rng.uniform(0.05, 2))
        self.proxy.resume(way)

    def delay(self):
        self.proxy.delay(self.rng.uniform(0.001, 0.05))
        time.sleep(1)
        self.proxy.delay(0)

    def refuse(self):
        self.proxy.refuse()
        time.sleep(self.rng.uniform(0.1, 1))
        self.proxy.accept()


def resources(pid):
    """(resident KiB, descriptors)"""
    status = Path(f"/proc/{pid}/status").read_text()
    return int(re.search(r"VmRSS:\s+(\d+)", status).group(1)), len(os.listdir(f"/proc/{pid}/fd"))


def settings(sides):
    databases = {}
    for side in sides:
        for host, port in zip(side.hosts, (side.server.port, side.proxy.port)):
            databases[host.split(".")[0]] = {
                "host": host, "address": "127.0.0.1", "address_port": port, "password_env": f"SOAK_{side.name.upper()}",
                "pool_size": 6, "connect_timeout": "3s", "recv_timeout": "3s", "idle_timeout": "2s",
                "health_interval": "1s", **side.keys,
            }  # fmt: skip
    services = {
        kind: {"component": str(find_guest(f"dbprobe-{kind}")), "host": f"{kind}.soak.example"}
        for kind in ("p2", "p3")
    }
    return {"http": {"workers": 2}, "limits": {"request_timeout": "5s"},
            "databases": databases, "services": services}  # fmt: skip


def recovered(server, sides, timeout_s=30):
    """Whether every guest reaches every database again, twice each, when nothing more goes wrong."""
    end = time.monotonic() + timeout_s
    for side, kind in product(sides, ("p2", "p3") * 2):
        for host in side.hosts:
            path = "/sql?" + urlencode({"q": side.well, **side.params(host)})
            while (r := server.get(path, headers={"Host": f"{kind}.soak.example"})).status != 200:
                if time.monotonic() > end:
                    return f"{kind} {host}: {r}"
                time.sleep(0.2)
    return None


def soak(names, seconds, seed):
    books, rng = Books(), random.Random(seed)
    with tempfile.TemporaryDirectory(prefix="warpgrid-soak.") as folder, ExitStack() as ends:
        warp = Warp(find_warp(), Path(folder) / "home")
        sides = []
        for name in names:
            (Path(folder) / name).mkdir()
            sides.append(SIDES[name](Path(folder) / name))
            ends.callback(sides[-1].server.close)
            sides[-1].proxy = ends.enter_context(FaultProxy("127.0.0.1", sides[-1].server.port))
        passwords = {f"SOAK_{side.name.upper()}": side.password for side in sides}
        with warp.serve(None, settings(sides), env=passwords) as server:
            begun = time.monotonic()
            until = lambda: begun + seconds  # noqa: E731
            threads = [Client(n, server.port, sides, random.Random(rng.random()), books, until)
                       for n in range(CLIENTS)]  # fmt: skip
            threads += [Chaos(side, random.Random(rng.random()), books, until) for side in sides]
            for t in threads:
                t.start()
            time.sleep(min(seconds * 0.2, 20))  # caches and pools fill
            first = resources(server.pid)
            for t in threads:
                t.join(seconds + 120)
                if t.is_alive():
                    books.lost.append(f"{t.name} does not end")
            for side in sides:
                side.wait_ready()
            trouble = recovered(server, sides)
            if trouble:
                books.lost.append(f"did not recover: {trouble}")
            time.sleep(min(3.5, seconds / 3))  # idle connections and instances go
            last = resources(server.pid)
        books.settle()
        for side in sides:
            there = side.written()
            books.wrong += [f"{name} insert {t}: acknowledged, and not there"
                            for name, t in books.written if name == side.name and there[t] != 1]  # fmt: skip
            if left := side.left():
                books.wrong.append(f"{side.name}: {left} of what nobody committed")
    return books, first, last


def main():
    names, seconds = sys.argv[1].split(","), int(sys.argv[2])
    seed = int(sys.argv[3]) if len(sys.argv) > 3 else random.SystemRandom().getrandbits(32)
    print(f"# {seconds} s, seed {seed}", flush=True)
    ok = True
    try:
        books, first, last = soak(names, seconds, seed)
    except AssertionError as e:  # the host did not end in order, or said what it must not say
        print(f"error: {e}", file=sys.stderr)
        sys.exit(1)

    def line(name, pairs):
        print(f"RESULT soak_{name} " + " ".join(f"{k}={v}" for k, v in pairs), flush=True)

    for what in ("wrong", "lost"):
        for text in getattr(books, what)[:20]:
            print(f"{what}: {text}", file=sys.stderr)
            ok = False
    asked, faults = sum(books.asked.values()), sum(books.faults.values())
    line("answers", [("requests", asked), ("faults", faults), ("wrong", len(books.wrong)),
                     ("lost", len(books.lost)), ("inserts", len(books.written))])  # fmt: skip
    line("asked", sorted(books.asked.items()))
    line("faults", sorted(books.faults.items()))
    line("injected", sorted(books.injected.items()))
    line("memory", [("rss_kib", first[0]), ("rss_end_kib", last[0]), ("growth_kib", last[0] - first[0]),
                    ("fds", first[1]), ("fds_end", last[1])])  # fmt: skip
    sys.exit(0 if ok else 1)


main()
