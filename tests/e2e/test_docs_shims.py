# SPDX-License-Identifier: Apache-2.0
"""The examples of docs/shims.md: each is written as it stands, and does what the page shows."""
import os
import re
import shutil

import pytest
from harness import pack_env
from infra import ROOT
from test_readme import Shell, steps

PAGE = (ROOT / "docs" / "shims.md").read_text()
BLOCK = re.compile(r"^```(\S+)(?: (\S+))?\n(.*?)^```$", re.S | re.M)


def examples():
    """{folder: ({path: text}, transcript)}"""
    files, found = {}, {}
    for kind, path, text in BLOCK.findall(PAGE):
        if kind == "console":
            folder = re.match(r"\$ cd (\w+)", text).group(1)
            mine = {p: t for p, t in files.items() if p.startswith(f"{folder}/")}
            assert mine, f"the transcript of '{folder}' has no files"
            found[folder] = (mine, text)
        elif path:
            files[path] = text
    used = {p for mine, _ in found.values() for p in mine}
    assert used == set(files), f"no transcript uses {set(files) - used}"
    return found


EXAMPLES = examples()


def test_the_page_has_examples_in_c_and_rust():
    paths = [p for files, _ in EXAMPLES.values() for p in files]
    assert any(p.endswith(".c") for p in paths) and any(p.endswith(".rs") for p in paths)


@pytest.mark.parametrize("folder", EXAMPLES)
def test_example(warp, tmp_path, folder):
    files, transcript = EXAMPLES[folder]
    for path, text in files.items():
        file = tmp_path / path
        file.parent.mkdir(parents=True, exist_ok=True)
        file.write_text(text)
    if "wit-bindgen" in files.get(f"{folder}/Cargo.toml", ""):
        # The versions that the tests have already: what is newer is not asked for.
        shutil.copy(ROOT / "tests/e2e/projects/rust-shims/Cargo.lock", tmp_path / folder)
    if "tokio-postgres" in files.get(f"{folder}/Cargo.toml", ""):
        shutil.copy(ROOT / "tests/e2e/projects/rust-sockets/Cargo.lock", tmp_path / folder)
    if "redis = " in files.get(f"{folder}/Cargo.toml", ""):
        shutil.copy(ROOT / "tests/e2e/projects/rust-redis/Cargo.lock", tmp_path / folder)
    env = warp.env({**pack_env(), "WARPGRID": str(ROOT)})
    env["PATH"] = f"{os.path.dirname(warp.binary)}:{env['PATH']}"
    shell = Shell(tmp_path, env)
    try:
        for command, shown in steps(transcript):
            seen = shell.run(command, shown.count("\n"))
            if command.startswith("warp pack"):  # on a terminal it shows sizes before the file's name
                seen = seen.splitlines()[-1] + "\n"
            assert seen == shown, command
    finally:
        shell.close()


def test_the_page_claims_no_other_defaults():
    """Keys and limits that it names are those of docs/config.md."""
    config = (ROOT / "docs" / "config.md").read_text()
    for key in ("timezone", "zoneinfo", "nameservers", "extra_virtual_paths", "ttl", "cache_size", "domain",
                "timeout", "interval", "host_dns", "queue", "drain_timeout"):  # fmt: skip
        assert f"`{key}`" in PAGE or f"{key} =" in PAGE or f"] {key}`" in PAGE, key
        assert f"`{key}`" in config, key
