# SPDX-License-Identifier: Apache-2.0
"""`warp pack` as a user types it: C and Rust projects, each option, and what goes wrong."""
import json
import os
import re
import shutil
import signal
import subprocess
import time
from pathlib import Path

import pytest
from harness import Server, pack_env
from infra import ROOT, is_running, wait_until

COMPONENT = b"\0asm\x0d\0\x01\0"
PROJECTS = Path(__file__).parent / "projects"


def script(path, text):
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text("#!/bin/sh\n" + text + "\n")
    path.chmod(0o755)
    return path


@pytest.fixture
def project(tmp_path):
    """A service of one file, as a newcomer would begin it."""
    folder = tmp_path / "project"
    (folder / "src").mkdir(parents=True)
    (folder / "src" / "main.c").write_text(
        "#include <warpgrid/sdk/http.h>\n"
        '#include "text.h"\n'
        "void wg_http_handle(wg_http_request *req, wg_http_response *res) {\n"
        "  (void)req;\n  wg_http_printf(res, TEXT);\n}\n"
    )
    (folder / "src" / "text.h").write_text('#define TEXT "packed\\n"\n')
    (folder / "warp.toml").write_text('name = "hi"\nlang = "c"\n[http]\nlisten = ["127.0.0.1:0"]\n')
    return folder


@pytest.fixture
def pack(warp, project):
    """pack(ARGS...): runs `warp pack` in the C project."""

    def run(*args, **more):
        return warp("pack", *args, cwd=project, timeout_s=120, **more)

    return run


def answer(warp, folder, *args, path="/", env=None):
    server = Server(warp.popen("serve", *args, cwd=folder, env=env))
    try:
        server.wait_listening()
        text = server.get(path).text
        server.stop()
        return text
    finally:
        server.kill()


def tree(folder):
    """All files below a folder with their content: what must not change."""
    return {p.relative_to(folder): p.is_file() and p.read_bytes() for p in folder.rglob("*")}


# ---- C --------------------------------------------------------------------------------------


def test_pack_builds_what_serve_serves(warp, project, pack):
    out = pack("--lang", "c")
    assert (out.returncode, out.stdout) == (0, "dist/hi.wasm\n"), out.stderr
    assert (project / "dist" / "hi.wasm").read_bytes()[:8] == COMPONENT
    assert answer(warp, project) == "packed\n"


@pytest.mark.parametrize("args", [(), ("--lang", "c"), ("-l", "c")])
@pytest.mark.parametrize("toml", ['name = "hi"\n', None])
def test_pack_needs_neither_lang_nor_configuration(project, pack, args, toml):
    (project / "warp.toml").unlink()
    if toml:
        (project / "warp.toml").write_text(toml)
    out = pack(*args)
    assert out.returncode == 0, out.stderr
    assert (project / out.stdout.strip()).read_bytes()[:8] == COMPONENT


def test_pack_skips_what_is_up_to_date(project, pack):
    def again(*args):
        out = pack("--json", *args)
        assert out.returncode == 0, out.stderr
        return json.loads(out.stdout)["fresh"]

    packed = project / "dist" / "hi.wasm"
    assert again() is False
    written = packed.stat().st_mtime_ns
    assert again() is True and packed.stat().st_mtime_ns == written
    out = pack()
    assert (out.stdout, out.stderr) == ("dist/hi.wasm\n", "up to date\n")
    os.utime(project / "src" / "main.c")  # saved without a change
    assert again() is True
    (project / "src" / "text.h").write_text('#define TEXT "another"\n')  # a header
    assert again() is False and again() is True
    (project / "warp.toml").write_text('name = "hi"\n[build]\nflags = ["-DX=1"]\n')
    assert again() is False and again() is True
    assert again("--debug") is False and again() is False
    packed.write_bytes(b"spoilt")
    assert again() is False and packed.read_bytes()[:8] == COMPONENT
    packed.unlink()
    assert again() is False


@pytest.mark.parametrize(
    "flags",
    [["-Llib", "-lfoo"], ["@flags.rsp"], ["-Wl,-Llib,-lfoo"], ["-Xlinker", "lib/foo.o"],
     ["-Wl,--whole-archive,lib/libfoo.a,--no-whole-archive"]],
)  # fmt: skip
def test_pack_sees_libraries_change(project, pack, flags):
    """Whatever a flag brings in, an old component is never called up to date."""
    (project / "src" / "main.c").write_text(
        "#include <warpgrid/sdk/http.h>\nconst char *foo(void);\n"
        "void wg_http_handle(wg_http_request *req, wg_http_response *res) {\n"
        "  (void)req;\n  wg_http_printf(res, foo());\n}\n"
    )
    (project / "flags.rsp").write_text("-Llib -lfoo\n")
    (project / "warp.toml").write_text(f'name = "hi"\n[build]\nflags = {json.dumps(flags)}\n')
    lib = project / "lib"
    lib.mkdir()
    for text in ("first", "second"):
        (lib / "foo.c").write_text(f'const char *foo(void) {{ return "{text} library"; }}\n')
        subprocess.run(["clang-22", "--target=wasm32-wasip2", "-c", "foo.c"], cwd=lib, check=True)
        (lib / "libfoo.a").unlink(missing_ok=True)
        subprocess.run(["llvm-ar-22", "rcs", "libfoo.a", "foo.o"], cwd=lib, check=True)
        out = pack()
        assert out.returncode == 0, out.stderr
        assert f"{text} library".encode() in (project / "dist" / "hi.wasm").read_bytes()


def test_pack_sees_the_linker_change(warp, project, pack, tmp_path):
    """The compiler starts the linker that is beside it."""
    tools = tmp_path / "llvm" / "bin"
    clang = script(tools / "clang", f'exec {shutil.which("clang-22")} "$@"')
    script(tools / "wasm-ld", "exit 1")
    env = {"WARPGRID_CLANG": clang}
    assert pack(env=env).stderr == ""
    assert pack(env=env).stderr == "up to date\n"
    script(tools / "wasm-ld", "exit 2 # another")
    assert pack(env=env).stderr == ""
    env["CCC_OVERRIDE_OPTIONS"] = "# +-DX=1"
    assert pack(env=env).stderr == "" and pack(env=env).stderr == ""


@pytest.mark.parametrize("flag", ["-###", "-Wl,--skip-wit-component"])
def test_pack_keeps_the_last_good_build_when_none_is_made(project, pack, flag):
    assert pack().returncode == 0
    (project / "warp.toml").write_text(f'name = "hi"\n[build]\nflags = ["{flag}"]\n')
    before = tree(project)
    for _ in range(2):
        out = pack()
        assert out.returncode == 1 and "error: the compiler made no component" in out.stderr
        assert "hint: " in out.stderr and out.stdout == ""
        assert tree(project) == before


def test_pack_tells_that_the_compiler_was_killed(project, pack, tmp_path):
    killed = script(tmp_path / "killed", 'case " $* " in *" -M "*) exit 1 ;; esac; kill -KILL $$')
    out = pack(env={"WARPGRID_CLANG": killed})
    assert out.returncode == 137
    assert "error: the compiler was ended by signal 9" in out.stderr


def test_pack_takes_a_high_exit_code_for_what_it_is(project, pack, tmp_path):
    failed = script(tmp_path / "failed", 'case " $* " in *" -M "*) exit 1 ;; esac; exit 255')
    out = pack(env={"WARPGRID_CLANG": failed})
    assert out.returncode == 255 and "signal" not in out.stderr


def test_pack_compiles_files_that_look_like_flags(project, pack):
    for file in (project / "src").iterdir():
        file.rename(project / file.name.replace("main.c", "-DX.c"))
    (project / "@y.c").write_text("extern const char y[];\nconst char y[] = \"a file, no list\";\n")
    (project / "warp.toml").write_text('name = "hi"\n[build]\nsources = ["*.c"]\n')
    out = pack("--verbose")
    assert out.returncode == 0, out.stderr
    assert "./@y.c" in out.stderr and "./-DX.c" in out.stderr
    assert (project / "dist" / "hi.wasm").is_file()


def test_pack_debug_and_release(project, pack):
    sizes = {}
    for profile in ("debug", "release"):
        out = pack(f"--{profile}", "--json", "--out", f"dist/{profile}.wasm")
        found = json.loads(out.stdout)
        assert found["profile"] == profile
        sizes[profile] = found["sections"]
    assert sizes["debug"]["custom"] > 10 * sizes["release"]["custom"]
    assert b".debug_info" in (project / "dist" / "debug.wasm").read_bytes()
    assert b".debug_info" not in (project / "dist" / "release.wasm").read_bytes()
    out = pack("--debug", "--release")
    assert out.returncode == 2 and "exclude each other" in out.stderr


@pytest.mark.parametrize("option", ["--out", "-o"])
def test_pack_out(warp, project, pack, option):
    out = pack(option, "some/where/app.wasm")
    assert (out.returncode, out.stdout) == (0, "some/where/app.wasm\n")
    assert (project / "some" / "where" / "app.wasm").is_file() and not (project / "dist").exists()


def test_pack_runs_in_the_folder_of_the_configuration(warp, project, tmp_path):
    out = warp("pack", "--config", project / "warp.toml", "--out", "here.wasm", cwd=tmp_path)
    assert (out.returncode, out.stdout) == (0, "here.wasm\n"), out.stderr
    assert (tmp_path / "here.wasm").is_file()


def test_pack_cwasm_is_served_when_trusted(warp, project, pack):
    out = pack("--cwasm")
    assert (out.returncode, out.stdout) == (0, "dist/hi.wasm\ndist/hi.cwasm\n"), out.stderr
    assert out.stderr == ""
    refused = warp("serve", "dist/hi.cwasm", cwd=project)
    assert refused.returncode == 1 and "--trusted" in refused.stderr
    assert answer(warp, project, "--trusted", "dist/hi.cwasm") == "packed\n"
    found = json.loads(pack("--cwasm", "--json", "-o", "plain").stdout)
    assert found["cwasm"] == "plain.cwasm" and (project / "plain.cwasm").is_file()


def test_pack_json(project, pack):
    out = pack("--json", "--world", "service-p3")
    assert (out.returncode, out.stderr) == (0, "")
    found = json.loads(out.stdout)
    assert list(found) == ["version", "command", "ok", "output", "lang", "world", "profile", "fresh",
                           "seconds", "bytes", "sections", "shims", "cwasm"]  # fmt: skip
    assert found["version"] == 1 and found["command"] == "pack" and found["ok"] is True
    assert found["output"] == "dist/hi.wasm" and found["world"] == "service-p3"
    assert found["lang"] == "c" and found["cwasm"] is None and 0 < found["seconds"] < 60
    assert found["bytes"] == (project / "dist" / "hi.wasm").stat().st_size
    assert list(found["sections"]) == ["code", "data", "custom", "other"]
    assert sum(found["sections"].values()) == found["bytes"] and found["sections"]["code"] > 1000
    assert found["shims"] == []


def test_pack_verbose_shows_commands_and_sizes(pack):
    out = pack("--verbose")
    assert out.returncode == 0 and re.search(r"^clang-\d+ .* src/main\.c .*-o ", out.stderr, re.M)
    for name in ("code", "data", "custom", "other", "total"):
        assert re.search(rf"^  {name} +\d+\.\d KiB$", out.stderr, re.M)
    assert re.search(r"^  time +\d+\.\d\d s$", out.stderr, re.M)
    assert "\n  needs WASI alone: other hosts can run it, too\n" in out.stderr


@pytest.mark.parametrize("when", ["always", "never"])
def test_pack_color_is_the_compilers_too(warp, project, pack, rust, when):
    (project / "src" / "main.c").write_text("int main(void) { return undeclared; }\n")
    assert ("\x1b[" in pack("--color", when).stderr) == (when == "always")
    folder = rust("rust-command")
    (folder / "src" / "main.rs").write_text("fn main() { undeclared(); }\n")
    assert ("\x1b[" in pack_rust(warp, folder, "--color", when).stderr) == (when == "always")


# ---- what goes wrong ------------------------------------------------------------------------


@pytest.mark.parametrize("args", [(), ("--json",)])
def test_pack_passes_compiler_errors_through(project, pack, args):
    (project / "src" / "main.c").write_text("int main(void) { return undeclared; }\n")
    before = tree(project)
    out = pack(*args)
    assert out.returncode == 1
    assert "src/main.c:1" in out.stderr and "undeclared" in out.stderr
    assert "error: the compiler" not in out.stderr, "the compiler's own words are enough"
    assert tree(project) == before, "no folder, no file"
    if args:
        found = json.loads(out.stdout)
        assert found["ok"] is False and "exit code 1" in found["error"]["message"]


def test_pack_passes_the_exit_code_through(project, pack, tmp_path):
    clang = script(tmp_path / "clang", "exit 42")
    assert pack(env={"WARPGRID_CLANG": clang}).returncode == 42
    found = pack("--json", env={"WARPGRID_CLANG": clang})
    assert found.returncode == 42 and "exit code 42" in json.loads(found.stdout)["error"]["message"]


def test_pack_failure_leaves_the_last_good_build(project, pack):
    assert pack().returncode == 0
    (project / "src" / "main.c").write_text("broken\n")
    before = tree(project)
    assert pack().returncode == 1
    assert tree(project) == before


def test_pack_unknown_language_and_missing_sources(project, pack):
    out = pack("--lang", "cobol")
    assert out.returncode == 2 and "cobol" in out.stderr and "rust" in out.stderr
    (project / "warp.toml").write_text('lang = "cobol"\n')
    out = pack()
    assert out.returncode == 1 and "unknown language 'cobol'" in out.stderr
    assert "hint: this version packs: c, rust" in out.stderr
    shutil.rmtree(project / "src")
    out = pack("--lang", "c")
    assert out.returncode == 1 and "src/*.c" in out.stderr


@pytest.mark.parametrize(
    "marker, lang", [("go.mod", "Go"), ("package.json", "TypeScript"), ("bunfig.toml", "Bun"),
                     ("bun.lockb", "Bun")],
)  # fmt: skip
def test_pack_names_the_languages_of_later_versions(warp, tmp_path, marker, lang):
    """US-614: a bunfig.toml tells Bun; this version refuses what it cannot pack, by name."""
    (tmp_path / marker).write_text("")
    out = warp("pack", cwd=tmp_path)
    assert out.returncode == 1
    assert f"this looks like a {lang} project ({marker})" in out.stderr
    assert "hint: this version packs: c, rust" in out.stderr
    out = warp("pack", "--lang", "go", "--json", cwd=tmp_path)
    assert out.returncode == 1 and json.loads(out.stdout)["error"]["code"] == "not supported"


def test_pack_help_lists_the_languages(warp):
    """FR-12, US-614."""
    text = warp("pack", "--help").stdout
    for lang in ("rust", "go", "typescript", "js", "bun"):
        assert re.search(rf"\b{lang}\b", text)


def test_pack_does_not_guess_between_two_languages(project, pack):
    (project / "warp.toml").write_text("")
    (project / "CMakeLists.txt").write_text("")
    (project / "Cargo.toml").write_text("")
    out = pack()
    assert out.returncode == 1 and "'CMakeLists.txt'" in out.stderr and "'Cargo.toml'" in out.stderr
    assert "--lang" in out.stderr and "lang =" in out.stderr
    assert pack("--lang", "c").returncode == 0


def test_pack_without_any_language(warp, tmp_path):
    out = warp("pack", cwd=tmp_path)
    assert out.returncode == 1
    for name in ("Cargo.toml", "CMakeLists.txt", "go.mod", "package.json", "bunfig.toml", "src/*.c"):
        assert name in out.stderr
    assert tree(tmp_path) == {}


def test_pack_without_the_compiler_says_what_to_install(warp, project):
    for name, tool in (("c", "clang"), ("rust", "rustc")):
        (project / "Cargo.toml").write_text("[package]\n")
        before = tree(project)
        out = subprocess.run(
            [warp.binary, "pack", "--lang", name], cwd=project, capture_output=True, text=True,
            timeout=120, env={**warp.env(), "PATH": str(project / "nothing-here")},
        )  # fmt: skip
        assert out.returncode == 1 and f"cannot run '{tool}" in out.stderr, out.stderr
        assert "hint: " in out.stderr and "apt-get install" in out.stderr
        assert tree(project) == before


@pytest.mark.parametrize(
    "output, message",
    [("/proc/x.wasm", "cannot write '/proc/x.wasm'"), ("src/main.c/x.wasm", "cannot write 'src/main.c/x.wasm'"),
     ("src", "cannot write 'src': it is a folder"), ("dist/", "'dist/' is no name of a file")],
)  # fmt: skip
def test_pack_output_that_cannot_be_written(project, pack, output, message):
    before = tree(project)
    out = pack("--out", output)
    assert out.returncode == 1 and message in out.stderr
    assert tree(project) == before


@pytest.mark.parametrize("sig", [signal.SIGINT, signal.SIGTERM])
def test_pack_interrupted_leaves_nothing(warp, project, tmp_path, sig):
    pids = tmp_path / "pids"
    clang = script(
        tmp_path / "clang",
        f"case \"$*\" in *' -M '*) exit 1 ;; esac\nsleep 600 &\necho $$ $! >'{pids}.new'\n"
        f"mv '{pids}.new' '{pids}'\nwait",
    )
    before = tree(project)
    p = warp.popen("pack", cwd=project, env={"WARPGRID_CLANG": clang})
    wait_until(pids.exists, "the compiler runs", 20)
    start = time.monotonic()
    p.send_signal(sig)
    assert p.wait(20) == 130
    assert time.monotonic() - start < 10
    assert p.stderr.read().decode() == "error: interrupted\n"
    p.stdout.close()
    p.stderr.close()

    for pid in pids.read_text().split():
        wait_until(lambda: not is_running(pid), f"process {pid} ended", 5)
    assert tree(project) == before


def test_pack_goes_on_without_a_cache(warp, project, pack):
    nowhere = {"WARPGRID_CACHE": "/proc/none", "XDG_CACHE_HOME": "/proc/none"}
    for _ in range(2):
        found = json.loads(pack("--json", env=nowhere).stdout)
        assert found["ok"] is True and found["fresh"] is False


# ---- Rust -----------------------------------------------------------------------------------


@pytest.fixture
def rust(tmp_path):
    """rust("rust-p2"): a copy of a project, to work in."""

    def copy(name):
        folder = tmp_path / name
        shutil.copytree(PROJECTS / name, folder)
        return folder

    return copy


def pack_rust(warp, folder, *args, env=None):
    return warp("pack", *args, cwd=folder, env={**pack_env(), **(env or {})}, timeout_s=600)


@pytest.mark.parametrize("name, world", [("rust-p2", "p2 service"), ("rust-p3", "p3 service")])
def test_pack_rust_services(warp, rust, name, world):
    """US-508: stock Rust tools make async components; with `lang =` (p2) and without (p3)."""
    folder = rust(name)
    out = pack_rust(warp, folder, "--json")
    assert out.returncode == 0, out.stderr
    found = json.loads(out.stdout)
    assert found["lang"] == "rust" and found["world"] is None and found["fresh"] is False
    assert json.loads(warp("validate", found["output"], "--json", cwd=folder).stdout)["kind"] == world
    assert answer(warp, folder, "--listen", "127.0.0.1:0", path="/a?b") == name.replace("-", " ") + " /a?b\n"
    packed = folder / "dist" / f"{name}.wasm"
    written = packed.stat().st_mtime_ns
    found = json.loads(pack_rust(warp, folder, "--json").stdout)
    assert found["fresh"] is True and packed.stat().st_mtime_ns == written


def test_pack_rust_command_debug_cwasm(warp, rust):
    folder = rust("rust-command")
    out = pack_rust(warp, folder, "--debug", "--cwasm", "--out", "made.wasm", "--verbose")
    assert (out.returncode, out.stdout) == (0, "made.wasm\nmade.cwasm\n"), out.stderr
    assert "cargo build --target wasm32-wasip2" in out.stderr and "--release" not in out.stderr
    assert b".debug_info" in (folder / "made.wasm").read_bytes()
    for args in (("made.wasm",), ("--trusted", "made.cwasm")):
        out = warp("run", *args, "--", "hello", "there", cwd=folder)
        assert (out.returncode, out.stdout) == (0, "rust says hello there\n")
    assert pack_rust(warp, folder, "--out", "made.wasm").returncode == 0
    assert b".debug_info" not in (folder / "made.wasm").read_bytes()


def test_pack_rust_errors_pass_through(warp, rust):
    folder = rust("rust-command")
    assert pack_rust(warp, folder).returncode == 0
    good = (folder / "dist" / "rust-command.wasm").read_bytes()
    (folder / "src" / "main.rs").write_text("fn main() { undeclared(); }\n")
    out = pack_rust(warp, folder)
    assert out.returncode == 101 and "src/main.rs:1" in out.stderr and "undeclared" in out.stderr
    assert (folder / "dist" / "rust-command.wasm").read_bytes() == good
    (folder / "Cargo.toml").write_text("[package\n")
    out = pack_rust(warp, folder, "--lang", "rust", "--json")
    assert out.returncode == 101 and "Cargo.toml" in out.stderr
    assert json.loads(out.stdout)["error"]["message"] == "the compiler failed with exit code 101"


def test_pack_rust_says_which_package_makes_what(warp, rust):
    folder = rust("rust-command")
    (folder / "src" / "bin").mkdir()
    (folder / "src" / "bin" / "two.rs").write_text("fn main() {}\n")
    out = pack_rust(warp, folder)
    assert out.returncode == 1 and "makes several components" in out.stderr and "--bin" in out.stderr
    toml = (folder / "warp.toml").read_text()
    (folder / "warp.toml").write_text(toml + '[build]\nflags = ["--bin", "two"]\n')
    assert pack_rust(warp, folder).returncode == 0
    shutil.rmtree(folder / "src")
    (folder / "src").mkdir()
    (folder / "src" / "lib.rs").write_text("")
    (folder / "warp.toml").write_text(toml)
    out = pack_rust(warp, folder)
    assert out.returncode == 1 and "makes no component" in out.stderr and "cdylib" in out.stderr
    # A member of a workspace, and the workspace without a package.
    member = folder / "member"
    member.mkdir()
    shutil.copytree(PROJECTS / "rust-command" / "src", member / "src")
    (member / "Cargo.toml").write_text('[package]\nname = "member"\nversion = "0.1.0"\nedition = "2024"\n')
    (folder / "Cargo.toml").write_text('[workspace]\nmembers = ["member"]\nresolver = "3"\n')
    out = pack_rust(warp, folder)
    assert out.returncode == 1 and "workspace without a package" in out.stderr
    out = pack_rust(warp, member)
    assert out.returncode == 0, out.stderr


def test_pack_rust_has_no_worlds(warp, rust):
    out = pack_rust(warp, rust("rust-command"), "--world", "service-p2")
    assert out.returncode == 1 and "'--world' is for C projects" in out.stderr


def test_pack_rust_with_debians_compiler(warp, rust):
    """The way without rustup, where it was built; scripts/build-guest-rust.sh does that once."""
    made = subprocess.run(
        [ROOT / "scripts" / "build-guest-rust.sh", "--check"], capture_output=True, text=True, timeout=60
    )
    if made.returncode != 0:
        pytest.skip(f"not built on this machine: {made.stderr.strip().splitlines()[0]}")
    folder = rust("rust-command")
    env = {"WARPGRID_RUSTC": made.stdout.strip(), "CARGO_TARGET_DIR": folder / "target"}
    out = pack_rust(warp, folder, env=env)
    assert out.returncode == 0, out.stderr
    out = warp("run", "dist/rust-command.wasm", "--", "x", cwd=folder)
    assert (out.returncode, out.stdout) == (0, "rust says x\n")


# ---- Rust without its target: tools that only pretend -----------------------------------------


@pytest.fixture
def toolbox(warp, guest, tmp_path):
    """Tools that tell what they were asked, and a project for them."""

    class Box:
        folder = tmp_path / "tools"
        project = tmp_path / "app"
        library = tmp_path / "lib"
        cache = tmp_path / "cache"
        component = guest("hello-p2")

        def add(self, name, text):
            return script(self.folder / name, f'echo "{name} $*" >>"{tmp_path}/asked"\n{text}')

        def asked(self):
            file = tmp_path / "asked"
            return file.read_text().splitlines() if file.exists() else []

        def pack(self, binary=None, **env):
            return subprocess.run(
                [binary or warp.binary, "pack"], cwd=self.project, capture_output=True, text=True,
                timeout=60, env={**warp.env(), "PATH": str(self.folder), "WARPGRID_CACHE": str(self.cache),
                                 **{k: str(v) for k, v in env.items()}},
            )  # fmt: skip

    box = Box()
    box.project.mkdir()
    (box.project / "Cargo.toml").write_text("")
    (box.project / "warp.toml").write_text('name = "app"\n')
    message = {"reason": "compiler-artifact", "manifest_path": str(box.project / "Cargo.toml"),
               "filenames": [str(box.component)], "fresh": False}  # fmt: skip
    box.folder.mkdir()
    for tool in ("cat", "mkdir", "touch"):
        (box.folder / tool).symlink_to(shutil.which(tool))
    box.add("rustc", f"echo '{box.library}'")
    box.add("cargo", f"echo \"RUSTC=$RUSTC\" >>'{tmp_path}/asked'\ncat <<'END'\n{json.dumps(message)}\nEND")
    return box


PROBE = "rustc --print target-libdir --target wasm32-wasip2"
CARGO = "cargo build --target wasm32-wasip2 --message-format json-render-diagnostics --color never --release"


def test_pack_rust_installs_the_target_by_rustup(toolbox):
    toolbox.add("rustup", f"mkdir '{toolbox.library}'\ntouch '{toolbox.library}/libstd-1.rlib'")
    out = toolbox.pack()
    assert out.returncode == 0, out.stderr
    assert "installing Rust's library for wasm32-wasip2 (rustup target add wasm32-wasip2)" in out.stderr
    assert toolbox.asked() == [PROBE, "rustup target add wasm32-wasip2", PROBE, CARGO, "RUSTC="]
    assert (toolbox.project / "dist" / "app.wasm").read_bytes() == toolbox.component.read_bytes()


def test_pack_rust_takes_the_toolchain_it_is_told(toolbox):
    rustc = toolbox.add("my-rustc", "exit 1")
    assert toolbox.pack(WARPGRID_RUSTC=rustc).returncode == 0
    assert toolbox.asked() == [CARGO, f"RUSTC={rustc}"]
    out = toolbox.pack(WARPGRID_RUSTC="/proc/none")
    assert out.returncode == 1 and "WARPGRID_RUSTC: cannot run '/proc/none'" in out.stderr


def test_pack_rust_takes_the_toolchain_of_the_cache(toolbox):
    rustc = script(toolbox.cache / "warpgrid" / "guest-rust" / "current" / "bin" / "rustc", "exit 1")
    assert toolbox.pack().returncode == 0
    assert toolbox.asked() == [PROBE, CARGO, f"RUSTC={rustc}"]


@pytest.mark.parametrize("rustup", ["absent", "fails"])
@pytest.mark.parametrize("place", ["scripts", "share/warpgrid/scripts"])
def test_pack_rust_builds_a_toolchain_once(warp, toolbox, tmp_path, place, rustup):
    """As in a source tree (build/dev/warp) and as installed (bin/warp)."""
    binary = tmp_path / "root" / ("build/dev/warp" if place == "scripts" else "bin/warp")
    binary.parent.mkdir(parents=True)
    shutil.copy(warp.binary, binary)
    if rustup == "fails":
        toolbox.add("rustup", "echo 'no network' >&2; exit 1")
    out = toolbox.pack(binary)
    assert out.returncode == 1 and "cannot compile for wasm32-wasip2" in out.stderr
    assert "rustup target add wasm32-wasip2" in out.stderr and "scripts/build-guest-rust.sh" in out.stderr
    rustc = toolbox.add("made-rustc", "exit 1")
    script(tmp_path / "root" / place / "build-guest-rust.sh", f"echo '{rustc}'")
    out = toolbox.pack(binary)
    assert out.returncode == 0, out.stderr
    assert re.search("building a Rust library for wasm32-wasip2 .* 2 minutes", out.stderr)
    assert toolbox.asked()[-2:] == [CARGO, f"RUSTC={rustc}"]
    script(tmp_path / "root" / place / "build-guest-rust.sh", "echo 'error: no package' >&2; exit 1")
    out = toolbox.pack(binary)
    assert out.returncode == 1 and "error: no package" in out.stderr and "WARPGRID_RUSTC" in out.stderr


def test_pack_rust_wants_a_component(toolbox, tmp_path):
    core = tmp_path / "core.wasm"
    core.write_bytes(b"\0asm\1\0\0\0")
    toolbox.library.mkdir()
    (toolbox.library / "libstd-1.rlib").touch()
    message = {"reason": "compiler-artifact", "manifest_path": str(toolbox.project / "Cargo.toml"),
               "filenames": [str(core)]}  # fmt: skip
    toolbox.add("cargo", f"echo '{json.dumps(message)}'")
    out = toolbox.pack()
    assert out.returncode == 1 and "which is not a component" in out.stderr
    assert not (toolbox.project / "dist").exists()
