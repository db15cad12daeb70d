# SPDX-License-Identifier: Apache-2.0
"""`[net] allow`: where guests may connect to besides declared databases. The guest is libc alone; it
does steps: tests/fixtures/steps/stock.c."""
import re
import socket
import threading

import pytest
from harness import Server, Site, find_guest, toml
from infra import free_port


class Echo:
    """A server that answers each line with itself in capitals."""

    def __init__(self, host="127.0.0.1"):
        family = socket.AF_INET6 if ":" in host else socket.AF_INET
        self.socket = socket.create_server((host, 0), family=family)
        self.port = self.socket.getsockname()[1]
        self.accepted = 0
        threading.Thread(target=self._serve, daemon=True).start()

    def __enter__(self):
        return self

    def __exit__(self, *_):
        self.socket.close()

    def _serve(self):
        while True:
            try:
                s, _ = self.socket.accept()
            except OSError:
                return
            self.accepted += 1
            with s, s.makefile("rwb") as stream:
                s.settimeout(20)
                try:
                    stream.write(stream.readline().strip().upper())
                    stream.flush()
                except OSError:
                    pass


@pytest.fixture
def echo():
    with Echo() as e:
        yield e


@pytest.fixture
def run(warp, tmp_path):
    """run(CONFIG, STEP...): (lines of the guest, log)."""

    def steps(config, *lines, command=("run",)):
        (tmp_path / "warp.toml").write_text(toml(config))
        out = warp(*command, find_guest("stock"), "--", *lines, cwd=tmp_path)
        assert out.returncode == 0, out.stdout + out.stderr
        return out.stdout.splitlines(), out.stderr

    return steps


def database(**more):
    return {"databases": {"main": {"host": "db.example", "user": "joe", **more}}}


def refusals(log):
    return re.findall(r"event=connect_refused .*", log)


def own_address():
    """An address of this machine that is not loopback."""
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as s:
        try:
            s.connect(("192.0.2.1", 9))
            return s.getsockname()[0]
        except OSError:
            pytest.skip("this machine has no address but loopback")


def test_by_default_no_address_may_be_dialled(run, echo):
    lines, log = run({}, *[f"dial 127.0.0.1 {echo.port} hi"] * 3, f"dial ::1 {echo.port} hi")
    assert lines == ["error EACCES"] * 4 and echo.accepted == 0
    found = refusals(log)
    assert len(found) == 2, log  # one a place
    assert f'host=127.0.0.1 port={echo.port}' in found[0]
    assert f'add to [net] in warp.toml: allow = [\\"127.0.0.1:{echo.port}\\"]' in found[0]
    assert f'allow = [\\"[::1]:{echo.port}\\"]' in found[1]


def test_the_line_of_the_log_does_it(run, echo):
    _, log = run({}, f"dial 127.0.0.1 {echo.port} hi")
    rule = re.search(r'allow = \[\\"(.*?)\\"\]', log).group(1)
    lines, log = run({"net": {"allow": [rule]}}, f"dial 127.0.0.1 {echo.port} hi")
    assert lines == ["ok HI"] and not refusals(log)


def test_networks_and_ports(run, echo):
    with Echo() as other:
        allow = {"net": {"allow": [f"127.0.0.0/8:{echo.port}"]}}
        lines, _ = run(allow, f"dial 127.0.0.1 {echo.port} hi", f"dial 127.0.0.1 {other.port} hi")
        assert lines == ["ok HI", "error EACCES"]
        lines, _ = run({"net": {"allow": ["127.0.0.1:*"]}}, f"dial 127.0.0.1 {echo.port} a",
                       f"dial 127.0.0.1 {other.port} b")  # fmt: skip
        assert lines == ["ok A", "ok B"]
        # Everything is not this machine.
        lines, log = run({"net": {"allow": ["0.0.0.0/0:*", "[::]/0:*"]}}, f"dial 127.0.0.1 {echo.port} a")
        assert lines == ["error EACCES"] and "never by a name" in log


def test_ipv6(run):
    with Echo("::1") as echo:
        lines, _ = run({"net": {"allow": [f"[::1]:{echo.port}"]}}, f"dial ::1 {echo.port} hi")
        assert lines == ["ok HI"]


def test_a_refused_connection_and_one_to_nobody_differ(run):
    port = free_port()
    lines, _ = run({"net": {"allow": [f"127.0.0.1:{port}"]}}, f"dial 127.0.0.1 {port}")
    assert lines == ["error ECONNREFUSED"]


# ---- names -----------------------------------------------------------------------------------


def test_an_allowed_name_opens_what_it_resolved_to(run):
    own = own_address()
    with Echo(own) as echo, Echo(own) as other:
        config = {"hosts": {"api.example.com": [own], "b.api.example.com": [own]}}
        allow = {**config, "net": {"allow": [f"api.example.com:{echo.port}"]}}
        lines, log = run(allow, f"dial {own} {echo.port} early", f"dial API.example.com {echo.port} hi",
                         f"dial {own} {echo.port} again", f"dial api.example.com {other.port} hi",
                         f"dial b.api.example.com {other.port} hi")  # fmt: skip
        assert lines == ["error EACCES", "ok HI", "ok AGAIN", "error EACCES", "error EACCES"]
        assert f'allow = [\\"api.example.com:{other.port}\\"]' in log  # what was asked, not its address
        lines, _ = run({**config, "net": {"allow": [f"*.example.com:{echo.port}"]}},
                       f"dial b.api.example.com {echo.port} hi")  # fmt: skip
        assert lines == ["ok HI"]
        lines, log = run(config, f"dial b.api.example.com {echo.port} hi")
        assert lines == ["error EACCES"]
        assert f'allow = [\\"b.api.example.com:{echo.port}\\"]' in log


def test_a_name_never_leads_to_this_machine(run, echo):
    """DNS rebinding: whoever answers for an allowed name does not choose what of ours it opens."""
    config = {"hosts": {"api.example.com": ["127.0.0.1"], "meta.example.com": ["169.254.169.254"]}}
    allow = {**config, "net": {"allow": ["*.example.com:*"]}}
    lines, log = run(allow, f"dial api.example.com {echo.port} hi", "dial meta.example.com 80 hi")
    assert lines == ["error EACCES"] * 2 and echo.accepted == 0
    assert f'allow = [\\"127.0.0.1:{echo.port}\\"]' in log and 'allow = [\\"169.254.169.254:80\\"]' in log


def test_an_instance_learns_for_itself_alone(warp):
    """What one request resolved, the next one may not dial."""
    own = own_address()
    with Echo(own) as echo:
        config = {"hosts": {"api.example.com": [own]}, "net": {"allow": [f"api.example.com:{echo.port}"]}}
        with warp.serve(find_guest("stock-service-p2"), config) as server:
            both = f"resolve api.example.com\ndial {own} {echo.port} hi\n"
            one = f"dial {own} {echo.port} hi\n"
            assert server.request("POST", "/", body=both).text.splitlines()[-1] == "ok HI"
            assert server.request("POST", "/", body=one).text.splitlines()[-1] == "error EACCES"


def test_the_admin_endpoint_is_out_of_reach(warp):
    """CVE-2026-6667 was an administrator's command for everybody: ours listens where no guest gets to."""
    config = {"admin": {"listen": "127.0.0.1:0"}, "net": {"allow": ["0.0.0.0/0:*", "localhost:*"]}}
    with warp.serve(find_guest("stock-service-p2"), config) as server:
        port = server.log.wait_for(r"event=admin_listening url=http://127.0.0.1:(\d+)").group(1)
        steps = f"dial 127.0.0.1 {port} hi\ndial localhost {port} hi\n"
        assert server.request("POST", "/", body=steps).text.splitlines() == ["error EACCES"] * 2


# ---- databases -------------------------------------------------------------------------------


def test_a_sentinel_at_another_port(run, echo):
    """It goes to the real address of the name, if `allow` has the name."""
    config = {**database(), "hosts": {"db.example": ["127.0.0.1"]}}
    ask = f"dial db.example {echo.port} hi"
    lines, log = run(config, ask)
    assert lines == ["error EACCES"]
    assert f'allow = [\\"db.example:{echo.port}\\"]' in log
    both = {"net": {"allow": [f"db.example:{echo.port}", f"127.0.0.1:{echo.port}"]}}
    assert run({**config, **both}, ask)[0] == ["ok HI"]
    only = {"net": {"allow": [f"db.example:{echo.port}"]}}
    assert run({**config, **only}, ask)[0] == ["error EACCES"] and echo.accepted == 1
    own = own_address()
    with Echo(own) as far:
        config["hosts"]["db.example"] = [own]
        only = {"net": {"allow": [f"db.example:{far.port}"]}}
        assert run({**config, **only}, f"dial db.example {far.port} hi")[0] == ["ok HI"]


def test_addresses_that_stand_for_no_database(run):
    config = {**database(), "net": {"allow": ["240.0.0.0/4:*", "[100::]/32:*"]}}
    lines, log = run(config, "dial 240.77.0.0 5432", "dial 100::1:0:0:5 5432", "dial 100::ffff 1")
    assert lines == ["error EACCES"] * 3
    assert "stands for no declared database" in log and "[databases.NAME]" in log


def test_without_the_proxy_there_are_no_sentinels(run, echo):
    config = {**database(port=echo.port), "hosts": {"db.example": ["127.0.0.1"]},
              "shims": {"database_proxy": False}}  # fmt: skip
    lines, _ = run(config, "resolve db.example", f"dial db.example {echo.port} hi", "dial 240.77.0.9 5432")
    assert lines == ["ok 127.0.0.1", "error EACCES", "error EACCES"]
    allow = {"net": {"allow": [f"127.0.0.1:{echo.port}"]}}
    assert run({**config, **allow}, f"dial db.example {echo.port} hi")[0] == ["ok HI"]


def test_rules_live_through_a_reload(warp, echo, tmp_path):
    """A reload takes rules up; instances of before keep theirs."""
    site = Site(tmp_path, find_guest)
    site.put("service", "stock-service-p2")
    site.configure({})
    process = warp.popen("serve", cwd=tmp_path)
    server = Server(process)
    site.server = server
    try:
        server.wait_listening()
        ask = f"dial 127.0.0.1 {echo.port} hi\n"
        assert server.request("POST", "/", body=ask).text.strip() == "error EACCES"
        site.configure({"net": {"allow": [f"127.0.0.1:{echo.port}"]}})
        site.reload()
        assert server.request("POST", "/", body=ask).text.strip() == "ok HI"
        server.stop()
    finally:
        server.kill()


# ---- warp.toml -------------------------------------------------------------------------------


def test_a_rule_that_is_none_is_told_with_its_place(warp, tmp_path):
    (tmp_path / "warp.toml").write_text('[net]\nallow = [\n  "api.example.com:443",\n  "10.0.0.0/8",\n]\n')
    out = warp("validate", cwd=tmp_path)
    assert out.returncode == 1 and out.stdout == ""
    assert out.stderr == (
        "error: warp.toml:4:3: '10.0.0.0/8' has no port\n"
        "hint: write 10.0.0.0/8:443, or 10.0.0.0/8:* for all ports\n"
    )
