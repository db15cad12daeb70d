# SPDX-License-Identifier: Apache-2.0
"""The pages of docs/guides: their files are written as they stand, and their commands, one after the
other in one shell, show what the page shows. WARPGRID_UPDATE_GOLDEN=1 writes that again."""
import os
import re
from pathlib import Path

import pytest
from harness import pack_env
from infra import ROOT, free_port
from libc import tool
from test_readme import Shell, masked, steps

BLOCK = re.compile(r"^```(\S+)(?: (\S+))?\n(.*?)^```$", re.S | re.M)
GUIDES = sorted((ROOT / "docs" / "guides").glob("*.md"))


@pytest.mark.parametrize("guide", GUIDES, ids=lambda g: g.stem)
def test_us_212_the_guide_is_real(warp, tmp_path, guide):
    page = guide.read_text()
    transcripts = []
    for kind, path, text in BLOCK.findall(page):
        if kind == "console":
            transcripts.append(text)
        elif path:
            (tmp_path / path).parent.mkdir(parents=True, exist_ok=True)
            (tmp_path / path).write_text(text)
    assert transcripts
    port = str(free_port())
    env = warp.env({**pack_env(), "WARPGRID": str(ROOT), "WARPGRID_BUILD": str(Path(warp.binary).resolve().parent)})
    env["PATH"] = ":".join([os.path.dirname(warp.binary), env["PATH"], os.path.dirname(tool("wasmtime"))])
    shell, new = Shell(tmp_path, env), page
    try:
        for before in transcripts:
            after = ""
            for command, shown in steps(before):
                seen = shell.run(command.replace(":8080", f":{port}"), shown.count("\n"))
                seen = re.sub(r"^\[1\].*\n", "", seen, flags=re.M).replace(f":{port}", ":8080")
                if command.startswith("warp pack"):  # on a terminal it shows sizes before the file's name
                    seen = seen.splitlines()[-1] + "\n"
                after += f"$ {command}\n{seen}"
                if not os.environ.get("WARPGRID_UPDATE_GOLDEN"):
                    assert masked(seen) == masked(shown), command
            new = new.replace(before, after)
    finally:
        shell.close()
    if os.environ.get("WARPGRID_UPDATE_GOLDEN"):
        guide.write_text(new)
