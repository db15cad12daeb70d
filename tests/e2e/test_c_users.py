# SPDX-License-Identifier: Apache-2.0
"""test-apps/c-users: the whole of it, as WASI 0.2 and WASI 0.3, with its own warp.toml and a real
PostgreSQL (US-112, US-114, US-122 end to end)."""
import json
import re
import socket
import time
from contextlib import contextmanager

import pytest
from harness import Background, Server, read_responses
from infra import ROOT, free_port, wait_until

BOTH = pytest.mark.parametrize("kind", ["p2", "p3"])
CONFIG = ROOT / "test-apps" / "c-users" / "warp.toml"


@pytest.fixture
def users(warp, guest):
    @contextmanager
    def start(pg, kind, **overrides):
        keys = ("PGHOST", "PGPORT", "PGUSER", "PGPASSWORD", "PGDATABASE")
        env = {**{k: pg.env[k] for k in keys}, **overrides}
        server = Server(
            warp.popen(
                "serve", guest(f"c-users-{kind}"), "--config", CONFIG, "--listen", "127.0.0.1:0", env=env
            )  # fmt: skip
        )
        try:
            server.wait_listening()
            yield server
            server.stop()
        except BaseException:
            print("\n".join(server.log.lines[-40:]))
            raise
        finally:
            server.kill()

    return start


def post(server, body, **headers):
    data = body if isinstance(body, bytes) else json.dumps(body).encode()
    return server.request("POST", "/users", data, {"content-type": "application/json", **headers})


@BOTH
def test_seeded_users_are_listed(users, postgres, kind):
    with users(postgres, kind) as server:
        r = server.get("/users")
        assert r.status == 200 and r.headers["content-type"] == "application/json"
        found = r.json["users"]
        assert [u["id"] for u in found] == [1, 2, 3, 4, 5]
        assert found[0]["name"] == "Ada Lovelace" and found[0]["email"] == "ada@example.com"
        assert re.fullmatch(r"\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d\.\d{3}Z", found[0]["created_at"])
        assert [u["id"] for u in server.get("/users?after=2&limit=2").json["users"]] == [3, 4]
        assert server.get("/users/count").json == {"users": 5}


@BOTH
def test_add_read_and_remove_a_user(users, postgres, kind):
    with users(postgres, kind) as server:
        r = post(server, {"name": "Radia Perlman", "email": f"radia-{kind}@example.com"})
        assert r.status == 201, r
        new = r.json["id"]
        assert r.headers["location"] == f"/users/{new}"
        assert server.get(f"/users/{new}").json == r.json
        assert server.get("/users/count").json == {"users": 6}
        assert postgres.scalar(f"SELECT name FROM test_users WHERE id = {new}") == "Radia Perlman"
        assert server.request("DELETE", f"/users/{new}").status == 204
        assert server.get(f"/users/{new}").status == 404
        assert server.request("DELETE", f"/users/{new}").status == 404


@BOTH
def test_parameters_are_never_sql(users, postgres, kind):
    nasty = "Robert'); DROP TABLE test_users;-- \\ \" $1 \u00e9\u4e2d\U0001f600\n\ttab"
    with users(postgres, kind) as server:
        r = post(server, {"name": nasty, "email": f"b'o\"b-{kind}@example.com"})
        assert r.status == 201 and r.json["name"] == nasty
        assert server.get(f"/users/{r.json['id']}").json["name"] == nasty
        assert server.get("/users/count").json == {"users": 6}
        assert server.get("/users/1%20OR%201=1").status == 400
        assert server.get("/users?after=0;DROP%20TABLE%20test_users").status == 400


@BOTH
def test_mistakes_of_clients(users, postgres, kind):
    with users(postgres, kind) as server:
        assert server.get("/users/99999").status == 404
        assert server.get("/nothing/here").status == 404
        r = server.request("PUT", "/users", b"{}")
        assert r.status == 405 and "POST" in r.headers["allow"]
        assert server.request("PATCH", "/users/1", b"{}").status == 405
        for path in ("/users/abc", "/users/0", "/users/-1", "/users/2147483648", "/users/1x",
                     "/users?limit=0", "/users?limit=1001", "/users?limit=abc", "/users?after=-1"):  # fmt: skip
            r = server.get(path)
            assert r.status == 400 and r.json["error"], path
        for body in (
            b"", b"{", b"[]", b"null", b'"text"', b"\xff\xfe", b'{"name":"x"}', b'{"email":"a@b"}',
            b'{"name":"","email":"a@b"}', b'{"name":"x","email":"no at sign"}', b'{"name":7,"email":"a@b"}',
            b'{"name":"x","email":"@b"}', b'{"name":"x","name":"y","email":"a@b"}',
            b'{"name":"' + b"x" * 201 + b'","email":"a@b"}', b"[" * 5000,
        ):  # fmt: skip
            r = post(server, body)
            assert r.status == 400 and r.json["error"], body[:40]
        r = post(server, {"name": "Ada again", "email": "ada@example.com"})
        assert r.status == 409 and "exists" in r.json["error"]
        # None of them did anything, and the session that failed is as good as new.
        assert server.get("/users/count").json == {"users": 5}
        assert server.request("HEAD", "/users").body == b""


@BOTH
def test_text_with_a_zero_byte(users, postgres, kind):
    """PostgreSQL's text cannot hold it; the client is told, in whatever words but not by a crash."""
    with users(postgres, kind) as server:
        r = post(server, {"name": "a\u0000b", "email": "zero@example.com"})
        assert r.status in (400, 500)
        assert server.get("/users/count").json == {"users": 5}


@BOTH
def test_one_login_for_many_requests(users, postgres, kind):
    before = postgres.logins()
    with users(postgres, kind) as server:
        for _ in range(20):
            assert server.get("/users/count").status == 200
    assert postgres.logins() - before == 1


@BOTH
def test_many_at_once(users, postgres, kind):
    with users(postgres, kind) as server:
        def some(n):
            for i in range(5):
                r = post(server, {"name": f"n{n}", "email": f"{kind}-{n}-{i}@example.com"})
                assert r.status == 201, r
                assert server.get(f"/users/{r.json['id']}").json["name"] == f"n{n}"

        for c in [Background(lambda n=n: some(n)) for n in range(16)]:
            c.result()
        assert server.get("/users/count").json == {"users": 5 + 80}
        assert len(postgres.backends()) <= 10


@BOTH
def test_us_114_database_that_is_away_is_503_quickly(users, postgres, kind):
    with users(postgres, kind, PGPORT=str(free_port())) as server:
        for request in (lambda: server.get("/users"), lambda: server.get("/users/1"),
                        lambda: post(server, {"name": "x", "email": "x@example.com"})):  # fmt: skip
            start = time.monotonic()
            r = request()
            assert r.status == 503 and "not available" in r.json["error"], r
            assert r.headers["retry-after"]
            assert time.monotonic() - start < 6
        # What needs no database still works.
        assert server.get("/users/abc").status == 400


@BOTH
def test_us_112_wrong_password_is_503_and_28P01_in_the_log(users, postgres, kind):
    with users(postgres, kind, PGPASSWORD="planted-wrong-pw") as server:
        assert server.get("/users").status == 503
        server.log.wait_for("28P01")
    assert "planted-wrong-pw" not in server.log.text
    assert postgres.password not in server.log.text


@BOTH
def test_us_114_database_comes_back(users, postgres, kind):
    with users(postgres, kind) as server:
        assert server.get("/users/count").status == 200
        postgres.restart()
        wait_until(lambda: server.get("/users/count").status == 200, "it works again", 15)
        assert server.get("/users/count").json == {"users": 5}


def test_client_that_sends_half_a_body_changes_nothing(users, postgres):
    with users(postgres, "p2") as server:
        body = json.dumps({"name": "Half", "email": "half@example.com"}).encode()
        for end in ("close", "reset"):
            with server.raw() as s:
                s.sendall(b"POST /users HTTP/1.1\r\nHost: x\r\nContent-Length: %d\r\n\r\n" % (len(body) + 9))
                s.sendall(body)  # valid by itself, but not all that was announced
                if end == "reset":
                    s.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, b"\1\0\0\0\0\0\0\0")
        with server.raw() as s:
            s.sendall(b"POST /users HTTP/1.1\r\nHost: x\r\nTransfer-Encoding: chunked\r\n\r\n")
            s.sendall(b"%x\r\n%s\r\nbroken chunk\r\n" % (len(body), body))
            try:
                answer = read_responses(s, 1)[0].status
            except (IndexError, ConnectionError):
                answer = None
            assert answer in (400, None)
        time.sleep(0.3)
        assert server.get("/users/count").json == {"users": 5}, "a cut body is not a body"
