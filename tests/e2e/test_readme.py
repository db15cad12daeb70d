# SPDX-License-Identifier: Apache-2.0
"""The transcript in README.md is what a terminal shows. WARPGRID_UPDATE_GOLDEN=1 writes it again."""
import fcntl
import os
import pty
import re
import select
import struct
import subprocess
import termios
import time

from harness import SLOW, pack_env
from infra import ROOT, free_port

README = ROOT / "README.md"
BLOCK = re.compile(r"```console\n(.*?)```\n", re.S)
SGR = re.compile(r"\x1b\[[0-9;]*m")


class Shell:
    """A shell whose commands see a terminal of 80 columns."""

    def __init__(self, cwd, env):
        self.master, slave = pty.openpty()
        fcntl.ioctl(slave, termios.TIOCSWINSZ, struct.pack("HHHH", 25, 80, 0, 0))
        self.process = subprocess.Popen(
            ["bash", "--norc", "--noprofile"], cwd=cwd, env={**env, "TERM": "xterm"},
            stdin=subprocess.PIPE, stdout=slave, stderr=slave,
        )  # fmt: skip
        os.close(slave)

    def run(self, command, lines):
        """What it shows; of a command in the background, so many lines."""
        end = time.monotonic() + 120 * SLOW
        self.process.stdin.write(f"{command}\necho @@end\n".encode())
        self.process.stdin.flush()
        seen = ""
        while "@@end\r\n" not in seen or (command.endswith("&") and seen.count("\n") <= lines):
            assert time.monotonic() < end, f"{command}: {seen}"
            if select.select([self.master], [], [], 0.1)[0]:
                seen += os.read(self.master, 4096).decode()
        return SGR.sub("", seen.replace("\r\n", "\n").replace("@@end\n", ""))

    def close(self):
        """Ends what a step that failed has left: its own processes, and the servers of `up.sh`."""
        subprocess.run(["pkill", "-KILL", "-P", str(self.process.pid)])
        self.process.stdin.write(b'[ -z "${server-}" ] || "$WARPGRID/test-infra/down.sh" "$(dirname "$server")"\n')
        self.process.stdin.close()
        try:
            self.process.wait(60 * SLOW)
        finally:
            self.process.kill()
            os.close(self.master)


def steps(text):
    """(command, what it showed) of a transcript."""
    for part in re.split(r"^\$ ", text, flags=re.M)[1:]:
        command, _, shown = part.partition("\n")
        yield command, shown


def masked(text):
    """Without what differs from run to run: numbers, and the widths of columns."""
    return re.sub(r"[ \t]+", " ", re.sub(r"\d+(\.\d+)*", "N", text))


def test_the_transcript_is_real(warp, tmp_path):
    readme = README.read_text()
    before = BLOCK.search(readme).group(1)
    ports = {"8080": str(free_port()), "9090": str(free_port())}

    def with_ports(text, there):
        for a, b in ports.items():
            text = text.replace(f":{a}", f":{b}") if there else text.replace(f":{b}", f":{a}")
        return text

    env = warp.env(pack_env())
    env["PATH"] = f"{os.path.dirname(warp.binary)}:{env['PATH']}"
    shell, after = Shell(tmp_path, env), ""
    try:
        for command, shown in steps(before):
            seen = shell.run(with_ports(command, True), shown.count("\n"))
            after += f"$ {command}\n" + with_ports(seen, False)
            if not seen.endswith("\n") and seen:
                after += "\n"
    finally:
        shell.close()
    if os.environ.get("WARPGRID_UPDATE_GOLDEN"):
        README.write_text(readme.replace(before, after))
        return
    assert masked(before) == masked(after)
