# SPDX-License-Identifier: Apache-2.0
"""The JSON Schema of warp.toml and `warp validate --strict` come to the same verdict."""
import json

import pytest
import wat
from infra import ROOT

jsonschema = pytest.importorskip("jsonschema", reason="scripts/bootstrap.sh test installs jsonschema")
tomllib = pytest.importorskip("tomllib", reason="Python 3.11 reads TOML")

GOOD = [
    "",
    "name = 'shop'\nlang = 'c'\n",
    "[build]\nsources = 'main.c'\nflags = ['-O1']\nworld = 'service-p3'\n",
    "[http]\nlisten = '127.0.0.1:0'\nworkers = 0\n",
    "[http]\nlisten = ['[::1]:8080', ':8080', '${ADDRESS:-127.0.0.1}:1']\nworkers = '${N:-2}'\n",
    "[http]\ninstance_idle = '500 ms'\n",
    "[http]\ninstance_idle_ms = 500\n",
    "[limits]\nmemory = '64MiB'\nbody = '0B'\nrequest_timeout = '1h'\nepochs = false\n",
    "[limits]\nmemory_bytes = 65536\nrequest_timeout_seconds = 30\n",
    "[limits]\nmemory = '${SIZE:-1GiB}'\n",
    "[files]\npreopens = ['data::/data', 'x::/y:rw']\n",
    "[shims]\ndns = false\nthreading = true\n",
    "[shims.dns]\nenabled = false\nttl = '5s'\ncache_size = 1\n",
    "[shims.dns]\nttl_ms = 5000\n",
    "[shims.threading]\nenabled = true\n",
    "[shims.filesystem.extra_virtual_paths]\n'/etc/motd' = 'warp.toml'\n",
    "[shims.filesystem.extra_virtual_paths]\n'/a' = { file = 'warp.toml', live = true }\n'/b' = { text = '' }\n",
    "[shims.filesystem]\nnameservers = ['10.0.0.1', '::1']\ntimezone = 'Europe/London'\n",
    "[shims.filesystem]\nnameservers = '10.0.0.1'\n[hosts]\n'a.b' = '10.0.0.1'\nc = ['::1', '10.0.0.2']\n",
    "[shims.database_proxy]\npool_size = 20\nreset = 'close'\n",
    "[databases.main]\nuser = 'u'\n",
    "[databases.main]\nuser = 'u'\nport = '${P:-5432}'\nprotocol = 'mysql'\npool_size = 3\nauth = 'service'\n",
    "[databases.cache]\nprotocol = 'redis'\n",
    "[databases.main]\nuser = 'u'\npassword = ''\n",
    "[admin]\nlisten = '127.0.0.1:9090'\n",
    "[services.a]\npath = '/a'\nhost = ['a.example.com', '*.b.org']\n[services.a.env]\nX = 1\n[services.b]\n",
    "[registry]\n'a.warp.local' = '10.0.0.1'\nb = ['10.0.0.2', '::1']\n",
    "[registry]\nurl = 'http://r:1/v1'\ninterval = '1s'\ntimeout_ms = 500\ntoken = 'x'\n'a.b' = '10.0.0.1'\n",
    "[shims.dns]\nservers = ['10.0.0.1:53', '::1', '[::1]:53']\ntimeout = '1s'\n[net]\nhost_dns = true\n",
    "[net]\nallow = ['api.example.com:443', '*.b.org:*', '10.0.0.0/8:5432', '[2001:db8::]/32:443']\n",
    "[net]\nallow = '${API:-api.example.com:443}'\n",
    "[env]\nA = 'x'\nB = 1\nC = true\nD = '${X:-}'\n",
]
BAD = [
    "name = ''\n",
    "name = 1\n",
    "nmae = 'x'\n",
    "http = 1\n",
    "[htpp]\nworkers = 1\n",
    "[build]\nsources = 1\n",
    "[build]\nworld = ''\n",
    "[http]\nworkers = 1025\n",
    "[http]\nworkers = -1\n",
    "[http]\nworkers = 1.5\n",
    "[http]\nworkers = 'two'\n",
    "[http]\nlisten = 'nonsense'\n",
    "[http]\nlisten = [8080]\n",
    "[http]\ninstance_idle = 5\n",
    "[http]\ninstance_idle = '5 parsecs'\n",
    "[http]\ninstance_idle_ms = 0\n",
    "[http]\ninstance_idle_seconds = 86401\n",
    "[http]\ninstance_idle = '1s'\ninstance_idle_ms = 1000\n",
    "[http]\ninstance_idle_seconds = 1\ninstance_idle_ms = 1000\n",
    "[limits]\nmemory = 1000000\n",
    "[limits]\nmemory = '1 elephant'\n",
    "[limits]\nmemory_bytes = 1\n",
    "[limits]\nmemory_seconds = 1\n",
    "[limits]\nepochs = 'yes'\n",
    "[files]\npreopens = 'data::/data'\n",
    "[files]\npreopens = ['data:/data']\n",
    "[shims]\ndns = 'yes'\n",
    "[shims]\nclairvoyance = true\n",
    "[shims.dns]\nenabled = 1\n",
    "[shims.dns]\nttl_ms = 1500\n",
    "[shims.threading]\nmany = true\n",
    "[shims.filesystem.extra_virtual_paths]\n'etc/motd' = 'motd'\n",
    "[shims.filesystem.extra_virtual_paths]\n'/etc/motd/' = 'motd'\n",
    "[shims.filesystem.extra_virtual_paths]\n'/etc/motd' = ''\n",
    "[shims.filesystem.extra_virtual_paths]\n'/etc/motd' = {}\n",
    "[shims.filesystem.extra_virtual_paths]\n'/etc/motd' = { text = 'a', file = 'b' }\n",
    "[shims.filesystem.extra_virtual_paths]\n'/etc/motd' = { text = 'a', live = true }\n",
    "[shims.filesystem.extra_virtual_paths]\n'/etc/motd' = { file = 'a', alive = true }\n",
    "[shims.filesystem]\nnameservers = 'dns.example'\n",
    "[shims.filesystem]\nzoneinfo = ''\n",
    "[hosts]\na = []\n",
    "[shims.database_proxy]\nreset = 'maybe'\n",
    "[databases]\nmain = 'x'\n",
    "[databases.main]\nhost = 'db'\n",
    "[databases.main]\nuser = 'u'\nprotocol = 'oracle'\n",
    "[databases.main]\nuser = 'u'\nport = 0\n",
    "[databases.main]\nuser = 'u'\nport = 65536\n",
    "[databases.main]\nuser = 'u'\nauth = 'nobody'\n",
    "[databases.main]\nuser = 'u'\npassword = 'x'\npassword_file = 'y'\n",
    "[databases.main]\nuser = 'u'\npassword_env = 'X'\npassword_file = 'y'\n",
    "[databases.main]\nuser = 'u'\npassword_env = ''\n",
    "[databases.main]\nuser = 'u'\npasword = 'x'\n",
    "[admin]\nlisten = 9090\n",
    "[admin]\nport = 9090\n",
    "[services]\na = 'x'\n",
    "[services.a]\npaht = '/a'\n",
    "[services.a]\nhost = 1\n",
    "[services.a.env]\nX = 1.5\n",
    "[registry]\na = []\n",
    "[registry]\na = 1\n",
    "[registry]\na.b = '10.0.0.1'\n",
    "[registry]\nurl = 'https://r/'\n",
    "[registry]\ntoken = 'x'\ntoken_env = 'X'\n",
    "[shims.dns]\nservers = 'ns.example'\n",
    "[net]\nhost_dns = 'yes'\n",
    "[net]\nallow = ['api.example.com']\n",
    "[net]\nallow = ['https://api.example.com']\n",
    "[net]\nallow = 443\n",
    "[env]\nA = 1.5\n",
    "[env]\nA = ['x']\n",
]


def without_twins(pairs):
    assert len({k for k, _ in pairs}) == len(pairs), f"a name twice: {[k for k, _ in pairs]}"
    return dict(pairs)


@pytest.fixture(scope="module")
def schema(warp):
    out = warp("validate", "--schema")
    assert out.returncode == 0 and out.stdout == (ROOT / "docs" / "warp.schema.json").read_text()
    found = json.loads(out.stdout, object_pairs_hook=without_twins)
    jsonschema.Draft202012Validator.check_schema(found)
    return jsonschema.Draft202012Validator(found)


def verdicts(warp, schema, folder, text):
    (folder / "guest.wat").write_text(wat.command())
    (folder / "warp.toml").write_text(text)
    out = warp("validate", "guest.wat", "--strict", cwd=folder)
    assert out.returncode in (0, 1)
    return out, [e.message for e in schema.iter_errors(tomllib.loads(text))]


@pytest.mark.parametrize("text", GOOD)
def test_both_accept(warp, schema, tmp_path, text):
    out, errors = verdicts(warp, schema, tmp_path, text)
    assert (out.returncode, errors) == (0, []), out.stdout + out.stderr


@pytest.mark.parametrize("text", BAD)
def test_both_refuse(warp, schema, tmp_path, text):
    out, errors = verdicts(warp, schema, tmp_path, text)
    assert out.returncode == 1 and "warp.toml:" in out.stderr
    assert errors


def test_every_warp_toml_of_the_repository(schema):
    files = [p for p in ROOT.glob("test-apps/*/warp.toml")]
    assert files
    for file in files:
        assert [e.message for e in schema.iter_errors(tomllib.loads(file.read_text()))] == [], file
