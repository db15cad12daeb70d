# SPDX-License-Identifier: Apache-2.0
from contextlib import contextmanager

import pytest
from fault_proxy import FaultProxy
from harness import Server, Site, Warp, find_guest, find_warp
from infra import MySQL, Postgres, Redis
from libpq import Libpq


@pytest.fixture(scope="session")
def warp(tmp_path_factory):
    """Runs `warp`; compiled guests are cached for the session only."""
    return Warp(find_warp(), tmp_path_factory.mktemp("home"))


@pytest.fixture(scope="session")
def guest():
    """guest("hello-p2"): the path of a component that the build made."""
    return find_guest


@pytest.fixture(scope="session")
def postgres_server(tmp_path_factory):
    pg = Postgres(tmp_path_factory.mktemp("infra"))
    yield pg
    pg.close()


@pytest.fixture
def postgres(postgres_server):
    """The session's PostgreSQL: it runs, has no other client, and its tables are as seeded."""
    pg = postgres_server
    pg.wait_ready()
    pg.terminate_backends()
    pg.sql("DELETE FROM test_users WHERE id > 5")
    return pg


@pytest.fixture(scope="session")
def mysql(tmp_path_factory):
    """A MariaDB that runs as long as the session."""
    server = MySQL(tmp_path_factory.mktemp("mysql"))
    yield server
    server.close()


@pytest.fixture(scope="session")
def redis(tmp_path_factory):
    """A Redis that runs as long as the session."""
    server = Redis(tmp_path_factory.mktemp("redis"))
    yield server
    server.close()


@pytest.fixture
def fault_proxy(postgres):
    """A proxy in front of PostgreSQL that misbehaves when told to."""
    with FaultProxy(postgres.host, postgres.port) as proxy:
        yield proxy


@pytest.fixture
def site(warp, guest, tmp_path):
    """Folder, configuration and server of a test that changes them while it serves."""
    s = Site(tmp_path, guest)

    @contextmanager
    def serve(*args, env=None):
        s.server = Server(warp.popen("serve", *args, cwd=tmp_path, env=env))
        try:
            s.server.wait_listening()
            yield s.server
            s.server.stop()
        except BaseException:
            s.server.kill()
            s.server.log.join()
            print("\n".join(s.server.log.lines[-200:]))
            raise

    s.serve = serve
    return s


@pytest.fixture(scope="session")
def libpq(tmp_path_factory):
    """libpq and psql for guests."""
    return Libpq(tmp_path_factory.mktemp("libpq"))
