# SPDX-License-Identifier: Apache-2.0
"""warp.toml as a user meets it: where an error is, and what to do about it."""
import json
import re

import pytest
import wat


@pytest.fixture
def folder(tmp_path):
    (tmp_path / "guest.wat").write_text(wat.command())
    return tmp_path


@pytest.mark.parametrize(
    "text, where, words",
    [
        ("name = ", "1:8", "expected|value|string"),
        ("[http]\nworkers = 'two'\n", "2:", "workers"),
        ("[http]\nworkers = -1\n", "2:", "workers"),
        ("[http]\nworkers = 100000\n", "2:", "1024"),
        ("[http]\nlisten = ['nonsense']\n", "2:", "nonsense"),
        ("[http]\nlisten = ['127.0.0.1:99999']\n", "2:", "99999"),
        ("[limits]\nrequest_timeout = '5 parsecs'\n", "2:", "parsecs"),
        ("[limits]\nmemory = '1 elephant'\n", "2:", "elephant"),
        ("[limits]\n\nmemory = '1KiB'\n", "3:", "memory"),
        ("[shims]\ndns = 'yes'\n", "2:", "dns"),
        ("[databases.a]\nport = 0\n", "2:", "port"),
        ("[databases.a]\nprotocol = 'oracle'\n", "2:", "postgres"),
        ("[databases.a]\npassword = '${NOT_SET_ANYWHERE}'\nuser = 'x'\n", "2:", "NOT_SET_ANYWHERE"),
        ("[registry]\n'db.warp.local' = ['not-an-ip']\n", "2:", "not-an-ip"),
        ("a = 1\na = 2\n", "2:1", "duplicate"),
        ("name = 'x'\nname = 'y'\n", "2:", "duplicate"),
        ("x = '\xff\xfe'".encode("latin-1"), "1:", "UTF-8"),
    ],
)  # fmt: skip
def test_error_has_a_place(warp, folder, text, where, words):
    data = text if isinstance(text, bytes) else text.encode()
    (folder / "warp.toml").write_bytes(data)
    out = warp("run", "guest.wat", cwd=folder)
    assert out.returncode == 1, out
    first = out.stderr.splitlines()[0]
    assert re.match(rf"error: .*warp\.toml:{where}", first), out.stderr
    assert re.search(words, out.stderr), out.stderr


def test_unknown_key_is_a_warning_with_the_nearest_name(warp, folder):
    (folder / "warp.toml").write_text("[http]\nworkesr = 2\n")
    out = warp("run", "guest.wat", cwd=folder)
    assert out.returncode == 0, out.stderr
    assert re.search(r"warp\.toml:2:1: .*workesr.*workers", out.stderr, re.S)


def test_missing_config_file(warp, folder):
    out = warp("run", "guest.wat", "--config", "elsewhere.toml", cwd=folder)
    assert out.returncode == 1
    assert out.stderr.startswith("error: ") and "elsewhere.toml" in out.stderr


def test_hidden_config_file_is_read(warp, folder):
    (folder / ".warpgrid.toml").write_text("[http]\nworkers = 'two'\n")
    out = warp("run", "guest.wat", cwd=folder)
    assert out.returncode == 1 and ".warpgrid.toml:2:" in out.stderr


def test_secrets_are_not_shown(warp, folder):
    """A planted password must not come back in an error, a log or --json."""
    planted = "planted-pa55word"
    (folder / "warp.toml").write_text(
        f"[databases.a]\nuser = 'u'\npassword = '{planted}'\nport = 'no'\n[http]\nworkers = 'two'\n"
    )
    for args in (["run", "guest.wat"], ["validate", "guest.wat"], ["validate", "guest.wat", "--json"]):
        out = warp(*args, cwd=folder)
        assert out.returncode == 1
        assert planted not in out.stdout + out.stderr


def test_config_error_as_json(warp, folder):
    (folder / "warp.toml").write_text("[http]\nworkers = 'two'\n")
    out = warp("validate", "guest.wat", "--json", cwd=folder)
    assert out.returncode == 1
    assert "warp.toml:2:" in json.dumps(json.loads(out.stdout))
