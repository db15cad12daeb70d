# SPDX-License-Identifier: Apache-2.0
"""Starts `warp` as a user would, talks HTTP to it, and looks at what it leaves behind."""
import fcntl
import http.client
import json
import os
import pty
import re
import select
import shutil
import signal
import socket
import struct
import subprocess
import tempfile
import termios
import threading
import time
from contextlib import contextmanager
from pathlib import Path
from urllib.parse import quote_from_bytes, unquote_to_bytes

from infra import ROOT

# Slow machines and sanitizers: all deadlines of the tests, not those under test, are multiplied.
SLOW = float(os.environ.get("WARPGRID_TEST_SLOW", "1"))
# What must never be seen in the output of a process of ours.
LEFTOVERS = re.compile(
    r"(ERROR: \w+Sanitizer|runtime error:|SUMMARY: \w+Sanitizer|assertion failed|thread '.*' panicked"
    r"|event=\w*leak\w*)"
)


def toml(tables):
    """TOML text of nested dicts: what the tests need of it, no more."""

    def value(v):
        if isinstance(v, bool):
            return "true" if v else "false"
        if isinstance(v, (int, float)):
            return str(v)
        if isinstance(v, (list, tuple)):
            return "[" + ", ".join(value(i) for i in v) + "]"
        return json.dumps(str(v))

    def table(path, t, out):
        plain = {k: v for k, v in t.items() if not isinstance(v, dict)}
        if path and (plain or not t):
            out.append("[" + ".".join(path) + "]")
        for k, v in plain.items():
            out.append(f"{key(k)} = {value(v)}")
        for k, v in t.items():
            if isinstance(v, dict):
                table(path + [key(k)], v, out)

    def key(k):
        return k if re.fullmatch(r"[A-Za-z0-9_-]+", k) else json.dumps(k)

    out = []
    table([], tables, out)
    return "\n".join(out) + "\n"


class Output:
    """What a process wrote to one stream, line by line, with a way to wait for a line."""

    def __init__(self, stream):
        self.lines = []
        self._changed = threading.Condition()
        self._ended = False
        self._stream = stream
        self._thread = threading.Thread(target=self._read, daemon=True)
        self._thread.start()

    def _read(self):
        for raw in self._stream:
            with self._changed:
                self.lines.append(raw.decode(errors="replace").rstrip("\n"))
                self._changed.notify_all()
        with self._changed:
            self._ended = True
            self._changed.notify_all()
        self._stream.close()

    @property
    def text(self):
        with self._changed:
            return "\n".join(self.lines)

    def matching(self, pattern):
        with self._changed:
            return [line for line in self.lines if re.search(pattern, line)]

    def wait_for(self, pattern, timeout_s=10.0, count=1):
        """The `count`-th match of a pattern in a line; fails with the whole output otherwise."""
        end = time.monotonic() + timeout_s * SLOW
        with self._changed:
            while True:
                hits = [m for m in (re.search(pattern, line) for line in self.lines) if m]
                if len(hits) >= count:
                    return hits[count - 1]
                left = end - time.monotonic()
                if self._ended or left <= 0:
                    why = "ended" if self._ended else f"not within {timeout_s * SLOW} s"
                    raise AssertionError(f"no line matches {pattern!r} ({why}):\n" + "\n".join(self.lines))
                self._changed.wait(left)

    def join(self):
        self._thread.join(10)


class Response:
    def __init__(self, status, headers, body):
        self.status = status
        self.headers = headers
        self.body = body

    @property
    def text(self):
        return self.body.decode()

    @property
    def json(self):
        return json.loads(self.body)

    def __repr__(self):
        return f"<{self.status} {self.body[:200]!r}>"


class Server:
    """A running `warp serve`."""

    def __init__(self, process):
        self.process = process
        self.pid = process.pid
        self.out = Output(process.stdout)
        self.log = Output(process.stderr)
        self.urls = []
        self.stopped = False

    @property
    def port(self):
        return int(self.urls[0].rsplit(":", 1)[1])

    def wait_listening(self, count=1, timeout_s=60):
        """Reads the URLs that `warp serve` prints on stdout, one a line."""
        for n in range(count):
            self.urls.append(self.out.wait_for(r"^(http://\S+:\d+)$", timeout_s, n + 1).group(1))

    # -- HTTP ---------------------------------------------------------------------------------
    def connection(self, timeout_s=20):
        return http.client.HTTPConnection("127.0.0.1", self.port, timeout=timeout_s * SLOW)

    def request(self, method, path, body=None, headers=None, timeout_s=20):
        c = self.connection(timeout_s)
        try:
            return ask(c, method, path, body, headers)
        finally:
            c.close()

    def get(self, path="/", **more):
        return self.request("GET", path, **more)

    def raw(self, timeout_s=20):
        s = socket.create_connection(("127.0.0.1", self.port), timeout=timeout_s * SLOW)
        s.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        return s

    def background(self, method, path, body=None, headers=None, timeout_s=60):
        """The same request in a thread; `.result()` gives the Response or raises."""
        return Background(lambda: self.request(method, path, body, headers, timeout_s))

    # -- the end ------------------------------------------------------------------------------
    def stop(self, sig=signal.SIGTERM, timeout_s=20):
        """Ends it in order; the exit code must be 0 and the log clean."""
        if self.stopped:
            return
        self.stopped = True
        self.process.send_signal(sig)
        code = self.wait(timeout_s)
        assert code == 0, f"exit code {code}:\n{self.log.text}"
        self.check_clean()

    def wait(self, timeout_s=20):
        """The exit code, once it ends by itself."""
        self.stopped = True
        try:
            code = self.process.wait(timeout_s * SLOW)
        except subprocess.TimeoutExpired:
            self.process.kill()
            self.process.wait()
            raise AssertionError(f"does not end within {timeout_s} s:\n{self.log.text}") from None
        self.out.join()
        self.log.join()
        return code

    def check_clean(self):
        for text in (self.out.text, self.log.text):
            assert not LEFTOVERS.search(text), text

    def kill(self):
        if self.process.poll() is None:
            self.process.kill()
            self.process.wait()


class Background:
    def __init__(self, call):
        self._value = self._error = None
        self._thread = threading.Thread(target=self._run, args=(call,), daemon=True)
        self._thread.start()

    def _run(self, call):
        try:
            self._value = call()
        except Exception as e:  # noqa: BLE001: whatever it is, result() raises it
            self._error = e

    @property
    def done(self):
        return not self._thread.is_alive()

    def result(self, timeout_s=60):
        self._thread.join(timeout_s * SLOW)
        assert self.done, f"no answer within {timeout_s} s"
        if self._error:
            raise self._error
        return self._value


def ask(connection, method, path, body=None, headers=None):
    connection.request(method, path, body, headers or {})
    r = connection.getresponse()
    return Response(r.status, r.headers, r.read())


def read_responses(sock, count):
    """`count` HTTP/1.1 responses from a raw socket, in order."""
    stream = sock.makefile("rb")
    found = []
    for _ in range(count):
        status = int(stream.readline().split()[1])
        headers = http.client.parse_headers(stream)
        if headers.get("transfer-encoding", "").lower() == "chunked":
            body = b""
            while size := int(stream.readline().split(b";")[0], 16):
                body += stream.read(size)
                stream.readline()
            stream.readline()
        else:
            body = stream.read(int(headers.get("content-length", 0)))
        found.append(Response(status, headers, body))
    return found


def curl(*args, timeout_s=30):
    """curl with prior-knowledge h2c and friends; returns (status, body)."""
    out = subprocess.run(
        ["curl", "-sS", "--max-time", str(timeout_s), "-w", "\n%{http_code} %{http_version}", *args],
        capture_output=True, timeout=timeout_s + 10,
    )  # fmt: skip
    assert out.returncode == 0, out.stderr.decode()
    body, _, tail = out.stdout.rpartition(b"\n")
    status, version = tail.split()
    return int(status), version.decode(), body


def h2c(sock, paths):
    """Asks for all paths at once over one HTTP/2 connection with prior knowledge; returns
    (stream, status, body) in the order in which the answers end."""

    def frame(kind, flags, stream, payload=b""):
        return len(payload).to_bytes(3, "big") + bytes([kind, flags]) + stream.to_bytes(4, "big") + payload

    def text(s):  # an HPACK string without Huffman, shorter than 127
        return bytes([len(s)]) + s.encode()

    out = b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n" + frame(4, 0, 0)
    for i, path in enumerate(paths):
        # :method GET, :scheme http (indexed), :path and :authority (literal, not indexed)
        block = b"\x82\x86" + b"\x04" + text(path) + b"\x01" + text("localhost")
        out += frame(1, 0x5, 2 * i + 1, block)  # END_STREAM | END_HEADERS
    sock.sendall(out)
    stream = sock.makefile("rb")
    statuses, bodies, ended = {}, {}, []
    while len(ended) < len(paths):
        head = stream.read(9)
        assert len(head) == 9, f"the connection ended after {len(ended)} answers"
        payload = stream.read(int.from_bytes(head[:3], "big"))
        kind, flags, n = head[3], head[4], int.from_bytes(head[5:9], "big") & 0x7FFFFFFF
        assert kind not in (3, 7), f"RST_STREAM or GOAWAY: {payload!r}"
        if kind == 4 and not flags & 1:
            sock.sendall(frame(4, 1, 0))
        if kind == 1:
            # The first field is :status; 200, 404 and 500 are in the static table.
            statuses[n] = {0x88: 200, 0x8D: 404, 0x8E: 500}.get(payload[0])
        if kind == 0:
            bodies[n] = bodies.get(n, b"") + payload
        if kind in (0, 1) and flags & 1:
            ended.append((n, statuses[n], bodies.get(n, b"")))
    return ended


class Warp:
    """The program under test, with a home of its own: nothing of the user's is read or written."""

    def __init__(self, binary, cache):
        self.binary = str(binary)
        self.cache = cache

    def env(self, extra=None):
        keep = ("PATH", "LANG", "LC_ALL", "TMPDIR", "ASAN_OPTIONS", "UBSAN_OPTIONS", "LSAN_OPTIONS",
                "TSAN_OPTIONS", "LLVM_PROFILE_FILE")  # fmt: skip
        env = {k: os.environ[k] for k in keep if k in os.environ}
        env.update(HOME=str(self.cache), XDG_CACHE_HOME=str(self.cache), WARPGRID_CACHE=str(self.cache))
        env.update({k: str(v) for k, v in (extra or {}).items()})
        return env

    def __call__(self, *args, env=None, input=None, cwd=None, timeout_s=60):
        """Runs a command to its end; returns the finished process with text output."""
        out = subprocess.run(
            [self.binary, *map(str, args)], env=self.env(env), input=input, cwd=cwd,
            capture_output=True, timeout=timeout_s * SLOW, text=not isinstance(input, bytes),
        )  # fmt: skip
        both = out.stdout + out.stderr
        text = both if isinstance(both, str) else both.decode(errors="replace")
        assert not LEFTOVERS.search(text), text
        assert out.returncode >= 0, f"ended by signal {-out.returncode}:\n{text}"
        return out

    def popen(self, *args, env=None, cwd=None, stdin=subprocess.DEVNULL):
        return subprocess.Popen(
            [self.binary, *map(str, args)], env=self.env(env), cwd=cwd, stdin=stdin,
            stdout=subprocess.PIPE, stderr=subprocess.PIPE,
        )  # fmt: skip

    @contextmanager
    def serve(self, component, config=None, args=(), env=None, listen=None, ready=True):
        """`warp serve` with a warp.toml made of `config`, on a free port; stopped and checked. Without
        a component it serves what `config` names."""
        config = dict(config or {})
        config["http"] = {"listen": listen or ["127.0.0.1:0"], "workers": 1, **config.get("http", {})}
        with tempfile.TemporaryDirectory(prefix="warpgrid-e2e.") as folder:
            file = Path(folder) / "warp.toml"
            file.write_text(toml(config))
            server = Server(
                self.popen(
                    "serve", *([component] if component else []), "--config", file, *args, env=env, cwd=folder
                )
            )
            try:
                if ready:
                    server.wait_listening(len(config["http"]["listen"]))
                yield server
                server.stop()
            except BaseException:
                server.kill()
                server.log.join()
                log = "\n".join(server.log.lines[-200:])
                print(f"--- stdout of warp\n{server.out.text}\n--- stderr of warp, its end\n{log}")
                raise
            finally:
                server.kill()


class Site:
    """A folder with warp.toml and dist/, and the `warp serve` that runs in it."""

    def __init__(self, folder, guest):
        self.folder = folder
        self.guest = guest
        self.server = None
        (folder / "dist").mkdir()

    def put(self, name, guest):
        """Writes dist/NAME.wasm the way a build does: whole, by a rename."""
        part = self.folder / "dist" / f"{name}.part"
        shutil.copy(self.guest(guest), part)
        part.rename(self.folder / "dist" / f"{name}.wasm")

    def configure(self, tables):
        tables = dict(tables)
        tables["http"] = {"listen": ["127.0.0.1:0"], "workers": 2, **tables.get("http", {})}
        tables.setdefault("admin", {"listen": "127.0.0.1:0"})
        (self.folder / "warp.toml").write_text(toml(tables))

    @property
    def admin_port(self):
        return int(self.server.log.wait_for(r"event=admin_listening url=http://127.0.0.1:(\d+)").group(1))

    def admin(self, method, path, headers=None):
        c = http.client.HTTPConnection("127.0.0.1", self.admin_port, timeout=60 * SLOW)
        try:
            return ask(c, method, path, None, headers)
        finally:
            c.close()

    def stats(self):
        return self.admin("GET", "/stats").json

    def reload(self):
        r = self.admin("POST", "/reload")
        assert r.status == 200, r
        return r.json


def pack_env():
    """What compilers need of the user's environment: the cache of tools, the homes of cargo and
    rustup, and one target folder for all Rust guests."""
    keep = ("HOME", "CARGO_HOME", "RUSTUP_HOME", "RUSTUP_TOOLCHAIN", "WARPGRID_RUSTC")
    env = {k: os.environ[k] for k in keep if k in os.environ}
    home = env.setdefault("HOME", "/")
    cache = os.environ.get("WARPGRID_CACHE") or os.environ.get("XDG_CACHE_HOME") or f"{home}/.cache"
    return {**env, "WARPGRID_CACHE": cache, "CARGO_TARGET_DIR": f"{cache}/warpgrid/guest-rust/target"}


_built = {}


def guest_cargo_env():
    """The environment of cargo for wasm32-wasip2: with the compiler that has this target."""
    env = {**os.environ, **pack_env()}
    probe = ["rustc", "--print", "target-libdir", "--target", "wasm32-wasip2"]
    library = subprocess.run(probe, capture_output=True, text=True, env=env).stdout.strip()
    if "WARPGRID_RUSTC" in env:
        env["RUSTC"] = env["WARPGRID_RUSTC"]
    elif not library or not Path(library).is_dir():
        script = [ROOT / "scripts" / "build-guest-rust.sh"]
        env["RUSTC"] = subprocess.run(script, check=True, capture_output=True, text=True).stdout.strip()
    return env


def rust_guest(project, name):
    """A component of a project in projects/, tests/fixtures/ or test-apps/, built by cargo once a session: a binary, a
    library or an example."""
    if project not in _built:
        env = guest_cargo_env()
        places = [ROOT / folder / project for folder in ("tests/e2e/projects", "tests/fixtures", "test-apps")]
        place = next(p for p in places if p.is_dir())
        kinds = ["--bins", "--examples", *(["--lib"] if (place / "src" / "lib.rs").exists() else [])]
        out = subprocess.run(
            ["cargo", "build", "--release", "--locked", "--target", "wasm32-wasip2", *kinds],
            cwd=place, env=env, capture_output=True, text=True,
            timeout=600 * SLOW,
        )  # fmt: skip
        assert out.returncode == 0, out.stderr
        _built[project] = Path(env["CARGO_TARGET_DIR"]) / "wasm32-wasip2" / "release"
    for file in (_built[project] / f"{name}.wasm", _built[project] / "examples" / f"{name}.wasm"):
        if file.is_file():
            return file
    raise AssertionError(f"no '{name}.wasm' of {project} in '{_built[project]}'")


def steps(warp, component, *lines, config=None, args=(), cwd=None):
    """Runs a command that does steps (tests/fixtures/steps/steps.h); its lines. `config` is a dict or
    the text of a warp.toml, which is written to `cwd`."""
    with tempfile.TemporaryDirectory(prefix="warpgrid-e2e.") as folder:
        cwd = Path(cwd or folder)
        text = config if isinstance(config, str) else toml(config or {})
        (cwd / "warp.toml").write_text(text)
        out = warp("run", component, *args, "--", *lines, cwd=cwd)
    assert out.returncode == 0, out.stdout + out.stderr
    found = out.stdout.splitlines()
    assert len(found) == len(lines), (found, lines)
    return found


def content(line):
    """The bytes of a step's line "ok CONTENT"."""
    verdict, _, rest = line.partition(" ")
    assert verdict == "ok", line
    return unquote_to_bytes(rest)


def word(raw):
    """A word of a step: bytes or text, escaped."""
    return quote_from_bytes(os.fsencode(raw) if isinstance(raw, str) else raw, safe="/.:,+-_")


class Terminal:
    """`warp` on a terminal: what it says, and what somebody types."""

    def __init__(self, warp, args, cwd, width=80, env=None):
        master, slave = pty.openpty()
        fcntl.ioctl(slave, termios.TIOCSWINSZ, struct.pack("HHHH", 25, width, 0, 0))
        self.process = subprocess.Popen(
            [warp.binary, *map(str, args)], cwd=cwd, env=warp.env({"TERM": "xterm", **(env or {})}),
            stdin=slave, stdout=slave, stderr=slave, start_new_session=True,
            preexec_fn=lambda: fcntl.ioctl(0, termios.TIOCSCTTY, 0),
        )  # fmt: skip
        os.close(slave)
        self.master, self.text = master, ""

    def wait_for(self, text):
        end = time.monotonic() + 20 * SLOW
        while text not in self.text:
            assert time.monotonic() < end, self.text
            if select.select([self.master], [], [], 0.1)[0]:
                self.text += os.read(self.master, 4096).decode()

    def type(self, text):
        os.write(self.master, text.encode())

    def end(self):
        """Reads until it ends; returns the exit code."""
        rest = b""
        try:
            while part := os.read(self.master, 4096):
                rest += part
        except OSError:  # the terminal is gone with its last user
            pass
        os.close(self.master)
        self.text += rest.decode()
        code = self.process.wait(20 * SLOW)
        assert not LEFTOVERS.search(self.text), self.text
        return code


def find_build():
    """The folder of the build under test: WARPGRID_BUILD, else build/dev."""
    return Path(os.environ.get("WARPGRID_BUILD", ROOT / "build" / "dev"))


def find_warp():
    given = os.environ.get("WARP_BIN")
    if given:
        return Path(given)
    build = find_build()
    for candidate in ("warp", "bin/warp", "src/warp", "src/cli/warp"):
        if (build / candidate).is_file():
            return build / candidate
    raise AssertionError(f"no warp in '{build}': build it, or set WARP_BIN")


def find_guest(name):
    """A component of the build, by its file's name without .wasm."""
    build = find_build()
    given = os.environ.get("WARPGRID_GUESTS")
    for folder in filter(None, (given, build / "guests", build / "fixtures", build)):
        hits = sorted(Path(folder).rglob(f"{name}.wasm"))
        if hits:
            return hits[0]
    raise AssertionError(f"no guest '{name}.wasm' in '{build}': build it, or set WARPGRID_GUESTS")
