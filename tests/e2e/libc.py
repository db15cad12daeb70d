# SPDX-License-Identifier: Apache-2.0
"""What the tests of the patched wasi-libc share: its tools, its scripts, and C programs on top of it."""

import os
import pathlib
import re
import shutil
import subprocess

from harness import find_build

ROOT = pathlib.Path(__file__).resolve().parents[2]
TARGET = "wasm32-wasip2"
CACHE = pathlib.Path(os.environ.get("WARPGRID_CACHE") or os.environ.get("XDG_CACHE_HOME")
                     or pathlib.Path.home() / ".cache") / "warpgrid"


def tool(name):
    found = shutil.which(name) or CACHE / "tools" / name
    assert pathlib.Path(found).exists(), f"no {name}: scripts/bootstrap.sh test installs it"
    return str(found)


def pinned(key):
    lines = (ROOT / "versions.env").read_text().splitlines()
    return next(line.split("=", 1)[1] for line in lines if line.startswith(f"{key}="))


def llvm(name):
    return f"{name}-{pinned('LLVM_MAJOR')}"


def script(name, *args, code=0, **env):
    """What a script of the project says on both streams."""
    env = {**os.environ, "WARPGRID_BUILD": str(find_build()), **{k: str(v) for k, v in env.items()}}
    out = subprocess.run([ROOT / "scripts" / name, *map(str, args)], env=env, text=True, timeout=900,
                         stdin=subprocess.DEVNULL, stdout=subprocess.PIPE, stderr=subprocess.STDOUT)
    assert out.returncode == code, out.stdout
    return out.stdout


def component_ld():
    sysroot = subprocess.run(["rustc", "--print", "sysroot"], text=True, capture_output=True).stdout
    return next(pathlib.Path(sysroot.strip()).glob("lib/rustlib/*/bin/wasm-component-ld"))


def compile_c(sysroot, source, output, *flags):
    subprocess.run([llvm("clang"), f"--target={TARGET}", f"--sysroot={sysroot}", "-O2",
                    f"-fuse-ld={component_ld()}", source, "-o", output, *flags], check=True)
    return output


def imports(component):
    out = subprocess.run([tool("wasm-tools"), "component", "wit", component], text=True,
                         capture_output=True, check=True).stdout
    return set(re.findall(r"^  import (\S+);", out, re.M))


class Series:
    """A copy of libc-patches with a build folder of its own."""

    def __init__(self, folder):
        self.patches = folder / "the patches"
        self.build = folder / "the build"
        shutil.copytree(ROOT / "libc-patches", self.patches)

    def files(self):
        return sorted(self.patches.glob("*.patch"))

    def run(self, name, *args, code=0, **env):
        env = {"WARPGRID_LIBC_BUILD": self.build, "WARPGRID_LIBC_PATCHES": self.patches, **env}
        return script(name, *args, code=code, **env)
