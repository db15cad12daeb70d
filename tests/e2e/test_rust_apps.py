# SPDX-License-Identifier: Apache-2.0
"""US-702, US-703: test-apps/t1-rust-http-postgres and t2-rust-http-redis-postgres, each with its own
warp.toml and the real servers."""
import json
import os
import re
import subprocess
import time
from contextlib import contextmanager
from pathlib import Path

import pytest
from harness import Background, Server, ask, guest_cargo_env, pack_env, rust_guest
from infra import ROOT, Postgres, Redis, free_port
from libc import script
from test_libc import rust_libraries
from test_operations import parse_metrics

APPS = ROOT / "test-apps"
T1, T2 = "t1-rust-http-postgres", "t2-rust-http-redis-postgres"
SEEDED = ["Ada Lovelace", "Grace Hopper", "Alan Turing", "Edsger Dijkstra", "Barbara Liskov"]


class App(Server):
    def admin(self, path):
        """What the admin endpoint answers."""
        port = int(self.log.wait_for(r"event=admin_listening url=http://127.0.0.1:(\d+)").group(1))
        connection = self.connection()
        connection.port = port
        try:
            return ask(connection, "GET", path)
        finally:
            connection.close()

    def leases(self, database):
        """How many sessions guests have taken of a database."""
        (found,) = [p for p in self.admin("/stats").json["databases"] if p["name"] == database]
        return found["leases"]


@pytest.fixture
def serve(warp):
    @contextmanager
    def start(app, component=None, **env):
        component = component or rust_guest(app, app.replace("-", "_"))
        server = App(
            warp.popen(
                "serve", component, "--config", APPS / app / "warp.toml", "--listen", "127.0.0.1:0",
                "--admin", "127.0.0.1:0", "--workers", 1, "--log-level", "debug", env=env,
            )
        )  # fmt: skip
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


def of_postgres(pg, **overrides):
    keys = ("PGHOST", "PGPORT", "PGUSER", "PGPASSWORD", "PGDATABASE")
    return {**{k: pg.env[k] for k in keys}, **overrides}


def of_redis(redis):
    return {"REDIS_HOST": redis.host, "REDIS_PORT": redis.port, "REDIS_PASSWORD": redis.password}


# -- T1 --


@pytest.fixture
def t1(serve, postgres):
    with serve(T1, **of_postgres(postgres)) as server:
        yield server


def add(server, user):
    body = user if isinstance(user, str) else json.dumps(user)
    return server.request("POST", "/users", body, {"content-type": "application/json"})


def test_us_702_get_users_answers_with_the_five_of_the_seed(t1):
    r = t1.get("/users")
    assert r.status == 200 and r.headers["content-type"] == "application/json"
    assert [u["name"] for u in r.json] == SEEDED and [u["id"] for u in r.json] == [1, 2, 3, 4, 5]
    assert set(r.json[0]) == {"id", "name", "email", "created_at"}
    assert re.match(r"\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d", r.json[0]["created_at"])


def test_us_702_a_posted_user_is_there_for_the_next_get(t1, postgres):
    new = {"name": "Radia Perlman'); --", "email": "radia@example.com"}
    r = add(t1, new)
    assert r.status == 201 and r.headers["location"] == f"/users/{r.json['id']}"
    assert {k: r.json[k] for k in new} == new
    assert t1.get("/users").json[-1] == r.json
    assert postgres.scalar("SELECT name FROM test_users WHERE email = 'radia@example.com'") == new["name"]


def test_us_702_the_dns_shim_is_asked_for_the_database(t1):
    assert t1.get("/users").status == 200
    t1.log.wait_for(r"event=dns_resolved .*name=db\.test\.warp\.local ")


@pytest.mark.parametrize("how", ["never there", "went away"])
def test_us_702_a_database_that_cannot_be_reached_is_a_503(serve, postgres, how, tmp_path):
    if how == "never there":
        with serve(T1, **of_postgres(postgres, PGPORT=free_port())) as server:
            r = server.get("/users")
            assert r.status == 503 and "cannot be reached" in r.json["error"]
            assert add(server, {"name": "x", "email": "x@y"}).status == 503
        return
    pg = Postgres(tmp_path)
    try:
        with serve(T1, **of_postgres(pg)) as server:
            assert server.get("/users").status == 200
            pg.stop("immediate")
            r = server.get("/users")
            assert r.status == 503 and r.json["error"], r
            pg.start()
            assert server.get("/users").status == 200, "and it comes back"
    finally:
        pg.close()


def test_us_702_mistakes_of_clients(t1):
    assert add(t1, '{"name": ').status == 400
    assert add(t1, {"name": "no email"}).status == 422
    assert add(t1, {"name": " ", "email": "a@b"}).json == {"error": "a user has a name, and an email with an '@'"}
    assert t1.request("POST", "/users", "name=x", {"content-type": "text/plain"}).status == 415
    assert add(t1, {"name": "Ada again", "email": "ada@example.com"}).status == 409
    assert t1.get("/nothing").status == 404 and t1.request("DELETE", "/users").status == 405
    assert len(t1.get("/users").json) == 5


def test_us_702_requests_at_once_share_the_pool(t1, postgres):
    calls = [Background(lambda: t1.get("/users")) for _ in range(40)]
    assert all(len(c.result().json) == 5 for c in calls)
    assert len(postgres.backends()) <= 10


def test_us_702_it_runs_on_the_patched_library(serve, postgres, tmp_path):
    """Linked against the libc of scripts/build-libc.sh, in the place of that of Rust's target."""
    libraries = rust_libraries()
    if not libraries:
        pytest.skip("no Rust for wasm32-wasip2: scripts/bootstrap.sh test installs it")
    script("build-libc.sh", "--sysroot", libraries[0], "--output", tmp_path / "lib")
    env = guest_cargo_env()
    # A folder of its own: the flags are the last crate's alone, and what it stands on is kept.
    env["CARGO_TARGET_DIR"] += "-patched"
    env.setdefault("RUSTC", str(libraries[0].parents[4] / "bin" / "rustc"))
    command = ["cargo", "rustc", "--release", "--locked", "--target", "wasm32-wasip2", "--lib", "--",
               "-L", f"native={tmp_path / 'lib'}", "-C", "strip=none"]  # fmt: skip
    out = subprocess.run(command, cwd=APPS / T1, env=env, capture_output=True, text=True, timeout=900)
    assert out.returncode == 0, out.stderr
    component = Path(env["CARGO_TARGET_DIR"]) / "wasm32-wasip2/release/t1_rust_http_postgres.wasm"
    assert b"__warpgrid_" in component.read_bytes()  # the name section
    with serve(T1, component, **of_postgres(postgres)) as server:
        assert [u["name"] for u in server.get("/users").json] == SEEDED


@pytest.mark.parametrize("app", [T1, T2])
def test_us_702_warp_packs_the_apps(warp, app, tmp_path):
    out = tmp_path / "app.wasm"
    env = {**os.environ, **pack_env(), "CARGO_TARGET_DIR": guest_cargo_env()["CARGO_TARGET_DIR"]}
    packed = warp("pack", "--config", APPS / app / "warp.toml", "--out", out, env=env, timeout_s=900)
    assert packed.returncode == 0, packed.stderr
    said = warp("validate", out).stdout
    assert "p3 service" in said and "database_proxy" in said


# -- T2 --


@pytest.fixture
def both(redis, postgres):
    redis.cli("FLUSHALL")
    return redis, postgres


@pytest.fixture
def t2(serve, both):
    redis, postgres = both
    with serve(T2, **of_postgres(postgres), **of_redis(redis)) as server:
        yield server


def calls(redis, command):
    """How often Redis was given it."""
    found = re.search(rf"cmdstat_{command}:calls=(\d+)", redis.cli("INFO", "commandstats"))
    return int(found.group(1)) if found else 0


def test_us_703_a_cold_cache_asks_postgres_and_is_filled(t2, both):
    redis, _ = both
    sets = calls(redis, "setex") + calls(redis, "set")
    r = t2.get("/users/1")
    assert (r.status, r.headers["x-cache"], r.json["name"]) == (200, "miss", "Ada Lovelace")
    assert r.headers["content-type"] == "application/json"
    assert calls(redis, "setex") + calls(redis, "set") == sets + 1
    assert json.loads(redis.cli("GET", "user:1")) == r.json
    assert 25 < int(redis.cli("TTL", "user:1")) <= 30


def test_us_703_a_warm_cache_does_not_ask_postgres(t2, both):
    redis, postgres = both
    first = t2.get("/users/2")
    leases = t2.leases("main")
    again = t2.get("/users/2")
    assert again.headers["x-cache"] == "hit" and again.body == first.body
    assert t2.leases("main") == leases, "no session was taken"
    # What is cached is what is answered, whatever the table says.
    postgres.sql("UPDATE test_users SET name = 'Somebody Else' WHERE id = 2")
    try:
        assert t2.get("/users/2").json["name"] == "Grace Hopper"
        redis.cli("FLUSHALL")
        r = t2.get("/users/2")
        assert (r.headers["x-cache"], r.json["name"]) == ("miss", "Somebody Else"), "asked again after a flush"
    finally:
        postgres.sql("UPDATE test_users SET name = 'Grace Hopper' WHERE id = 2")


def test_us_703_an_expired_entry_is_asked_again(t2, both):
    redis, _ = both
    assert t2.get("/users/3").headers["x-cache"] == "miss"
    leases = t2.leases("main")
    redis.cli("PEXPIRE", "user:3", "50")
    time.sleep(0.2)
    assert t2.get("/users/3").headers["x-cache"] == "miss"
    assert t2.leases("main") == leases + 1


def test_us_703_one_connection_of_each_in_the_metrics(t2, both):
    for n in (1, 2, 3, 1, 2, 3):
        assert t2.get(f"/users/{n}").status == 200
    metrics = parse_metrics(t2.admin("/metrics"))
    open_now = {k: v for k, v in metrics.items() if k.startswith("warpgrid_db_connections{")}
    assert sorted(open_now.values()) == [1, 1], open_now
    redis, postgres = both
    assert len(postgres.backends()) == 1 and len(redis.sessions()) == 1


def test_us_703_without_redis_postgres_answers(serve, postgres):
    with serve(T2, **of_postgres(postgres), REDIS_PORT=free_port()) as server:
        r = server.get("/users/4")
        assert (r.status, r.headers["x-cache"], r.json["name"]) == (200, "down", "Edsger Dijkstra")
        server.log.wait_for("the cache is not there")


def test_us_703_without_postgres_only_the_cache_answers(serve, redis, tmp_path):
    redis.cli("FLUSHALL")
    pg = Postgres(tmp_path)
    try:
        with serve(T2, **of_postgres(pg), **of_redis(redis)) as server:
            assert server.get("/users/5").headers["x-cache"] == "miss"
            pg.stop("immediate")
            assert server.get("/users/5").headers["x-cache"] == "hit"
            r = server.get("/users/1")
            assert r.status == 503 and r.json == {"error": "the database cannot be reached"}
    finally:
        pg.close()


def test_us_703_mistakes_of_clients(t2):
    assert t2.get("/users/99999").status == 404
    assert t2.get("/users/one").status == 400 and t2.get("/users/1%20OR%201").status == 400
    assert t2.get("/").status == 404
