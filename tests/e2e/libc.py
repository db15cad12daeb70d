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


def llvm(name):
    major = re.search(r"^LLVM_MAJOR=(\d+)", (ROOT / "versions.env").read_text(), re.M)[1]
    return f"{name}-{major}"


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

    def run(self, script, *args, code=0, **env):
        env = {**os.environ, "WARPGRID_BUILD": str(find_build()), "WARPGRID_LIBC_BUILD": str(self.build),
               "WARPGRID_LIBC_PATCHES": str(self.patches), **{k: str(v) for k, v in env.items()}}
        out = subprocess.run([ROOT / "scripts" / script, *map(str, args)], env=env, text=True,
                             stdout=subprocess.PIPE, stderr=subprocess.STDOUT, timeout=600)
        assert out.returncode == code, out.stdout
        return out.stdout
