# SPDX-License-Identifier: Apache-2.0
"""US-106 to US-108: names, through the shim's own interface and through plain WASI, for WASI 0.2 and
0.3, by guests in C and Rust. The guests do steps: tests/fixtures/steps."""
import re
import signal
import threading
import time
from contextlib import contextmanager

import pytest
from dns_server import DnsServer
from harness import SLOW, Server, steps, toml
from infra import wait_until
from test_files import SERVICES, SHIM, STOCK, every_service

REGISTRY = {
    "orders.warp.local": ["10.1.2.3", "10.1.2.4", "10.1.2.5"],
    "mail.warp.local": ["10.9.9.9"],
    "six.warp.local": ["fd00::6"],
}
HOSTS = {"printer.example.com": ["192.168.7.7"], "both.example.com": ["192.0.2.1", "2001:db8::1"]}
ZONE = {
    ("www.example.org", "A"): ["203.0.113.80"],
    ("www.example.org", "AAAA"): ["2001:db8::80"],
    ("alias.example.org", "CNAME"): ["www.example.org"],
    ("example.org", "TXT"): ["v=spf1 -all"],
    ("_http._tcp.example.org", "SRV"): ["1 2 8080 www.example.org"],
    ("80.113.0.203.in-addr.arpa", "PTR"): ["www.example.org"],
    ("slow.example.org", "A"): ["203.0.113.99"],
    ("later.example.org", "A"): ["203.0.113.98"],
}
NOT_FOUND = {
    "c": "error EAI_NONAME", "p2": "error name-unresolvable", "p3": "error ErrorCode::NameUnresolvable",
}  # fmt: skip
every_guest = pytest.mark.parametrize("kind", [*STOCK, *SHIM])
stock_guests = pytest.mark.parametrize("kind", STOCK)
shim_guests = pytest.mark.parametrize("kind", SHIM)


def config(dns=None, **more):
    shims = {} if dns is None else {"shims": {"dns": dns}}
    return {"registry": REGISTRY, "hosts": HOSTS, **shims, **more}


@pytest.fixture
def name_server():
    with DnsServer(ZONE) as server:
        yield server


@pytest.fixture
def do(warp, tmp_path):
    """do(KIND, STEP...): the lines of a guest."""

    def run(kind, *lines, config=None):
        component = (STOCK.get(kind) or SHIM[kind])()
        return steps(warp, component, *lines, config=config or {}, cwd=tmp_path)

    return run


def addresses(line):
    """Those of a line, without their TTLs."""
    verdict, *found = line.split()
    assert verdict == "ok", line
    return [a.split("/")[0] for a in found]


def check_not_found(kind, line):
    assert line == NOT_FOUND.get(kind, "error host-not-found") or kind == "rust" and "not%20resolve" in line


# ---- the chain -------------------------------------------------------------------------------


@every_guest
def test_us_108_a_registry_name(do, kind):
    lines = do(kind, "resolve orders.warp.local", "resolve ORDERS.Warp.Local", "resolve mail.warp.local.",
               "resolve six.warp.local", config=config())  # fmt: skip
    for line in lines[:2]:
        assert sorted(addresses(line)) == REGISTRY["orders.warp.local"]
    assert addresses(lines[2]) == ["10.9.9.9"] and addresses(lines[3]) == ["fd00::6"]


@every_guest
def test_us_108_a_name_of_hosts(do, kind):
    printer, both = do(kind, "resolve printer.example.com", "resolve both.example.com", config=config())
    assert addresses(printer) == ["192.168.7.7"]
    assert set(addresses(both)) == set(HOSTS["both.example.com"])


def test_us_108_families(do):
    """getaddrinfo asks for one of them."""
    lines = do("c", "resolve both.example.com 4", "resolve both.example.com 6", config=config())
    assert [addresses(line) for line in lines] == [["192.0.2.1"], ["2001:db8::1"]]


@every_guest
def test_us_108_localhost(do, kind):
    found = set(addresses(do(kind, "resolve localhost")[0]))
    assert "127.0.0.1" in found and found <= {"127.0.0.1", "::1"}


@every_guest
def test_us_108_a_name_of_the_hosts_resolver(do, name_server, kind):
    found = do(kind, "resolve www.example.org", "resolve alias.example.org",
               config=config({"servers": [name_server.address]}))  # fmt: skip
    for line in found:
        assert set(addresses(line)) == {"203.0.113.80", "2001:db8::80"}
    assert name_server.count("www.example.org") > 0


@every_guest
def test_us_108_an_address_is_its_own_name(do, kind):
    four, six = do(kind, "resolve 192.0.2.33", "resolve 2001:db8::33")
    assert addresses(four) == ["192.0.2.33"] and addresses(six) == ["2001:db8::33"]


@every_guest
def test_us_106_unknown_names(do, name_server, kind):
    lines = do(kind, "resolve nobody.warp.local", "resolve nobody.example.org",
               config=config({"servers": [name_server.address]}))  # fmt: skip
    for line in lines:
        check_not_found(kind, line)


@shim_guests
def test_us_106_what_is_no_name(do, kind):
    long = ".".join(["x" * 60] * 5)
    lines = do(kind, "resolve ", "resolve a..b", "resolve a%20b", f"resolve {long}")
    assert lines == ["error invalid-name"] * 4


@stock_guests
def test_us_106_what_is_no_name_is_an_error_of_wasi(do, name_server, kind):
    """And is asked nowhere."""
    names = ("a..b", "a%20b", "x" * 64, ".".join(["x" * 60] * 5), "[::1]", "*.example.org")
    lines = do(kind, *(f"resolve {n}" for n in names), config=config({"servers": [name_server.address]}))
    assert all(line.startswith("error ") for line in lines), lines
    assert name_server.asked == []


@pytest.mark.parametrize("name", ["stock-service-p2", "shims-service-p2", "shims-service-p3"])
def test_us_106_a_name_that_is_no_utf_8_ends_the_guest_alone(warp, guest, name):
    with warp.serve(guest(name), config()) as server:
        assert server.request("POST", "/", "resolve %FF%FE").status == 500
        assert "10.9.9.9" in server.request("POST", "/", "resolve mail.warp.local").text


@every_guest
def test_us_106_warp_local_is_never_asked_outside(do, name_server, kind):
    """Neither the name server of warp.toml nor that of the host learns of it."""
    names = ("nobody.warp.local", "Deep.er.WARP.local", "warp.local")
    lines = do(kind, *(f"resolve {n}" for n in names), config=config({"servers": [name_server.address]}))
    for line in lines:
        assert line.startswith("error "), line
    assert name_server.asked == []


def test_us_106_another_domain(do, name_server):
    """`domain` says which names are ours."""
    dns = {"domain": "corp.internal", "servers": [name_server.address]}
    do("c", "resolve x.corp.internal", "resolve x.corp.example", config={"shims": {"dns": dns}})
    assert name_server.count("x.corp.internal") == 0 and name_server.count("x.corp.example") > 0


@every_guest
def test_us_106_the_registry_goes_before_hosts(do, name_server, kind):
    line = do(kind, "resolve www.example.org", config={
        "registry": {"www.example.org": ["10.0.0.1"]}, "hosts": {"www.example.org": ["10.0.0.2"]},
        "shims": {"dns": {"servers": [name_server.address]}}})[0]  # fmt: skip
    assert addresses(line) == ["10.0.0.1"] and name_server.asked == []


@every_guest
def test_us_108_databases_have_sentinels(do, kind):
    """The guest gets an address that no network has; only the host knows the real one."""
    database = {"host": "db.warp.local", "address": "10.20.30.40", "database": "app", "user": "app",
                "password": "x"}  # fmt: skip
    line = do(kind, "resolve db.warp.local", config={"databases": {"main": database}})[0]
    assert addresses(line) and all(re.match(r"240\.77\.|100::", a) for a in addresses(line)), line


@shim_guests
def test_us_108_a_sentinel_has_its_name(do, kind):
    database = {"host": "db.warp.local", "address": "10.20.30.40", "database": "app", "user": "app",
                "password": "x"}  # fmt: skip
    config = {"databases": {"main": database}}
    sentinel = next(a for a in addresses(do(kind, "resolve db.warp.local", config=config)[0]) if "." in a)
    assert do(kind, f"reverse {sentinel}", config=config) == ["ok db.warp.local"]


def test_us_106_each_step_is_in_the_debug_log(warp, guest, tmp_path, name_server):
    (tmp_path / "warp.toml").write_text(toml(config({"servers": [name_server.address]})))
    out = warp("run", guest("shims-p2"), "--log-level", "debug", "--", "resolve orders.warp.local",
               "resolve printer.example.com", "resolve www.example.org", cwd=tmp_path)  # fmt: skip
    links = {"orders.warp.local": "registry", "printer.example.com": "hosts", "www.example.org": "host"}
    for name, link in links.items():
        assert re.search(rf"level=debug .*name={name} .*link={link}\b", out.stderr), out.stderr


# ---- turns, and how long -----------------------------------------------------------------------


@stock_guests
def test_us_107_addresses_take_turns(do, kind):
    found = addresses(do(kind, "resolve-many orders.warp.local 9", config=config())[0])
    assert sorted(found) == sorted(REGISTRY["orders.warp.local"] * 3)
    assert found[:3] == found[3:6] == found[6:] and len(set(found[:3])) == 3


@shim_guests
def test_us_107_addresses_take_turns_through_the_shim(do, kind):
    first = [addresses(line)[0] for line in do(kind, *["resolve orders.warp.local"] * 6, config=config())]
    assert first[:3] == first[3:] and len(set(first)) == 3


@shim_guests
def test_us_107_answers_say_how_long_they_hold(do, name_server, kind):
    name_server.ttl = 7
    lines = do(kind, "resolve www.example.org", "resolve orders.warp.local",
               config=config({"servers": [name_server.address], "ttl": "20s"}))  # fmt: skip
    ttls = [{int(a.split("/")[1]) for a in line.split()[1:]} for line in lines]
    assert ttls[0] <= {6, 7} and ttls[1] <= {19, 20}, lines


@every_guest
def test_us_107_a_name_is_asked_once(do, name_server, kind):
    do(kind, *["resolve www.example.org"] * 5, config=config({"servers": [name_server.address]}))
    assert name_server.asked.count(("www.example.org", "A")) == 1
    assert name_server.asked.count(("www.example.org", "AAAA")) <= 1


class Site:
    """`warp serve` in a folder whose warp.toml can change."""

    def __init__(self, warp, folder, kind):
        self.folder = folder
        self.component = SERVICES[kind]()
        self.warp = warp

    def configure(self, tables):
        http = {"listen": ["127.0.0.1:0"], "workers": 1}
        (self.folder / "warp.toml").write_text(toml({"http": http, **tables}))

    @contextmanager
    def serve(self):
        self.server = Server(self.warp.popen("serve", self.component, "--log-level", "debug", cwd=self.folder))
        try:
            self.server.wait_listening()
            yield self
            self.server.stop()
        except BaseException:
            self.server.kill()
            self.server.log.join()
            print("\n".join(self.server.log.lines[-80:]))
            raise

    def reload(self):
        done = len(self.server.log.matching("event=reload"))
        self.server.process.send_signal(signal.SIGHUP)
        wait_until(lambda: len(self.server.log.matching("event=reloaded")) > 0 and
                   len(self.server.log.matching("event=reload")) > done, "the reload", 10 * SLOW)  # fmt: skip

    def ask(self, *lines):
        return self.server.request("POST", "/", "\n".join(lines)).text.splitlines()

    def resolve(self, name):
        return sorted(addresses(self.ask(f"resolve {name}")[0]))


@pytest.fixture
def site(warp, tmp_path):
    return lambda kind: Site(warp, tmp_path, kind)


@every_service
def test_us_108_a_registry_that_changes_within_and_after_the_ttl(site, kind):
    """By a reload of warp.toml. Instances come and go; the answer is the worker's."""
    s = site(kind)
    s.configure(config({"ttl": "2s"}))
    with s.serve():
        began = time.monotonic()
        assert s.resolve("mail.warp.local") == ["10.9.9.9"]
        s.configure({"registry": {"mail.warp.local": ["10.8.8.8"]}, "shims": {"dns": {"ttl": "2s"}}})
        s.reload()
        within = s.resolve("mail.warp.local")
        if time.monotonic() - began < 1.9:
            assert within == ["10.9.9.9"]
        else:
            print("skipped: the reload took longer than the TTL")
        wait_until(lambda: s.resolve("mail.warp.local") == ["10.8.8.8"], "the new address", 10 * SLOW)
        assert time.monotonic() - began > 1.9


# ---- the other way round, and records ----------------------------------------------------------


@shim_guests
def test_us_106_the_name_of_an_address(do, name_server, kind):
    lines = do(kind, "reverse 10.9.9.9", "reverse fd00::6", "reverse 192.168.7.7", "reverse 203.0.113.80",
               "reverse 203.0.113.81", config=config({"servers": [name_server.address]}))  # fmt: skip
    assert lines[:3] == ["ok mail.warp.local", "ok six.warp.local", "ok printer.example.com"]
    assert lines[3].rstrip(".") == "ok www.example.org" and lines[4] == "none"


@shim_guests
def test_us_106_records(do, name_server, kind):
    lines = do(kind, "record orders.warp.local a", "record six.warp.local aaaa", "record alias.example.org cname",
               "record example.org txt", "record _http._tcp.example.org srv",
               config=config({"servers": [name_server.address]}))  # fmt: skip
    values = [sorted(r.rsplit("/", 1)[0] for r in line.split()[1:]) for line in lines]
    assert values[0] == REGISTRY["orders.warp.local"] and values[1] == ["fd00::6"]
    assert [v.rstrip(".") for v in values[2]] == ["www.example.org"]
    assert values[3] == ['"v=spf1%20-all"']
    assert [v.rstrip(".") for v in values[4]] == ["1%202%208080%20www.example.org"]


@pytest.mark.parametrize("kind", ["c-p2", "rust-p2"])
def test_us_106_a_lookup_that_is_started_and_finished(do, kind):
    line = do(kind, "start-resolve mail.warp.local", config=config())[0]
    assert addresses(line.split(" then ")[0]) == ["10.9.9.9"]
    if kind == "c-p2":
        assert line.endswith("then would-block")


# ---- waiting -----------------------------------------------------------------------------------


@pytest.mark.parametrize("kind", ["stock-p3", "shim-p3"])
def test_us_106_a_lookup_holds_up_no_other_request_of_its_instance(site, name_server, kind):
    """WASI 0.3: the task waits, the instance goes on."""
    name_server.silent = {"slow.example.org"}
    s = site(kind)
    s.configure(config({"servers": [name_server.address]}))
    with s.serve():
        slow = s.server.background("POST", "/", "resolve slow.example.org")
        wait_until(lambda: name_server.count("slow.example.org"), "the question", 10 * SLOW)
        for _ in range(3):
            assert s.resolve("mail.warp.local") == ["10.9.9.9"]
        assert not slow.done
        name_server.release()
        assert "203.0.113.99" in slow.result().text


def test_us_106_several_lookups_of_one_task_at_once(do, name_server):
    name_server.silent = {"slow.example.org", "later.example.org"}
    done = {}

    def answer_when_both_were_asked():
        wait_until(lambda: name_server.count("slow.example.org") and name_server.count("later.example.org"),
                   "both questions", 10 * SLOW)  # fmt: skip
        name_server.release()
        done["yes"] = True

    thread = threading.Thread(target=answer_when_both_were_asked)
    thread.start()
    line = do("c-p3", "start-resolve slow.example.org,later.example.org",
              config=config({"servers": [name_server.address]}))[0]  # fmt: skip
    thread.join()
    assert done and [addresses(part) for part in line.split(" and ")] == [["203.0.113.99"], ["203.0.113.98"]]


def test_us_106_many_guests_ask_one_question(site, name_server):
    """Equal questions in progress are one."""
    name_server.silent = {"slow.example.org"}
    s = site("stock-p2")
    s.configure(config({"servers": [name_server.address]}))
    with s.serve():
        waiting = [s.server.background("POST", "/", "resolve slow.example.org") for _ in range(20)]
        wait_until(lambda: name_server.count("slow.example.org"), "the question", 10 * SLOW)
        s.resolve("mail.warp.local")
        name_server.release()
        assert {w.result().text for w in waiting} == {"ok 203.0.113.99\n"}
    assert name_server.asked.count(("slow.example.org", "A")) == 1


# ---- off ---------------------------------------------------------------------------------------


@stock_guests
def test_us_122_without_the_shim_stock_guests_resolve_nothing(do, kind):
    lines = do(kind, "resolve localhost", "resolve orders.warp.local", config=config(False))
    assert all(line.startswith("error ") for line in lines), lines


@stock_guests
def test_us_122_host_dns_lets_them_ask_the_host(do, kind):
    lines = do(kind, "resolve localhost", "resolve orders.warp.local",
               config=config(False, net={"host_dns": True}))  # fmt: skip
    assert set(addresses(lines[0])) <= {"127.0.0.1", "::1"}
    assert lines[1].startswith("error ")
