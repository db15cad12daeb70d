# SPDX-License-Identifier: Apache-2.0
"""US-103: what an operator says about virtual files, at the start and at a reload, and the time zones
that a build takes in."""
import os
import re
import subprocess

import pytest
from harness import toml
from infra import ROOT

GUEST = "stock-service-p2"


def filesystem(**keys):
    return {"shims": {"filesystem": keys}}


def read(server, path):
    return server.request("POST", "/", f"read {path}").text.rstrip("\n")


def fails(warp, guest, folder, config, *args):
    """`warp run` tells an error within seconds; its text."""
    (folder / "warp.toml").write_text(toml(config))
    out = warp("run", *args, guest("stock"), "--", "say hi", cwd=folder, timeout_s=20)
    assert out.returncode == 1 and out.stdout == "", out
    return out.stderr


@pytest.mark.parametrize("live", [False, True])
def test_us_103_what_is_no_regular_file_is_refused(warp, guest, tmp_path, live):
    os.mkfifo(tmp_path / "fifo")
    (tmp_path / "folder").mkdir()
    for host in ("fifo", "folder", "/dev/zero"):
        said = fails(warp, guest, tmp_path, filesystem(extra_virtual_paths={"/x": {"file": host, "live": live}}))
        assert re.search(rf"warp\.toml:\d+:\d+: '/x': '{host}' is not a regular file", said), said


def test_us_103_a_file_that_is_too_large(warp, guest, tmp_path):
    with open(tmp_path / "big", "wb") as f:
        f.truncate((16 << 20) + 1)
    said = fails(warp, guest, tmp_path, filesystem(extra_virtual_paths={"/x": "big"}))
    assert "'/x': 'big' is larger than 16 MiB" in said and "live = true" in said
    config = filesystem(extra_virtual_paths={"/x": {"file": "big", "live": True}})
    (tmp_path / "warp.toml").write_text(toml(config))
    assert warp("run", guest("stock"), "--", "stat /x", cwd=tmp_path).returncode == 0


@pytest.mark.parametrize("path, other", [("/etc", "/etc/group"), ("/etc/hosts/x", "/etc/hosts")])
def test_us_103_a_file_in_the_place_of_a_folder(warp, guest, tmp_path, path, other):
    said = fails(warp, guest, tmp_path, filesystem(extra_virtual_paths={path: {"text": ""}}))
    assert re.search(rf"warp\.toml:\d+:\d+: '{path}': it cannot be a file beside '{other}'", said), said


def test_us_103_validate_looks_for_the_files(warp, guest, tmp_path):
    (tmp_path / "warp.toml").write_text(toml(filesystem(extra_virtual_paths={"/etc/motd": "motd"})))
    out = warp("validate", guest("stock"), cwd=tmp_path)
    assert out.returncode == 1
    assert re.search(r"warp\.toml:\d+:\d+: '/etc/motd': cannot read 'motd': no such file", out.stderr), out.stderr
    (tmp_path / "motd").write_text("hello")
    assert warp("validate", guest("stock"), cwd=tmp_path).returncode == 0


def test_us_103_time_zones_that_nobody_knows(warp, guest, tmp_path):
    said = fails(warp, guest, tmp_path, filesystem(timezone="Mars/Olympus"))
    assert re.search(r"warp\.toml:2:\d+: 'timezone': unknown time zone 'Mars/Olympus'", said), said
    said = fails(warp, guest, tmp_path, {"env": {"TZ": "Europe/Lodnon"}})
    assert re.search(r"warp\.toml:2:\d+: 'TZ': unknown time zone 'Europe/Lodnon'", said), said
    said = fails(warp, guest, tmp_path, {}, "--env", "TZ=Europe/Lodnon")
    assert "the variable 'TZ': unknown time zone 'Europe/Lodnon'" in said


def test_us_103_a_reload_reads_files_again(site):
    motd = site.folder / "motd"
    motd.write_text("first")
    site.put("service", GUEST)
    site.configure(filesystem(extra_virtual_paths={"/etc/motd": "motd", "/etc/hostname": {"text": "mine"}}))
    with site.serve() as server:
        assert read(server, "/etc/motd") == "ok first"
        assert read(server, "/etc/hostname") == "ok mine"
        motd.write_text("second")
        assert read(server, "/etc/motd") == "ok first"
        site.reload()
        assert read(server, "/etc/motd") == "ok second"
        # Anything wrong, and what is there goes on.
        motd.unlink()
        answer = site.admin("POST", "/reload")
        assert answer.status == 422 and "'/etc/motd': cannot read 'motd'" in answer.text
        assert re.search(r"warp\.toml:\d+:\d+", answer.text)
        assert read(server, "/etc/motd") == "ok second"
        files = site.stats()["services"][0]["virtual_files"]
        assert files["files"] > 500 and files["directories"] > 10 and files["snapshots"] == 1
        site.configure({"shims": {"filesystem": False}})
        site.reload()
        assert read(server, "/etc/motd").startswith("error")
        assert site.stats()["services"][0]["virtual_files"] is None


def test_us_103_another_time_zone_database(site):
    """An operator's own folder, which a reload reads again: no new build of warp."""
    zones = site.folder / "zones"
    (zones / "Mars").mkdir(parents=True)
    (zones / "Mars" / "Olympus").write_bytes(b"TZif" + b"1" * 60)
    (zones / "Mars" / "Mons").hardlink_to(zones / "Mars" / "Olympus")
    site.put("service", GUEST)
    site.configure(filesystem(zoneinfo="zones", timezone="Mars/Olympus"))
    with site.serve() as server:
        for path in ("/etc/localtime", "/usr/share/zoneinfo/Mars/Olympus", "/usr/share/zoneinfo/Mars/Mons"):
            assert read(server, path) == "ok TZif" + "1" * 60
        assert read(server, "/usr/share/zoneinfo/Europe/London").startswith("error")
        assert read(server, "/etc/timezone") == "ok Mars/Olympus%0A"
        assert site.stats()["services"][0]["virtual_files"]["snapshots"] == 2  # the zone, and its name
        (zones / "Mars" / "Olympus").write_bytes(b"TZif" + b"2" * 60)
        site.reload()
        assert read(server, "/etc/localtime") == "ok TZif" + "2" * 60


# ---- the build's part --------------------------------------------------------------------------


def zoneinfo(folder, output):
    return subprocess.run(
        ["python3", ROOT / "scripts" / "gen-zoneinfo.py", folder, output], capture_output=True, text=True
    )


@pytest.fixture
def zones(tmp_path):
    folder = tmp_path / "zones"
    for name in ("UTC", "America/New_York", "America/Los_Angeles", "Europe/London", "posix/UTC", "right/UTC"):
        (folder / name).parent.mkdir(parents=True, exist_ok=True)
        (folder / name).write_bytes(b"TZif" + name.encode())
    (folder / "localtime").symlink_to("UTC")
    (folder / "tzdata.zi").write_text(
        "# version 2042a\nL America/New_York US/Eastern\nL America/Los_Angeles US/Pacific\n"
        "L US/Eastern EST5EDT\nL Gone Nowhere\n"
    )
    return folder


def test_time_zones_are_written_the_same_each_time(zones, tmp_path):
    texts = []
    for name in ("one.c", "two.c"):
        out = zoneinfo(zones, tmp_path / name)
        assert out.returncode == 0, out.stderr
        texts.append((tmp_path / name).read_text())
    assert texts[0] == texts[1]
    assert 'wg__zoneinfo_version[] = "2042a"' in texts[0]
    # Links that only tzdata.zi knows are there, and links to them; content stands once.
    assert "wg__zoneinfo_count = 8, wg__zoneinfo_contents = 5;" in texts[0]
    assert "EST5EDT" in texts[0] and "Nowhere" not in texts[0].split("wg__zoneinfo_bytes")[0]
    assert "posix" not in texts[0] and "localtime" not in texts[0]
    assert str(tmp_path) not in texts[0]


def test_time_zones_that_are_lacking(zones, tmp_path):
    (zones / "Europe" / "London").unlink()
    out = zoneinfo(zones, tmp_path / "out.c")
    assert out.returncode == 1 and "has no Europe/London" in out.stderr and "install tzdata" in out.stderr
    assert not (tmp_path / "out.c").exists()
    out = zoneinfo(tmp_path / "gone", tmp_path / "out.c")
    assert out.returncode == 1 and "is no folder" in out.stderr
