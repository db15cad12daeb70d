# SPDX-License-Identifier: Apache-2.0
"""`warp completion`, in the shells themselves; `warp help` and the man pages."""
import shutil
import subprocess

import pytest
from infra import ROOT

BASH = """
source <("$WARP" completion bash)
COMP_WORDS=("$@") COMP_CWORD=$(($# - 1)) COMPREPLY=()
_warp
printf '%s\\n' "${COMPREPLY[@]}"
"""


@pytest.fixture
def complete(warp, tmp_path):
    """complete("warp", "se"): what bash offers for the last word."""

    def run(*words):
        out = subprocess.run(
            ["bash", "--norc", "-c", BASH, "bash", *words], cwd=tmp_path, capture_output=True, text=True,
            env={**warp.env(), "WARP": warp.binary}, timeout=60,
        )  # fmt: skip
        assert out.returncode == 0 and out.stderr == "", out
        return out.stdout.split("\n")[:-1] if out.stdout.strip() else []

    return run


def test_bash_commands(complete):
    assert complete("warp", "se") == ["serve"]
    assert {"pack", "serve", "run", "validate", "completion"} <= set(complete("warp", ""))
    assert complete("warp", "--ver") == ["--version"]


def test_bash_options_of_the_command(complete):
    assert complete("warp", "serve", "--lis") == ["--listen"]
    assert complete("warp", "pack", "--lis") == []
    assert "--json" in complete("warp", "pack", "--")


def test_bash_values_that_are_a_list(complete):
    levels = ["error", "warn", "info", "debug"]
    assert complete("warp", "serve", "--log-level", "") == levels
    assert complete("warp", "serve", "--log-level", "=", "d") == ["debug"]
    assert complete("warp", "serve", "--log-level", "=") == levels
    assert complete("warp", "completion", "f") == ["fish"]
    assert "serve" in complete("warp", "help", "")
    assert complete("warp", "signal", "shop", "") == ["terminate", "hangup", "interrupt"]


def test_bash_files(complete, tmp_path):
    (tmp_path / "a b.wasm").touch()
    (tmp_path / "folder").mkdir()
    assert complete("warp", "run", "a") == ["a b.wasm"]
    assert complete("warp", "serve", "--config", "a") == ["a b.wasm"]
    assert complete("warp", "run", "x.wasm", "--", "--an") == []


@pytest.mark.parametrize("shell, check", [("bash", ["-n"]), ("zsh", ["-n"]), ("fish", ["--no-execute"])])
def test_scripts_are_valid(warp, tmp_path, shell, check):
    if not shutil.which(shell):
        pytest.skip(f"no {shell} on this machine: scripts/bootstrap.sh test installs it")
    file = tmp_path / f"_warp.{shell}"
    file.write_text(warp("completion", shell).stdout)
    out = subprocess.run([shell, *check, file], capture_output=True, text=True, timeout=60)
    assert (out.returncode, out.stderr) == (0, "")


def test_fish_offers_commands_and_choices(warp, tmp_path):
    if not shutil.which("fish"):
        pytest.skip("no fish on this machine: scripts/bootstrap.sh test installs it")
    (tmp_path / "warp.fish").write_text(warp("completion", "fish").stdout)

    def offers(line):
        out = subprocess.run(
            ["fish", "--no-config", "-c", f"source warp.fish; complete -C '{line}'"],
            cwd=tmp_path, env={**warp.env(), "TERM": "dumb"}, capture_output=True, text=True, timeout=60,
        )  # fmt: skip
        assert out.returncode == 0, out.stderr
        return [x.split("\t")[0] for x in out.stdout.splitlines()]

    assert offers("warp se") == ["serve"]
    assert offers("warp serve --log-level d") == ["debug"]
    assert "--listen" in offers("warp serve --l")
    assert offers("warp completion z") == ["zsh"]


def test_zsh_loads_the_script(warp, tmp_path):
    """compinit, source, and _arguments parses every specification."""
    if not shutil.which("zsh"):
        pytest.skip("no zsh on this machine: scripts/bootstrap.sh test installs it")
    (tmp_path / "warp.zsh").write_text(warp("completion", "zsh").stdout)
    commands = [x.split()[0] for x in warp("--help").stdout.split("commands:\n")[1].split("\n\n")[0].splitlines()]
    # Outside of a real completion _arguments cannot run; comparguments -i is what reads the
    # specifications, so a completer of the shell itself is driven through a pseudo terminal.
    script = r"""
zmodload zsh/zpty
zpty z zsh -f -i
zpty -w z 'PS1= PROMPT=; autoload -U compinit; compinit -D -u; source ./warp.zsh; zstyle ":completion:*" verbose no'
wait_for() { # 20 s at most
  local more i
  for i in {1..200}; do
    while zpty -r -t z more; do seen+=${more//$'\a'/}; done
    [[ $seen == *$1* ]] && return
    sleep 0.1
  done
}
seen=
zpty -w z 'print READY$((1 + 1))'
wait_for READY2
for line in "$@"; do
  seen=
  zpty -w -n z "$line"$'\t\t'
  want=--json
  [[ $line == "warp ser" ]] && want="warp serve"
  wait_for "$want"
  print -r -- "$seen"
  zpty -w -n z $'\025'
done
zpty -d z
"""
    out = subprocess.run(
        ["zsh", "-f", "-c", script, "zsh", "warp ser", *(f"warp {c} --js" for c in commands)],
        cwd=tmp_path, env={**warp.env(), "TERM": "dumb"}, capture_output=True, text=True, timeout=120,
    )  # fmt: skip
    text = out.stdout + out.stderr
    assert "warp serve" in text, text
    assert text.count("--json") >= len(commands), text
    for bad in ("comparguments", "invalid", "no such", "parse error", "command not found"):
        assert bad not in text, text


# ---- warp help, man pages -------------------------------------------------------------------


def test_help_command_is_the_option(warp):
    assert warp("help").stdout == warp("--help").stdout
    assert warp("help", "serve").stdout == warp("serve", "--help").stdout
    out = warp("help", "srve")
    assert out.returncode == 2 and "did you mean 'warp help serve'?" in out.stderr


@pytest.mark.parametrize("page", sorted(p.name for p in (ROOT / "docs" / "man").glob("*.1")))
def test_man_pages_are_laid_out(page):
    if not shutil.which("groff"):
        pytest.skip("no groff on this machine")
    for width in (80, 40):
        out = subprocess.run(
            ["groff", "-ww", "-man", "-Tutf8", f"-rLL={width}n", ROOT / "docs" / "man" / page],
            capture_output=True, text=True, timeout=60,
        )  # fmt: skip
        assert out.returncode == 0 and out.stdout.strip()
        assert width == 40 or out.stderr == "", out.stderr
