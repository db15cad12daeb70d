# SPDX-License-Identifier: Apache-2.0
import pytest
from fault_proxy import FaultProxy
from harness import Warp, find_guest, find_warp
from infra import Postgres


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


@pytest.fixture
def fault_proxy(postgres):
    """A proxy in front of PostgreSQL that misbehaves when told to."""
    with FaultProxy(postgres.host, postgres.port) as proxy:
        yield proxy
