# SPDX-License-Identifier: Apache-2.0
"""`warp init`: the project that it writes builds, passes its own tests and serves; what is there
already is never touched."""
import json
import subprocess
import time

import pytest
from harness import SLOW, Server, Terminal, pack_env
from infra import ROOT, free_port

CRATE = ROOT / "crates" / "warpgrid-async"
# The copy of the guest crate.
COPIED = {"LICENSE": ROOT / "LICENSE", "Cargo.toml": CRATE / "Cargo.toml", "README.md": CRATE / "README.md"}
COPIED |= {
    f"{part}/{file.relative_to(top)}": file
    for part in ("src", "examples", "wit")
    for top in [(CRATE / part).resolve()]
    for file in top.rglob("*") if file.is_file()
}  # fmt: skip
FILES = {
    "c": {".gitignore", "README.md", "warp.toml", "src/main.c", "tests/test.sh"},
    "rust": {".gitignore", "README.md", "warp.toml", "Cargo.toml", "Cargo.lock", "src/lib.rs", "src/service.rs",
             "tests/test.sh"},
}
FILES["async-rust"] = {".gitignore", "README.md", "warp.toml", "Cargo.toml", "Cargo.lock", "src/lib.rs", "tests/test.sh",
                       *(f"warpgrid-async/{path}" for path in COPIED)}  # fmt: skip


def written(folder):
    return {str(p.relative_to(folder)) for p in folder.rglob("*") if p.is_file()}


def contents(folder):
    return {p: (folder / p).read_bytes() for p in written(folder)}


# ---- the project works ----------------------------------------------------------------------


@pytest.mark.parametrize("database", ["none", "postgres"])
@pytest.mark.parametrize("http", ["p2", "p3"])
def test_c_project_builds_tests_and_serves(warp, tmp_path, postgres, http, database):
    out = warp("init", "shop", "--template", "c", "--http", http, "--database", database, "-y", cwd=tmp_path)
    assert out.returncode == 0, out.stderr
    project = tmp_path / "shop"
    assert written(project) == FILES["c"]
    works(warp, project, postgres, http, database)


@pytest.mark.parametrize("http", ["p2", "p3"])
def test_rust_project_builds_tests_and_serves(warp, tmp_path, http):
    name = f"till-{http}"
    out = warp("init", name, "--template", "rust", "--http", http, "-y", cwd=tmp_path)
    assert out.returncode == 0, out.stderr
    project = tmp_path / name
    assert written(project) == FILES["rust"]
    packages = sorted((project / "Cargo.lock").read_text().strip().split("\n\n"))
    works(warp, project, None, http, "none")
    # cargo took the versions that the template pins.
    assert sorted((project / "Cargo.lock").read_text().strip().split("\n\n")) == packages
    tests = subprocess.run(
        ["cargo", "test", "--quiet", "--locked"], cwd=project, env=warp.env(rust_env()), capture_output=True,
        text=True, timeout=600 * SLOW,
    )  # fmt: skip
    assert tests.returncode == 0 and "1 passed" in tests.stdout, tests.stdout + tests.stderr


@pytest.mark.parametrize("database", ["none", "postgres"])
def test_us_509_async_rust_project_builds_tests_and_serves(warp, tmp_path, postgres, database):
    """Outside of the repository: nothing of it is needed but what `warp` wrote."""
    name = f"till-{database}"
    args = ["--database", "none"] if database == "none" else []
    out = warp("init", name, "--template", "async-rust", *args, "-y", cwd=tmp_path)
    assert out.returncode == 0, out.stderr
    project = tmp_path / name
    assert written(project) == FILES["async-rust"]
    for path, file in COPIED.items():
        assert (project / "warpgrid-async" / path).read_bytes() == file.read_bytes(), path
    lock = (project / "Cargo.lock").read_text()
    assert ("tokio-postgres" in lock) == (database == "postgres")
    works(warp, project, postgres, "p3", database)
    # cargo took the versions that the template pins, and what cargo says of the code is nothing.
    assert sorted((project / "Cargo.lock").read_text().strip().split("\n\n")) == sorted(lock.strip().split("\n\n"))
    for command in (["test", "--quiet"], ["fmt", "--check"], ["clippy", "--quiet", "--", "-D", "warnings"]):
        locked = ["--locked"] if command[0] != "fmt" else []
        out = subprocess.run(
            ["cargo", command[0], *locked, *command[1:]], cwd=project, env=warp.env(rust_env()), capture_output=True,
            text=True, timeout=600 * SLOW,
        )  # fmt: skip
        assert out.returncode == 0 and "warning" not in out.stderr, out.stdout + out.stderr
        assert command[0] != "test" or "1 passed" in out.stdout
    assert "## Getting started" in (project / "README.md").read_text()


def test_us_509_requests_of_the_async_project_wait_side_by_side(warp, tmp_path, postgres):
    """20 requests that each wait 200 ms for the database, on one worker and a pool of 20."""
    assert warp("init", "till-postgres", "--template", "async-rust", "-y", cwd=tmp_path).returncode == 0
    project = tmp_path / "till-postgres"
    source = project / "src" / "lib.rs"
    source.write_text(source.read_text().replace("SELECT now()::text", "SELECT now()::text FROM pg_sleep(0.2)"))
    config = project / "warp.toml"
    config.write_text(config.read_text().replace("[http]", "[http]\nworkers = 1").replace(
        'protocol = "postgres"', 'protocol = "postgres"\npool_size = 20'))  # fmt: skip
    env = {**rust_env(), **postgres.env}
    out = warp("pack", cwd=project, env=env, timeout_s=600)
    assert out.returncode == 0, out.stderr
    server = Server(warp.popen("serve", "--listen", "127.0.0.1:0", cwd=project, env=env))
    try:
        server.wait_listening()
        assert server.get("/health").json == {"status": "ok"}
        for call in [server.background("GET", "/time") for _ in range(20)]:  # twenty logins
            assert call.result().status == 200
        start = time.monotonic()
        calls = [server.background("GET", "/time") for _ in range(20)]
        assert all(c.result().json["time"].startswith("20") for c in calls)
        assert time.monotonic() - start < 20 * 0.2 / 2 * SLOW
        server.stop()
    finally:
        server.kill()


def test_us_509_without_its_database_the_async_project_says_so(warp, tmp_path):
    assert warp("init", "till-postgres", "--template", "async-rust", "-y", cwd=tmp_path).returncode == 0
    project = tmp_path / "till-postgres"
    env = {**rust_env(), "PGHOST": "127.0.0.1", "PGPORT": str(free_port())}
    out = warp("pack", cwd=project, env=env, timeout_s=600)
    assert out.returncode == 0, out.stderr
    server = Server(warp.popen("serve", "--listen", "127.0.0.1:0", cwd=project, env=env))
    try:
        server.wait_listening()
        answer = server.get("/time")
        assert answer.status == 503 and answer.json == {"error": "the database is not available"}
        assert server.get("/health").json == {"status": "ok"}
        server.stop()
    finally:
        server.kill()


def rust_env():
    """Crates are compiled once for all projects."""
    env = pack_env()
    return {**env, "CARGO_TARGET_DIR": f"{env['WARPGRID_CACHE']}/warpgrid/guest-rust/target"}


def works(warp, project, postgres, http, database):
    env = {**rust_env(), **(postgres.env if database == "postgres" else {})}
    tests = subprocess.run(
        [project / "tests" / "test.sh"], env={**warp.env(env), "WARP": warp.binary},
        capture_output=True, text=True, timeout=600 * SLOW,
    )  # fmt: skip
    assert tests.returncode == 0, tests.stdout + tests.stderr
    assert tests.stdout.endswith("all passed\n") and "FAIL" not in tests.stdout
    assert ("/time" in tests.stdout) == (database == "postgres") and "skip" not in tests.stdout
    out = warp("validate", "--strict", "--json", cwd=project, env=env)
    assert out.returncode == 0 and json.loads(out.stdout)["kind"] == f"{http} service", out
    server = Server(warp.popen("serve", "--listen", "127.0.0.1:0", cwd=project, env=env))
    try:
        server.wait_listening()
        assert server.get("/hello?name=G%C3%B6del").json == {"hello": "Gödel"}
        assert server.request("POST", "/echo", b'{"a":[1,2]}').json == {"echo": {"a": [1, 2]}}
        assert server.request("POST", "/echo", b"nonsense").status == 400
        assert server.get("/nothing").status == 404
        if database == "postgres":
            assert server.get("/time").json["time"].startswith("20")
        server.stop()
    finally:
        server.kill()


def test_its_test_fails_when_the_service_is_wrong(warp, tmp_path):
    assert warp("init", "shop", "-y", cwd=tmp_path).returncode == 0
    source = tmp_path / "shop" / "src" / "main.c"
    source.write_text(source.read_text().replace('"hello"', '"goodbye"'))
    tests = subprocess.run(
        [tmp_path / "shop" / "tests" / "test.sh"], env={**warp.env(pack_env()), "WARP": warp.binary},
        capture_output=True, text=True, timeout=600 * SLOW,
    )  # fmt: skip
    assert tests.returncode == 1 and "FAIL" in tests.stderr, tests.stdout + tests.stderr


# ---- what it says ---------------------------------------------------------------------------


def test_lists_the_files_and_the_next_command(warp, tmp_path):
    out = warp("init", "shop", cwd=tmp_path)
    assert out.returncode == 0
    assert {line.removeprefix("shop/") for line in out.stdout.splitlines()} == FILES["c"]
    assert "taken: --template c --name shop --http p2 --database none" in out.stderr
    assert out.stderr.endswith("next: cd shop && warp dev\n")


def test_the_next_command_can_be_pasted(warp, tmp_path):
    for folder in ("My Shop", "it's", "$HOME", "./-x"):
        out = warp("init", folder, cwd=tmp_path)
        assert out.returncode == 0, out.stderr
        line = out.stderr.rstrip("\n").rsplit("next: ", 1)[1].replace("warp dev", "pwd")
        at = subprocess.run(["bash", "-c", line], cwd=tmp_path, capture_output=True, text=True, check=True)
        assert at.stdout.strip() == str(tmp_path / folder)


def test_a_name_that_the_lock_file_knows_is_refused(warp, tmp_path):
    out = warp("init", "http", "--template", "rust", cwd=tmp_path)
    assert out.returncode == 1 and not (tmp_path / "http").exists()
    assert "'http' is the name of a package that the template uses" in out.stderr
    assert "--name http-service" in out.stderr
    assert warp("init", "http", "--template", "rust", "--name", "http-service", cwd=tmp_path).returncode == 0


def test_json(warp, tmp_path):
    out = warp("init", "--json", "--name", "till", "--http", "p3", cwd=tmp_path)
    assert out.returncode == 0 and out.stderr == ""
    found = json.loads(out.stdout)
    assert set(found["files"]) == written(tmp_path) == FILES["c"]
    assert (found["template"], found["name"], found["http"], found["database"]) == ("c", "till", "p3", "none")
    assert 'name = "till"' in (tmp_path / "warp.toml").read_text()
    assert 'world = "service-p3"' in (tmp_path / "warp.toml").read_text()


def test_the_name_is_that_of_the_folder(warp, tmp_path):
    for folder, name in (("My Shop", "my-shop"), ("a/b/2nd_till/", "nd-till"), ("...", "service")):
        out = warp("init", folder, "--json", cwd=tmp_path)
        assert out.returncode == 0 and json.loads(out.stdout)["name"] == name


@pytest.mark.parametrize(
    "args, words",
    [
        (["--template", "cobol"], "unknown value 'cobol' of '--template'"),
        (["--http", "1.1"], "unknown value '1.1' of '--http'"),
        (["--database", "oracle"], "one of: none postgres"),
        (["--template", "rust", "--database", "postgres"], "has no database in this version"),
        (["--template", "async-rust", "--http", "p2"], "is of WASI 0.3, got '--http p2'"),
        (["--name", "Has Space"], "got 'Has Space'"),
        (["--name", ""], "got ''"),
        (["--name", "../../x"], "got '../../x'"),
        (["one", "two"], "unexpected argument 'two'"),
    ],
)
def test_parameters_are_checked(warp, tmp_path, args, words):
    out = warp("init", *args, cwd=tmp_path)
    assert out.returncode == 2 and words in out.stderr
    assert written(tmp_path) == set()


# ---- nothing is overwritten -----------------------------------------------------------------


@pytest.mark.parametrize("there", ["warp.toml", "src/main.c", ".gitignore"])
def test_never_overwrites(warp, tmp_path, there):
    (tmp_path / there).parent.mkdir(exist_ok=True)
    (tmp_path / there).write_text("mine\n")
    out = warp("init", "-y", cwd=tmp_path)
    assert out.returncode == 1 and there in out.stderr and "nothing was written" in out.stderr
    assert contents(tmp_path) == {there: b"mine\n"}


def test_a_dangling_link_is_a_file_too(warp, tmp_path):
    (tmp_path / "warp.toml").symlink_to("elsewhere")
    assert warp("init", "-y", cwd=tmp_path).returncode == 1
    assert not (tmp_path / "elsewhere").exists() and not (tmp_path / "README.md").exists()


def test_goes_beside_files_of_other_names(warp, tmp_path):
    (tmp_path / "LICENSE").write_text("mine\n")
    assert warp("init", "-y", cwd=tmp_path).returncode == 0
    assert (tmp_path / "LICENSE").read_text() == "mine\n"
    before = contents(tmp_path)
    assert warp("init", "-y", cwd=tmp_path).returncode == 1
    assert contents(tmp_path) == before


def test_a_folder_that_cannot_be_written_keeps_nothing(warp, tmp_path):
    (tmp_path / "src").write_text("a file, where a folder is needed\n")
    out = warp("init", "-y", cwd=tmp_path)
    assert out.returncode == 1 and "src" in out.stderr
    assert written(tmp_path) == {"src"}


# ---- questions ------------------------------------------------------------------------------


def test_asks_on_a_terminal(warp, tmp_path):
    t = Terminal(warp, ["init", "--http", "p3"], tmp_path)
    t.wait_for("template (")
    t.type("c\n")
    t.wait_for("name [")
    t.type("No Good\n")
    t.wait_for(" a name has lower-case letters")
    t.type("till\n")
    t.wait_for("database (none, postgres) [none]: ")
    t.type("postgres\n")
    assert t.end() == 0 and "http" not in t.text.split("next:")[0].replace("http p3", "")
    text = (tmp_path / "warp.toml").read_text()
    assert 'name = "till"' in text and "[databases.main]" in text and "service-p3" in text
    assert "taken:" not in t.text


def test_the_async_template_asks_for_no_wasi(warp, tmp_path):
    t = Terminal(warp, ["init", "shop", "--template", "async-rust"], tmp_path)
    for question in ("name [shop]", "database (none, postgres) [postgres]: "):
        t.wait_for(question)
        t.type("\n")
    assert t.end() == 0 and "http (" not in t.text
    assert written(tmp_path / "shop") == FILES["async-rust"]


def test_an_empty_answer_takes_what_is_proposed(warp, tmp_path):
    t = Terminal(warp, ["init", "shop"], tmp_path)
    for question in ("template (", "name [shop]", "http (p2, p3) [p2]", "database ("):
        t.wait_for(question)
        t.type("\n")
    assert t.end() == 0
    assert 'name = "shop"' in (tmp_path / "shop" / "warp.toml").read_text()


def test_the_end_of_input_writes_nothing(warp, tmp_path):
    t = Terminal(warp, ["init"], tmp_path)
    t.wait_for("template (")
    t.type("\x04")
    assert t.end() == 1 and "nothing was written" in t.text
    assert written(tmp_path) == set()


def test_ctrl_c_writes_nothing(warp, tmp_path):
    t = Terminal(warp, ["init"], tmp_path)
    t.wait_for("template (")
    t.type("\x03")
    assert t.end() != 0 and written(tmp_path) == set()


def test_yes_asks_nothing(warp, tmp_path):
    t = Terminal(warp, ["init", "-y"], tmp_path)
    assert t.end() == 0 and "[" not in t.text.replace("\x1b[", "")
    assert written(tmp_path) == FILES["c"]
