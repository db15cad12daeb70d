#!/usr/bin/env python3
# SPDX-License-Identifier: Apache-2.0
"""usage: update-template-lock.py [WARP]

Writes the Cargo.lock of the templates rust and async-rust again, after a change of a Cargo.toml there
or of crates/warpgrid-async, or for newer crates: the lock files of the projects with each choice in
one, with marks around the packages that only one of them has. WARP is the warp to use (default:
build/dev/warp, built with that Cargo.toml).
"""
import subprocess
import sys
import tempfile
from pathlib import Path

ROOT = Path(__file__).resolve().parent.parent
TEMPLATES = ROOT / "src" / "cli" / "templates"
NAME = "template-name"  # no crate has it
# The option whose value decides which packages there are.
CHOICES = {"rust": ("http", "p2", "p3"), "async-rust": ("database", "none", "postgres")}


def lock(warp, folder, template, option, value):
    """(head, packages) of the lock file that cargo makes for a new project."""
    project = Path(folder) / f"{template}-{value}"
    subprocess.run(
        [warp, "init", project, "--template", template, f"--{option}", value, "--name", NAME, "--yes"],
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
    for template, (option, first, second) in CHOICES.items():
        with tempfile.TemporaryDirectory(prefix="warpgrid-lock.") as folder:
            head, a = lock(warp, folder, template, option, first)
            _, b = lock(warp, folder, template, option, second)
        out = head.strip("\n") + "\n\n"
        for package in sorted({*a, *b}):
            if package in a and package in b:
                out += package + "\n"
            else:
                out += f"# @@if {first if package in a else second}\n{package}\n# @@end\n"
        file = TEMPLATES / template / "Cargo.lock"
        file.write_text(out)
        print(f"{file.relative_to(ROOT)}: {len(a)} packages for {first}, {len(b)} for {second}")
    return 0


if __name__ == "__main__":
    sys.exit(main())
