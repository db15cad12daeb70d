# SPDX-License-Identifier: Apache-2.0
"""A password that was planted in every place that may hold one comes back nowhere: not in results,
--json, errors, warnings, logs at debug level, statistics, metrics or the log of a reload. The same for
the values of guests' environment variables."""
import base64
import hashlib
import http.client
import re
import signal
import urllib.parse

import pytest
import wat
from harness import SLOW, Server, ask, pack_env, toml
from infra import free_port
from test_postgres import config as database_config

PLANTED = "pl4nted-s3cret/+word"
TOKEN = "t0ken-of-the-guest"
FORMS = {
    "as it is": PLANTED,
    "in part": PLANTED[:10],
    "base64": base64.b64encode(PLANTED.encode()).decode().rstrip("="),
    "hex": PLANTED.encode().hex(),
    "percent-encoded": urllib.parse.quote(PLANTED, safe=""),
    "md5": hashlib.md5(PLANTED.encode()).hexdigest(),
    "token": TOKEN,
}
ENV = {"PLANTED_PASSWORD": PLANTED, "PLANTED_TOKEN": TOKEN}


def expect_clean(*texts):
    for text in texts:
        for form, secret in FORMS.items():
            assert secret.lower() not in text.lower(), f"{form}:\n{text}"


WAYS = {
    "text": {"password": PLANTED},
    "variable": {"password": "${PLANTED_PASSWORD}"},
    "default": {"password": "${NOT_SET_ANYWHERE:-" + PLANTED + "}"},
    "env": {"password_env": "PLANTED_PASSWORD"},
    "file": {"password_file": "secret"},
}


@pytest.fixture
def folder(tmp_path):
    (tmp_path / "secret").write_text(PLANTED + "\n")
    (tmp_path / "guest.wat").write_text(wat.command())
    return tmp_path


# ---- commands -------------------------------------------------------------------------------


@pytest.mark.parametrize("way", WAYS)
def test_no_command_shows_it(warp, folder, way):
    (folder / "warp.toml").write_text(
        toml({"databases": {"main": {"user": "u", **WAYS[way]}}, "env": {"TOKEN": "${PLANTED_TOKEN}"}})
    )
    (folder / "src").mkdir()
    (folder / "src" / "main.c").write_text("int main(void) { return 0; }\n")
    for args in (
        ["validate", "guest.wat"], ["validate"], ["validate", "--strict"], ["validate", "--schema"],
        ["inspect", "guest.wat"], ["inspect", "--running"], ["inspect"],
        ["run", "guest.wat", "--log-level", "debug"], ["run", "guest.wat", "--log-format", "json"],
        ["serve", "guest.wat", "--log-level", "debug"], ["serve", "--log-level", "debug"],
        ["pack", "--verbose", "--world", "command-p2"], ["init"],
    ):  # fmt: skip
        for more in ([], ["--json"]):
            out = warp(*args, *more, cwd=folder, env={**pack_env(), **ENV}, timeout_s=300)
            expect_clean(out.stdout, out.stderr)


def test_dev_does_not_show_it(warp, folder):
    """From the first build over a mistake in warp.toml to the next good one."""
    good = toml({"databases": {"main": {"user": "u", "password": PLANTED}}, "env": {"TOKEN": TOKEN},
                 "http": {"listen": "127.0.0.1:0"}})  # fmt: skip
    assert warp("init", "shop", "-y", cwd=folder).returncode == 0
    file = folder / "shop" / "warp.toml"
    file.write_text(good)
    server = Server(
        warp.popen("dev", "--log-level", "debug", "--env", f"MORE={TOKEN}", cwd=folder / "shop", env=pack_env())
    )
    try:
        server.wait_listening()
        file.write_text(good.replace("user =", "pasword ="))
        server.log.wait_for("needs 'user'", 30)
        file.write_text(good + "# better\n")
        server.log.wait_for("event=reloaded", 30)
        server.stop()
    finally:
        server.kill()
    expect_clean(server.out.text, server.log.text)


def test_values_of_the_command_line(warp, folder):
    for args in (["--env", f"TOKEN={TOKEN}"], ["--env", f"TOKEN={TOKEN}", "--env", "broken"]):
        out = warp("run", "guest.wat", "--log-level", "debug", *args, cwd=folder)
        expect_clean(out.stdout, out.stderr)


# ---- mistakes next to it --------------------------------------------------------------------

HEAD = "[databases.main]\nuser = 'u'\n"
MISTAKES = {
    "a list": HEAD + f"password = ['{PLANTED}']\n",
    "a table": HEAD + f"password = {{ value = '{PLANTED}' }}\n",
    "a slip in its name": HEAD + f"pasword = '{PLANTED}'\n",
    "another case": HEAD + f"Password = '{PLANTED}'\n",
    "not closed": HEAD + f"password = '{PLANTED}\n",
    "no quotes": HEAD + f"password = {PLANTED}\n",
    "text behind it": HEAD + f"password = '{PLANTED}' and more\n",
    "a bad escape": HEAD + f'password = "{PLANTED}\\q"\n',
    "a control character": HEAD + f"password = '{PLANTED}\x01'\n",
    "a NUL": HEAD + f'password = "{PLANTED}\\u0000"\n',
    "twice": HEAD + f"password = '{PLANTED}'\npassword = '{PLANTED}'\n",
    "in two ways": HEAD + f"password = '{PLANTED}'\npassword_env = 'PLANTED_PASSWORD'\n",
    "a variable that is not closed": HEAD + f"password = '{PLANTED}${{'\n",
    "a variable of no name": HEAD + f"password = '{PLANTED}${{}}'\n",
    "a variable that is not set": HEAD + f"password = '{PLANTED}${{NOT_SET_ANYWHERE}}'\n",
    "a mistake behind it": HEAD + f"password = '{PLANTED}'\nport = 0\n",
    "a mistake on its line": HEAD + f"password = '{PLANTED}'; port = 1\n",
    "in the wrong table": f"[databases]\npassword = '{PLANTED}'\n",
    "at the top": f"password = '{PLANTED}'\n",
    "in another section": f"[http]\npassword = '{PLANTED}'\n",
    "a folder as file": HEAD + "password_file = '.'\n",
    "an environment value": f"[env]\nTOKEN = ['{TOKEN}']\n",
    "an environment value with a NUL": f'[env]\nTOKEN = "{TOKEN}\\u0000"\n',
    "an environment value not closed": f"[env]\nTOKEN = '{TOKEN}\n",
}


@pytest.mark.parametrize("mistake", MISTAKES)
def test_no_error_shows_it(warp, folder, mistake):
    (folder / "warp.toml").write_text(MISTAKES[mistake])
    for args in (["validate", "guest.wat", "--strict"], ["run", "guest.wat", "--log-level", "debug"], ["pack"]):
        for more in ([], ["--json"]):
            out = warp(*args, *more, cwd=folder, env=ENV)
            expect_clean(out.stdout, out.stderr)
            if args[0] == "validate":
                assert out.returncode == 1 and "warp.toml:" in out.stdout + out.stderr


def test_a_secret_file_that_is_too_large(warp, folder):
    (folder / "secret").write_text(PLANTED * 10000)
    (folder / "warp.toml").write_text(HEAD + "password_file = 'secret'\n")
    out = warp("validate", "guest.wat", cwd=folder)
    assert out.returncode == 1 and "larger than 64 KiB" in out.stderr
    expect_clean(out.stdout, out.stderr)


# ---- a running server -----------------------------------------------------------------------


@pytest.mark.parametrize("format", ["logfmt", "json"])
@pytest.mark.parametrize("way", ["text", "variable", "env", "file"])
def test_no_log_shows_it(warp, guest, postgres, folder, way, format):
    """A password that the server refuses, then reloads that change it: the most there is to log."""
    port = free_port()
    tables = database_config(postgres)
    del tables["databases"]["test"]["password_env"]
    tables["databases"]["test"].update(WAYS[way])
    tables["env"]["TOKEN"] = "${PLANTED_TOKEN}"
    tables["http"] = {"listen": "127.0.0.1:0", "workers": 1}
    tables["admin"] = {"listen": f"127.0.0.1:{port}"}
    file = folder / "warp.toml"
    file.write_text(toml(tables))
    server = Server(
        warp.popen("serve", guest("dbprobe-p2"), "--log-level", "debug", "--log-format", format,
                   "--env", f"MORE={TOKEN}", cwd=folder, env=ENV)
    )  # fmt: skip

    def admin(method, path):
        c = http.client.HTTPConnection("127.0.0.1", port, timeout=60 * SLOW)
        try:
            return ask(c, method, path)
        finally:
            c.close()

    try:
        server.wait_listening()
        refused = server.get("/sql?q=SELECT+1")
        assert refused.status == 503 and "28P01" in refused.text
        expect_clean(refused.text)
        for change in ({"password": "another " + PLANTED}, {"password": ["a", PLANTED]}, WAYS[way]):
            for key in ("password", "password_env", "password_file"):
                tables["databases"]["test"].pop(key, None)
            tables["databases"]["test"].update(change)
            file.write_text(toml(tables))
            expect_clean(admin("POST", "/reload").text)
            expect_clean(admin("GET", "/stats").text, admin("GET", "/metrics").text)
        for more in ([], ["--json"]):
            out = warp("inspect", "--running", *more, cwd=folder, env=ENV)
            assert out.returncode == 0, out
            expect_clean(out.stdout, out.stderr)
        server.process.send_signal(signal.SIGHUP)
        assert server.get("/env").text.count(TOKEN) == 2, "the guest has them"
        server.stop()
    finally:
        server.kill()
    assert re.search(r"28P01|password authentication failed", server.log.text), "the log has the failure"
    expect_clean(server.out.text, server.log.text)
