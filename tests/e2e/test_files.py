# SPDX-License-Identifier: Apache-2.0
"""US-103 to US-105: virtual files, through the shim's own interface and through plain WASI, for
WASI 0.2 and 0.3, by guests in C and Rust. The guests do steps: tests/fixtures/steps."""
import json
import os
import re
import shutil
import threading
from concurrent.futures import ThreadPoolExecutor
from datetime import datetime
from zoneinfo import ZoneInfo

import pytest
from harness import SLOW, content, curl, find_guest, rust_guest, steps, toml, word
from infra import wait_until

# Guests that never heard of WarpGrid: libc, Rust's standard library, and wasi:filesystem itself.
STOCK = {
    "c": lambda: find_guest("stock"),
    "rust": lambda: rust_guest("rust-stock", "rust-stock"),
    "p2": lambda: rust_guest("rust-stock-p2", "rust-stock-p2"),
    "p3": lambda: rust_guest("rust-stock-p3", "stock_p3"),
}
# Guests that call warpgrid:shim, or warpgrid:shim-async.
SHIM = {
    "c-p2": lambda: find_guest("shims-p2"),
    "c-p3": lambda: find_guest("shims-p3"),
    "rust-p2": lambda: rust_guest("rust-shims", "shims_p2"),
    "rust-p3": lambda: rust_guest("rust-shims", "shims_p3"),
}
# The same as services.
SERVICES = {
    "stock-p2": lambda: find_guest("stock-service-p2"),
    "stock-p3": lambda: rust_guest("rust-stock-p3", "stock_service_p3"),
    "libc-in-p3": lambda: find_guest("stock-service-p3"),
    "shim-p2": lambda: find_guest("shims-service-p2"),
    "shim-p3": lambda: find_guest("shims-service-p3"),
}
CONFIG = {
    "registry": {"orders.warp.local": ["10.1.2.3", "10.1.2.4"]},
    "hosts": {"printer.example.com": ["192.168.7.7"]},
}
ZONES = ["UTC", "US/Eastern", "US/Pacific", "Europe/London", "Asia/Kolkata", "Australia/Lord_Howe"]
READ_ONLY = ("EROFS", "EPERM")
stock_guests = pytest.mark.parametrize("kind", STOCK)
wasi_itself = pytest.mark.parametrize("kind", ["p2", "p3"])
every_service = pytest.mark.parametrize("kind", SERVICES)
shim_guests = pytest.mark.parametrize("kind", SHIM)


@pytest.fixture
def do(warp, tmp_path):
    """do(KIND, STEP...): the lines of a guest; folders by dirs=["HOST::GUEST"]."""

    def run(kind, *lines, config=None, dirs=()):
        component = (STOCK.get(kind) or SHIM[kind])()
        args = [a for d in dirs for a in ("--dir", d)]
        config = CONFIG if config is None else config
        return steps(warp, component, *lines, config=config, args=args, cwd=tmp_path)

    return run


@pytest.fixture
def reads(do):
    """reads(KIND, PATH): the file's bytes, by whichever way the guest has."""

    def read(kind, path, **more):
        verb = "read" if kind in STOCK else "read-virtual"
        return content(do(kind, f"{verb} {path}", **more)[0])

    return read


every_guest = pytest.mark.parametrize("kind", [*STOCK, *SHIM])


# ---- what is in them -------------------------------------------------------------------------


@every_guest
def test_us_105_resolv_conf_has_a_nameserver(reads, kind):
    assert re.search(rb"^nameserver \S+$", reads(kind, "/etc/resolv.conf"), re.M)


@every_guest
def test_us_105_hosts_has_registry_and_hosts(reads, kind):
    text = reads(kind, "/etc/hosts").decode()
    rows = {(row.split()[0], name) for row in text.splitlines() if row.strip() and row[0] != "#"
            for name in row.split()[1:]}  # fmt: skip
    assert ("127.0.0.1", "localhost") in rows and ("::1", "localhost") in rows
    assert {("10.1.2.3", "orders.warp.local"), ("10.1.2.4", "orders.warp.local")} <= rows
    assert ("192.168.7.7", "printer.example.com") in rows


@every_guest
@pytest.mark.parametrize("device", ["/dev/urandom", "/dev/random"])
def test_us_105_urandom_gives_32_random_bytes(do, kind, device):
    step = {"c": f"read-fd {device} 32", "rust": f"read-fd {device} 32"}
    if kind in ("p2", "p3"):
        step[kind] = f"read {device} 32"
    line = step.get(kind, f"open {device} 32 0 32")
    first, second = (content(found) for found in do(kind, line, line))
    assert len(first) == len(second) == 32
    assert any(first) and any(second) and first != second
    assert content(do(kind, line)[0]) not in (first, second)  # nor those of another instance


@every_guest
def test_us_105_dev_null_is_empty(reads, kind):
    assert reads(kind, "/dev/null") == b""


@stock_guests
def test_us_105_dev_null_swallows_what_is_written(do, kind):
    lines = do(kind, "write /dev/null something", "read /dev/null", "write /dev/null more")
    assert lines[0].startswith("ok") and lines[1].strip() == "ok" and lines[2].startswith("ok")


@pytest.mark.parametrize("kind, step", [("c", "read-fd /dev/zero 100"), *((k, "read /dev/zero 100") for k in ("p2", "p3"))])
def test_us_103_dev_zero_has_no_end(do, kind, step):
    assert content(do(kind, step)[0]) == bytes(100)


@every_guest
def test_us_103_proc_self_describes_no_process_of_the_host(reads, kind):
    status = reads(kind, "/proc/self/status").decode()
    assert re.search(r"^Name:\s+\S", status, re.M) and re.search(r"^Pid:\s+1$", status, re.M)
    assert str(os.getpid()) not in status


@every_guest
def test_us_105_a_real_file_falls_through(do, tmp_path, kind):
    (tmp_path / "data").mkdir()
    (tmp_path / "data" / "seed.txt").write_bytes(b"from the host\n")
    if kind in SHIM:  # a shim says that it is none of its files
        line = do(kind, "read-virtual /data/seed.txt", dirs=["data::/data"])[0]
        assert line == "none"
    else:
        lines = do(kind, "read /data/seed.txt", "stat /data/seed.txt", "list /data", dirs=["data::/data"])
        assert content(lines[0]) == b"from the host\n"
        assert lines[1:] == ["ok file 14", "ok seed.txt:file"]


# ---- time zones ------------------------------------------------------------------------------


@every_guest
@pytest.mark.parametrize("zone", ZONES)
def test_us_103_zones_are_tzif(reads, kind, zone):
    found = reads(kind, f"/usr/share/zoneinfo/{zone}")
    assert found[:4] == b"TZif" and found[4:5] in b"234"
    assert len(found) > 44 and found.endswith(b"\n")


def local(zone, when):
    """Seconds east of UTC, and the name of that."""
    there = datetime.fromtimestamp(when, ZoneInfo(zone))
    return int(there.utcoffset().total_seconds()), there.tzname()


# Winter and summer of 2020.
TIMES = (1578000000, 1594000000)


@pytest.mark.parametrize("zone", ZONES)
def test_us_103_zones_say_what_python_says(do, zone):
    lines = do("c", *(f"tz /usr/share/zoneinfo/{zone} {when}" for when in TIMES))
    assert lines == ["ok {} {}".format(*local(zone, when)) for when in TIMES]


@pytest.mark.parametrize("zone", ["America/New_York", "Asia/Tokyo"])
def test_us_105_localtime_is_the_zone_of_tz(do, zone):
    """A stock guest that reads /etc/localtime, as ICU, Go and Java do, honours TZ of warp.toml."""
    lines = do("c", *(f"tz /etc/localtime {t}" for t in TIMES), config={"env": {"TZ": zone}})
    assert lines == ["ok {} {}".format(*local(zone, when)) for when in TIMES]
    assert do("c", f"tz /etc/localtime {TIMES[0]}", config={})[0] == "ok 0 UTC"
    default = {"shims": {"filesystem": {"timezone": zone}}}
    assert do("c", *(f"tz /etc/localtime {t}" for t in TIMES), config=default) == lines


@stock_guests
def test_us_103_the_whole_database_is_there(do, kind):
    europe = do(kind, "list /usr/share/zoneinfo/Europe")[0].split()[1:]
    assert len(europe) > 50 and "London:file" in europe and "Berlin:file" in europe
    reading = [f"read /usr/share/zoneinfo/Europe/{entry.split(':')[0]}" for entry in europe]
    assert all(content(line)[:4] == b"TZif" for line in do(kind, *reading))


# ---- looking at them -------------------------------------------------------------------------


@stock_guests
def test_us_104_directories_are_listed(do, kind):
    root, etc, dev, inside = (
        set(line.split()[1:])
        for line in do(kind, "list /", "list /etc", "list /dev", "list /usr/share/zoneinfo/US")
    )
    assert {"dev:directory", "etc:directory", "proc:directory", "usr:directory"} <= root
    assert {"hosts:file", "resolv.conf:file", "hostname:file", "passwd:file"} <= etc
    assert {name.split(":")[0] for name in dev} >= {"null", "zero", "random", "urandom"}
    assert {"Eastern:file", "Pacific:file"} <= inside
    assert all(":directory" in name for name in root)


@stock_guests
def test_us_104_stat_tells_type_and_size(do, reads, kind):
    size = len(reads(kind, "/etc/hosts"))
    lines = do(kind, "stat /etc/hosts", "lstat /etc/hosts", "stat /etc", "stat /", "stat /etc/nothing")
    assert lines[:2] == [f"ok file {size}"] * 2
    assert [line.split()[:2] for line in lines[2:4]] == [["ok", "directory"]] * 2
    assert lines[4].startswith("error ")


@pytest.mark.parametrize("kind", ["c", "p2", "p3"])
def test_us_104_devices_are_devices(do, kind):
    for device in ("null", "urandom", "zero"):
        assert do(kind, f"stat /dev/{device}")[0].split()[:2] == ["ok", "device"]


@shim_guests
def test_us_104_the_shim_answers_for_virtual_paths_only(do, kind):
    lines = do(kind, "read-virtual /nowhere", "read-virtual /etc", "read-virtual etc/hosts",
               "read-virtual /etc/./hosts", "open /etc/hosts 7")  # fmt: skip
    assert lines[0] == "none"
    assert lines[1:3] == ["error is-directory", "error invalid-path"]
    assert content(lines[3]) == content(lines[4]) != b""


@pytest.mark.parametrize("kind", ["c-p2", "rust-p2"])
def test_us_104_the_shim_stats_and_seeks(do, kind):
    hosts, middle, past, file, folder, device, nothing = do(
        kind, "open /etc/hosts 5", "open /etc/hosts 100 10", "open /etc/hosts 10 100000",
        "stat /etc/hosts", "stat /etc", "stat /dev/null", "stat /nowhere")  # fmt: skip
    whole = content(hosts)
    assert content(middle) == whole[10:] and content(past) == b""
    assert file == f"ok regular-file {len(whole)}"
    assert (folder, device, nothing) == ("ok directory 0", "ok character-device 0", "none")
    if kind == "c-p2":
        assert do(kind, "fstat /etc/hosts")[0] == file


@wasi_itself
def test_us_104_metadata_hash_tells_files_apart(do, kind):
    one, two, again = do(kind, "hash /etc/hosts", "hash /etc/resolv.conf", "hash /etc/../etc/hosts")
    assert one == again != two and one.startswith("ok ")


def test_us_104_positions_and_links(do):
    hosts, part, link, access, folder = do(
        "c", "read /etc/hosts", "read-fd /etc/hosts 5 3", "readlink /etc/hosts", "access /etc/hosts",
        "flags /etc/hosts rd")  # fmt: skip
    assert content(part) == content(hosts)[3:8]
    assert (link, access, folder) == ("error EINVAL", "ok", "error ENOTDIR")


def test_us_104_decisions_are_in_the_debug_log(warp, guest, tmp_path):
    (tmp_path / "warp.toml").write_text("")
    (tmp_path / "data").mkdir()
    out = warp("run", guest("stock"), "--dir", "data::/data", "--log-level", "debug", "--",
               "read /etc/hosts", "read /etc/nothing", cwd=tmp_path)  # fmt: skip
    assert re.search(r"level=debug .*path=/etc/hosts\b", out.stderr), out.stderr


# ---- read-only -------------------------------------------------------------------------------

CHANGES = [
    "write /etc/hosts x", "flags /etc/hosts +", "flags /etc/hosts wt", "flags /etc/hosts wa",
    "truncate /etc/hosts 0", "unlink /etc/hosts", "rename /etc/hosts /etc/h", "utimes /etc/hosts",
    "rename /etc/own /etc/hosts", "link /etc/hosts /etc/h", "link /etc/own /etc/hosts",
    "symlink own /etc/hosts", "flags /etc/hosts wx", "mkdir /etc/hosts", "rmdir /usr/share/zoneinfo",
    "rename /usr/share/zoneinfo /usr/share/z", "flags /usr/share/zoneinfo/New wc",
    "mkdir /usr/share/zoneinfo/New", "unlink /usr/share/zoneinfo/UTC",
    "symlink /etc/own /usr/share/zoneinfo/New", "unlink /dev/null", "flags /proc/self/status w",
]  # fmt: skip


@pytest.fixture
def host(tmp_path):
    """Folders of the host that guests see as /, /etc and /data; what virtual paths hide in them is
    "SHADOWED"."""
    for name in ("etc", "data/deep/er", "usr/share/zoneinfo", "dev", "proc/self"):
        (tmp_path / "root" / name).mkdir(parents=True)
    root = tmp_path / "root"
    for name in ("etc/hosts", "etc/resolv.conf", "usr/share/zoneinfo/UTC", "dev/null", "dev/urandom"):
        (root / name).write_text("SHADOWED")
    (root / "etc" / "own").write_text("own")
    (root / "data" / "own").write_text("own")
    (root / "data" / "deep" / "er" / "own").write_text("own")
    return root


def snapshot(folder):
    return {p.relative_to(folder): p.is_file() and p.read_bytes() for p in sorted(folder.rglob("*"))}


@pytest.mark.parametrize("dirs", [[], ["root::/:rw"], ["root/etc::/etc:rw", "root/usr::/usr:rw"]])
@pytest.mark.parametrize("change", CHANGES)
def test_us_104_virtual_paths_are_read_only(do, host, dirs, change):
    """Also where the folder itself may be written; nothing of the host changes."""
    before = snapshot(host)
    line = do("c", change, dirs=dirs)[0]
    allowed = {*READ_ONLY, "EEXIST", "ENOTDIR", "EISDIR", "ENOENT", "EXDEV", "EINVAL", "ENOTEMPTY"}
    assert line.startswith("error ") and line.split()[1] in allowed, line
    if re.match(r"(write|truncate|unlink|utimes|flags) /etc/hosts", change) and " wx" not in change:
        assert line.split()[1] in READ_ONLY
    assert snapshot(host) == before


@wasi_itself
@pytest.mark.parametrize("change", [
    "write /etc/hosts x", "create /etc/new/x", "mkdir /etc/hosts", "unlink /etc/hosts",
    "utimes /etc/hosts", "rename /etc/hosts /etc/h", "rename /etc/own /etc/hosts",
    "link /etc/hosts /etc/h", "symlink own /etc/hosts", "rmdir /usr/share/zoneinfo",
    "create /usr/share/zoneinfo/New",
])  # fmt: skip
def test_us_104_virtual_paths_are_read_only_past_libc(do, host, kind, change):
    before = snapshot(host)
    line = do(kind, change, dirs=["root::/:rw"])[0]
    assert line.startswith("error "), line
    assert snapshot(host) == before


def test_us_104_what_is_not_virtual_stays_writable(do, host):
    lines = do("c", "flags /etc/new wc", "write /etc/new text", "rename /etc/new /etc/newer",
               "read /etc/newer", "unlink /etc/newer", "mkdir /etc/d", "rmdir /etc/d", "write /data/own y",
               dirs=["root::/:rw"])  # fmt: skip
    assert all(line.startswith("ok") for line in lines), lines
    assert content(lines[3]) == b"text" and (host / "data" / "own").read_text() == "ywn"


# ---- what a guest sees beside its own folders ------------------------------------------------


@stock_guests
def test_us_104_without_any_folder_virtual_files_are_there(do, kind):
    lines = do(kind, "read /etc/hosts", "read /etc/own", "read /tmp/x", "list /tmp")
    assert lines[0].startswith("ok ")
    assert all(line.startswith("error ") for line in lines[1:])


@stock_guests
@pytest.mark.parametrize("dirs", [["root::/"], ["root/etc::/etc"], ["root/etc::/etc", "root/data::/data"],
                                  ["root/data::/data", "root::/"]])  # fmt: skip
def test_us_104_real_and_virtual_files_side_by_side(do, host, kind, dirs):
    hosts, own, etc, zone, null = do(
        kind, "read /etc/hosts", "read /etc/own", "list /etc", "read /usr/share/zoneinfo/UTC",
        "read /dev/null", dirs=dirs)  # fmt: skip
    assert b"orders.warp.local" in content(hosts) and content(own) == b"own"
    assert content(zone)[:4] == b"TZif" and content(null) == b""
    names = [entry.split(":")[0] for entry in etc.split()[1:]]
    assert "own" in names and names.count("hosts") == 1 and "resolv.conf" in names


@stock_guests
def test_us_104_a_folder_elsewhere_is_left_alone(do, host, kind):
    (host / "data" / "etc").mkdir()
    (host / "data" / "etc" / "hosts").write_text("real")
    lines = do(kind, "read /data/etc/hosts", "read /etc/hosts", dirs=["root/data::/data"])
    assert content(lines[0]) == b"real" and b"orders.warp.local" in content(lines[1])


# ---- ways around it --------------------------------------------------------------------------


def check_virtual(line):
    assert b"orders.warp.local" in content(line), line


def check_kept(line):
    """Virtual, or nothing at all; never what the host has there."""
    assert "SHADOWED" not in line
    if not line.startswith("error "):
        check_virtual(line)


ROOT = ["root::/"]
SPELLINGS = {
    "dotdot": ["/etc/../etc/hosts", "/data/../etc/hosts", "/../../etc/hosts", "/etc/x/../hosts",
               "/usr/share/zoneinfo/../../../etc/hosts", "/data/deep/er/../../../etc/hosts"],
    "slashes": ["//etc/hosts", "/etc//hosts", "///etc///hosts"],
    "dots": ["/./etc/hosts", "/etc/./hosts", "/etc/././hosts", "/./././etc/./hosts"],
}  # fmt: skip


@pytest.mark.parametrize("dirs", [[], ROOT, ["root/etc::/etc", "root/data::/data"]])
@pytest.mark.parametrize("way", SPELLINGS)
@stock_guests
def test_us_104_escape_by_spelling(do, host, kind, way, dirs):
    for path, line in zip(SPELLINGS[way], do(kind, *(f"read {p}" for p in SPELLINGS[way]), dirs=dirs)):
        check_kept(line)
        # A path that a preopen with "/" takes as it is, always is the virtual one.
        if way != "dotdot" and dirs != ["root/etc::/etc", "root/data::/data"] and kind in ("c", "rust"):
            check_virtual(line)
        assert path


@shim_guests
def test_us_104_escape_by_spelling_through_the_shim(do, kind):
    for way in SPELLINGS.values():
        for line in do(kind, *(f"read-virtual {path}" for path in way)):
            check_virtual(line)


@pytest.mark.parametrize("dirs", [[], ROOT])
@stock_guests
def test_us_104_escape_by_trailing_slash(do, host, kind, dirs):
    for line in do(kind, "read /etc/hosts/", "read /etc/hosts/.", "read /etc/hosts/./", dirs=dirs):
        assert line.startswith("error ") and "SHADOWED" not in line
    lines = do(kind, "list /etc/", "list /etc/.", "list /usr/share/zoneinfo/", dirs=dirs)
    assert "hosts:file" in lines[0] and "hosts:file" in lines[1] and "UTC:file" in lines[2]


@pytest.mark.parametrize("target", ["etc/hosts", "/etc/hosts", "data/../etc/hosts"])
@stock_guests
def test_us_104_escape_by_symlink_to_a_virtual_path(do, host, kind, target):
    (host / "link").symlink_to(target)
    (host / "data" / "link").symlink_to(f"../{target.lstrip('/')}")
    for line in do(kind, "read /link", "read /data/link", dirs=ROOT):
        check_kept(line)
    for line in do(kind, "stat /link", "stat /data/link", dirs=ROOT):
        assert line != "ok file 8"  # the size of what is hidden
    line = do(kind, "read /etc/link", dirs=["root/etc::/etc"])[0]
    assert line.startswith("error ")
    (host / "etc" / "link").symlink_to("hosts")
    check_kept(do(kind, "read /etc/link", dirs=["root/etc::/etc"])[0])


@stock_guests
def test_us_104_escape_by_symlink_through_a_virtual_path(do, host, kind):
    (host / "conf").symlink_to("etc")
    (host / "data" / "up").symlink_to("..")
    (host / "data" / "zones").symlink_to("../usr/share")
    for line in do(kind, "read /conf/hosts", "read /data/up/etc/hosts", "read /conf/../etc/hosts", dirs=ROOT):
        check_kept(line)
    line = do(kind, "read /data/zones/zoneinfo/UTC", dirs=ROOT)[0]
    assert "SHADOWED" not in line


def test_us_104_escape_by_a_symlink_that_the_guest_makes(do, host):
    lines = do("c", "symlink etc /conf", "read /conf/hosts", "symlink ../etc/hosts /data/h", "read /data/h",
               "write /data/h x", "at /conf hosts", "flags /data/h wt", dirs=["root::/:rw"])  # fmt: skip
    for line in (lines[1], lines[3], lines[5]):
        check_kept(line)
    assert lines[4].startswith("error ") and lines[6].startswith("error ")
    assert (host / "etc" / "hosts").read_text() == "SHADOWED"


def test_us_104_escape_by_a_symlink_in_the_place_of_a_folder(do, host):
    """The host's /etc is itself a link: whatever it leads to, the virtual file is in front."""
    (host / "etc").rename(host / "etc.real")
    (host / "etc").symlink_to("etc.real")
    hosts, own = do("c", "read /etc/hosts", "read /etc/own", dirs=ROOT)
    check_virtual(hosts)
    assert content(own) == b"own"


@stock_guests
def test_us_104_escape_by_a_rename_through_a_link(do, host, kind):
    """What a link leads to is as virtual as what it is called itself."""
    (host / "self").symlink_to(".")
    (host / "share").symlink_to("usr/share")
    lines = do(kind, "rename /self/etc /moved", "read /moved/hosts", "rename /share/zoneinfo /stolen",
               "rmdir /self/etc", "mkdir /self/proc", "rename /data /self/etc", dirs=["root::/:rw"])  # fmt: skip
    assert all(line.startswith("error ") for line in lines), lines
    assert (host / "etc" / "hosts").read_text() == "SHADOWED"
    assert do("c", "mkdir /self/fresh", dirs=["root::/:rw"]) == ["ok"]


@stock_guests
def test_us_104_escape_by_links_to_links(do, host, kind):
    (host / "etc" / "hosts").unlink()
    (host / "one").symlink_to("etc/hosts")
    (host / "two").symlink_to("one")
    lines = do(kind, "write /two x", "write /one x", "read /two", dirs=["root::/:rw"])
    assert all(line.startswith("error ") for line in lines), lines
    assert not (host / "etc" / "hosts").exists()


@stock_guests
def test_us_104_escape_by_a_link_that_changes(do, host, kind):
    """Whatever is there when it is looked at is what is opened."""
    folder = host / "w"
    (folder / "dir").mkdir(parents=True)
    (folder / "dir" / "hosts").write_text("plain")
    (folder / "link").symlink_to("../etc")
    (folder / "x").symlink_to("dir")
    over = threading.Event()

    def flip():
        while not over.is_set():
            for target in ("../etc", "dir"):
                (folder / "next").symlink_to(target)
                (folder / "next").rename(folder / "x")

    thread = threading.Thread(target=flip)
    thread.start()
    try:
        lines = do(kind, *["read /w/x/hosts"] * 1500, dirs=["root::/:rw"])
    finally:
        over.set()
        thread.join()
    for line in lines:
        assert line == "ok plain" or line.startswith("error "), line
    assert "ok plain" in lines


def test_us_104_a_virtual_directory_is_none_that_can_be_made_a_file(do, host):
    shutil.rmtree(host / "etc")
    lines = do("c", "flags /etc rc", "flags /etc wc", "list /etc", "mkdir /etc", dirs=["root::/:rw"])
    assert lines[0] == lines[1] == "error EISDIR"
    assert "hosts:file" in lines[2] and lines[3] == "error EEXIST"
    assert not (host / "etc").exists()


@stock_guests
def test_us_104_below_a_virtual_file(do, kind):
    (line,) = do(kind, "read /etc/hosts/x")
    assert re.fullmatch(r"error (ENOTDIR|not-directory|NotDirectory|Not%20a%20directory.*)", line)


def test_us_104_a_folder_that_moves_keeps_its_virtual_paths(do, host):
    """A deployment that renames what a service has open."""
    (host / "link").symlink_to("etc")
    over = threading.Event()

    def move():
        away = host.with_name("away")
        while not over.is_set():
            host.rename(away)
            away.rename(host)

    thread = threading.Thread(target=move)
    thread.start()
    lines = None
    try:
        while lines is None:
            try:
                lines = do("c", *["at /etc hosts", "read /link/hosts"] * 1000, dirs=ROOT)
            except AssertionError as e:  # it was away when the guest was to begin
                if "cannot open directory" not in str(e):
                    raise
    finally:
        over.set()
        thread.join()
    for at, link in zip(lines[::2], lines[1::2]):
        check_virtual(at)
        check_kept(link)


def test_us_104_etc_that_is_a_link_of_the_host(do, host):
    (host / "etc").rename(host / "conf")
    (host / "etc").symlink_to("conf")
    lines = do("c", "at /etc hosts", "list /etc", "read /etc/own", dirs=ROOT)
    check_virtual(lines[0])
    assert "hosts:file" in lines[1] and "own:file" in lines[1] and "localtime:file" in lines[1]


def test_us_104_escape_from_a_deeper_folder(do, host):
    """Paths that count from an opened folder, WASI's own way to open anything."""
    lines = do("c", "at /data ../etc/hosts", "at /data/deep/er ../../../etc/hosts", "at /etc hosts",
               "at /etc ../etc/hosts", "at /usr share/zoneinfo/../../../etc/hosts", "at /etc ./hosts",
               dirs=ROOT)  # fmt: skip
    for line in lines:
        check_kept(line.removeprefix("folder "))
    check_virtual(lines[2])
    check_virtual(lines[5])
    lines = do("c", "at /data ../etc/hosts", "at /data /etc/hosts", dirs=["root/data::/data"])
    assert lines[0].startswith("error ") and (lines[1].startswith("error ") or "orders" in lines[1])
    lines = do("c", "list-at /etc ../etc", "stat-at /etc hosts", "cd /etc", "read hosts", dirs=ROOT)
    assert "SHADOWED" not in "".join(lines) and lines[1] != "ok file 8"
    check_virtual(lines[3])


@wasi_itself
def test_us_104_escape_from_a_deeper_folder_past_libc(do, host, kind):
    via = do(kind, "via /etc hosts", "via /data ../etc/hosts", "via /etc ../etc/hosts", "open-at / etc/hosts",
             "open-at / /etc/hosts", dirs=ROOT)  # fmt: skip
    check_virtual(via[0])
    check_virtual(via[3])
    for line in via:
        check_kept(line)


@pytest.mark.parametrize("dirs", [[], ROOT])
@stock_guests
def test_us_104_escape_by_a_path_of_4_kib(do, host, kind, dirs):
    """As long as a path may be, and one byte longer."""
    path = "/etc/" + "./" * 2045 + "hosts"
    assert len(path) == 4100
    fits = "/etc/" + "./" * 2042 + "hosts"
    long, fitting, name = do(kind, f"read {path}", f"read {fits}", "read /etc/" + "x" * 4000, dirs=dirs)
    check_kept(long)
    check_kept(fitting)
    assert name.startswith("error ")


@shim_guests
def test_us_104_a_path_of_4_kib_through_the_shim(do, kind):
    most = "/etc/" + "./" * 2043 + "hosts"
    assert len(most) == 4096
    fits, long = do(kind, f"read-virtual {most}", f"read-virtual {most.replace('hosts', '/hosts')}")
    check_virtual(fits)
    assert long == "error invalid-path"


@wasi_itself
def test_us_104_nul_bytes_are_refused(do, host, kind):
    for line in do(kind, "open-at / etc/hosts%00", "stat-at / etc/hosts%00.txt", dirs=ROOT):
        assert line.startswith("error ")


@shim_guests
def test_us_104_nul_bytes_are_refused_by_the_shim(do, kind):
    assert do(kind, "read-virtual /etc/hosts%00", "read-virtual /etc/%00") == ["error invalid-path"] * 2


@pytest.mark.parametrize("raw", [b"\xff", b"hosts\xff", b"\xc0\xaf..", b"\xed\xa0\x80"])
def test_us_104_bytes_that_are_no_utf_8(warp, guest, host, tmp_path, raw):
    """libc hands them on; WASI's strings are UTF-8, so that the call fails or the guest ends."""
    (tmp_path / "warp.toml").write_text("")
    for name, verb in (("stock", "read"), ("shims-p2", "read-virtual"), ("shims-p3", "read-virtual")):
        out = warp("run", guest(name), "--dir", "root::/", "--", f"{verb} /etc/{word(raw)}", cwd=tmp_path)
        assert "SHADOWED" not in out.stdout and not out.stdout.startswith("ok ")
        assert out.stdout.startswith(("error ", "none")) or out.returncode == 1


def test_us_104_bytes_that_are_no_utf_8_end_no_server(warp, guest):
    with warp.serve(guest("stock-service-p2"), CONFIG) as server:
        assert server.request("POST", "/", "read /etc/%FF%FE").status in (200, 500)
        assert "orders.warp.local" in server.request("POST", "/", "read /etc/hosts").text


@stock_guests
def test_us_104_escape_by_hard_links(do, host, kind):
    """A guest makes none of a virtual path; one that the host made beside it is a file of its own."""
    if kind != "rust":
        for change in ("link /etc/hosts /data/h", "link /dev/urandom /data/h", "rename /etc/hosts /data/h"):
            line, after = do(kind, change, "read /data/h", dirs=["root::/:rw"])
            assert line.startswith("error ") and after.startswith("error "), (change, line, after)
    assert (host / "etc" / "hosts").stat().st_nlink == 1
    os.link(host / "data" / "own", host / "data" / "second")
    assert content(do(kind, "read /data/second", dirs=ROOT)[0]) == b"own"


@pytest.mark.parametrize("dirs", [["root::/:rw"], ["root/etc::/etc:rw", "root/data::/data:rw"]])
def test_us_104_escape_by_renaming_a_folder(do, host, dirs):
    """Moving the folder away does not bring the hidden file to light."""
    lines = do("c", "rename /etc /data/e", "read /data/e/hosts", "mkdir /data/x", "rename /etc/own /data/x/own",
               "read /data/x/own", dirs=dirs)  # fmt: skip
    assert "SHADOWED" not in "".join(lines)


@stock_guests
def test_us_104_escape_by_the_hosts_proc(do, tmp_path, kind):
    """Who sees all of `/` of the machine does not see its processes: our environment has secrets."""
    (tmp_path / "link").symlink_to("../" * 20 + f"proc/{os.getpid()}/environ")
    paths = ["/proc/thread-self/environ", f"/proc/{os.getpid()}/environ", "/proc/1/status", "/dev/fd/0",
             "/proc/self/../thread-self/environ", "/proc/self/root/proc/1/status", f"{tmp_path}/link"]  # fmt: skip
    *lines, listing = do(kind, *(f"read {path}" for path in paths), "list /proc", dirs=["/::/"])
    assert all(line.startswith("error ") for line in lines), lines
    assert listing == "ok self:directory"


# ---- extra_virtual_paths ---------------------------------------------------------------------


def extra(paths):
    return {"shims": {"filesystem": {"extra_virtual_paths": paths}}, **CONFIG}


@every_guest
def test_us_103_extra_virtual_paths(do, reads, tmp_path, kind):
    """A file of the host as it was at the start, a text, a file that may change."""
    (tmp_path / "motd").write_text("from a file\n")
    (tmp_path / "big.bin").write_bytes(bytes(range(256)) * 1024)
    config = extra({
        "/etc/motd": "motd",
        "/app/inline.txt": {"text": "written in warp.toml\n"},
        "/app/big.bin": {"file": "big.bin", "live": True},
    })  # fmt: skip
    assert reads(kind, "/etc/motd", config=config) == b"from a file\n"
    assert reads(kind, "/app/inline.txt", config=config) == b"written in warp.toml\n"
    assert reads(kind, "/app/big.bin", config=config) == bytes(range(256)) * 1024
    if kind in STOCK:
        etc, app, root = do(kind, "list /etc", "list /app", "list /", config=config)
        assert "motd:file" in etc and "app:directory" in root
        assert app == "ok big.bin:file inline.txt:file"
        assert do(kind, "write /app/inline.txt x", config=config)[0].startswith("error ")


@every_service
def test_us_103_a_live_file_is_read_each_time(warp, tmp_path, kind):
    once, live = tmp_path / "once", tmp_path / "live"
    for file in (once, live):
        file.write_text("before")
    config = extra({"/app/once": str(once), "/app/live": {"file": str(live), "live": True}})
    verb = "read-virtual" if kind.startswith("shim") else "read"
    ask = f"{verb} /app/once\n{verb} /app/live\n"
    with warp.serve(SERVICES[kind](), config) as server:
        assert server.request("POST", "/", ask).text == "ok before\nok before\n"
        for file in (once, live):
            file.with_suffix(".new").write_text("after")
            file.with_suffix(".new").rename(file)
        assert server.request("POST", "/", ask).text == "ok before\nok after\n"


def test_us_103_extra_virtual_paths_that_are_wrong(warp, guest, tmp_path):
    for paths, said in (
        ({"/app/x": "nowhere"}, "nowhere"),
        ({"app/x": "warp.toml"}, "app/x"),
    ):
        (tmp_path / "warp.toml").write_text(toml(extra(paths)))
        out = warp("run", guest("stock"), "--", "say hi", cwd=tmp_path)
        assert out.returncode == 1 and said in out.stderr and "warp.toml:" in out.stderr, out.stderr


# ---- databases, and off ----------------------------------------------------------------------


@every_guest
def test_us_103_databases_are_listed_without_credentials(reads, kind):
    """The address in /etc/hosts is a sentinel; nothing says where the server is or who logs in."""
    config = {"databases": {"main": {
        "host": "db.warp.local", "address": "10.20.30.40", "database": "app", "user": "the-user",
        "password": "the-password"}}}  # fmt: skip
    hosts = reads(kind, "/etc/hosts", config=config).decode()
    proxy = reads(kind, "/etc/warpgrid/proxy.conf", config=config).decode()
    assert re.search(r"^240\.77\.\d+\.\d+\s.*\bdb\.warp\.local\b", hosts, re.M)
    assert "db.warp.local" in proxy and "app" in proxy
    for text in (hosts, proxy):
        assert "10.20.30.40" not in text and "the-user" not in text and "the-password" not in text


@stock_guests
def test_us_122_without_the_shim_a_guest_sees_its_own_folders_only(do, host, kind):
    off = {"shims": {"filesystem": False}, "registry": CONFIG["registry"]}
    lines = do(kind, "read /etc/hosts", "read /dev/null", "list /", config=off)
    assert all(line.startswith("error ") for line in lines), lines
    assert content(do(kind, "read /etc/hosts", config=off, dirs=ROOT)[0]) == b"SHADOWED"


# ---- many ------------------------------------------------------------------------------------


def open_files(pid):
    return len(os.listdir(f"/proc/{pid}/fd"))


@every_service
def test_us_105_ten_thousand_opens_share_one_snapshot(warp, kind):
    """100 instances open /etc/hosts 100 times each and keep them open: no file of the process stays
    behind, and while they are open they share one of the host's."""
    config = {**CONFIG, "http": {"reuse": 1}, "admin": {"listen": "127.0.0.1:0"}}
    with warp.serve(SERVICES[kind](), config) as server:
        admin = server.log.wait_for(r"event=admin_listening url=http://127.0.0.1:(\d+)").group(1)
        verb = "read-virtual" if kind.startswith("shim") else "read"
        size = len(content(server.request("POST", "/", f"{verb} /etc/hosts").text.rstrip("\n")))
        before = open_files(server.pid)
        most = 0

        def one(_):
            nonlocal most
            r = server.request("POST", "/", "open-many /etc/hosts 100")
            most = max(most, open_files(server.pid))
            return r.text

        with ThreadPoolExecutor(8) as pool:
            answers = set(pool.map(one, range(100)))
        assert answers == {f"ok {100 * size}\n"}
        wait_until(lambda: open_files(server.pid) <= before, "no file stays behind", 10 * SLOW)
        assert most < before + 60  # connections, not files
        _, _, stats = curl(f"http://127.0.0.1:{admin}/stats")
        assert json.loads(stats)["services"][0]["virtual_files"]["snapshots"] == 1


def test_us_105_urandom_is_read_afresh_by_every_instance(warp, guest):
    with warp.serve(guest("stock-service-p2"), CONFIG) as server:
        seen = {server.request("POST", "/", "read-fd /dev/urandom 32").text for _ in range(20)}
    assert len(seen) == 20
