# SPDX-License-Identifier: Apache-2.0
"""What a terminal of 80 or 40 columns shows of help, errors and results, with colour and without, and
what a file or another program gets in its place."""
import re
import subprocess

import pytest
import wat
from harness import Terminal, pack_env

SGR = re.compile(r"\x1b\[[0-9;]*m")
COMMANDS = ["init", "pack", "dev", "serve", "run", "validate", "inspect", "stats", "completion", "help"]
HELP = [["--help"], ["help"], *([c, "--help"] for c in COMMANDS)]
ERRORS = [
    [],
    ["sreve"],
    ["--verbose", "serve"],
    ["serve", "--wrokers", "2"],
    ["serve", "--log-level", "loud"],
    ["serve", "--listen", "::1:8080"],
    ["serve", "nothing.wasm", "--log-level", "error"],
    ["run", "x.wasm", "--env", "NOVALUE"],
    ["run", "guest.wat", "one", "two"],
    ["run", "service.wasm"],
    ["init", "--name", "A name that is far too long for any service, and has spaces, too"],
    ["init", "--yes"],
    ["pack", "--config", "a-folder-that-is-not-there/with-a-long-name/warp.toml"],
    ["validate", "--config", "broken.toml"],
    ["validate", "nothing.wasm"],
    ["inspect", "--running", "--admin", "127.0.0.1:1"],
    ["inspect", "--admin", "127.0.0.1:1"],
    ["completion", "tcsh"],
]
RESULTS = [
    ["--version"],
    ["validate", "--config", "warnings.toml", "guest.wat"],
    ["validate", "strange.wat"],
    ["validate", "service.wasm"],
    ["validate"],
    ["inspect", "service.wasm"],
    ["inspect", "strange.wat"],
    ["init", "a-new-folder-with-a-name-of-some-length", "--template", "rust", "--http", "p3", "--yes"],
]


@pytest.fixture
def folder(tmp_path, guest):
    (tmp_path / "warp.toml").write_text('name = "x"\n')
    (tmp_path / "broken.toml").write_text("[limits]\nrequest_timeout = 'as long as it takes, but not any longer'\n")
    (tmp_path / "warnings.toml").write_text("[http]\nworkesr = 1\nsome_key_that_is_not_known_anywhere = true\n")
    (tmp_path / "guest.wat").write_text(wat.command())
    (tmp_path / "strange.wat").write_text(wat.command(imports=wat.UNKNOWN_IMPORT + wat.SHIM_IMPORTS["dns"]))
    (tmp_path / "service.wasm").symlink_to(guest("c-users-p3"))
    return tmp_path


def named(list):
    return pytest.mark.parametrize("args", list, ids=[" ".join(a)[:40] or "nothing" for a in list])


def check(text, width):
    assert text.strip()
    for line in SGR.sub("", text).splitlines():
        assert not line.endswith((" ", "\t")), repr(line)
        # Only a word that cannot be broken may be too long, and then it stands alone.
        assert len(line) <= width or " " not in line.strip(" -"), f"{len(line)} columns: {line!r}"
        assert "\x1b" not in line and "\r" not in line, repr(line)


@pytest.mark.parametrize("width", [80, 40])
@named(HELP)
def test_help(warp, folder, args, width):
    shown = Terminal(warp, args, folder, width)
    assert shown.end() == 0
    check(shown.text, width)
    assert "\x1b" not in shown.text
    if width == 80:
        assert warp(*args, cwd=folder).stdout == shown.text.replace("\r\n", "\n")


@pytest.mark.parametrize("width", [80, 40])
@named(ERRORS)
def test_errors(warp, folder, args, width):
    shown = Terminal(warp, args, folder, width)
    assert shown.end() in (1, 2)
    check(shown.text, width)
    assert "\x1b[1;31merror:\x1b[0m " in shown.text
    plain = Terminal(warp, args, folder, width, {"NO_COLOR": "1"})
    assert plain.end() in (1, 2)
    assert "\x1b" not in plain.text and plain.text == SGR.sub("", shown.text)
    piped = warp(*args, cwd=folder)
    assert "\x1b" not in piped.stdout + piped.stderr
    # A program reads lines: each message is one. The words are those of the terminal.
    assert piped.stderr.split() == plain.text.split()
    assert re.search(r"^error: ", piped.stderr, re.M)
    for line in piped.stderr.splitlines():
        assert re.match(r"(error|hint|warning|usage): ", line) or line.startswith(" "), line


@pytest.mark.parametrize("width", [80, 40])
@named(RESULTS)
def test_results(warp, folder, args, width):
    shown = Terminal(warp, args, folder, width)
    assert shown.end() in (0, 1)
    check(shown.text, width)
    assert "error:" not in shown.text
    if args[0] == "init":
        return
    piped = warp(*args, cwd=folder)
    assert "\x1b" not in piped.stdout + piped.stderr
    check(piped.stdout, 200)
    assert sorted((piped.stdout + piped.stderr).split()) == sorted(SGR.sub("", shown.text).split())


@pytest.mark.parametrize("width", [80, 40])
def test_pack(warp, folder, width):
    assert warp("init", "shop", "-y", cwd=folder).returncode == 0
    shown = Terminal(warp, ["pack"], folder / "shop", width, pack_env())
    assert shown.end() == 0, shown.text
    check(shown.text, width)


# ---- colour ---------------------------------------------------------------------------------


def test_colour_as_asked_for(warp, folder):
    wrong = ["validate", "nothing.wasm"]
    for args, env, coloured in (
        ([], {}, True),
        (["--color", "auto"], {}, True),
        (["--color", "never"], {}, False),
        (["--color", "always"], {}, True),
        ([], {"NO_COLOR": "1"}, False),
        ([], {"NO_COLOR": ""}, True),  # empty is as if it were not there
        ([], {"TERM": "dumb"}, False),
        (["--color", "always"], {"NO_COLOR": "1"}, True),
        (["--color", "auto"], {"NO_COLOR": "1"}, False),
    ):
        shown = Terminal(warp, wrong + args, folder, 80, env)
        assert shown.end() == 1 and ("\x1b" in shown.text) == coloured, (args, env)
    assert "\x1b" in warp(*wrong, "--color", "always", cwd=folder).stderr
    assert "\x1b" not in warp(*wrong, cwd=folder).stderr


def test_json_is_the_same_on_a_terminal(warp, folder):
    for args in (["validate", "strange.wat", "--json"], ["run", "nothing.wasm", "--json"]):
        shown = Terminal(warp, args, folder, 40)
        assert shown.end() == 1
        assert shown.text.replace("\r\n", "\n") == warp(*args, cwd=folder).stdout


# ---- no terminal at all ---------------------------------------------------------------------


def test_a_reader_that_goes_away_is_no_crash(warp, folder):
    for args in (["--help"], ["inspect", "service.wasm"], ["completion", "zsh"]):
        p = subprocess.Popen(
            [warp.binary, *args], cwd=folder, env=warp.env(), stdout=subprocess.PIPE, stderr=subprocess.PIPE
        )
        p.stdout.close()
        assert p.wait(60) in (0, 1)
        assert p.stderr.read() == b""
        p.stderr.close()


def test_closed_streams_are_no_crash(warp, folder):
    for closed in ("<&-", ">&-", "2>&-", "<&- >&- 2>&-"):
        for args in ("--help", "validate guest.wat", "run nothing.wasm", "init x -y"):
            out = subprocess.run(
                ["sh", "-c", f'"$0" {args} {closed}', warp.binary], cwd=folder, env=warp.env(),
                capture_output=True, timeout=60,
            )  # fmt: skip
            assert out.returncode in (0, 1), (closed, args, out)
        assert (folder / "x" / "warp.toml").read_text().startswith("# What")
        subprocess.run(["rm", "-r", folder / "x"], check=True)
