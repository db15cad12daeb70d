# SPDX-License-Identifier: Apache-2.0
"""US-111, US-112: TLS between the host and PostgreSQL, through a real guest: every mode, every way to
log in, and every certificate that must be refused, with an error that says which it was."""
import os
import re
import shutil
import ssl
import subprocess
import time
from pathlib import Path

import pytest
from fault_proxy import FaultProxy
from harness import rust_guest, toml, word
from infra import Postgres, wait_until
from test_postgres import HOST, SqlError, config, probe, works  # noqa: F401: a fixture
from tls_server import Authority, TlsServer

PAST = ("20200101000000Z", "20210101000000Z")
FUTURE = ("20900101000000Z", "20910101000000Z")

HBA = """
local     all all                       scram-sha-256
host      all postgres     127.0.0.1/32 scram-sha-256
hostssl   all app_cert     127.0.0.1/32 cert
hostssl   all app_md5      127.0.0.1/32 md5
hostssl   all app_plain    127.0.0.1/32 password
hostnossl all app_trust    127.0.0.1/32 trust
hostssl   all warpgrid_app 127.0.0.1/32 scram-sha-256
"""


@pytest.fixture(scope="module")
def ca(tmp_path_factory):
    a = Authority(tmp_path_factory.mktemp("ca"))
    a.issue("server", HOST, f"DNS:{HOST},IP:127.0.0.1")
    a.issue("expired", HOST, f"DNS:{HOST}", PAST)
    a.issue("future", HOST, f"DNS:{HOST}", FUTURE)
    a.issue("other", "other.example", "DNS:other.example,IP:10.9.8.7")
    a.issue("self", HOST, f"DNS:{HOST}", own=True)
    a.issue("app_cert", "app_cert")
    return a


@pytest.fixture(scope="module")
def secure(tmp_path_factory, ca):
    """A PostgreSQL with ssl = on that takes the application's roles by TLS only."""
    pg = Postgres(tmp_path_factory.mktemp("secure"))
    try:
        home = Path(pg.env["WARPGRID_PG_HOME"])
        for src, name in ((ca.cert("server"), "s.crt"), (ca.key("server"), "s.key"), (ca.cert("ca"), "ca.crt")):
            shutil.copy(src, home / name)
            if os.geteuid() == 0:
                shutil.chown(home / name, home.owner())
            os.chmod(home / name, 0o600)
        with (home / "data/postgresql.conf").open("a") as f:
            f.write(f"ssl = on\nssl_cert_file = '{home}/s.crt'\nssl_key_file = '{home}/s.key'\n"
                    f"ssl_ca_file = '{home}/ca.crt'\n")  # fmt: skip
        pg.sql("CREATE ROLE app_cert LOGIN")
        (home / "data/pg_hba.conf").write_text(HBA)
        pg.restart()
        yield pg
    finally:
        pg.close()


@pytest.fixture
def clean(secure):
    secure.terminate_backends()
    return secure


SSL = "SELECT ssl, coalesce(version, '') FROM pg_stat_ssl WHERE pid = pg_backend_pid()"


def test_us_111_prefer_where_tls_is_refused(probe, clean):  # noqa: F811
    """hostnossl in pg_hba.conf: as libpq, the host comes back without TLS."""
    with probe(clean, "p2", user="app_trust", tls="prefer") as p:
        assert p.sql(SSL)[0][0] == "f"


@pytest.mark.parametrize("kind", ["p2", "p3"])
@pytest.mark.parametrize("mode", ["allow", "prefer", "require", "verify-ca", "verify-full", None])
def test_us_111_modes(probe, clean, ca, mode, kind):  # noqa: F811
    keys = {"tls_ca": ca.cert("ca")} if mode in (None, "verify-ca", "verify-full") else {}
    if mode:
        keys["tls"] = mode
    with probe(clean, kind, **keys) as p:
        assert p.sql(SSL) == [["t", "TLSv1.3"]]
        assert len({p.pid() for _ in range(5)}) == 1, "and it is pooled"
        assert p.value("SELECT length(repeat('x', 3000000))") == "3000000"
        assert len(p.value("SELECT repeat('y', 3000000)")) == 3000000


def test_us_111_plain_text_is_refused_by_such_a_server(probe, clean):  # noqa: F811
    with probe(clean, "p2", tls="disable") as p:
        with pytest.raises(SqlError) as e:
            p.sql("SELECT 1")
        assert "no encryption" in e.value.text and e.value.code == "28000"


def test_us_111_the_default_for_this_machine_is_plain_text(probe, clean):  # noqa: F811
    with probe(clean, "p2", user="app_trust") as p:
        assert p.sql(SSL) == [["f", ""]]


@pytest.mark.parametrize("role", ["app_md5", "app_plain", "warpgrid_app"])
@pytest.mark.parametrize("version", ["1.2", "1.3"])
def test_us_111_log_in_methods(probe, clean, ca, role, version):  # noqa: F811
    keys = {"tls": "verify-full", "tls_ca": ca.cert("ca"), "tls_min_version": version}
    if role == "warpgrid_app":
        keys["channel_binding"] = "require"
    with probe(clean, "p2", user=role, **keys) as p:
        assert p.value("SELECT current_user") == role
        assert p.sql(SSL)[0][0] == "t"


@pytest.mark.parametrize("driver, verb", [("pg_tokio", "query"), ("pg_sqlx", "rows")])
def test_us_112_relay_over_tls_by_stock_drivers(warp, clean, ca, tmp_path, driver, verb):
    """They have no TLS themselves and log in by SCRAM-SHA-256 with their own password: the offer to bind
    it to the host's TLS channel is kept from them."""
    tables = config(clean, auth="relay", tls="verify-full", tls_ca=ca.cert("ca"))
    del tables["databases"]["test"]["user"], tables["databases"]["test"]["password_env"]
    tables["env"] |= {"DB_USER": clean.user, "DB_PASSWORD": clean.password}
    (tmp_path / "warp.toml").write_text(toml(tables))
    guest, asked = rust_guest("rust-sockets", driver), SSL.replace("ssl, ", "")
    out = warp("run", guest, "--", "connect a", f"{verb} a {word(asked)}", "close a", cwd=tmp_path)
    assert out.stdout.splitlines() == ["ok", "ok TLSv1.3", "ok"], out.stdout + out.stderr
    tables["env"]["DB_PASSWORD"] = "wrong"
    (tmp_path / "warp.toml").write_text(toml(tables))
    out = warp("run", guest, "--", "connect a", cwd=tmp_path)
    assert "28P01" in out.stdout, out.stdout + out.stderr


def test_us_111_client_certificate(probe, clean, ca):  # noqa: F811
    keys = {"tls": "verify-full", "tls_ca": ca.cert("ca"), "user": "app_cert"}
    own = {"tls_cert": ca.cert("app_cert"), "tls_key": ca.key("app_cert")}
    with probe(clean, "p2", **keys, **own) as p:
        dn = "SELECT client_dn FROM pg_stat_ssl WHERE pid = pg_backend_pid()"
        assert p.sql(dn) == [["/CN=app_cert"]]
    with probe(clean, "p2", **keys) as p:
        with pytest.raises(SqlError) as e:
            p.sql("SELECT 1")
        assert e.value.code == "28000" and "client certificate" in e.value.text


def test_us_111_required_channel_binding_refuses_less(probe, clean, ca):  # noqa: F811
    keys = {"tls_ca": ca.cert("ca"), "channel_binding": "require", "user": "app_md5"}
    with probe(clean, "p2", **keys) as p:
        with pytest.raises(SqlError) as e:
            p.sql("SELECT 1")
        assert "channel binding is required, but the server asks for md5" in e.value.text


# ---- what must be refused ---------------------------------------------------------------------


def fails_with(probe, pg, server, *texts, **keys):  # noqa: F811
    """One attempt through a guest; the guest and the log are told, and nothing is left open."""
    with probe(pg, "p2", port=server.port, **keys) as p:
        with pytest.raises(SqlError) as e:
            p.sql("SELECT 1")
        assert e.value.status == 503
        for text in texts:
            assert text in e.value.text, e.value.text
            p.server.log.wait_for("event=db_connect_failed .*" + re.escape(text))
    assert pg.password not in p.server.log.text


@pytest.mark.parametrize(
    "cert, text",
    [
        ("expired", f"the server's certificate, of '{HOST}', has expired on 2021-01-01"),
        ("future", "is not yet valid, but from 2090-01-01"),
        ("self", f"of '{HOST}', is self-signed and not among the trusted"),
        ("other", f"is for 'other.example', '10.9.8.7', not for '{HOST}'"),
    ],
)
@pytest.mark.parametrize("version", [ssl.TLSVersion.TLSv1_2, ssl.TLSVersion.TLSv1_3])
def test_us_111_refused_certificates(probe, postgres, ca, cert, text, version):  # noqa: F811
    with TlsServer((postgres.host, postgres.port), ca.cert(cert), ca.key(cert), version=version) as server:
        fails_with(probe, postgres, server, text, "08001", tls_ca=ca.cert("ca"))


def test_us_111_unknown_issuer(probe, postgres, ca, tmp_path):  # noqa: F811
    stranger = Authority(tmp_path / "strange", "stranger")
    cert, key = stranger.issue("server", HOST, f"DNS:{HOST}")
    target = (postgres.host, postgres.port)
    with TlsServer(target, cert, key) as server:
        text = "from an issuer that is not trusted: 'authority stranger'"
        fails_with(probe, postgres, server, text, tls_ca=ca.cert("ca"))
        fails_with(probe, postgres, server, text, tls="verify-full")  # of the system's
        with probe(postgres, "p2", port=server.port, tls="require") as p:
            assert p.value("SELECT 1") == "1"


def test_us_111_no_tls_where_it_is_required(probe, postgres, ca):  # noqa: F811
    for mode in ("require", "verify-ca", "verify-full"):
        with probe(postgres, "p2", tls=mode) as p:
            with pytest.raises(SqlError) as e:
                p.sql("SELECT 1")
            assert "the server does not support TLS, and it is required" in e.value.text
    with probe(postgres, "p2", tls="prefer") as p:
        assert p.value("SELECT 1") == "1"


def test_us_111_version_too_low(probe, postgres, ca):  # noqa: F811
    target = (postgres.host, postgres.port)
    with TlsServer(target, ca.cert("server"), ca.key("server"), version=ssl.TLSVersion.TLSv1_2) as server:
        text = "the server's protocol version is too low: it does not speak TLS 1.3"
        fails_with(probe, postgres, server, text, tls_ca=ca.cert("ca"), tls_min_version="1.3")


@pytest.mark.parametrize(
    "answer, text",
    [
        (b"SR\0\0\0\x08\0\0\0\0", "sent 9 unencrypted bytes before the handshake's end"),
        (b"NR\0\0\0\x08\0\0\0\0", "sent 9 unencrypted bytes before the handshake's end"),
        (b"E\0\0\0\x10SFATAL\0Mhello\0\0", "answered the request for TLS by an error"),
        (b"HTTP/1.1 400 Bad Request\r\n", "by 0x48, not by 'S' or 'N'"),
    ],
)
def test_us_111_answers_in_the_clear(probe, postgres, ca, answer, text):  # noqa: F811
    with TlsServer(("", 0), ca.cert("server"), ca.key("server"), answer=answer) as server:
        fails_with(probe, postgres, server, text, tls_ca=ca.cert("ca"))


# ---- names, negotiation, resumption -----------------------------------------------------------


def test_us_111_server_name_is_checked_and_sent(probe, postgres, ca):  # noqa: F811
    target = (postgres.host, postgres.port)
    with TlsServer(target, ca.cert("other"), ca.key("other")) as server:
        for name, sni in (("other.example", "other.example"), ("10.9.8.7", None)):
            with probe(postgres, "p2", port=server.port, tls_ca=ca.cert("ca"), tls_server_name=name) as p:
                assert p.value("SELECT 1") == "1"
            assert server.names.pop() == sni


@pytest.mark.parametrize("version", [ssl.TLSVersion.TLSv1_2, ssl.TLSVersion.TLSv1_3])
def test_us_111_direct_negotiation(probe, postgres, ca, version):  # noqa: F811
    target = (postgres.host, postgres.port)
    with TlsServer(target, ca.cert("server"), ca.key("server"), direct=True, version=version) as server:
        keys = {"tls_ca": ca.cert("ca"), "tls_negotiation": "direct"}
        with probe(postgres, "p2", port=server.port, **keys) as p:
            assert p.value("SELECT 1") == "1"
            assert len({p.pid() for _ in range(5)}) == 1
        assert server.names == [HOST]


def test_us_111_direct_negotiation_with_an_older_server(probe, clean, ca):  # noqa: F811
    with probe(clean, "p2", tls_ca=ca.cert("ca"), tls_negotiation="direct") as p:
        with pytest.raises(SqlError) as e:
            p.sql("SELECT 1")
        assert "TLS: the server closed the connection during the TLS handshake" in e.value.text


@pytest.mark.parametrize("version", [ssl.TLSVersion.TLSv1_2, ssl.TLSVersion.TLSv1_3])
def test_us_111_resumption(probe, postgres, ca, version):  # noqa: F811
    target = (postgres.host, postgres.port)
    with TlsServer(target, ca.cert("server"), ca.key("server"), version=version) as server:
        with probe(postgres, "p2", port=server.port, tls_ca=ca.cert("ca"), pool_size=1, reset="close") as p:
            for _ in range(4):
                assert p.value("SELECT 1") == "1"
            wait_until(lambda: server.accepted >= 4, "each request has a connection of its own")
            assert server.resumed >= 3


def test_us_111_a_renewed_certificate_is_taken_by_a_reload(site, guest, postgres, ca, tmp_path):
    """tls_ca of another authority: requests fail until the file is the right one and is reloaded."""
    stranger = Authority(tmp_path / "strange", "stranger")
    shutil.copy(stranger.cert("stranger"), tmp_path / "trusted.crt")
    site.put("probe", "dbprobe-p2")
    target = (postgres.host, postgres.port)
    with TlsServer(target, ca.cert("server"), ca.key("server")) as server:
        tables = config(postgres, server.port, tls_ca="trusted.crt")
        tables["services"] = {"probe": {"component": "dist/probe.wasm"}}
        site.configure(tables)
        with site.serve(env={"TEST_DB_PASSWORD": postgres.password}) as s:
            r = s.get("/sql?q=SELECT+1")
            assert r.status == 503 and "not trusted: 'authority ca'" in r.text
            shutil.copy(ca.cert("ca"), tmp_path / "trusted.crt")
            site.reload()
            assert s.get("/sql?q=SELECT+1").text == "1\n"


# ---- the network goes wrong --------------------------------------------------------------------


def test_us_111_tls_in_single_bytes(probe, clean, ca):  # noqa: F811
    with FaultProxy(clean.host, clean.port) as proxy:
        proxy.split(1)
        with probe(clean, "p2", port=proxy.port, tls_ca=ca.cert("ca"), channel_binding="require") as p:
            assert p.sql(SSL) == [["t", "TLSv1.3"]]
            proxy.split(1000)
            assert len(p.value("SELECT repeat('z', 300000)")) == 300000


def test_us_111_a_stall_in_the_handshake_ends(probe, clean, ca):  # noqa: F811
    with FaultProxy(clean.host, clean.port) as proxy:
        keys = {"tls_ca": ca.cert("ca"), "connect_timeout": "500ms"}
        with probe(clean, "p2", port=proxy.port, **keys) as p:
            proxy.stall("down")
            start = time.monotonic()
            with pytest.raises(SqlError) as e:
                p.sql("SELECT 1")
            assert e.value.status == 503 and time.monotonic() - start < 5
            proxy.resume()
            wait_until(lambda: works(p), "it works again", 15)


def test_us_112_a_cut_in_mid_result_is_told(probe, clean, ca):  # noqa: F811
    with FaultProxy(clean.host, clean.port) as proxy:
        with probe(clean, "p2", port=proxy.port, tls_ca=ca.cert("ca")) as p:
            assert p.value("SELECT 1") == "1"
            proxy.cut_after(100000)
            with pytest.raises(SqlError) as e:
                p.sql("SELECT repeat('z', 3000000)")
            assert e.value.status == 503 and e.value.code in ("08006", "08001")
            proxy.cut_after(None)
            wait_until(lambda: works(p), "it works again", 15)


@pytest.mark.parametrize("kind", ["p2", "p3"])
def test_us_111_workers_share_tls_connections(probe, clean, ca, kind):  # noqa: F811
    keys = {"tls_ca": ca.cert("ca"), "pool_size": 2, "http": {"workers": 2}}
    with probe(clean, kind, **keys) as p:
        calls = [p.background("SELECT pg_backend_pid(), pg_sleep(0.05)") for _ in range(30)]
        assert len({c.result()[0][0] for c in calls}) <= 2


# ---- warp.toml ---------------------------------------------------------------------------------


def validate(warp, folder, **keys):
    lines = ["[databases.d]", 'user = "u"'] + [f'{k} = "{v}"' for k, v in keys.items()]
    (folder / "warp.toml").write_text("\n".join(lines) + "\n")
    return warp("validate", cwd=folder)


def test_us_111_files_are_looked_at_by_validate(warp, ca, tmp_path):
    out = validate(warp, tmp_path, tls_ca="nobody.crt")
    assert out.returncode == 1
    assert "warp.toml:3:10: 'tls_ca': cannot read 'nobody.crt': No such file" in out.stderr
    key = tmp_path / "open.key"
    shutil.copy(ca.key("app_cert"), key)
    key.chmod(0o644)
    out = validate(warp, tmp_path, tls_cert=ca.cert("app_cert"), tls_key="open.key")
    assert out.returncode == 1
    assert "warp.toml:4:11: 'tls_key': the private key 'open.key' can be read by others" in out.stderr
    assert "chmod 600 open.key" in out.stderr
    key.chmod(0o600)
    out = validate(warp, tmp_path, tls_cert=ca.cert("server"), tls_key="open.key")
    assert "'tls_key': 'open.key' does not belong to the certificate of 'tls_cert'" in out.stderr
    subprocess.run(
        ["openssl", "pkey", "-in", key, "-aes128", "-passout", "pass:x", "-out", tmp_path / "locked.key"], check=True
    )
    (tmp_path / "locked.key").chmod(0o600)
    out = validate(warp, tmp_path, tls_cert=ca.cert("app_cert"), tls_key="locked.key")
    assert "'tls_key': 'locked.key' is protected by a passphrase" in out.stderr
    out = validate(warp, tmp_path, tls_cert=ca.cert("app_cert"), tls_key="open.key", tls_ca=ca.cert("ca"))
    assert out.returncode == 0, out.stderr
