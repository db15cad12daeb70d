# SPDX-License-Identifier: Apache-2.0
"""Signals and threading models of guests, from the signal of the process to the guest and back:
US-109, US-110, US-118, US-119 with real components in `warp run` and `warp serve`."""
import json
import re
import shutil
import signal
import subprocess
import time

import pytest
from harness import LEFTOVERS, SLOW, Output, pack_env
from infra import ROOT, free_port, wait_until

BOTH = pytest.mark.parametrize("kind", ["p2", "p3"])
STOPS = pytest.mark.parametrize(
    "sig, name", [(signal.SIGTERM, "terminate"), (signal.SIGINT, "interrupt")], ids=["term", "int"]
)


# ---- warp run --------------------------------------------------------------------------------


class Run:
    """`warp run` of a guest that does steps, one line of output each."""

    def __init__(self, warp, component, *steps, args=(), cwd=None):
        self.process = warp.popen("run", component, *args, "--", *steps, cwd=cwd)
        self.out = Output(self.process.stdout)
        self.err = Output(self.process.stderr)
        self.out.wait_for("^ok ready$", 60)

    def send(self, sig):
        self.since = time.monotonic()
        self.process.send_signal(sig)

    def end(self, timeout_s=20):
        """Exit code, and the seconds since the last signal."""
        try:
            code = self.process.wait(timeout_s * SLOW)
        except subprocess.TimeoutExpired:
            self.process.kill()
            raise AssertionError(f"does not end:\n{self.out.text}\n{self.err.text}") from None
        took = time.monotonic() - self.since
        self.out.join()
        self.err.join()
        assert not LEFTOVERS.search(self.err.text), self.err.text
        return code, took


@BOTH
@STOPS
def test_a_command_that_asked_ends_by_itself(warp, guest, kind, sig, name):
    run = Run(warp, guest(f"shims-{kind}"), "on-signal terminate,interrupt", "say ready", "wait-signal",
              "sleep 50", "say bye")  # fmt: skip
    run.send(sig)
    assert run.end()[0] == 0
    assert run.out.lines[-3:] == [f"ok {name}", "ok", "ok bye"]


@BOTH
@STOPS
def test_a_second_signal_cuts(warp, guest, kind, sig, name):
    run = Run(warp, guest(f"shims-{kind}"), f"on-signal {name}", "say ready", "wait-signal", "say told",
              "sleep 60000")  # fmt: skip
    run.send(sig)
    run.out.wait_for("^ok told$")
    run.send(sig)
    code, took = run.end()
    assert code == 130 and took < 5 * SLOW


@BOTH
def test_the_drain_time_ends_too(warp, guest, kind, tmp_path):
    (tmp_path / "warp.toml").write_text('[limits]\ndrain_timeout = "400ms"\n')
    run = Run(warp, guest(f"shims-{kind}"), "on-signal terminate", "say ready", "sleep 60000", cwd=tmp_path)
    run.send(signal.SIGTERM)
    code, took = run.end()
    assert code == 130 and 0.4 <= took < 10 * SLOW


@BOTH
@pytest.mark.parametrize("last", ["sleep 60000", "wait-signal"])
@pytest.mark.parametrize("asked", [[], ["on-signal hangup"], ["on-signal interrupt"]], ids=["no", "hup", "int"])
def test_a_command_that_did_not_ask_ends_at_once(warp, guest, kind, asked, last):
    run = Run(warp, guest(f"shims-{kind}"), *asked, "say ready", last)
    run.send(signal.SIGTERM)
    code, took = run.end()
    assert code == 130 and took < 5 * SLOW


@BOTH
def test_hangup_of_a_command(warp, guest, kind):
    run = Run(warp, guest(f"shims-{kind}"), "on-signal hangup", "say ready", "wait-signal", "wait-signal")
    run.send(signal.SIGHUP)
    run.out.wait_for("^ok hangup$")
    run.send(signal.SIGHUP)
    assert run.end()[0] == 0
    assert run.out.lines[-2:] == ["ok hangup"] * 2


@BOTH
@pytest.mark.parametrize("sig, name", [(signal.SIGHUP, "hangup"), (signal.SIGTERM, "terminate")])
def test_a_signal_during_the_clean_up_keeps_the_exit_code(warp, guest, kind, sig, name):
    """The same signal twice, as a shell and a terminal send it."""
    for pause_ms in (0, 1, 2, 4):
        run = Run(warp, guest(f"shims-{kind}"), f"on-signal {name}", "say ready", "wait-signal", "say bye")
        run.send(sig)
        run.out.wait_for("^ok bye$")
        time.sleep(pause_ms / 1000)
        if run.process.poll() is None:
            run.send(sig)
        assert run.end()[0] in ((0, 130) if sig == signal.SIGTERM else (0,))


def test_a_third_signal_ends_a_guest_whose_output_nobody_reads(warp, guest):
    steps = ["say ready", *["say " + 1000 * "x"] * 120]
    process = warp.popen("run", guest("shims-p2"), "--", *steps)
    try:
        assert process.stdout.readline() == b"ok ready\n"
        time.sleep(0.5)  # until the pipe is full
        for _ in range(3):
            assert process.poll() is None
            process.send_signal(signal.SIGTERM)
            time.sleep(0.05)
        assert process.wait(10 * SLOW) == 130
    finally:
        process.kill()
        process.communicate()


@pytest.mark.parametrize("name, asked", [("shims-p2", ["on-signal terminate"]), ("shims-p2", []), ("stock", [])])
def test_hangup_ends_a_command_that_did_not_ask(warp, guest, name, asked):
    run = Run(warp, guest(name), *asked, "say ready", "sleep 60000")
    run.send(signal.SIGHUP)
    assert run.end()[0] == -signal.SIGHUP


def test_an_ignored_hangup_stays_ignored(warp, guest):
    """nohup(1) starts us like this."""
    before = signal.signal(signal.SIGHUP, signal.SIG_IGN)
    try:
        run = Run(warp, guest("shims-p2"), "on-signal hangup", "say ready", "sleep 300", "poll-signal")
    finally:
        signal.signal(signal.SIGHUP, before)
    run.send(signal.SIGHUP)
    assert run.end()[0] == 0
    assert run.out.lines[-1] == "none"


def test_us_110_polling(warp, guest):
    out = warp("run", guest("shims-p2"), "--", "poll-signal", "signal-ready", "on-signal terminate",
               "poll-signal", "signal-ready")  # fmt: skip
    assert out.stdout.splitlines() == ["none", "ok no", "ok", "none", "ok no"]


@BOTH
def test_us_119_declarations(warp, guest, kind):
    out = warp("run", guest(f"shims-{kind}"), "--", "declare cooperative", "declare parallel-required", "say on")
    assert out.stdout.splitlines() == ["ok", "error already-declared", "ok on"]
    assert out.returncode == 0 and "threading" not in out.stderr
    out = warp("run", guest(f"shims-{kind}"), "--", "declare parallel-required", "declare cooperative", "say on")
    assert out.stdout.splitlines() == ["ok", "error already-declared", "ok on"]
    assert out.returncode == 0
    assert len(re.findall("level=warn .*event=threading_not_parallel|event=threading_not_parallel", out.stderr)) == 1


# ---- warp serve ------------------------------------------------------------------------------


def steps(server, *lines):
    r = server.request("POST", "/", body="\n".join(lines))
    assert r.status == 200, r
    return r.text.splitlines()


def in_background(site, server, *lines):
    """A request whose guest waits for a signal, asked for already."""
    before = len(site.stats()["instances"])
    asked = server.background("POST", "/", body="\n".join(lines))
    wait_until(lambda: len(site.stats()["instances"]) > before, "an instance that asked")
    return asked


def serve_shims(site, kind, **tables):
    """One worker, and instances that are used again, so that a test meets the same one."""
    site.put("shop", f"shims-service-{kind}")
    http = {"workers": 1, "reuse": 1000, "instance_idle": "60s", **tables.pop("http", {})}
    site.configure({"name": "shop", "http": http, **tables})
    return site.serve()


@BOTH
@STOPS
def test_guests_of_a_server_are_told_before_it_stops(site, kind, sig, name):
    with serve_shims(site, kind) as server:
        asked = in_background(site, server, "on-signal terminate,interrupt", "wait-signal", "sleep 50", "say bye")
        server.stop(sig)
        assert asked.result().text.splitlines() == ["ok", f"ok {name}", "ok", "ok bye"]


@BOTH
def test_who_asks_during_the_stop_is_told(site, kind):
    with serve_shims(site, kind) as server:
        asked = in_background(site, server, "on-signal hangup", "sleep 700", "on-signal terminate", "wait-signal")
        server.process.send_signal(signal.SIGTERM)
        assert asked.result().text.splitlines()[-1] == "ok terminate"
        assert server.wait() == 0


@BOTH
def test_a_second_signal_cuts_the_server(site, kind):
    with serve_shims(site, kind) as server:
        asked = in_background(site, server, "on-signal terminate", "wait-signal", "sleep 60000")
        server.process.send_signal(signal.SIGTERM)
        time.sleep(0.3)
        assert server.process.poll() is None
        since = time.monotonic()
        server.process.send_signal(signal.SIGTERM)
        assert server.wait() == 0 and time.monotonic() - since < 5 * SLOW
        assert asked.result().status >= 500


@BOTH
def test_sighup_tells_the_old_code_after_the_reload(site, kind):
    with serve_shims(site, kind) as server:
        asked = in_background(site, server, "on-signal hangup", "wait-signal", "say bye")
        good = (site.folder / "warp.toml").read_text()
        (site.folder / "warp.toml").write_text("[http\n")
        server.process.send_signal(signal.SIGHUP)
        server.log.wait_for("event=reload_failed")
        assert not asked.done, "nothing was reloaded"
        (site.folder / "warp.toml").write_text(good)
        server.process.send_signal(signal.SIGHUP)
        server.log.wait_for("event=reloaded generation=2")
        assert asked.result().text.splitlines() == ["ok", "ok hangup", "ok bye"]
        assert steps(server, "say on") == ["ok on"]


@BOTH
def test_an_instance_that_waits_between_requests_keeps_its_signals(site, warp, kind):
    """With reuse: what is delivered while nobody asks is there for the next request."""
    with serve_shims(site, kind) as server:
        assert steps(server, "on-signal hangup,terminate") == ["ok"]
        for name in ("hangup", "terminate"):
            assert site.admin("POST", f"/signal/shop/{name}").json["told"] == 1
        assert site.stats()["instances"][0]["queued"] == 2
        assert steps(server, "wait-signal", "wait-signal") == ["ok hangup", "ok terminate"]
        assert site.stats()["instances"][0]["queued"] == 0


def test_who_waits_longest_gets_the_signal(site):
    """Requests of one WASI 0.3 instance share its queue."""
    with serve_shims(site, "p3") as server:
        waiting = [in_background(site, server, "on-signal hangup", "wait-signal")]
        for n in (2, 3):
            waiting.append(server.background("POST", "/", body="say waits\nwait-signal"))
            wait_until(lambda: site.stats()["inflight"] == n, "the next request")
            time.sleep(0.1)
        assert len(site.stats()["instances"]) == 1
        while waiting:
            assert site.admin("POST", "/signal/shop/hangup").json["told"] == 1
            assert waiting.pop(0).result().text.splitlines()[-1] == "ok hangup"
            assert not any(w.done for w in waiting)


def test_without_reuse_an_instance_is_told_during_its_request(site, warp):
    with serve_shims(site, "p2", http={"reuse": 1}) as server:
        assert steps(server, "on-signal hangup") == ["ok"]
        assert site.admin("POST", "/signal/shop/hangup").json["told"] == 0
        assert steps(server, "poll-signal") == ["none"]
        asked = in_background(site, server, "on-signal hangup", "wait-signal")
        assert site.admin("POST", "/signal/shop/hangup").json["told"] == 1
        assert asked.result().text.splitlines() == ["ok", "ok hangup"]
        wait_until(lambda: site.stats()["instances"] == [], "the instance's end")


@pytest.mark.parametrize("queue", [16, 4])
def test_us_110_of_a_burst_the_newest_remain(site, queue):
    more = {} if queue == 16 else {"shims": {"signals": {"queue": queue}}}
    sent = [("terminate", "hangup", "interrupt")[n * n % 5 % 3] for n in range(20)]
    with serve_shims(site, "p2", **more) as server:
        assert steps(server, "on-signal terminate,hangup,interrupt") == ["ok"]
        for name in sent:
            assert site.admin("POST", f"/signal/shop/{name}").json["told"] == 1
        seen = site.stats()["instances"][0]
        assert (seen["queued"], seen["dropped"]) == (queue, 20 - queue)
        got = steps(server, *["poll-signal"] * (queue + 1))
        assert got == [f"ok {name}" for name in sent[-queue:]] + ["none"]
        server.log.wait_for("level=warn .*event=signal_dropped|event=signal_dropped")
        assert len(server.log.matching("event=signal_dropped")) == 1
        assert len(server.log.matching(f"event=signal_dropped .*queue={queue}")) == 1
        for name in sent:
            site.admin("POST", f"/signal/shop/{name}")
        server.log.wait_for("event=signal_dropped", count=2)


def test_us_110_what_was_not_asked_for_is_ignored(site):
    with serve_shims(site, "p2") as server:
        assert steps(server, "on-signal hangup") == ["ok"]
        assert site.admin("POST", "/signal/shop/terminate").json["told"] == 0
        assert steps(server, "poll-signal", "signal-ready") == ["none", "ok no"]


# ---- a task that listens beside the requests (WASI 0.3) -----------------------------------------


@pytest.fixture(scope="module")
def listener(warp, tmp_path_factory):
    """tests/e2e/projects/rust-listener, compiled."""
    folder = tmp_path_factory.mktemp("listener") / "rust-listener"
    shutil.copytree(ROOT / "tests" / "e2e" / "projects" / "rust-listener", folder)
    out = warp("pack", cwd=folder, env=pack_env(), timeout_s=600)
    assert out.returncode == 0, out.stderr
    return folder / "dist" / "rust-listener.wasm"


def serve_listener(site, listener, tables=None, **http):
    shutil.copy(listener, site.folder / "dist" / "shop.wasm")
    site.configure({"name": "shop", "http": {"workers": 1, "instance_idle": "60s", **http}, **(tables or {})})
    return site.serve()


def test_a_task_is_told_while_nobody_asks(site, listener):
    with serve_listener(site, listener) as server:
        assert server.get().text == "begins\n"
        assert server.get().text == "[]\n"
        assert site.admin("POST", "/signal/shop/hangup").json["told"] == 1
        server.log.wait_for("event=guest_stdout .*told SignalType::Hangup")
        assert server.get().text == "[SignalType::Hangup]\n"
        since = time.monotonic()
        server.stop()  # the log is clean, and the task's wait holds up nothing
        assert time.monotonic() - since < 5 * SLOW
        assert server.log.matching("told SignalType::Terminate")


def test_a_task_of_the_old_code_is_told_of_the_reload(site, listener):
    with serve_listener(site, listener) as server:
        assert server.get().text == "begins\n"
        server.process.send_signal(signal.SIGHUP)
        server.log.wait_for("event=reloaded generation=2")
        server.log.wait_for("told SignalType::Hangup")
        wait_until(lambda: site.stats()["instances"] == [], "the end of the old instance")
        assert server.get().text == "begins\n"
        assert len(server.log.matching("told SignalType::Hangup")) == 1


def test_a_task_that_only_waits_keeps_no_instance(site, listener):
    with serve_listener(site, listener, instance_idle="300ms") as server:
        assert server.get().text == "begins\n"
        assert len(site.stats()["instances"]) == 1
        wait_until(lambda: site.stats()["instances"] == [], "the end of the idle instance")


SLOW_ANSWER = "begins\n" + "".join(f"part {i}\n" for i in range(6))


@pytest.mark.parametrize("meanwhile", [None, signal.SIGHUP, signal.SIGTERM])
def test_a_task_that_waits_cuts_no_answer(site, listener, meanwhile):
    """The guest's task has returned with the head of the response; its body is still being sent."""
    with serve_listener(site, listener, instance_idle="100ms") as server:
        answer = server.background("GET", "/slow")
        wait_until(lambda: len(site.stats()["instances"]) == 1, "the request's instance")
        if meanwhile:
            server.process.send_signal(meanwhile)
        assert answer.result().text == SLOW_ANSWER
        if meanwhile == signal.SIGTERM:
            assert server.process.wait(10 * SLOW) == 0


def test_a_task_may_be_told_after_a_long_quiet(site, listener):
    """Its time for a signal begins with the signal, not with its last request."""
    with serve_listener(site, listener, {"limits": {"request_timeout": "1s"}}) as server:
        assert server.get("/work").text == "begins\n"
        time.sleep(1.3)
        assert site.admin("POST", "/signal/shop/hangup").json["told"] == 1
        server.log.wait_for("event=guest_stdout .*done")
        assert not server.log.matching("event=guest_failed")


def test_a_task_that_waits_keeps_no_used_up_instance(site, listener):
    with serve_listener(site, listener, reuse=1) as server:
        for _ in range(5):
            assert server.get().text == "begins\n"
        wait_until(lambda: site.stats()["instances"] == [], "the end of what served its share")


def test_who_waits_is_told_when_another_task_asks_during_the_stop(site):
    with serve_shims(site, "p3", limits={"drain_timeout": "20s"}) as server:
        first = in_background(site, server, "on-signal hangup", "wait-signal")
        second = server.background("POST", "/", body="sleep 1000\non-signal terminate\nsleep 200")
        time.sleep(0.4)
        since = time.monotonic()
        server.process.send_signal(signal.SIGTERM)
        assert first.result().text.splitlines() == ["ok", "ok terminate"]
        assert second.result().text.splitlines() == ["ok", "ok", "ok"]
        assert server.process.wait(10 * SLOW) == 0
        assert time.monotonic() - since < 10 * SLOW


# ---- warp signal, warp inspect --running ------------------------------------------------------


def test_warp_signal(site, warp):
    site.put("a", "shims-service-p2")
    site.put("b", "shims-service-p3")
    site.configure({
        "http": {"workers": 1, "reuse": 1000, "instance_idle": "60s"},
        "services": {"a": {"path": "/a"}, "b": {"path": "/b"}},
    })  # fmt: skip
    with site.serve() as server:
        admin = ("--admin", f"127.0.0.1:{site.admin_port}")

        def ask(path, *lines):
            return server.request("POST", path, body="\n".join(lines)).text.splitlines()

        out = warp("signal", "a", "hangup", *admin)
        assert out.returncode == 0 and out.stdout == "0 instances told\n", out
        assert "no instance" in out.stderr
        assert ask("/a", "on-signal hangup") == ["ok"]
        assert ask("/b", "on-signal terminate", "declare cooperative") == ["ok", "ok"]
        out = warp("signal", "a", "hangup", *admin)
        assert (out.returncode, out.stdout, out.stderr) == (0, "1 instance told\n", "")
        assert ask("/a", "poll-signal", "poll-signal") == ["ok hangup", "none"]

        # It stops no server.
        out = warp("signal", "b", "terminate", "--json", *admin)
        assert json.loads(out.stdout) == {
            "version": 1, "command": "signal", "ok": True, "name": "b", "signal": "terminate", "told": 1,
        }  # fmt: skip
        assert ask("/b", "wait-signal") == ["ok terminate"]

        seen = {i["service"]: i for i in site.stats()["instances"]}
        assert seen["a"]["signals"] == ["hangup"] and seen["a"]["threading"] == "none"
        assert seen["b"]["signals"] == ["terminate"] and seen["b"]["threading"] == "cooperative"
        assert seen["a"]["worker"] == 1 and seen["a"]["id"] != seen["b"]["id"]
        people = warp("inspect", "--running", *admin).stdout
        for row in (rf"{seen['a']['id']}\s+a\s+1\s+hangup\s+0\s+0\s+none",
                    rf"{seen['b']['id']}\s+b\s+1\s+terminate\s+0\s+0\s+cooperative"):  # fmt: skip
            assert re.search(row, people), people
        running = json.loads(warp("inspect", "--running", "--json", *admin).stdout)["running"]
        assert {i["id"] for i in running["instances"]} == {i["id"] for i in seen.values()}

        out = warp("signal", f"a@{seen['a']['id']}", "hangup", *admin)
        assert (out.returncode, out.stdout) == (0, "1 instance told\n")
        for dead in (f"b@{seen['a']['id']}", f"a@{seen['a']['id'] + (1 << 30)}", "a@1"):
            out = warp("signal", dead, "hangup", *admin)
            assert out.returncode == 1 and "no instance" in out.stderr, out
            assert "it is gone, or never asked" in out.stderr
        out = warp("signal", "c", "hangup", *admin)
        assert out.returncode == 1, out
        assert out.stderr == "error: no service has the name 'c'\nhint: services: a, b\n"
        out = warp("signal", "c", "hangup", "--json", *admin)
        failure = json.loads(out.stdout)
        assert failure["ok"] is False and failure["error"]["hint"] == "services: a, b"
        out = warp("signal", "a/b c", "hangup", *admin)
        assert "no service has the name 'a/b c'" in out.stderr
        assert server.process.poll() is None


def test_warp_signal_finds_the_server_by_warp_toml(site, warp):
    port = free_port()
    with serve_shims(site, "p2", admin={"listen": f"127.0.0.1:{port}"}) as server:
        steps(server, "on-signal interrupt")
        assert warp("signal", "shop", "interrupt", cwd=site.folder).stdout == "1 instance told\n"
        assert steps(server, "poll-signal") == ["ok interrupt"]
    out = warp("signal", "shop", "interrupt", cwd=site.folder)
    assert out.returncode == 1 and "is 'warp serve' running" in out.stderr


@pytest.mark.parametrize(
    "method, path, headers, status",
    [
        ("GET", "/signal/shop/hangup", {}, 405),
        ("POST", "/signal/shop/hangup", {"Origin": "http://evil.example.com"}, 403),
        ("POST", "/signal/shop/hangup", {"Host": "evil.example.com"}, 403),
        ("POST", "/signal/shop/kill", {}, 400),
        ("POST", "/signal/shop", {}, 400),
        ("POST", "/signal/", {}, 400),
        ("POST", "/signal//hangup", {}, 400),
        ("POST", "/signal/%/hangup", {}, 400),
        ("POST", "/signal/a%00b/hangup", {}, 400),
        ("POST", "/signal/sh%6Fp/hangup", {}, 200),
        ("POST", "/signal/nobody/hangup", {}, 404),
        ("POST", "/signal/shop@18446744073709551616/hangup", {}, 404),
        ("POST", "/signal/" + "x" * 5000 + "/hangup", {}, 400),
    ],
)
def test_the_admin_endpoint_is_guarded(site, method, path, headers, status):
    with serve_shims(site, "p2"):
        assert site.admin(method, path, headers).status == status


# ---- threading models ------------------------------------------------------------------------


def test_us_118_a_component_warns_once(site):
    """Not once an instance: each of these requests has one of its own, on two workers."""
    site.put("a", "shims-service-p2")
    site.put("b", "shims-service-p2")
    site.configure({"http": {"workers": 2}, "services": {"a": {"path": "/a"}, "b": {"path": "/b"}}})
    with site.serve() as server:
        for path in ("/a", "/b"):
            for _ in range(20):
                r = server.request("POST", path, body="declare parallel-required\ndeclare cooperative")
                assert r.text.splitlines() == ["ok", "error already-declared"]
        for app in ("a", "b"):
            assert len(server.log.matching(f"app={app} .*event=threading_not_parallel|"
                                           f"event=threading_not_parallel .*app={app}")) == 1  # fmt: skip
        assert len(server.log.matching("event=threading_not_parallel")) == 2


@BOTH
def test_us_119_the_model_can_be_asked_for(site, kind):
    with serve_shims(site, kind) as server:
        assert site.stats()["instances"] == []
        assert steps(server, "declare parallel-required", "say on") == ["ok", "ok on"]
        seen = site.stats()["instances"]
        assert [i["threading"] for i in seen] == ["parallel-required"] and seen[0]["signals"] == []
        assert seen[0]["age_ms"] < 60000 * SLOW
