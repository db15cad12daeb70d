# SPDX-License-Identifier: Apache-2.0
"""`warp dev`: an edit is served a moment later, a broken one is told and changes nothing, and the
end leaves nothing behind."""
import json
import re
import shutil
import signal
import socket
import time
import uuid
from pathlib import Path

import pytest
from harness import SLOW, Server, pack_env
from infra import wait_until

HANDLER = """#include <warpgrid/sdk/http.h>
#include "answer.h"
void wg_http_handle(wg_http_request *req, wg_http_response *res) {
  (void)req;
  wg_http_printf(res, "%%s\\n", ANSWER);
}
"""
DATABASE = """#include <stdlib.h>
#include <warpgrid/sdk/http.h>
#include <warpgrid/sdk/pg.h>
void wg_http_handle(wg_http_request *req, wg_http_response *res) {
  (void)req;
  wg_pg_error err;
  wg_pg_config config = {.host = getenv("DB_HOST"), .port = (uint16_t)atoi(getenv("DB_PORT")),
                         .database = getenv("DB_NAME"), .user = getenv("DB_USER"),
                         .password = getenv("DB_PASSWORD")};
  wg_pg *db = wg_pg_connect(&config, &err);
  wg_pg_result *rows = db ? wg_pg_query(db, "SELECT current_user", NULL, 0, &err) : NULL;
  if (rows) {
    wg_str user = wg_pg_text(rows, 0, 0);
    wg_http_write(res, user.ptr, user.len);
  } else {
    wg_http_status(res, 500);
    wg_http_printf(res, "%s", err.message);
  }
  wg_pg_free(rows);
  wg_pg_close(db);
}
"""
LISTENS = """#include <warpgrid/sdk/http.h>
#include <stdio.h>
#include <world.h>
void wg_http_handle(wg_http_request *req, wg_http_response *res) {
  (void)req;
  static const char *const names[] = {"terminate", "hangup", "interrupt"};
  warpgrid_shim_signals_signal_type_t all[] = {0, 1, 2}, got;
  warpgrid_shim_signals_list_signal_type_t list = {all, 3};
  warpgrid_shim_signals_on_signal(&list);
  puts("listens");
  fflush(stdout);
  warpgrid_shim_signals_own_pollable_t p = warpgrid_shim_signals_subscribe();
  wasi_io_poll_method_pollable_block(wasi_io_poll_borrow_pollable(p));
  wasi_io_poll_pollable_drop_own(p);
  wg_http_printf(res, "%s\\n", warpgrid_shim_signals_poll_signal(&got) ? names[got] : "none");
}
"""

DIALS = """#include <arpa/inet.h>
#include <errno.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <unistd.h>
#include <warpgrid/sdk/http.h>
void wg_http_handle(wg_http_request *req, wg_http_response *res) {
  (void)req;
  struct sockaddr_in to = {.sin_family = AF_INET, .sin_port = htons((uint16_t)atoi(getenv("PORT")))};
  inet_pton(AF_INET, getenv("HOST"), &to.sin_addr);
  int fd = socket(AF_INET, SOCK_STREAM, 0);
  int rc = connect(fd, (const struct sockaddr *)&to, sizeof to);
  wg_http_printf(res, "%s\\n", rc == 0 ? "connected" : errno == EACCES ? "denied" : "other");
  close(fd);
}
"""


class Dev:
    """A running `warp dev --json`."""

    def __init__(self, warp, folder, *args, env=None):
        self.mark = f"WARPGRID_TEST_MARK={uuid.uuid4().hex}"
        name, value = self.mark.split("=")
        self.folder = folder
        self.server = Server(
            warp.popen(
                "dev", "--listen", "127.0.0.1:0", "--json", *args, cwd=folder,
                env={**pack_env(), name: value, **(env or {})},
            )
        )  # fmt: skip
        self.out, self.log = self.server.out, self.server.log

    def wait(self, event, count=1, timeout_s=60):
        """The `count`-th event of this kind, as JSON."""
        m = self.out.wait_for(rf'^{{"version":1,"command":"dev","ok":\w+,"event":"{event}".*', timeout_s, count)
        return json.loads(m.group(0))

    def count(self, event):
        return len(self.out.matching(rf'"event":"{event}"'))

    def listening(self):
        e = self.wait("listening")
        self.server.urls = [e["url"]]
        return e

    def get(self, path="/"):
        return self.server.get(path)

    def put(self, name, text):
        """Saves as most editors do: written aside, moved in place."""
        aside = self.folder / (name + ".tmp")
        aside.write_text(text)
        aside.rename(self.folder / name)

    def answers(self, text):
        wait_until(lambda: self.get().text == text, f"{text!r} is answered", 60 * SLOW)

    def processes(self):
        """Command lines of all processes that it started and that live."""
        found = []
        for p in Path("/proc").glob("[0-9]*"):
            try:
                if self.mark.encode() in (p / "environ").read_bytes().split(b"\0"):
                    found.append((p / "cmdline").read_bytes().replace(b"\0", b" ").decode())
            except OSError:
                continue  # gone, or somebody else's
        return found

    def stop(self, sig=signal.SIGINT):
        self.server.stop(sig)
        assert self.processes() == []
        assert self.wait("stopped")["ok"]

    def close(self):
        self.server.kill()
        print("--- stdout\n" + self.out.text + "\n--- stderr\n" + self.log.text)


@pytest.fixture
def project(tmp_path):
    folder = tmp_path / "app"
    (folder / "src").mkdir(parents=True)
    (folder / "warp.toml").write_text('name = "app"\n')
    (folder / "src" / "main.c").write_text(HANDLER.replace("%%", "%"))
    (folder / "src" / "answer.h").write_text('#define ANSWER "one"\n')
    return folder


@pytest.fixture
def start(warp, project):
    running = []

    def begin(*args, **more):
        running.append(Dev(warp, project, *args, **more))
        return running[-1]

    yield begin
    for d in running:
        d.close()


@pytest.fixture
def slow_clang(tmp_path):
    """A compiler that takes its time while the file `slow` exists, and says so in `runs`."""
    script = tmp_path / "clang"
    script.write_text(
        f"#!/bin/sh\necho run >>{tmp_path}/runs\n[ ! -e {tmp_path}/slow ] || sleep 600\nexec clang-22 \"$@\"\n"
    )
    script.chmod(0o755)
    return script


def answer(text):
    return f'#define ANSWER "{text}"\n'


def test_an_edit_is_served(start):
    dev = start()
    e = dev.listening()
    assert e["routes"] == [{"host": None, "path": "/", "service": "app", "component": "dist/app.wasm"}]
    assert len(e["urls"]) == 1
    assert dev.get().text == "one\n"
    assert dev.wait("building")["changed"] is None
    for n, text in enumerate(("two", "three"), 1):
        dev.put("src/answer.h", answer(text))
        e = dev.wait("reloaded", n)
        assert 0 < e["edit_to_response_seconds"] < 10 * SLOW
        assert dev.get().text == f"{text}\n"  # the first request after it, without waiting
        assert dev.wait("building", n + 1)["changed"] == "answer.h"
    assert dev.wait("built", 3)["fresh"] is False
    dev.stop()


def test_people_see_one_url_the_routes_and_the_times(warp, project):
    server = Server(warp.popen("dev", "--listen", "localhost:0", cwd=project, env=pack_env()))
    try:
        server.out.wait_for(r"^  /  app \(dist/app\.wasm\)$", 60)
        assert re.fullmatch(r"http://\S+:\d+\n  /  app \(dist/app\.wasm\)", server.out.text)
        server.log.wait_for(r"^built: in \d+\.\d\d s$")
        (project / "src" / "answer.h").write_text(answer("two"))
        server.log.wait_for(r"^rebuilt: in \d+\.\d\d s$", 60)
        server.log.wait_for(r"^serving: new requests get the new code, \d+\.\d\d s after the save$", 60)
        (project / "src" / "answer.h").write_text("nonsense\n")
        server.log.wait_for(r"answer\.h:1:1: error: ", 60)
        server.log.wait_for(r"^error: the compiler failed with exit code 1$", 60)
        server.log.wait_for(r"^waiting: the last good build is still served$", 60)
        server.stop(signal.SIGINT)
    finally:
        server.kill()


def test_a_broken_edit_changes_nothing_and_is_told(start):
    dev = start()
    dev.listening()
    dev.put("src/answer.h", "#define ANSWER undeclared\n")
    e = dev.wait("build_failed")
    assert e["exit_code"] == 1 and e["serving"] is True and not e["ok"]
    assert "use of undeclared identifier 'undeclared'" in e["messages"]
    assert dev.get().text == "one\n"
    dev.put("src/answer.h", answer("repaired"))
    dev.wait("reloaded")
    assert dev.get().text == "repaired\n"
    dev.stop()


def test_the_first_build_may_fail(start, project):
    (project / "src" / "answer.h").unlink()
    dev = start()
    e = dev.wait("build_failed")
    assert e["serving"] is False and "'answer.h' file not found" in e["messages"]
    assert dev.count("listening") == 0
    dev.put("src/answer.h", answer("at last"))
    dev.listening()
    assert dev.get().text == "at last\n"
    dev.stop(signal.SIGTERM)


def test_a_component_that_cannot_be_served_is_told_and_waited_for(start, project):
    (project / "warp.toml").write_text('name = "app"\n[build]\nworld = "command-p2"\n')
    (project / "src" / "main.c").write_text("int main(void) { return 0; }\n")
    dev = start()
    e = dev.wait("serve_failed")
    assert e["error"]["code"] == "invalid argument" and e["serving"] is False
    (project / "src" / "main.c").write_text(HANDLER.replace("%%", "%"))
    dev.put("warp.toml", 'name = "app"\n')
    dev.listening()
    assert dev.get().text == "one\n"
    dev.stop()


def test_a_newer_save_cancels_the_build(start, slow_clang):
    dev = start(env={"WARPGRID_CLANG": slow_clang})
    dev.listening()
    slow = slow_clang.parent / "slow"
    slow.touch()
    dev.put("src/answer.h", answer("never"))
    dev.wait("building", 2)
    wait_until(lambda: any("sleep" in p for p in dev.processes()), "the slow compiler runs", 20 * SLOW)
    assert dev.get().text == "one\n"
    slow.unlink()
    dev.put("src/answer.h", answer("newest"))
    dev.wait("canceled")
    dev.wait("reloaded")
    assert dev.get().text == "newest\n"
    assert not [p for p in dev.processes() if "sleep" in p]
    assert dev.count("built") == 2 and dev.count("reloaded") == 1
    dev.stop()


def test_many_saves_at_once_are_one_build(start, slow_clang, project):
    dev = start(env={"WARPGRID_CLANG": slow_clang})
    dev.listening()
    runs = slow_clang.parent / "runs"
    before = len(runs.read_text().splitlines())
    for i in range(200):
        (project / "src" / f"part{i}.h").write_text("")
    (project / "src" / "answer.h").write_text(answer("many"))
    dev.answers("many\n")
    time.sleep(0.3)
    assert len(runs.read_text().splitlines()) - before <= 3
    dev.stop()


def test_editors_own_files_are_no_saves(start, project):
    dev = start()
    dev.listening()
    for name in (".answer.h.swp", "answer.h~", "4913", "#answer.h#"):
        (project / "src" / name).write_text("x")
    (project / "dist" / "other.txt").write_text("x")
    time.sleep(0.5)
    assert dev.count("building") == 1
    dev.stop()


def test_warp_toml_is_reloaded(start, project):
    (project / "src" / "answer.h").write_text('#include <stdlib.h>\n#define ANSWER getenv("WORD")\n')
    (project / "warp.toml").write_text('name = "app"\n[env]\nWORD = "first"\n')
    dev = start()
    dev.listening()
    assert dev.get().text == "first\n"
    dev.put("warp.toml", 'name = "app"\n[env]\nWORD = "second"\n')
    dev.wait("reloaded")
    assert dev.get().text == "second\n"
    dev.put("warp.toml", 'name = "app\n')
    e = dev.wait("build_failed")
    assert e["error"]["code"] == "invalid configuration" and "warp.toml:1:" in e["error"]["message"]
    assert dev.get().text == "second\n"
    # Other sources, in another folder: watched from now on.
    (project / "lib").mkdir()
    (project / "lib" / "main.c").write_text(HANDLER.replace("%%", "%").replace("answer.h", "../src/answer.h"))
    dev.put("warp.toml", 'name = "app"\n[build]\nsources = ["lib/*.c"]\n[env]\nWORD = "third"\n')
    dev.wait("reloaded", 2)
    assert dev.get().text == "third\n"
    dev.put("lib/main.c", (project / "lib" / "main.c").read_text().replace("%s", "lib %s"))
    dev.wait("reloaded", 3)
    assert dev.get().text == "lib third\n"
    dev.stop()


def test_another_component_is_no_source(start, project):
    """Where the component goes changes alone: its folder's new output is not taken for a save."""
    for name in ("main.c", "answer.h"):
        (project / "src" / name).rename(project / name)
    text = 'name = "app"\n[build]\ncomponent = "%s.wasm"\nsources = ["*.c"]\n'
    (project / "warp.toml").write_text(text % "a")
    dev = start()
    dev.listening()
    dev.put("warp.toml", text % "b")
    dev.wait("reloaded")
    time.sleep(2)
    assert dev.count("building") == 2
    dev.put("answer.h", answer("two"))
    dev.wait("reloaded", 2)
    assert dev.get().text == "two\n"
    dev.stop()


def test_the_folder_of_the_output_is_no_source(start, project):
    """A build makes that folder, among the sources; that does not cancel the build."""
    (project / "warp.toml").write_text(
        'name = "app"\n[build]\ncomponent = "gen/x.wasm"\nsources = ["*/*.c"]\n'
    )
    dev = start()
    dev.listening()
    time.sleep(1)
    assert dev.count("building") == 1 and dev.count("canceled") == 0
    dev.put("src/answer.h", answer("two"))
    dev.wait("reloaded")
    assert dev.get().text == "two\n" and dev.count("building") == 2
    dev.stop()


@pytest.mark.parametrize("name", ["src/util/answer.h", "extra/answer.h"])
def test_headers_below_and_beside_the_sources_are_inputs(start, project, name):
    main = (project / "src" / "main.c").read_text()
    flag = ' flags = ["-iquote", "extra"]' if name.startswith("extra") else ""
    (project / name).parent.mkdir()
    (project / "src" / "answer.h").rename(project / name)
    if not flag:
        (project / "src" / "main.c").write_text(main.replace('"answer.h"', '"util/answer.h"'))
    (project / "warp.toml").write_text('name = "app"\n[build]\n' + flag.strip() + "\n")
    dev = start()
    dev.listening()
    dev.put(name, answer("two"))
    dev.wait("reloaded")
    assert dev.get().text == "two\n"
    dev.stop()


def test_an_ignored_hangup_stays_ignored(start, project):
    """As `nohup warp dev` asks: the terminal's end is not its own."""
    before = signal.signal(signal.SIGHUP, signal.SIG_IGN)
    try:
        dev = start()
    finally:
        signal.signal(signal.SIGHUP, before)
    dev.listening()
    dev.server.process.send_signal(signal.SIGHUP)
    time.sleep(0.3)
    assert dev.server.process.poll() is None
    assert dev.get().status == 200
    dev.stop()


def test_routes_of_services(start, project):
    (project / "warp.toml").write_text(
        'name = "app"\n[services.shop]\ncomponent = "dist/app.wasm"\nhost = ["shop.example"]\n'
        'path = ["/buy", "/sell"]\n[services.rest]\ncomponent = "dist/app.wasm"\n'
    )
    dev = start()
    routes = dev.listening()["routes"]
    assert [(r["service"], r["host"], r["path"]) for r in routes] == [
        ("shop", "shop.example", "/buy"), ("shop", "shop.example", "/sell"), ("rest", None, "/"),
    ]  # fmt: skip
    assert dev.get("/anything").text == "one\n"
    dev.stop()


def test_other_components_of_services_are_watched(warp, start, project, guest):
    other = project / "other.wasm"
    other.write_bytes(guest("lab-p2").read_bytes())
    (project / "warp.toml").write_text(
        'name = "app"\n[services.app]\ncomponent = "dist/app.wasm"\n'
        '[services.other]\ncomponent = "other.wasm"\npath = ["/other"]\n'
    )
    dev = start()
    dev.listening()
    assert dev.get("/other").text != "hello from C\n"
    other.write_bytes(guest("hello-p2").read_bytes())
    dev.wait("reloaded")
    assert dev.get("/other").text == "hello from C\n"
    assert dev.get("/").text == "one\n"
    dev.stop()


def test_a_broken_warp_toml_at_the_start_is_an_error(warp, project):
    (project / "warp.toml").write_text("name =\n")
    out = warp("dev", cwd=project, env=pack_env())
    assert out.returncode == 1 and "error: warp.toml:1:" in out.stderr and out.stdout == ""


def test_a_port_in_use_is_an_error(warp, start, project):
    dev = start()
    port = dev.listening()["url"].rsplit(":", 1)[1]
    out = warp("dev", "--listen", f"127.0.0.1:{port}", cwd=project, env=pack_env())
    assert out.returncode == 1 and "the port is in use" in out.stderr
    dev.stop()


def test_bad_options(warp, project):
    out = warp("dev", "--listen", "nonsense:x", cwd=project)
    assert out.returncode == 2 and "--listen" in out.stderr + out.stdout or "nonsense" in out.stderr


def test_what_the_service_prints_is_shown(start, project):
    (project / "src" / "main.c").write_text(
        "#include <stdio.h>\n" + HANDLER.replace("%%", "%").replace("(void)req;", '(void)req; puts("printed"); fflush(stdout);')
    )
    dev = start()
    dev.listening()
    dev.get()
    dev.log.wait_for("event=guest_stdout .*line=printed")
    assert "engine_started" not in dev.log.text
    dev.stop()


@pytest.mark.parametrize("sig", [signal.SIGINT, signal.SIGTERM, signal.SIGHUP])
def test_the_end_of_a_build(start, slow_clang, sig):
    """A signal while the first build runs: compiler and all are gone, and no half output is there."""
    (slow_clang.parent / "slow").touch()
    dev = start(env={"WARPGRID_CLANG": slow_clang})
    wait_until(lambda: any("sleep" in p for p in dev.processes()), "the slow compiler runs", 20 * SLOW)
    dev.stop(sig)
    assert not (dev.folder / "dist").exists()


def test_the_end_at_any_moment(start, project):
    """Twenty starts, stopped after different times: none hangs, none leaves anything."""
    for n in range(20):
        dev = start()
        time.sleep(0.03 * n)
        if dev.server.process.poll() is None:
            dev.server.process.send_signal(signal.SIGINT)
        code = dev.server.wait(20)
        # Before the signals are taken over it ends as any program does.
        assert code == 0 or (n < 3 and code == -signal.SIGINT), (n, code)
        assert dev.processes() == []
        dev.server.check_clean()
    assert {p.name for p in (project / "dist").iterdir()} <= {"app.wasm"}


def test_requests_in_flight_survive_edits(start):
    dev = start()
    dev.listening()
    seen = set()
    for n in range(5):
        dev.put("src/answer.h", answer(f"n{n}"))
        while dev.count("reloaded") <= n:
            r = dev.get()
            assert r.status == 200
            seen.add(r.text)
    assert len(seen) > 2
    dev.stop()


# -- Databases of this machine --


def database_env(pg, **more):
    env = {"DB_HOST": pg.host, "DB_PORT": pg.port, "DB_NAME": pg.database, "DB_USER": pg.user,
           "DB_PASSWORD": pg.password, **more}  # fmt: skip
    return [f"--env={k}={v}" for k, v in env.items()]


@pytest.mark.parametrize("host", ["127.0.0.1", "localhost"])
def test_a_loopback_database_needs_no_declaration(warp, start, project, postgres, host):
    (project / "src" / "main.c").write_text(DATABASE)
    env = database_env(postgres, DB_HOST=host)
    dev = start(*env)
    dev.listening()
    for _ in range(3):
        assert dev.get().text == postgres.user
    m = dev.log.wait_for(r"event=db_loopback_undeclared .*")
    assert f"{host}:{postgres.port}/{postgres.database}" in m.group(0)
    assert "[databases.main]" in m.group(0)
    assert len(dev.log.matching("db_loopback_undeclared")) == 1
    assert postgres.password not in dev.log.text + dev.out.text
    dev.stop()
    # `warp serve` still wants it declared.
    with warp.serve(project / "dist" / "app.wasm", args=env) as server:
        r = server.get()
        assert r.status == 500 and "is declared" in r.text


@pytest.mark.parametrize(("host", "answer"), [("127.0.0.1", "connected"), ("192.0.2.1", "denied")])
def test_sockets_reach_loopback_without_a_rule(warp, start, project, host, answer):
    (project / "src" / "main.c").write_text(DIALS)
    with socket.create_server(("127.0.0.1", 0)) as listener:
        env = [f"--env=HOST={host}", f"--env=PORT={listener.getsockname()[1]}"]
        dev = start(*env)
        dev.listening()
        assert [dev.get().text for _ in range(3)] == [answer + "\n"] * 3
        event = "connect_loopback" if answer == "connected" else "connect_refused"
        line = dev.log.wait_for(rf"event={event} .*").group(0)
        assert f'allow = [\\"{host}:' in line
        assert len(dev.log.matching(event)) == 1
        dev.stop()
        # `warp serve` wants a rule.
        with warp.serve(project / "dist" / "app.wasm", args=env) as server:
            assert server.get().text == "denied\n"


def test_a_wrong_password_gets_no_session_of_the_right_one(start, project, postgres):
    (project / "src" / "main.c").write_text(DATABASE)
    (project / "warp.toml").write_text(
        'name = "app"\n[services.right]\ncomponent = "dist/app.wasm"\n'
        '[services.wrong]\ncomponent = "dist/app.wasm"\npath = ["/wrong"]\n'
        '[services.wrong.env]\nDB_PASSWORD = "not it"\n'
    )
    dev = start(*database_env(postgres))
    dev.listening()
    if dev.get("/wrong").status == 200:
        pytest.fail("logged in without the password")
    assert dev.get("/").text == postgres.user
    r = dev.get("/wrong")
    assert r.status == 500 and "password authentication failed" in r.text
    assert dev.get("/").text == postgres.user
    dev.stop()


# -- Rust --


def test_a_rust_edit_is_served(warp, tmp_path):
    """Debug profile; cargo's own files in the project's folder are no saves."""
    folder = tmp_path / "rust-p2"
    shutil.copytree(Path(__file__).parent / "projects" / "rust-p2", folder)
    dev = Dev(warp, folder)
    try:
        dev.wait("listening", timeout_s=600)
        dev.listening()
        assert dev.get("/a").text == "rust p2 /a\n"
        source = folder / "src" / "lib.rs"
        good = source.read_text()
        dev.put("src/lib.rs", good.replace("rust p2 {path}", "edited {path}"))
        assert dev.wait("reloaded")["edit_to_response_seconds"] > 0
        assert dev.get("/a").text == "edited /a\n"
        dev.put("src/lib.rs", good.replace("format!", "nonsense!"))
        e = dev.wait("build_failed")
        assert e["exit_code"] == 101 and "cannot find macro `nonsense`" in e["messages"]
        assert dev.get("/a").text == "edited /a\n"
        dev.put("src/lib.rs", good)
        dev.wait("reloaded", 2)
        assert dev.get("/a").text == "rust p2 /a\n"
        time.sleep(0.5)
        assert dev.count("building") == 4 and dev.count("canceled") == 0
        dev.stop()
    finally:
        dev.close()


@pytest.mark.parametrize(
    "sig, name", [(signal.SIGINT, "interrupt"), (signal.SIGTERM, "terminate"), (signal.SIGHUP, "terminate")]
)
def test_guests_are_told_what_ends_warp_dev(start, project, sig, name):
    (project / "src" / "main.c").write_text(LISTENS)
    d = start()
    d.listening()
    asked = d.server.background("GET", "/")
    d.log.wait_for("line=listens")
    d.stop(sig)
    assert asked.result().text == f"{name}\n"


def test_guests_are_told_when_a_save_replaced_them(start, project):
    (project / "src" / "main.c").write_text(LISTENS)
    d = start()
    d.listening()
    asked = d.server.background("GET", "/")
    d.log.wait_for("line=listens")
    d.put("src/main.c", HANDLER.replace("%%", "%"))
    assert asked.result().text == "hangup\n"
    d.answers("one\n")
    d.stop()
