# SPDX-License-Identifier: Apache-2.0
"""US-120, US-121, US-122: what [shims] turns on and off, seen by real components."""
import re

import pytest
import wat
from harness import toml

SHIMS = ("filesystem", "dns", "signals", "database_proxy", "threading")


def run(warp, folder, imports, config):
    (folder / "guest.wat").write_text(wat.command(imports=imports))
    if config is not None:
        (folder / "warp.toml").write_text(config)
    return warp("run", "guest.wat", cwd=folder)


@pytest.mark.parametrize("shim", SHIMS)
@pytest.mark.parametrize("config", [None, "", "[shims]\n", "[shims]\n{shim} = true\n", "[shims.{shim}]\n"])
def test_us_120_enabled_by_default_and_explicitly(warp, tmp_path, shim, config):
    out = run(warp, tmp_path, wat.SHIM_IMPORTS[shim], config and config.format(shim=shim))
    assert out.returncode == 0, out.stderr


@pytest.mark.parametrize("shim", SHIMS)
def test_us_122_disabled_shim_names_interface_and_line(warp, tmp_path, shim):
    config = f'name = "x"\n\n[shims]\n# why not\n{shim} = false\n'
    out = run(warp, tmp_path, wat.SHIM_IMPORTS[shim], config)
    assert out.returncode == 1
    error, hint = out.stderr.split("hint: ", 1)
    assert wat.INTERFACES[shim] in error
    assert "warp.toml:5" in out.stderr
    assert f"{shim} = true" in hint


def test_us_122_unknown_interface(warp, tmp_path):
    out = run(warp, tmp_path, wat.UNKNOWN_IMPORT, None)
    assert out.returncode == 1
    assert "acme:billing/invoices@1.0.0" in out.stderr


def test_us_122_newer_version_of_a_shim(warp, tmp_path):
    """0.1.x are compatible; 0.2.0 is another interface."""
    newer = wat.SHIM_IMPORTS["threading"].replace("@0.1.0", "@0.2.0")
    out = run(warp, tmp_path, newer, None)
    assert out.returncode == 1
    assert "warpgrid:shim/threading@0.2.0" in out.stderr


def test_us_122_no_shims_leaves_standard_wasi(warp, tmp_path):
    none = toml({"shims": {s: False for s in SHIMS}})
    out = run(warp, tmp_path, "", none)
    assert out.returncode == 0, out.stderr
    out = run(warp, tmp_path, wat.SHIM_IMPORTS["threading"], none)
    assert out.returncode == 1 and "warpgrid:shim/threading" in out.stderr


def test_us_122_served_component_is_refused_before_it_listens(warp, tmp_path):
    (tmp_path / "guest.wat").write_text(wat.service(imports=wat.SHIM_IMPORTS["threading"]))
    (tmp_path / "warp.toml").write_text('[http]\nlisten = ["127.0.0.1:0"]\n[shims]\nthreading = false\n')
    out = warp("serve", "guest.wat", cwd=tmp_path)
    assert out.returncode == 1
    assert "warp.toml:4" in out.stderr and "http://" not in out.stdout + out.stderr


def test_us_120_unknown_shim_is_a_warning(warp, tmp_path):
    out = run(warp, tmp_path, "", "[shims]\nthreading = true\ntelepathy = true\n")
    assert out.returncode == 0, out.stderr
    assert re.search(r"warp\.toml:3:1: .*telepathy", out.stderr)


def test_us_121_startup_log_lists_shims_and_key_settings(warp, guest):
    config = {
        "shims": {"dns": False, "signals": False, "database_proxy": {"pool_size": 7}},
    }
    with warp.serve(guest("hello-p2"), config) as server:
        line = server.log.wait_for(r"event=engine_started.*|engine_started.*").group(0)
    assert re.search(r"shims=\S*filesystem", line) and re.search(r"shims=\S*threading", line)
    assert not re.search(r"shims=\S*\bdns\b", line) and not re.search(r"shims=\S*signals", line)
    assert re.search(r"pool_size\"?[=:]\"?7\b", line)
