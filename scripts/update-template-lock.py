#!/usr/bin/env python3
# SPDX-License-Identifier: Apache-2.0
"""usage: update-template-lock.py [WARP]

Writes src/cli/templates/rust/Cargo.lock again, after a change of Cargo.toml there or for newer
crates: the lock files of the projects for WASI 0.2 and 0.3 in one, with marks around the packages
that only one of them has. WARP is the warp to use (default: build/dev/warp, built with that
Cargo.toml).
"""
import subprocess
import sys
import tempfile
from pathlib import Path

ROOT = Path(__file__).resolve().parent.parent
LOCK = ROOT / "src" / "cli" / "templates" / "rust" / "Cargo.lock"
NAME = "template-name"  # no crate has it


def lock(warp, folder, http):
    """(head, packages) of the lock file that cargo makes for a new project."""
    project = Path(folder) / http
    subprocess.run(
        [warp, "init", project, "--template", "rust", "--http", http, "--name", NAME, "--yes"],
        check=True, capture_output=True,
    )  # fmt: skip
    (project / "Cargo.lock").unlink(missing_ok=True)
    subprocess.run(["cargo", "generate-lockfile", "--quiet"], cwd=project, check=True)
    head, *packages = (project / "Cargo.lock").read_text().split("\n[[package]]\n")
    return head, ["[[package]]\n" + p.strip("\n").replace(f'"{NAME}"', '"@@name@@"') + "\n" for p in packages]


def main():
    args = sys.argv[1:]
    if args and args[0] in ("-h", "--help"):
        print(__doc__.strip())
        return 0
    if len(args) > 1:
        print(__doc__.strip(), file=sys.stderr)
        return 2
    warp = Path(args[0] if args else ROOT / "build" / "dev" / "warp").resolve()
    with tempfile.TemporaryDirectory(prefix="warpgrid-lock.") as folder:
        head, p2 = lock(warp, folder, "p2")
        _, p3 = lock(warp, folder, "p3")
    out = head.strip("\n") + "\n\n"
    for package in sorted({*p2, *p3}):
        if package in p2 and package in p3:
            out += package + "\n"
        else:
            out += f"# @@if {'p2' if package in p2 else 'p3'}\n{package}\n# @@end\n"
    LOCK.write_text(out)
    print(f"{LOCK.relative_to(ROOT)}: {len(p2)} packages for p2, {len(p3)} for p3")
    return 0


if __name__ == "__main__":
    sys.exit(main())
