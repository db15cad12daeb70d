# SPDX-License-Identifier: Apache-2.0
"""Servers that the tests need: the private PostgreSQL of test-infra/, asked through psql."""
import os
import shutil
import signal
import socket
import subprocess
import time
from pathlib import Path

ROOT = Path(__file__).resolve().parents[2]
INFRA = ROOT / "test-infra"


def read_env(path):
    """The KEY=VALUE lines that up.sh wrote."""
    lines = Path(path).read_text().splitlines()
    return dict(line.split("=", 1) for line in lines if "=" in line)


def wait_until(condition, what, timeout_s=10.0, interval_s=0.02):
    """Polls until `condition()` is true and returns its value; fails with `what` otherwise."""
    end = time.monotonic() + timeout_s
    while True:
        value = condition()
        if value:
            return value
        if time.monotonic() > end:
            raise AssertionError(f"not within {timeout_s} s: {what}")
        time.sleep(interval_s)


def is_running(pid):
    """False when the process is gone, or a zombie that nobody has waited for."""
    try:
        return Path(f"/proc/{pid}/stat").read_text().rsplit(")", 1)[1].split()[0] != "Z"
    except (FileNotFoundError, ProcessLookupError):  # gone before the open, or between it and the read
        return False


def process_cpu_s(pid):
    """CPU seconds of a process, all its threads."""
    fields = Path(f"/proc/{pid}/stat").read_text().rsplit(")", 1)[1].split()
    return (int(fields[11]) + int(fields[12])) / os.sysconf("SC_CLK_TCK")


def free_port():
    """A TCP port of 127.0.0.1 that nothing listens on right now."""
    with socket.socket() as s:
        s.bind(("127.0.0.1", 0))
        return s.getsockname()[1]


class Postgres:
    """One private server; `stop`, `start` and `restart` keep its port and data."""

    def __init__(self, folder, *options):
        self.folder = Path(folder)
        out = subprocess.run(
            [INFRA / "up.sh", *options, self.folder], capture_output=True, text=True, timeout=120
        )
        assert out.returncode == 0, out.stderr
        self.env = read_env(out.stdout.strip())
        self.host = self.env["PGHOST"]
        self.port = int(self.env["PGPORT"])
        self.user = self.env["PGUSER"]
        self.password = self.env["PGPASSWORD"]
        self.database = self.env["PGDATABASE"]

    def close(self):
        subprocess.run([INFRA / "down.sh", self.folder], check=True, timeout=60)

    def psql(self, sql, user=None, password=None, check=True, port=None):
        """Runs SQL as the superuser (or `user`); returns psql's process."""
        if user is None:
            user, password = self.env["PG_ADMIN_USER"], self.env["PG_ADMIN_PASSWORD"]
        env = dict(os.environ, PGPASSWORD=password or self.password, PGAPPNAME="e2e-admin")
        cmd = [
            f"{self.env['PG_BINDIR']}/psql", "-X", "-At", "-v", "ON_ERROR_STOP=1", "-w",
            "-h", self.host, "-p", str(port or self.port), "-U", user, "-d", self.database, "-c", sql,
        ]  # fmt: skip
        out = subprocess.run(cmd, env=env, capture_output=True, text=True, timeout=60)
        if check:
            assert out.returncode == 0 or not check, f"{sql}: {out.stderr}"
        return out

    def sql(self, sql):
        """The rows of a statement, as lists of text."""
        return [r.split("|") for r in self.psql(sql).stdout.splitlines()]

    def scalar(self, sql):
        rows = self.sql(sql)
        return rows[0][0] if rows else None

    def backends(self, user="warpgrid_app"):
        """(pid, state) of each client backend of a role."""
        rows = self.sql(
            "SELECT pid, coalesce(state, '') FROM pg_stat_activity "
            f"WHERE usename = '{user}' AND backend_type = 'client backend' ORDER BY backend_start"
        )
        return [(int(pid), state) for pid, state in rows]

    def kill_backend(self, pid):
        """kill -9: PostgreSQL then ends all its sessions and recovers; waits until it takes logins."""
        os.kill(pid, signal.SIGKILL)
        wait_until(lambda: not is_running(pid), f"backend {pid} is gone")
        self.wait_ready()

    def terminate_backends(self, user="warpgrid_app"):
        self.sql(
            "SELECT pg_terminate_backend(pid, 5000) FROM pg_stat_activity "
            f"WHERE usename = '{user}' AND backend_type = 'client backend'"
        )

    def pg_ctl(self, *args):
        home = self.env["WARPGRID_PG_HOME"]
        cmd = [f"{self.env['PG_BINDIR']}/pg_ctl", "-D", f"{home}/data", "-w", "-t", "30", *args]
        if os.geteuid() == 0:
            owner = Path(home).owner()
            cmd = ["runuser", "-u", owner, "--", *cmd]
        out = subprocess.run(
            cmd, stdout=subprocess.DEVNULL, stderr=subprocess.PIPE, text=True, timeout=60, cwd="/"
        )
        assert out.returncode == 0, out.stderr

    def stop(self, mode="fast"):
        self.pg_ctl("-m", mode, "stop")

    def start(self):
        self.pg_ctl("-l", self.env["PG_LOG"], "-o", f"-p {self.port}", "start")

    def restart(self, mode="fast"):
        self.stop(mode)
        self.start()

    def wait_ready(self):
        wait_until(
            lambda: self.psql("SELECT 1", check=False).returncode == 0, "PostgreSQL takes logins", 30
        )

    def logins(self, user="warpgrid_app"):
        """How many logins the server's log has counted for a role."""
        text = Path(self.env["PG_LOG"]).read_text(errors="replace")
        return text.count(f"connection authorized: user={user} ")


class MySQL:
    """One private MariaDB (or MySQL) server: user app, databases shop and till."""

    def __init__(self, folder):
        self.folder = Path(folder)
        self.host, self.port = "127.0.0.1", free_port()
        self.user, self.password, self.database = "app", "app secret", "shop"
        root = ["--user=root"] if os.geteuid() == 0 else []
        seed = self.folder / "seed.sql"
        seed.write_text(
            "CREATE DATABASE shop CHARACTER SET utf8mb4;\nCREATE DATABASE till;\n"
            f"CREATE USER '{self.user}'@'%' IDENTIFIED BY '{self.password}';\n"
            f"GRANT ALL ON *.* TO '{self.user}'@'%' WITH GRANT OPTION;\n"
        )
        # A server clears its temporary folder when it starts, of other servers' tables as well.
        folders = [f"--datadir={self.folder}/data", f"--tmpdir={self.folder}"]
        install = [
            "mariadb-install-db", "--no-defaults", "--auth-root-authentication-method=normal",
            "--skip-test-db", *folders, *root,
        ]  # fmt: skip
        out = subprocess.run(install, capture_output=True, text=True, timeout=120)
        assert out.returncode == 0, out.stdout + out.stderr
        self.command = [
            "mariadbd", "--no-defaults", *folders, *root,
            f"--socket={self.folder}/mysqld.sock", f"--port={self.port}", "--bind-address=127.0.0.1",
            "--innodb-flush-log-at-trx-commit=0", "--innodb-buffer-pool-size=16M",
            "--max-allowed-packet=64M",
        ]  # fmt: skip
        self.start(f"--init-file={seed}")

    def start(self, *more):
        log = (self.folder / "log").open("a")
        path = os.environ["PATH"] + ":/usr/sbin"
        env = dict(os.environ, PATH=path)
        self.process = subprocess.Popen([*self.command, *more], stdout=log, stderr=log, env=env)
        wait_until(self._answers, f"MariaDB answers; see {self.folder}/log", 30)

    def _answers(self):
        assert self.process.poll() is None, (self.folder / "log").read_text()[-2000:]
        try:
            with socket.create_connection((self.host, self.port), timeout=1) as s:
                return s.recv(5)[4:] == b"\n"
        except OSError:
            return False

    def stop(self):
        self.process.terminate()
        self.process.wait(60)

    def close(self):
        self.process.kill()
        self.process.wait(60)

    def run(self, sql, check=True):
        """The rows of a statement, as lists of text, asked through the server's own client."""
        cmd = [
            "mariadb", "--no-defaults", "-N", "-B", "-h", self.host, "-P", str(self.port), "-u", self.user,
            f"-p{self.password}", self.database, "-e", sql,
        ]  # fmt: skip
        out = subprocess.run(cmd, capture_output=True, text=True, timeout=60)
        assert out.returncode == 0 or not check, f"{sql}: {out.stderr}"
        return [line.split("\t") for line in out.stdout.splitlines()]

    def sessions(self):
        """Connection ids of the pool's sessions."""
        rows = self.run("SELECT ID FROM information_schema.processlist WHERE ID <> CONNECTION_ID() AND USER = 'app'")
        return [int(row[0]) for row in rows]


class Redis:
    """One private Redis (or Valkey) server: the default user and user app have a password each."""

    def __init__(self, folder, *lines):
        """Lines of its configuration may follow."""
        self.folder = Path(folder)
        self.host, self.port, self.password = "127.0.0.1", free_port(), "app secret"
        (self.folder / "redis.conf").write_text(
            f'bind 127.0.0.1\nport {self.port}\ndir {self.folder}\nsave ""\nappendonly no\n'
            f'requirepass "{self.password}"\nuser app on ">app secret" ~* &* +@all\n' + "".join(f"{line}\n" for line in lines)
        )
        self.start()

    def start(self):
        program = os.environ.get("WARPGRID_REDIS_SERVER") or shutil.which("redis-server") or shutil.which("valkey-server")
        assert program, "redis-server is not installed"
        log = (self.folder / "log").open("a")
        self.process = subprocess.Popen([program, self.folder / "redis.conf"], stdout=log, stderr=log)
        wait_until(self._answers, f"Redis answers; see {self.folder}/log", 30)

    def _answers(self):
        assert self.process.poll() is None, (self.folder / "log").read_text()[-2000:]
        try:
            with socket.create_connection((self.host, self.port), timeout=1) as s:
                s.sendall(b"PING\r\n")
                return s.recv(7) == b"-NOAUTH"
        except OSError:
            return False

    def close(self):
        self.process.kill()
        self.process.wait(60)

    def cli(self, *words):
        """What the server's own client prints."""
        env = dict(os.environ, REDISCLI_AUTH=self.password)
        cmd = ["redis-cli", "-h", self.host, "-p", str(self.port), *words]
        return subprocess.run(cmd, env=env, capture_output=True, text=True, timeout=60, check=True).stdout

    def keys(self, pattern):
        """The names of keys that match."""
        return self.cli("--scan", "--pattern", pattern).split()

    def sessions(self):
        """Connection ids of the pool's sessions."""
        clients = self.cli("CLIENT", "LIST").splitlines()
        return [int(line.split()[0].removeprefix("id=")) for line in clients if line and "cmd=client" not in line]

    def ask(self, *words):
        """One line of answer to a command."""
        with socket.create_connection((self.host, self.port), timeout=10) as s:
            for command in (("AUTH", self.password), words):
                parts = [str(word).encode() for word in command]
                s.sendall(b"*%d\r\n" % len(parts) + b"".join(b"$%d\r\n%s\r\n" % (len(p), p) for p in parts))
                line = s.makefile("rb", buffering=0).readline()
        return line.decode().strip()
