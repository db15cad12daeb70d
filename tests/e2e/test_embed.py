# SPDX-License-Identifier: Apache-2.0
"""libwarpgrid as others get it: the installed tree, its two libraries, pkg-config, CMake, the
headers, and docs/examples/embed.c built against them and asked over HTTP."""
import re
import shutil
import signal
import subprocess

import pytest
import wat
from harness import Server, Warp, curl, find_build, toml
from infra import ROOT

EXAMPLE = ROOT / "docs" / "examples" / "embed.c"
HEADERS = sorted((ROOT / "include" / "warpgrid").glob("*.h"))
# What a library must leave to the program. abort() is for our own bugs.
ENDS_THE_PROCESS = {"exit", "_exit", "_Exit", "quick_exit", "pthread_exit", "exit_group"}


def run(*args, **more):
    out = subprocess.run([str(a) for a in args], capture_output=True, text=True, timeout=300, **more)
    assert out.returncode == 0, f"{args}:\n{out.stdout}{out.stderr}"
    return out.stdout


def cache(name):
    """A variable of the build under test."""
    text = (find_build() / "CMakeCache.txt").read_text()
    found = re.search(rf"^{name}:\w+=(.*)$", text, re.M)
    return found.group(1) if found else ""


def sanitized():
    return bool(cache("WARPGRID_SANITIZE"))


@pytest.fixture(scope="module")
def prefix(tmp_path_factory):
    """The build under test, installed."""
    folder = tmp_path_factory.mktemp("installed") / "prefix"
    run("cmake", "--install", find_build(), "--prefix", folder)
    return folder


def lib(prefix):
    """The folder of libraries, whose name is the system's choice."""
    return next(prefix.glob("**/libwarpgrid.a")).parent


def pkg_config(prefix, *args):
    env = {"PATH": "/usr/bin:/bin", "PKG_CONFIG_PATH": str(lib(prefix) / "pkgconfig")}
    return run("pkg-config", *args, env=env).split()


def compile(source, output, flags):
    """As a user would, with what the sanitizers of the build under test ask for."""
    cc = [cache("CMAKE_C_COMPILER")]
    if sanitized():
        cc += [f"-fsanitize={cache('WARPGRID_SANITIZE')}"]
    if cache("WARPGRID_COVERAGE") == "ON":
        cc += ["-fprofile-instr-generate"]
    run(*cc, "-std=c11", "-Wall", "-Wextra", "-Werror", source, *flags, "-o", output)
    return output


def defined(library):
    text = run("nm", "-D", "--defined-only", "--format=posix", library)
    return {line.split()[0].split("@")[0] for line in text.splitlines() if line.split()[1] != "A"}


def needed(program):
    return re.findall(r"\(NEEDED\).*\[(.*)\]", run("readelf", "-d", program))


# -- What the library exports and calls --


def declared():
    """Functions that the headers mark WG_API."""
    names = set()
    for header in HEADERS:
        text = re.sub(r"/\*.*?\*/", "", header.read_text(), flags=re.S)
        text = re.sub(r"^#.*(\\\n.*)*$", "", text, flags=re.M)
        names |= set(re.findall(r"\bWG_API\b[^;(]*?\b(\w+)\s*\(", text))
    return names


def test_exports_are_the_functions_of_the_headers(prefix):
    names = declared()
    assert "wg_engine_new" in names and len(names) > 15
    listed = re.findall(r"^\s+(wg_\w+);$", (ROOT / "src/install/exports.map").read_text(), re.M)
    assert sorted(names) == listed, "src/install/exports.map lists the WG_API functions, sorted"
    assert defined(lib(prefix) / "libwarpgrid.so") == names


def test_the_library_never_ends_the_process():
    for name in ("libwarpgrid_core.a", "libwarpgrid.a"):  # our own C, without the runtime
        text = run("nm", "-u", "--format=posix", find_build() / "src" / name)
        called = {line.split()[0] for line in text.splitlines() if " U" in line}
        assert "malloc" in called or "calloc" in called
        assert not called & ENDS_THE_PROCESS


def test_soname(prefix):
    version = run(prefix / "bin" / "warp", "--version").split()[1]
    library = lib(prefix) / "libwarpgrid.so"
    soname = re.search(r"SONAME.*\[(.*)\]", run("readelf", "-d", library)).group(1)
    major, minor, _ = version.split(".")
    assert soname == f"libwarpgrid.so.{major}.{minor}"
    assert library.resolve().name == f"libwarpgrid.so.{version}"
    assert (lib(prefix) / soname).exists()


# -- Headers --


@pytest.mark.parametrize("header", HEADERS, ids=lambda h: h.name)
@pytest.mark.parametrize(
    "compiler", ["gcc -xc -std=c11", "clang-22 -xc -std=c11", "g++ -xc++ -std=c++17", "clang++-22 -xc++ -std=c++17"]
)
def test_each_header_compiles_alone(prefix, header, compiler):
    tool, *flags = compiler.split()
    flags += ["-Wall", "-Wextra", "-Wpedantic", "-Wshadow", "-Wconversion", "-Werror", "-fsyntax-only"]
    text = f"#include <warpgrid/{header.name}>\n#include <warpgrid/{header.name}>\nint main(void) {{ return 0; }}\n"
    run(tool, *flags, f"-I{prefix / 'include'}", "-", input=text)


def test_version_macros(prefix, tmp_path):
    source = tmp_path / "version.c"
    source.write_text(r"""
#include <stdio.h>
#include <string.h>
#include <warpgrid/warpgrid.h>
#if WARPGRID_VERSION_NUMBER < 0x000100
#error "the number does not work in #if"
#endif
int main(void) {
  printf("%d.%d.%d %s %d\n", WARPGRID_VERSION_MAJOR, WARPGRID_VERSION_MINOR,
         WARPGRID_VERSION_PATCH, wg_version(), WARPGRID_VERSION_NUMBER);
  return strcmp(wg_version(), WARPGRID_VERSION_STRING) != 0;
}
""")
    flags = pkg_config(prefix, "--cflags", "--libs", "warpgrid")
    program = compile(source, tmp_path / "version", flags)
    macros, linked, number = run(program, env={"LD_LIBRARY_PATH": str(lib(prefix))}).split()
    assert macros == linked == pkg_config(prefix, "--modversion", "warpgrid")[0]
    major, minor, patch = map(int, macros.split("."))
    assert int(number) == major << 16 | minor << 8 | patch


# -- The example --


def check_serves(program, component, folder, sig=signal.SIGTERM, library_path=""):
    env = Warp(program, folder).env({"LD_LIBRARY_PATH": library_path})
    process = subprocess.Popen(
        [str(program), str(component.resolve())], cwd=folder, env=env, stdin=subprocess.DEVNULL,
        stdout=subprocess.PIPE, stderr=subprocess.PIPE,
    )  # fmt: skip
    server = Server(process)
    try:
        server.wait_listening()
        assert curl(f"{server.urls[0]}/")[::2] == (200, b"hello from C\n")
        server.stop(sig)
    finally:
        server.kill()
        server.log.join()
        print(f"--- stderr of {program}\n{server.log.text}")


def test_the_example_is_short():
    assert len(EXAMPLE.read_text().splitlines()) <= 40


@pytest.mark.parametrize("sig", [signal.SIGINT, signal.SIGTERM])
def test_the_example_with_the_shared_library(prefix, guest, tmp_path, sig):
    flags = pkg_config(prefix, "--cflags", "--libs", "warpgrid")
    program = compile(EXAMPLE, tmp_path / "embed", flags)
    assert any(n.startswith("libwarpgrid.so.") for n in needed(program))
    check_serves(program, guest("hello-p2"), tmp_path, sig, str(lib(prefix)))


def test_the_example_with_the_archive(prefix, guest, tmp_path):
    program = compile(EXAMPLE, tmp_path / "embed", pkg_config(prefix, "--cflags", "--libs", "warpgrid-static"))
    assert not [n for n in needed(program) if "warpgrid" in n]
    check_serves(program, guest("hello-p3"), tmp_path)


def test_a_moved_tree_without_the_shared_library(prefix, guest, tmp_path):
    """`pkg-config --static` is enough where the archive is all there is."""
    moved = tmp_path / "elsewhere"
    for file in (prefix / "include", lib(prefix) / "pkgconfig", lib(prefix) / "libwarpgrid.a"):
        target = moved / file.relative_to(prefix)
        target.parent.mkdir(parents=True, exist_ok=True)
        shutil.copytree(file, target) if file.is_dir() else shutil.copy(file, target)
    flags = pkg_config(moved, "--static", "--cflags", "--libs", "warpgrid")
    program = compile(EXAMPLE, tmp_path / "embed", flags)
    assert not [n for n in needed(program) if "warpgrid" in n]
    check_serves(program, guest("hello-p2"), tmp_path)


@pytest.mark.parametrize("target", ["warpgrid", "warpgrid_static"])
def test_the_example_with_cmake(prefix, guest, tmp_path, target):
    flags = f"-fsanitize={cache('WARPGRID_SANITIZE')}" if sanitized() else ""
    if cache("WARPGRID_COVERAGE") == "ON":
        flags += " -fprofile-instr-generate"
    (tmp_path / "CMakeLists.txt").write_text(f"""
cmake_minimum_required(VERSION 3.25)
project(example C)
find_package(warpgrid 0.1 REQUIRED)
add_executable(embed "{EXAMPLE}")
target_link_libraries(embed PRIVATE warpgrid::{target})
""")
    run("cmake", "-S", tmp_path, "-B", tmp_path / "b", f"-DCMAKE_PREFIX_PATH={prefix}",
        f"-DCMAKE_C_COMPILER={cache('CMAKE_C_COMPILER')}", f"-DCMAKE_C_FLAGS={flags}")  # fmt: skip
    run("cmake", "--build", tmp_path / "b")
    check_serves(tmp_path / "b" / "embed", guest("hello-p2"), tmp_path)


# A host that loads two components, is asked what they are, and links and serves both.
SIDE_BY_SIDE = r"""
#include <signal.h>
#include <stdio.h>
#include <warpgrid/warpgrid.h>
static wg_engine *engine;
static void on_signal(int number) { (void)number; wg_engine_stop(engine); }
static void on_listening(void *user, const char *const *urls) {
  (void)user;
  puts(*urls);
  fflush(stdout);
}
int main(int argc, char **argv) {
  wg_error err;
  wg_engine_options options = {.config_path = "warp.toml"};
  wg_serve_options serve = {.on_listening = on_listening};
  if (wg_engine_new(&options, &engine, &err) != WG_OK) return 2;
  for (int i = 1; i < argc; i++) {
    wg_component *component;
    wg_app *app = NULL;
    if (wg_engine_load(engine, argv[i], 0, &component, &err) != WG_OK) return 3;
    wg_code code = wg_engine_instantiate(engine, component, NULL, &app, &err);
    fprintf(stderr, "%s: %s\n", wg_component_kind_name(wg_component_get_kind(component)),
            code == WG_OK ? "links" : err.msg);
    if (code != WG_OK) fprintf(stderr, "%s: %s\n", wg_code_name(code), err.hint);
    wg_app_free(app);
    wg_component_free(component);
  }
  signal(SIGTERM, on_signal);
  wg_code code = wg_engine_serve(engine, &serve, &err);
  signal(SIGTERM, SIG_IGN);
  wg_engine_free(engine);
  return code == WG_OK ? 0 : 1;
}
"""


def test_us_504_sync_and_async_side_by_side(prefix, guest, tmp_path):
    """One engine, a WASI 0.2 and a WASI 0.3 service, told apart by what they export; a handler of a
    version that is not there is an error, and the engine goes on."""
    (tmp_path / "host.c").write_text(SIDE_BY_SIDE)
    (tmp_path / "next.wat").write_text(wat.command(export="wasi:http/handler@0.4.0"))
    services = {name: {"component": str(guest(f"hello-{name}")), "path": f"/{name}"} for name in ("p2", "p3")}
    (tmp_path / "warp.toml").write_text(toml({"http": {"listen": ["127.0.0.1:0"]}, "services": services}))
    program = compile(tmp_path / "host.c", tmp_path / "host", pkg_config(prefix, "--cflags", "--libs", "warpgrid"))
    env = Warp(program, tmp_path).env({"LD_LIBRARY_PATH": str(lib(prefix))})
    process = subprocess.Popen(
        [str(program), str(guest("hello-p2")), str(guest("hello-p3")), "next.wat"], cwd=tmp_path, env=env,
        stdin=subprocess.DEVNULL, stdout=subprocess.PIPE, stderr=subprocess.PIPE,
    )  # fmt: skip
    server = Server(process)
    try:
        server.wait_listening()
        server.log.wait_for("^p2 service: links$")
        server.log.wait_for("^p3 service: links$")
        server.log.wait_for("neither.*: the component exports 'wasi:http/handler@0.4.0', but this host has 0.3.0$")
        server.log.wait_for("^missing import: .*newer than 0.1.0$")
        for path in ("/p2", "/p3", "/p2"):
            assert server.get(path).body == b"hello from C\n"
        server.stop()
    finally:
        server.kill()
        server.log.join()
        print(f"--- stderr of {program}\n{server.log.text}")


def test_the_example_says_what_went_wrong(prefix, tmp_path):
    program = compile(EXAMPLE, tmp_path / "embed", pkg_config(prefix, "--cflags", "--libs", "warpgrid"))
    env = Warp(program, tmp_path).env({"LD_LIBRARY_PATH": str(lib(prefix))})
    out = subprocess.run([program, "missing.wasm"], cwd=tmp_path, env=env, capture_output=True, text=True, timeout=60)
    assert out.returncode == 1
    assert "not found: cannot read 'missing.wasm': no such file" in out.stderr


# -- warp, installed --


def test_the_installed_warp_packs_and_serves(prefix, tmp_path):
    installed = Warp(prefix / "bin" / "warp", tmp_path / "home")
    (tmp_path / "src").mkdir()
    shutil.copy(ROOT / "tests" / "fixtures" / "http" / "hello.c", tmp_path / "src")
    (tmp_path / "warp.toml").write_text('name = "hello"\nlang = "c"\n')
    out = installed("pack", cwd=tmp_path, timeout_s=120)
    assert out.returncode == 0, out.stderr
    with installed.serve(tmp_path / "dist" / "hello.wasm") as server:
        assert server.get("/").body == b"hello from C\n"


def test_the_installed_sdk_needs_no_folder_of_the_builder(prefix):
    """Another user cannot follow a link into the builder's cache."""
    sdk = prefix / "share" / "warpgrid" / "sdk" / "c"
    outside = [p for p in sdk.rglob("*") if p.is_symlink() and prefix not in p.resolve().parents]
    assert not outside
    assert (sdk / "sysroot" / "lib" / "wasm32-wasip2" / "libc.a").is_file()
    assert not [p for p in sdk.rglob("*") if not p.stat().st_mode & 0o004]


def test_what_else_is_installed(prefix):
    share = prefix / "share" / "warpgrid"
    for name in ("shim", "shim-async"):
        assert list((share / "wit" / name).glob("*.wit"))
    for name in ("build-guest-rust.sh", "build-guest-sysroot.sh"):  # `warp pack` of Rust may need it
        assert run(share / "scripts" / name, "--help").startswith(f"usage: scripts/{name}")
    for page in (ROOT / "docs" / "man").glob("*.1"):
        assert (prefix / "share" / "man" / "man1" / page.name).is_file()
    for shell, file in (("bash", "bash-completion/completions/warp"), ("zsh", "zsh/site-functions/_warp"),
                        ("fish", "fish/vendor_completions.d/warp.fish")):  # fmt: skip
        text = run(prefix / "bin" / "warp", "completion", shell)
        assert (prefix / "share" / file).read_text() == text
    assert not list(prefix.rglob("*.wasm"))
