# SPDX-License-Identifier: Apache-2.0
"""libpq and psql for guests, built as a user builds them, and programs with them."""
import os
import subprocess

from harness import ROOT, SLOW
from libc import compile_c, script, tool


class Libpq:
    """A patched sysroot, libpq and psql of their own; programs are compiled once."""

    def __init__(self, folder):
        tool("wasm-tools")  # for build-libc.sh
        self.folder, self.sysroot, self.output = folder, folder / "sysroot", folder / "libpq"
        script("build-libc.sh", "--patched", "--output", self.sysroot, WARPGRID_LIBC_BUILD=folder / "libc")
        script("build-libpq.sh", "--psql", "--sysroot", self.sysroot, "--output", self.output)
        self.psql = self.output / "psql.wasm"

    def flags(self):
        """What a build of the user's would ask for."""
        env = {**os.environ, "PKG_CONFIG_LIBDIR": str(self.output / "lib/pkgconfig")}
        out = subprocess.run(
            ["pkg-config", "--cflags", "--libs", "libpq"], env=env, text=True, capture_output=True, check=True
        )
        return out.stdout.split()

    def program(self, source, way="wasi"):
        """A component of a C file in guests/: by WASI alone, or with the shims."""
        made = self.folder / f"{source}.{way}.wasm"
        if not made.exists():
            shims = ["-lwarpgrid_shim"] if way == "shim" else []
            compile_c(
                self.sysroot, ROOT / "tests/e2e/guests" / source, made, "-Wall", "-Wextra", "-Werror", *self.flags(), *shims
            )
        return made


def vanilla(component, *args, input=None, options=()):
    """A command in Wasmtime's own host: the finished process."""
    cmd = [tool("wasmtime"), "run", "-S", "inherit-network", "-S", "allow-ip-name-lookup", *options, component, *args]
    return subprocess.run(
        list(map(str, cmd)), text=True, capture_output=True, timeout=120 * SLOW, input=input or ""
    )
