# SPDX-License-Identifier: Apache-2.0
"""The patched wasi-libc: its scripts, the series as files, and other libraries under it.

The C programs of libc-patches/tests are run by scripts/test-libc.sh, which one test here calls.
"""

import datetime
import os
import pathlib
import random
import re
import shutil
import subprocess
import xml.etree.ElementTree as ET
import zoneinfo

import pytest
from harness import find_build
from libc import CACHE, ROOT, TARGET, Series, compile_c, imports, llvm, tool


@pytest.fixture(scope="module", autouse=True)
def needs():
    tool("wasmtime")
    tool("wasm-tools")


@pytest.fixture
def series(tmp_path):
    return Series(tmp_path)


@pytest.fixture(scope="module")
def stock():
    out = subprocess.run([ROOT / "scripts/build-guest-sysroot.sh"], text=True, capture_output=True,
                         check=True)
    return pathlib.Path(out.stdout.strip())


def another_base(stock, folder, change):
    """A copy of the sysroot whose libc.a was changed."""
    for part in ("include", "lib"):
        shutil.copytree(stock / part, folder / part)
    for file in folder.rglob("*"):
        file.chmod(file.stat().st_mode | 0o200)
    change(folder / "lib" / TARGET / "libc.a")
    return folder


def run_on_warpgrid(program, way):
    out = subprocess.run([find_build() / "warp", "run", "-c", ROOT / "libc-patches/tests/warp.toml",
                          "-e", f"LIBC_TEST_WAY={way}", program], text=True, capture_output=True,
                         timeout=120)
    assert out.returncode == 0, out.stdout + out.stderr
    return out.stdout


def member_of(library, folder, member, c_code):
    """Replaces a member of a library by what clang makes of some C."""
    source = folder / "member.c"
    source.write_text(c_code)
    subprocess.run([llvm("clang"), f"--target={TARGET}", "-c", source, "-o", folder / member],
                   check=True)
    subprocess.run([llvm("llvm-ar"), "r", library, folder / member], check=True)


# ---- the tool on the real library ----


def test_the_real_library_is_written_again_byte_for_byte(stock, tmp_path):
    library = stock / "lib" / TARGET / "libc.a"
    (tmp_path / "plan").write_text("")
    subprocess.run([find_build() / "wasm-symbols", "rename", library, tmp_path / "plan",
                    tmp_path / "libc.a"], check=True)
    assert (tmp_path / "libc.a").read_bytes() == library.read_bytes()


def test_the_list_is_what_llvm_nm_sees(stock):
    library = stock / "lib" / TARGET / "libc.a"
    out = subprocess.run([find_build() / "wasm-symbols", "list", library], text=True,
                         capture_output=True, check=True).stdout
    ours = sorted((line.split("\t")[0].split("@")[0], line.split("\t")[1])
                  for line in out.splitlines())
    nm = subprocess.run([llvm("llvm-nm"), "--defined-only", "--extern-only", "-A", library], text=True,
                        capture_output=True).stdout
    theirs = sorted((line.split(":")[-2], line.split()[-1]) for line in nm.splitlines()
                    if line and not line.split()[-1].startswith(".debug"))
    assert len(ours) > 1000
    assert ours == theirs


def test_an_index_stays_in_its_folder(tmp_path):
    source = tmp_path / "one.c"
    source.write_text("int escaped(void) { return 1; }")
    subprocess.run([llvm("clang"), f"--target={TARGET}", "-c", source, "-o", tmp_path / "one.o"], check=True)
    code = (tmp_path / "one.o").read_bytes()
    header = f"{'../':<16}{0:<12}{0:<6}{0:<6}{644:<8}{len(code):<10}`\n"
    (tmp_path / "odd.a").write_bytes(b"!<arch>\n" + header.encode() + code)
    (tmp_path / "index").mkdir()
    out = subprocess.run([find_build() / "wasm-symbols", "index", tmp_path / "odd.a", tmp_path / "index"],
                         text=True, capture_output=True)
    assert not (tmp_path / "escaped").exists()
    assert out.returncode == 1 and "'escaped' of member '..' is no name for a file" in out.stderr


# ---- US-201, US-205, US-213: build and run ----


def test_us_213_all_programs_pass_in_all_ways(series):
    out = series.run("test-libc.sh", "--ci")
    assert re.search(r"^\d+ passed, 0 failed, \d+ skipped$", out, re.M)
    suite = ET.parse(series.build / "tests.xml").getroot()
    cases = {(case.get("classname"), case.get("name")): case for case in suite.iter("testcase")}
    assert len(cases) == int(suite.get("tests"))
    for way in ("wasi", "shim", "vanilla", "mock", "stock"):
        assert (f"{way}.empty", "us_201_a_program_runs") in cases
    assert ("size.libc.a", "us_205_libc_grows_by_less_than_5_percent") in cases
    skipped = cases[("stock.getaddrinfo", "us_203_a_name_of_warpgrid")].find("skipped")
    assert skipped.get("message") == "shim not available"


def test_us_213_stock_skips_what_needs_a_shim(series):
    out = series.run("test-libc.sh", "--stock", "getaddrinfo")
    assert "stock getaddrinfo skip - us_203_a_name_of_warpgrid: shim not available" in out
    assert "stock getaddrinfo ok - us_205_names_that_all_know" in out
    assert " 0 failed" in out


def test_us_213_a_failure_is_one(series):
    test = series.patches / "tests" / "broken.c"
    test.write_text('#include "check.h"\n'
                    "static void wrong(void) { CHECK_INT(1 + 1, 3); CHECK(0); }\n"
                    "static void stops(void) { abort(); }\n"
                    "static const struct check_test tests[] = {TEST(wrong, STOCK), TEST(stops, MOCK)};\n"
                    "int main(void) { return check_run(tests, 2); }\n")
    out = series.run("test-libc.sh", "--ci", "broken", code=1)
    assert "stock broken FAIL - wrong: broken.c:2: 1 + 1 is 2, not 3" in out
    assert re.search(r"^mock broken FAIL - exit code \d+: ", out, re.M)
    assert "1 passed, 2 failed, 1 skipped" in out  # passed: the size; skipped: stops, in stock
    suite = ET.parse(series.build / "tests.xml").getroot()
    cases = list(suite.iter("testcase"))
    assert len(cases) == int(suite.get("tests")) == 4
    assert sorted(case.get("classname") for case in cases if case.find("failure") is not None) == [
        "mock.broken", "stock.broken"]


def test_us_213_a_program_that_says_nothing_is_a_failure(series):
    (series.patches / "tests" / "silent.c").write_text("int main(void) { return 0; }\n")
    out = series.run("test-libc.sh", "--stock", "silent", code=1)
    assert "stock silent FAIL - it did not come to its end" in out


def test_us_213_the_report_can_be_read_whatever_a_program_prints(series):
    (series.patches / "tests" / "loud.c").write_text(
        '#include "check.h"\nint main(void) { for (int i = 0; i < 400; i++) fputs("\\xc3\\xa9\\x1b\\x80<", stdout); abort(); }\n')
    series.run("test-libc.sh", "--ci", "loud", code=1)
    assert len(list(ET.parse(series.build / "tests.xml").getroot().iter("failure"))) == 5


def test_fr_6_one_program_needs_nothing_of_warpgrid(series, tmp_path):
    series.run("build-libc.sh", "--patched", "--output", tmp_path / "patched")

    def shims(name, *flags):
        program = compile_c(tmp_path / "patched", ROOT / f"libc-patches/tests/{name}.c",
                            tmp_path / "program.wasm", "-D_GNU_SOURCE", *flags)
        return {found for found in imports(program) if found.startswith("warpgrid:")}

    dns, files = "warpgrid:shim/dns@0.1.0", "warpgrid:shim/filesystem@0.1.0"
    for name in ("empty", "getaddrinfo", "names", "files", "time_zones", "sockets"):
        assert shims(name) == set()
    # With the shim, a program asks for what it uses.
    assert shims("empty", "-lwarpgrid_shim") == set()
    assert shims("names", "-lwarpgrid_shim") == {dns, files}  # names are in /etc/hosts, too
    assert shims("time_zones", "-lwarpgrid_shim") == {files}
    assert shims("sockets", "-lwarpgrid_shim") == {files, "warpgrid:shim/database-proxy@0.1.0"}


def test_us_201_equal_input_makes_equal_bytes(series, tmp_path):
    for name in ("one", "two"):
        series.run("build-libc.sh", "--patched", "--output", tmp_path / name)
    for file in ("libc.a", "libwarpgrid_shim.a"):
        one, two = (tmp_path / name / "lib" / TARGET / file for name in ("one", "two"))
        assert one.read_bytes() == two.read_bytes()


def test_us_201_two_pins_that_differ_are_an_error(series):
    ref = series.patches / "UPSTREAM_REF"
    ref.write_text(re.sub(r"^version .*", "version 9.9", ref.read_text(), flags=re.M))
    out = series.run("build-libc.sh", code=1)
    assert "libc-patches/UPSTREAM_REF and versions.env name two versions of wasi-libc" in out


def test_us_201_no_folder_of_a_user_is_replaced(series, stock, tmp_path):
    mine = tmp_path / "my folder"
    mine.mkdir()
    (mine / "thesis.txt").write_text("years of work")
    out = series.run("build-libc.sh", "--patched", "--output", mine, code=1)
    assert f"'{mine}' is there and no sysroot" in out
    assert (mine / "thesis.txt").read_text() == "years of work"
    (mine / "thesis.txt").unlink()
    for _ in range(2):  # an empty folder, and a sysroot that it made
        series.run("build-libc.sh", "--patched", "--output", mine)
    assert (mine / "lib" / TARGET / "libwarpgrid_shim.a").exists()
    base = another_base(stock, tmp_path / "base", lambda _: None)
    before = (base / "lib" / TARGET / "libc.a").read_bytes()
    out = series.run("build-libc.sh", "--sysroot", base, "--output", f"{base}/.", code=1)
    assert "--output is the folder of --sysroot" in out
    assert (base / "lib" / TARGET / "libc.a").read_bytes() == before
    out = series.run("build-libc.sh", "--sysroot", tmp_path / "none", "--output", tmp_path / "new", code=1)
    assert f"error: no folder '{tmp_path / 'none'}'" in out


# ---- US-202: the series as commits and as files ----


def test_us_202_apply_and_export_change_nothing(series):
    before = {file.name: file.read_bytes() for file in series.files()}
    out = series.run("rebase-libc.sh", "--apply")
    assert f"{len(before)} patches on wasi-sdk-33" in out
    series.run("rebase-libc.sh", "--export")
    assert {file.name: file.read_bytes() for file in series.files()} == before
    log = subprocess.run(["git", "-C", series.build / "work", "log", "--format=%s", "--reverse"],
                         text=True, capture_output=True, check=True).stdout.splitlines()
    assert log[0].startswith("wasi-libc ") and log[1] == "dns: getaddrinfo shim"


def test_us_202_a_commit_becomes_a_patch_and_is_not_thrown_away(series):
    series.run("rebase-libc.sh", "--apply")
    work, number = series.build / "work", len(series.files()) + 1
    (work / "warpgrid/extra.c").write_text("int __warpgrid_extra(void);\nint __warpgrid_extra(void) { return 7; }\n")
    out = series.run("rebase-libc.sh", "--export", code=1)
    assert "build/libc/work has changes that are not committed" in out
    git = ["git", "-C", work, "-c", "user.name=WarpGrid", "-c", "user.email=warpgrid@localhost"]
    subprocess.run([*git, "add", "-A"], check=True)
    message = "dns: extra\n\nPurpose: a test\nDepends-On: 0001\nInterface: none"
    subprocess.run([*git, "commit", "-q", "-m", message], check=True)
    out = series.run("rebase-libc.sh", "--apply", code=1)
    assert "build/libc/work has changes that libc-patches/ has not" in out
    out = series.run("rebase-libc.sh", "--export")
    assert f"written: {number:04}-dns-extra.patch" in out
    series.run("rebase-libc.sh", "--apply")
    assert (work / "warpgrid/extra.c").exists()


def test_us_202_what_did_not_apply_is_not_exported_away(series):
    """--apply stops at a patch; the commits below it are not the series."""
    broken = series.patches / "0003-dns-getnameinfo-shim.patch"
    text = broken.read_text()
    broken.write_text(text.replace("\n users -\n", "\n users changed\n"))
    before = {file.name: file.read_bytes() for file in series.files()}
    assert "0003-dns-getnameinfo-shim.patch does not apply" in series.run("rebase-libc.sh", "--apply", code=1)
    out = series.run("rebase-libc.sh", "--export", code=1)
    assert "0003-dns-getnameinfo-shim.patch is not applied in build/libc/work" in out
    assert {file.name: file.read_bytes() for file in series.files()} == before
    # The way on: it is mended, and applied anew.
    broken.write_text(text)
    series.run("rebase-libc.sh", "--apply")
    assert "written: " not in series.run("rebase-libc.sh", "--export")


def test_us_202_a_patch_that_came_by_another_way_is_not_written_over(series):
    """A pull brings a newer patch below a work tree that has none of it."""
    series.run("rebase-libc.sh", "--apply")
    newer = series.patches / "0002-dns-gethostbyname-shim.patch"
    text = newer.read_text().replace("Purpose: ", "Purpose: newer ")
    newer.write_text(text)
    out = series.run("rebase-libc.sh", "--export", code=1)
    assert "0002-dns-gethostbyname-shim.patch changed since build/libc/work was made" in out
    assert newer.read_text() == text
    # Nothing of the work tree is lost by making it anew, so that is what --apply does.
    series.run("rebase-libc.sh", "--apply")
    log = subprocess.run(["git", "-C", series.build / "work", "log", "--format=%b"], text=True,
                         capture_output=True, check=True).stdout
    assert "Purpose: newer " in log


def test_us_202_an_interrupted_apply_is_begun_again(series):
    (series.build / "work.new/.git").mkdir(parents=True)
    (series.build / "work.new/left").write_text("of one that was killed")
    series.run("rebase-libc.sh", "--apply")
    assert not (series.build / "work/left").exists() and not (series.build / "work.new").exists()


OTHER_SIGNATURE = "int getaddrinfo(const char *h) { return !h; } int gethostbyname(long long x) { return x != 0; }"


def test_us_202_apply_names_the_files_in_conflict(series, stock, tmp_path):
    # The context of a hook drifted: the function has another signature upstream.
    base = another_base(stock, tmp_path / "base",
                        lambda lib: member_of(lib, tmp_path, "netdb.c.obj", OTHER_SIGNATURE))
    out = series.run("rebase-libc.sh", "--apply", code=1, WASI_SYSROOT=base)
    assert "0001-dns-getaddrinfo-shim.patch does not apply" in out
    assert "conflict in index/libc.a/netdb.c.obj/getaddrinfo" in out


# What upstream may do to a hooked function: each is a section of docs/FORK-MAINTENANCE.md, with what
# --update prints.
GETADDRINFO = "int getaddrinfo(char *a, char *b, void *c, void *d) { return a == b && c == d; }"
GETNAMEINFO = ("int getnameinfo(char *a, int b, char *c, int d, char *e, int f, int g)"
               "{ return a == c && b == d && e && f == g; }")
HOST_BY_NAME = "void *gethostbyname(char *n) { return n; }"
HOST_BY_ADDR = "void *gethostbyaddr(char *n, int a, int b) { return a == b ? n : 0; }"
FAILURES = {
    "context drift": {"netdb.c.obj": "int getaddrinfo(const char *h, const char *s) { return h == s; }"
                      + GETNAMEINFO + HOST_BY_NAME + HOST_BY_ADDR},
    "deleted upstream file": {"names.c.obj": GETADDRINFO + HOST_BY_NAME,
                              "netdb.c.obj": GETNAMEINFO + HOST_BY_ADDR},
    "conflicting refactor": {"netdb.c.obj": GETADDRINFO + GETNAMEINFO + HOST_BY_ADDR
                             + "void *gethostbyname(char *n)"
                             "{ void *r = 0; getaddrinfo(n, 0, 0, &r); return r; }"},
}


@pytest.mark.parametrize("failure", FAILURES)
def test_us_213_the_documented_failures_happen(series, stock, tmp_path, failure):
    def change(lib):
        for member, code in FAILURES[failure].items():
            member_of(lib, tmp_path, member, code)

    base = another_base(stock, tmp_path / "base", change)
    out = series.run("rebase-libc.sh", "--update", base, code=1).replace(str(base), "DIR")
    page = (ROOT / "docs/FORK-MAINTENANCE.md").read_text()
    section = page.split(f"### {failure.capitalize()}\n", 1)[1].split("\n### ")[0]
    shown = re.search(r"```text\n\$ scripts/rebase-libc.sh --update DIR\n(.*?)```", section, re.S)[1]
    assert [line for line in out.splitlines() if not line.startswith("ninja")] == shown.splitlines()


def test_us_202_update_takes_what_fits(series, stock):
    out = series.run("rebase-libc.sh", "--update", stock)
    assert f"{len(series.files())} applied, 0 in conflict" in out


def test_us_202_members_of_another_build_have_other_names(series, stock, tmp_path):
    """make calls a member netdb.o, cmake netdb.c.obj; it is the same source file."""
    def rename(lib):
        for member in ("netdb", "wasip2", "poll", "recv"):
            subprocess.run([llvm("llvm-ar"), "x", lib, f"{member}.c.obj"], cwd=tmp_path, check=True)
            (tmp_path / f"{member}.c.obj").rename(tmp_path / f"{member}.o")
            subprocess.run([llvm("llvm-ar"), "d", lib, f"{member}.c.obj"], check=True)
            subprocess.run([llvm("llvm-ar"), "q", lib, tmp_path / f"{member}.o"], check=True)

    out = series.run("rebase-libc.sh", "--update", another_base(stock, tmp_path / "base", rename))
    assert f"{len(series.files())} applied, 0 in conflict" in out
    assert "compared as" in out and "netdb.o as netdb.c.obj" in out


def trixie():
    """The sysroot of Debian trixie's package, which was made by make in December 2024."""
    folder = CACHE / "test-sysroot-trixie"
    if not folder.exists():
        new = pathlib.Path(f"{folder}.{os.getpid()}")
        out = subprocess.run([ROOT / "scripts/fetch-deb.sh", "--suite", "trixie", "--out", new, "wasi-libc"],
                             text=True, capture_output=True, timeout=300)
        if out.returncode:
            shutil.rmtree(new, ignore_errors=True)
            pytest.skip(f"trixie's package cannot be fetched: {out.stderr[-200:]}")
        subprocess.run(["dpkg-deb", "-x", next(new.glob("*.deb")), new / "root"], check=True)
        new.rename(folder)
    return folder / "root/usr"


def test_us_202_update_on_the_package_of_trixie(series):
    """A second real base: only what is really different is in conflict."""
    out = series.run("rebase-libc.sh", "--update", trixie(), code=1)
    assert re.findall(r"^(?:applied  |conflict ) (\d{4})", out, re.M) == [f.name[:4] for f in series.files()]
    for name in ("dns-getaddrinfo-shim", "dns-gethostbyname-shim", "fs-timezone-virtual", "socket-connect-proxy"):
        assert re.search(rf"^applied   \d{{4}}-{name}.patch$", out, re.M), out
    # recv() calls recvfrom() there.
    assert "conflict in index/libc.a/recv.c.obj/recvfrom\n    users was -, is recv" in out


def test_names_files_and_zones_on_the_library_of_trixie(series, tmp_path):
    out = series.run("build-libc.sh", "--sysroot", trixie(), "--output", tmp_path / "all", code=1)
    assert "'recvfrom' is used inside of its member, by 'recv'" in out
    series.run("build-libc.sh", "--subset", "dns,fs", "--sysroot", trixie(), "--output", tmp_path / "new")
    for way, flags in (("wasi", []), ("shim", ["-lwarpgrid_shim"])):
        program = compile_c(tmp_path / "new", ROOT / "libc-patches/tests/time_zones.c", tmp_path / "p.wasm",
                            "-D_GNU_SOURCE", *flags)
        assert "ok - us_207_mktime_knows_the_zone" in run_on_warpgrid(program, way)
    # A program that brings its own functions of the shim needs their headers.
    for name in ("dns.h", "fs.h"):
        assert (tmp_path / "new/include" / TARGET / "warpgrid/libc" / name).exists()


def test_us_202_every_script_explains_itself(series):
    for script in ("build-libc.sh", "rebase-libc.sh", "test-libc.sh"):
        assert series.run(script, "--help").startswith(f"usage: scripts/{script}")
        series.run(script, "--no-such-option", code=2)


# ---- US-214: order, dependencies, parts ----


def test_us_214_the_series_is_in_order(series):
    out = series.run("rebase-libc.sh", "--validate")
    assert "order, headers and dependencies are right" in out
    for number, file in enumerate(series.files(), 1):
        assert file.name.startswith(f"{number:04}-")
        head = file.read_text().split("\n---\n")[0]
        for key in ("Purpose", "Depends-On", "Interface"):
            assert re.search(rf"^{key}: \S", head, re.M), file.name


def test_us_214_what_is_wrong_with_a_series_is_said(series):
    one, two = series.patches / "0001-dns-getaddrinfo-shim.patch", series.patches / "0002-dns-gethostbyname-shim.patch"
    text = two.read_text()
    two.write_text(text.replace("Interface: ", "Something: "))
    assert "0002-dns-gethostbyname-shim.patch has no 'Interface:' in its header" in series.run(
        "rebase-libc.sh", "--validate", code=1)
    two.write_text(text.replace("Depends-On: 0001", "Depends-On: 0003"))
    assert "0002-dns-gethostbyname-shim.patch needs patch 0003, which comes after it" in series.run(
        "rebase-libc.sh", "--validate", code=1)
    two.write_text(text)
    one.unlink()
    out = series.run("rebase-libc.sh", "--validate", code=1)
    assert "0002-dns-gethostbyname-shim.patch should have the number 0001" in out
    assert "0002-dns-gethostbyname-shim.patch needs patch 0001, which is not among those to apply" in out


def hooks(tree):
    return {file.name for file in (tree / "index/libc.a").rglob("*")
            if file.is_file() and re.search("^hook ", file.read_text(), re.M)}


def test_us_214_dns_alone(series, tmp_path):
    series.run("build-libc.sh", "--subset", "dns", "--output", tmp_path / "dns")
    assert hooks(series.build / "tree-dns") == {"getaddrinfo", "gethostbyname", "gethostbyaddr", "getnameinfo"}
    program = compile_c(tmp_path / "dns", ROOT / "libc-patches/tests/getaddrinfo.c", tmp_path / "p.wasm",
                        "-D_GNU_SOURCE")
    assert "ok - us_203_a_name_of_warpgrid" in run_on_warpgrid(program, "wasi")
    assert not (tmp_path / "dns/include" / TARGET / "warpgrid/libc/fs.h").exists()


def test_us_214_files_alone(series, tmp_path):
    series.run("build-libc.sh", "--subset", "fs", "--output", tmp_path / "fs")
    hooked = hooks(series.build / "tree-fs")
    assert "__secs_to_zone" in hooked and "filesystem_method_descriptor_open_at" in hooked
    assert not hooked & {"getaddrinfo", "gethostbyname", "gethostbyaddr", "getnameinfo"}
    assert not (tmp_path / "fs/include" / TARGET / "warpgrid/libc/dns.h").exists()
    program = compile_c(tmp_path / "fs", ROOT / "libc-patches/tests/time_zones.c", tmp_path / "p.wasm",
                        "-D_GNU_SOURCE", "-lwarpgrid_shim")
    out = run_on_warpgrid(program, "shim")
    assert "ok - us_207_zones_by_name" in out
    assert [name for name in imports(program) if name.startswith("warpgrid:")] == [
        "warpgrid:shim/filesystem@0.1.0"]


def test_us_214_sockets_need_files(series, tmp_path):
    out = series.run("build-libc.sh", "--subset", "socket", "--output", tmp_path / "out", code=1)
    assert "0006-socket-connect-proxy.patch needs patch 0004, which is not among those to apply" in out
    assert not (tmp_path / "out").exists()
    series.run("build-libc.sh", "--subset", "fs,socket", "--output", tmp_path / "out")
    hooked = hooks(series.build / "tree-fs-socket")
    assert "tcp_method_tcp_socket_start_connect" in hooked and "getaddrinfo" not in hooked


def test_us_214_a_part_without_what_it_needs_fails(series):
    out = series.run("build-libc.sh", "--subset", "web", code=1)
    assert "'web' is no part of the series" in out
    text = series.files()[0].read_text().replace("Depends-On: none", "Depends-On: 0001")
    (series.patches / "0009-socket-needs-dns.patch").write_text(text)
    out = series.run("build-libc.sh", "--subset", "socket", code=1)
    assert "0009-socket-needs-dns.patch needs patch 0001, which is not among those to apply" in out


# ---- US-207: every zone ----


def test_us_207_every_zone_is_as_python_has_it(series, tmp_path):
    """All zones, at both sides of changes and at times out of a seeded dice, against zoneinfo."""
    folder = pathlib.Path("/usr/share/zoneinfo")
    names = [line.split("\t")[2] for line in (folder / "zone1970.tab").read_text().splitlines()
             if not line.startswith("#")]
    dice = random.Random(207)
    cases = [(name, t) for name in names
             for t in [dice.randrange(-3_000_000_000, 5_000_000_000) for _ in range(12)]
             + [base + hours * 3600 for base in (1711846800, 1729990800, 4098474000)
                for hours in (-1, 0, 1)]]
    series.run("build-libc.sh", "--patched", "--output", tmp_path / "patched")
    program = compile_c(tmp_path / "patched", ROOT / "tests/e2e/guests/zones.c", tmp_path / "p.wasm")
    out = subprocess.run([find_build() / "warp", "run", program], text=True, capture_output=True,
                         input="".join(f"{name} {t}\n" for name, t in cases), timeout=300)
    assert out.returncode == 0, out.stderr
    lines = out.stdout.splitlines()
    assert len(lines) == len(cases) > 5000
    wrong = []
    for (name, t), line in zip(cases, lines):
        there = (datetime.datetime(1970, 1, 1, tzinfo=datetime.timezone.utc)
                 + datetime.timedelta(seconds=t)).astimezone(zoneinfo.ZoneInfo(name))
        expected = (f"{name} {t} {there:%Y-%m-%dT%H:%M:%S} "
                    f"{int(there.utcoffset().total_seconds())} {there.tzname()} 0")
        # The second of an hour that comes twice under the same tm_isdst cannot be asked for.
        same = there.fold and there.dst() == there.replace(fold=0).dst()
        if line.split()[:-same or None] != expected.split()[:-same or None]:
            wrong.append((line, expected))
    assert wrong == []


# ---- other libraries ----


def rust_libraries():
    out = subprocess.run(["rustc", "--print", "sysroot"], text=True, capture_output=True).stdout
    folders = [pathlib.Path(out.strip())] + sorted((CACHE / "guest-rust").glob("*"))
    found = [f / "lib/rustlib" / TARGET / "lib/self-contained" for f in folders]
    return [f for f in found if (f / "libc.a").exists()]


def test_the_library_of_rust_is_hooked_as_well(series, tmp_path):
    libraries = rust_libraries()
    if not libraries:
        pytest.skip("no Rust for wasm32-wasip2: scripts/bootstrap.sh test installs it")
    for number, library in enumerate(libraries):
        out = tmp_path / str(number)
        series.run("build-libc.sh", "--sysroot", library, "--output", out)
        listed = subprocess.run([find_build() / "wasm-symbols", "list", out / "libc.a"], text=True,
                                capture_output=True, check=True).stdout
        assert "\t__stock_getaddrinfo\t" in listed
        assert "warpgrid_getaddrinfo.c.obj\tgetaddrinfo\t" in listed
        assert (out / "crt1-command.o").exists()


RUST = """
use std::net::ToSocketAddrs;
fn main() {
    let found = ("cache.staging.warp.local", 5432).to_socket_addrs();
    println!("{:?}", found.map(|all| all.collect::<Vec<_>>()).ok());
    println!("{:?}", std::fs::read_to_string("/etc/hosts").map(|t| t.contains("listed.warp.local")).ok());
}
"""


def test_std_of_rust_stands_on_the_patched_library(series, tmp_path):
    libraries = rust_libraries()
    if not libraries:
        pytest.skip("no Rust for wasm32-wasip2: scripts/bootstrap.sh test installs it")
    library = libraries[0]
    folder = library.parents[4]  # of the toolchain
    rustc = folder / "bin/rustc"
    series.run("build-libc.sh", "--sysroot", library, "--output", tmp_path / "lib")
    (tmp_path / "main.rs").write_text(RUST)
    for way, flags in (("wasi", []), ("shim", ["-C", "link-arg=-lwarpgrid_shim"])):
        program = tmp_path / f"{way}.wasm"
        subprocess.run([rustc, "--target", TARGET, "-O", tmp_path / "main.rs", "-L",
                        f"native={tmp_path / 'lib'}", "-o", program, *flags], check=True)
        assert b"__warpgrid_lookup" in program.read_bytes()  # the name section
        assert run_on_warpgrid(program, way) == "Some([192.0.2.20:5432])\nSome(true)\n"
        assert any(name.startswith("warpgrid:") for name in imports(program)) == (way == "shim")
    out = subprocess.run([tool("wasmtime"), "run", tmp_path / "wasi.wasm"], text=True,
                         capture_output=True, timeout=120)
    assert out.stdout == "None\nNone\n"


def test_a_library_without_a_symbol_is_refused_by_its_name(series, stock, tmp_path):
    def without(lib):
        subprocess.run([llvm("llvm-ar"), "d", lib, "netdb.c.obj"], check=True)

    base = another_base(stock, tmp_path / "base", without)
    out = series.run("build-libc.sh", "--sysroot", base, "--output", tmp_path / "out", code=1)
    assert re.search(r"error: no member defines 'get(addrinfo|hostbyaddr)'", out)
    assert not (tmp_path / "out").exists()


def test_a_hook_that_would_be_gone_past_is_refused(series, stock, tmp_path):
    def calls_itself(lib):
        member_of(lib, tmp_path, "netdb.c.obj", FAILURES["conflicting refactor"]["netdb.c.obj"])

    base = another_base(stock, tmp_path / "base", calls_itself)
    out = series.run("build-libc.sh", "--sysroot", base, "--output", tmp_path / "out", code=1)
    assert "member 'netdb.c.obj': 'getaddrinfo' is used inside of its member, by 'gethostbyname'" in out
    assert "hint: that use would go past the new 'getaddrinfo'" in out
