# SPDX-License-Identifier: Apache-2.0
"""Issue: "Bad input: each one clear error and exit code 1, never a panic", for every command that
loads a component; and usage errors."""
import os
import re
import socket
import subprocess

import pytest
import wat

COMMANDS = ("serve", "run", "validate")


@pytest.fixture(scope="module")
def files(tmp_path_factory, guest):
    d = tmp_path_factory.mktemp("bad")
    whole = guest("hello-p2").read_bytes()
    (d / "empty.wasm").write_bytes(b"")
    (d / "text.wasm").write_bytes(b"#!/bin/sh\necho hello\n")
    (d / "random.wasm").write_bytes(bytes((i * 97 + 13) % 256 for i in range(4096)))
    (d / "zero.wasm").write_bytes(b"\0")
    (d / "core.wasm").write_bytes(b"\0asm\x01\0\0\0")
    (d / "future.wasm").write_bytes(b"\0asm\x77\0\x01\0")
    (d / "half.wasm").write_bytes(whole[: len(whole) // 2])
    (d / "nearly.wasm").write_bytes(whole[:-1])
    (d / "header.wasm").write_bytes(whole[:6])
    # Native code pretends to be a component: an ELF file, under either name.
    with open("/proc/self/exe", "rb") as f:
        native = f.read(1 << 16)
    (d / "native.cwasm").write_bytes(native)
    (d / "native.wasm").write_bytes(native)
    (d / "folder.wasm").mkdir()
    (d / "nothing.wat").write_text("(component)")
    (d / "typo.wat").write_text("(component (core module (func (i32.const))))")
    return d


def check_error(out, *words):
    """One error on stderr, nothing on stdout, exit code 1."""
    assert out.returncode == 1, out
    assert out.stdout == ""
    errors = [line for line in out.stderr.splitlines() if line.startswith("error: ")]
    assert len(errors) == 1, out.stderr
    for w in words:
        assert re.search(w, errors[0]), f"{w!r} not in {errors[0]!r}"
    return out.stderr


@pytest.mark.parametrize("command", COMMANDS)
@pytest.mark.parametrize(
    "name, words",
    [
        ("missing.wasm", ["missing.wasm", "no such file"]),
        ("empty.wasm", ["empty.wasm", "is empty"]),
        ("text.wasm", ["text.wasm", "not a WebAssembly file"]),
        ("random.wasm", ["random.wasm", "not a WebAssembly file"]),
        ("zero.wasm", ["zero.wasm"]),
        ("core.wasm", ["core.wasm", "core WebAssembly module"]),
        ("future.wasm", ["future.wasm", "version"]),
        ("half.wasm", ["half.wasm", "truncated"]),
        ("nearly.wasm", ["nearly.wasm", "truncated|not valid"]),
        ("header.wasm", ["header.wasm", "truncated"]),
        ("native.cwasm", ["native.cwasm", "native code"]),
        ("native.wasm", ["native.wasm", "native code"]),
        ("folder.wasm", ["folder.wasm", "directory"]),
        ("typo.wat", ["typo.wat"]),
    ],
)
def test_bad_component(warp, files, tmp_path, command, name, words):
    check_error(warp(command, files / name, cwd=tmp_path), *words)


def test_unreadable_file(warp, files, tmp_path):
    """Root reads everything: then the case needs another account, and has none here."""
    f = tmp_path / "secret.wasm"
    f.write_bytes(b"\0asm\x0d\0\x01\0")
    f.chmod(0)
    if os.geteuid() == 0:
        f = "/proc/1/mem"  # may be opened by root, but reading it fails
        check_error(warp("validate", f, cwd=tmp_path), "/proc/1/mem")
    else:
        check_error(warp("validate", f, cwd=tmp_path), "permission denied")


def test_no_http_export(warp, files, tmp_path):
    check_error(warp("serve", files / "nothing.wat", cwd=tmp_path), "nothing.wat", "wasi:http")


def test_command_is_not_served_and_service_is_not_run(warp, guest, tmp_path):
    (tmp_path / "command.wat").write_text(wat.command())
    err = check_error(warp("serve", "command.wat", cwd=tmp_path), "command.wat", "wasi:http")
    assert "warp run" in err
    err = check_error(warp("run", guest("hello-p2"), cwd=tmp_path), "hello-p2.wasm", "wasi:cli/run")
    assert "warp serve" in err


def test_port_in_use(warp, guest, tmp_path):
    with socket.create_server(("127.0.0.1", 0)) as s:
        port = s.getsockname()[1]
        (tmp_path / "warp.toml").write_text(f'[http]\nlisten = ["127.0.0.1:{port}"]\n')
        out = warp("serve", guest("hello-p2"), cwd=tmp_path)
    check_error(out, f"127.0.0.1:{port}", "in use")


def test_trusted_native_code_of_another_version(warp, files, tmp_path):
    """--trusted lifts the refusal, not the check of what the file is."""
    check_error(warp("serve", "--trusted", files / "native.cwasm", cwd=tmp_path), "native.cwasm")


@pytest.mark.parametrize("command", COMMANDS)
def test_bad_component_as_json(warp, files, tmp_path, command):
    import json

    out = warp(command, files / "core.wasm", "--json", cwd=tmp_path)
    assert out.returncode == 1
    found = json.loads(out.stdout.splitlines()[-1] if out.stdout else out.stderr.splitlines()[-1])
    assert "core WebAssembly module" in json.dumps(found)


@pytest.mark.parametrize(
    "args",
    [
        ["no-such-command"],
        ["serve", "--no-such-option"],
        ["run"],
        ["serve", "a.wasm", "b.wasm"],
        ["run", "--env"],
    ],
)
def test_usage_errors(warp, tmp_path, args):
    out = warp(*args, cwd=tmp_path)
    assert out.returncode == 2, out
    assert out.stdout == ""
    assert out.stderr.startswith("error: ") and "hint: " in out.stderr


@pytest.mark.parametrize("command", ["", "serve", "run", "validate", "pack"])
def test_help(warp, tmp_path, command):
    out = warp(*filter(None, [command]), "--help", cwd=tmp_path)
    assert out.returncode == 0 and out.stderr == ""
    assert out.stdout.lower().startswith("usage: warp" + (f" {command}" if command else ""))
    assert max(map(len, out.stdout.splitlines())) <= 100


def test_version(warp, tmp_path):
    out = warp("--version", cwd=tmp_path)
    assert out.returncode == 0
    assert re.match(r"warp \d+\.\d+\.\d+", out.stdout)
    assert "Wasmtime 48." in out.stdout or "wasmtime 48." in out.stdout


def test_stdout_is_closed(warp, guest, tmp_path):
    """A pipe that nobody reads ends the command, without noise or a hang."""
    p = subprocess.Popen(
        [warp.binary, "validate", guest("hello-p2")], env=warp.env(), cwd=tmp_path,
        stdout=subprocess.PIPE, stderr=subprocess.PIPE,
    )  # fmt: skip
    p.stdout.close()
    err = p.stderr.read().decode()
    p.wait(30)
    assert "panic" not in err and p.returncode in (0, 1, 141, -13)
