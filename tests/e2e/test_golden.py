# SPDX-License-Identifier: Apache-2.0
"""What `warp` prints, word for word: help and errors, as text and as JSON.

Each case is one file of golden/: its first line is the command line, then exit code, stdout and
stderr. WARPGRID_UPDATE_GOLDEN=1 writes the files again; read the difference before you commit it.
"""
import json
import os
import pty
import shlex
import subprocess

import pytest
from infra import ROOT

GOLDEN = ROOT / "tests" / "e2e" / "golden"
CASES = {
    "help": "--help",
    "help-init": "init --help",
    "help-dev": "dev --help",
    "help-pack": "pack --help",
    "help-serve": "serve --help",
    "help-run": "run --help",
    "help-validate": "validate --help",
    "help-inspect": "inspect --help",
    "help-signal": "signal --help",
    "help-stats": "stats --help",
    "help-completion": "completion --help",
    "help-help": "help --help",
    "completion-without-shell": "completion",
    "completion-unknown-shell": "completion tcsh",
    "signal-without-name": "signal",
    "signal-without-signal": "signal shop",
    "signal-unknown": "signal shop kill",
    "signal-three-words": "signal shop hangup now",
    "init-bad-template": "init --template cobol",
    "init-bad-name": "init --name 'My Shop'",
    "no-command": "",
    "unknown-command": "sreve",
    "unknown-command-far": "deploy",
    "option-in-front": "--verbose serve",
    "unknown-option": "serve --wrokers 2",
    "unknown-option-far": "run x.wasm --frobnicate",
    "unknown-letter": "run -z",
    "option-without-value": "serve --listen",
    "flag-with-value": "serve --trusted=yes",
    "option-twice": "serve --workers 1 --workers 2",
    "bad-color": "serve --color pink",
    "bad-log-level": "serve --log-level loud",
    "bad-workers": "serve --workers none",
    "bad-env": "run x.wasm --env NOVALUE",
    "run-without-file": "run",
    "run-arguments-without-dashes": "run x.wasm one",
    "serve-two-files": "serve a.wasm b.wasm",
    "serve-with-arguments": "serve a.wasm -- one",
    "pack-with-file": "pack x.c",
    "missing-file": "run nothing.wasm",
    "missing-file-json": "run nothing.wasm --json",
    "missing-config": "serve --config nothing.toml",
    "missing-component": "serve --log-level error",
    "usage-json": "serve --wrokers 2 --json",
    "usage-json-in-front": "--json sreve",
    "bad-listen": "serve x.wasm --listen 8080",
    "bad-listen-ipv6": "serve x.wasm --listen ::1:8080",
}


def run(warp, args, cwd, **env):
    return subprocess.run(
        [warp.binary, *args], cwd=cwd, env={**warp.env(), **env}, capture_output=True, text=True, timeout=60
    )


@pytest.mark.parametrize("name", CASES)
def test_golden(warp, tmp_path, name):
    line = CASES[name]
    out = run(warp, shlex.split(line), tmp_path)
    text = f"$ warp {line}".rstrip() + f"\n--- exit {out.returncode}\n--- stdout\n{out.stdout}--- stderr\n{out.stderr}"
    file = GOLDEN / f"{name}.txt"
    if os.environ.get("WARPGRID_UPDATE_GOLDEN"):
        file.write_text(text)
    assert text == file.read_text()


def test_no_golden_file_is_left_over():
    assert {f.stem for f in GOLDEN.glob("*.txt")} == set(CASES)


@pytest.mark.parametrize("name", [n for n, line in CASES.items() if "--json" in line])
def test_json_is_one_object_a_line(warp, tmp_path, name):
    out = run(warp, shlex.split(CASES[name]), tmp_path)
    found = json.loads(out.stdout)
    assert found["version"] == 1 and found["ok"] is False and found["error"]["message"]
    assert out.stdout.count("\n") == 1 and out.stderr == ""


# ---- colour ---------------------------------------------------------------------------------


def on_terminal(warp, args, cwd, **env):
    """stderr as a terminal sees it."""
    master, slave = pty.openpty()
    p = subprocess.Popen(
        [warp.binary, *args], cwd=cwd, env={**warp.env(), "TERM": "xterm", **env},
        stdin=slave, stdout=subprocess.DEVNULL, stderr=slave,
    )  # fmt: skip
    os.close(slave)
    text = b""
    while True:
        try:
            part = os.read(master, 4096)
        except OSError:  # the terminal is gone with its last user
            break
        if not part:
            break
        text += part
    os.close(master)
    assert p.wait(20) == 2
    return text.decode()


def test_colour_on_a_terminal_only(warp, tmp_path):
    assert "\x1b[1;31merror:\x1b[0m" in on_terminal(warp, ["nope"], tmp_path)
    assert "\x1b" not in on_terminal(warp, ["nope"], tmp_path, NO_COLOR="1")
    assert "\x1b" not in on_terminal(warp, ["nope"], tmp_path, TERM="dumb")
    assert "\x1b" not in on_terminal(warp, ["serve", "--color", "never", "--nope"], tmp_path)
    assert "\x1b" not in run(warp, ["nope"], tmp_path).stderr


def test_colour_when_asked_for(warp, tmp_path):
    out = run(warp, ["serve", "--color=always", "--nope"], tmp_path)
    assert out.stderr.startswith("\x1b[1;31merror:\x1b[0m ")
    assert "\x1b[1;36mhint:\x1b[0m " in out.stderr


def test_an_argument_cannot_steer_the_terminal(warp, tmp_path):
    out = run(warp, ["run", "a\x1b[2J\x07.wasm"], tmp_path)
    assert out.returncode == 1 and "\x1b" not in out.stderr and "\x07" not in out.stderr
    assert "\\x1b[2J" in out.stderr


# ---- validate -------------------------------------------------------------------------------


def test_validate_names_the_shims(warp, guest, tmp_path):
    app = guest("c-users-p2")
    out = run(warp, ["validate", str(app)], tmp_path)
    assert out.returncode == 0
    assert out.stdout.splitlines()[:2] == [f"{app}: p2 service, WASI 0.2", "needs the shims database_proxy: a host with WASI alone cannot run it"]
    assert not any(line.endswith(" ") for line in out.stdout.splitlines())
    (tmp_path / "warp.toml").write_text("[shims]\ndatabase_proxy = false\n")
    out = run(warp, ["validate", str(app), "--json"], tmp_path)
    assert out.returncode == 1 and json.loads(out.stdout)["shims"] == ["database_proxy"]


def test_validate_strict_makes_warnings_findings(warp, guest, tmp_path):
    (tmp_path / "warp.toml").write_text("[http]\nworkesr = 1\n")
    app = str(guest("hello-p2"))
    assert run(warp, ["validate", app], tmp_path).returncode == 0
    out = run(warp, ["validate", app, "--strict"], tmp_path)
    assert out.returncode == 1 and "warning: warp.toml:2:1: unknown key 'workesr'" in out.stderr
