"""Only PostgreSQL: URLs, timeouts, a server that goes away, offline migrations."""

import asyncio
import os
import signal
import socket
import time
from collections.abc import Iterator
from contextlib import closing, contextmanager, suppress
from pathlib import Path
from typing import Any

import httpx2
import psycopg
import pytest
from alembic import command
from alembic.config import Config
from fastapi import FastAPI
from psycopg.errors import DiskFull, LockNotAvailable, ProgramLimitExceeded
from sqlalchemy import NullPool, create_engine, inspect, make_url, text
from sqlalchemy.exc import IntegrityError, OperationalError

from app.db import Database, DatabaseSettings, backend
from app.db.migrate import MIGRATIONS
from app.db.readiness import NotReadyError
from app.service import create_app
from app.settings import ConfigurationError, read
from app.tasks import describe_traceback
from tests.databases import postgresql
from tests.databases.cluster import Cluster
from tests.databases.postgresql import PostgresqlServer
from tests.databases.server import run
from tests.db.conftest import INCREMENT, READ, TIMEOUT, Counter
from tests.server import ServerProcess

PROJECT = MIGRATIONS.parent
SLEEP = text("SELECT pg_sleep(60)")
NAMES = ("statement_timeout", "lock_timeout", "timezone")
CONNECTIONS = "SELECT pid FROM pg_stat_activity WHERE pid <> pg_backend_pid()"
TERMINATE = (
    "SELECT pg_terminate_backend(pid) FROM pg_stat_activity"
    " WHERE datname = current_database() AND pid <> pg_backend_pid()"
)


@pytest.fixture(scope="module")
def cluster() -> Iterator[Cluster]:
    with Cluster() as cluster:
        yield cluster


@pytest.fixture(scope="module")
def database_server(cluster: Cluster) -> PostgresqlServer:
    return PostgresqlServer(cluster.url)


@contextmanager
def frozen(cluster: Cluster) -> Iterator[None]:
    """Stop all processes of the server; its connections stay open."""
    assert cluster._server is not None
    with closing(psycopg.connect(cluster.url, autocommit=True)) as connection:
        pids = [cluster._server.pid]
        try:
            send(signal.SIGSTOP, pids)  # first the parent, so that it starts no others
            pids += [row[0] for row in connection.execute(CONNECTIONS)]
            send(signal.SIGSTOP, pids)
            yield
        finally:
            send(signal.SIGCONT, pids)


def send(signum: signal.Signals, pids: list[int]) -> None:
    for pid in pids:
        with suppress(ProcessLookupError):
            os.kill(pid, signum)


def test_cluster_refuses_the_port_of_another_server(
    cluster: Cluster, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Otherwise tests would create their databases on a stranger's server."""
    monkeypatch.setattr(Cluster, "_run", lambda *_: None)  # the port is refused without a folder
    message = "in use .*; append a free port to the command"
    with pytest.raises(SystemExit, match=message), Cluster(port=cluster.port):
        pass


async def increment_and_sleep(database: Database) -> None:
    async with database.session() as session:
        await session.execute(INCREMENT)
        await session.execute(SLEEP)


class TestUrl:
    @pytest.mark.parametrize("scheme", ["postgresql", "postgres", "postgresql+psycopg"])
    def test_url_schemes_are_accepted(self, monkeypatch: pytest.MonkeyPatch, scheme: str) -> None:
        monkeypatch.setenv("DATABASE_URL", f"{scheme}://ann:p%40ss@host:5433/a%20name")

        settings = read(DatabaseSettings)

        for url in (settings.async_url, settings.sync_url):
            assert url.drivername == "postgresql+psycopg"
            assert (url.password, url.database) == ("p@ss", "a name")
        assert "p@ss" not in repr(settings)
        assert "p%40ss" not in repr(settings)

    @pytest.mark.parametrize("url", ["postgresql://hunter2@host", "postgresql://hunter2@host:x/a"])
    def test_invalid_url_is_refused(self, monkeypatch: pytest.MonkeyPatch, url: str) -> None:
        monkeypatch.setenv("DATABASE_URL", url)

        with pytest.raises(ConfigurationError, match="must look like post") as caught:
            read(DatabaseSettings)

        assert "hunter2" not in str(caught.value)

    def test_production_has_no_default_url(self, monkeypatch: pytest.MonkeyPatch) -> None:
        assert backend.default_url().startswith("postgresql+psycopg://postgres:postgres@localhost")

        monkeypatch.setenv("ENVIRONMENT", "production")

        with pytest.raises(ValueError, match="production needs one"):
            backend.default_url()


_DUPLICATE = "INSERT INTO secrets VALUES (:value, 1), (:value, 2)"
_NULL = "INSERT INTO secrets VALUES (:value, NULL)"


@pytest.mark.parametrize("statement", [_DUPLICATE, _NULL])
async def test_description_of_an_error_has_no_values_of_the_row(
    database: Database, statement: str
) -> None:
    async with database.session() as session:
        await session.execute(text("CREATE TEMP TABLE secrets (key text UNIQUE, n int NOT NULL)"))
        with pytest.raises(IntegrityError) as raised:
            await session.execute(text(statement), {"value": "hunter2"})
        await session.rollback()

    assert "hunter2" in str(raised.value)  # the server quotes it
    assert "hunter2" not in describe_traceback(raised.value)
    assert "DETAIL:" in describe_traceback(raised.value)


@pytest.mark.parametrize("prepared", [True, False])
async def test_statements_are_prepared_unless_the_setting_forbids_it(
    counter: Counter, monkeypatch: pytest.MonkeyPatch, prepared: bool
) -> None:
    monkeypatch.setenv("DATABASE_PREPARED_STATEMENTS", str(prepared))
    async with Database(counter.settings) as database, database.session() as session:
        for _ in range(10):  # the driver prepares repeated statements
            await session.execute(READ)
        names = await session.scalars(text("SELECT name FROM pg_prepared_statements"))
        assert bool(names.all()) is prepared


class TestTimeouts:
    def test_invalid_statement_timeout_is_refused(self, monkeypatch: pytest.MonkeyPatch) -> None:
        monkeypatch.setenv("DATABASE_URL", "postgresql://host/name")
        monkeypatch.setenv("DATABASE_STATEMENT_TIMEOUT", "0")

        with pytest.raises(ConfigurationError, match="DATABASE_STATEMENT_TIMEOUT: "):
            read(DatabaseSettings)

    async def test_statement_timeout_ends_a_long_statement(
        self, counter: Counter, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        monkeypatch.setenv("DATABASE_STATEMENT_TIMEOUT", str(TIMEOUT))
        async with Database(counter.settings) as database:
            with pytest.raises(OperationalError, match="statement timeout"):
                await increment_and_sleep(database)
            await database.check()
        assert counter.value == 0

    async def test_options_of_the_url_override_our_defaults(self, counter: Counter) -> None:
        query = {"options": "-c statement_timeout=77s -c timezone=Asia/Tokyo"}
        url = make_url(counter.url).update_query_dict(query).render_as_string(hide_password=False)
        async with Database(DatabaseSettings(url=url)) as database, database.session() as session:
            values = [await session.scalar(text(f"SHOW {name}")) for name in NAMES]

        assert values == ["77s", "5s", "Asia/Tokyo"]

    @pytest.mark.skipif(not hasattr(socket, "TCP_USER_TIMEOUT"), reason="Linux has it")
    async def test_client_gives_up_a_vanished_server_after_a_minute(
        self, database: Database
    ) -> None:
        async with database.session() as session:
            connection = await session.connection()
            driver: Any = (await connection.get_raw_connection()).driver_connection
            descriptor = os.dup(driver.fileno())
        with socket.socket(fileno=descriptor) as to_server:
            milliseconds = to_server.getsockopt(socket.IPPROTO_TCP, socket.TCP_USER_TIMEOUT)
        assert milliseconds == 60_000  # the system's default is many minutes

    async def test_server_gives_up_a_vanished_client(self, database: Database) -> None:
        """Otherwise its locks would block tasks until the system's own timeout."""
        async with database.session() as session:
            assert await session.scalar(text("SHOW tcp_keepalives_idle")) == "30"
            assert await session.scalar(text("SHOW tcp_user_timeout")) == "60000"

    async def test_check_fails_in_time_when_the_server_does_not_answer(self) -> None:
        with socket.create_server(("127.0.0.1", 0)) as listener:  # nobody accepts the connection
            url = f"postgresql://a@127.0.0.1:{listener.getsockname()[1]}/a"
            begin = time.monotonic()
            async with Database(DatabaseSettings(url=url, pool_timeout=1.0)) as database:
                with pytest.raises(OperationalError):
                    await database.check()
        assert time.monotonic() - begin < 10


def test_only_temporary_errors_are_worth_a_retry() -> None:
    assert backend.can_pass(DiskFull())
    assert backend.can_pass(LockNotAvailable())
    assert not backend.can_pass(ProgramLimitExceeded())


async def test_isolation_level_is_set_by_the_code(database_url: str, database: Database) -> None:
    name = make_url(database_url).database
    async with database.session() as session:
        await session.execute(
            text(f"ALTER DATABASE {name} SET default_transaction_isolation = 'serializable'")
        )
    async with Database(DatabaseSettings(url=database_url)) as opened:
        levels = []
        for read_only in (False, True):
            async with opened.session(read_only=read_only) as session:
                levels.append(await session.scalar(text("SHOW transaction_isolation")))
    assert levels == ["read committed", "repeatable read"]


async def test_read_only_server_is_not_ready(counter: Counter) -> None:
    query = {"options": "-c default_transaction_read_only=on"}
    url = make_url(counter.url).update_query_dict(query).render_as_string(hide_password=False)
    async with Database(DatabaseSettings(url=url)) as database:
        with pytest.raises(NotReadyError, match="the database is read-only"):
            await database.check()


async def test_terminated_connections_are_replaced_without_an_error(
    database: Database, counter: Counter
) -> None:
    for _ in range(2):
        async with database.session() as session:
            await session.execute(INCREMENT)
        counter.run(TERMINATE)
    async with database.session() as session:
        await session.execute(INCREMENT)
    assert counter.value == 3


class TestWithoutTheServer:
    @pytest.fixture
    def settings_env(
        self, settings_env: pytest.MonkeyPatch, counter: Counter
    ) -> pytest.MonkeyPatch:
        settings_env.setenv("DATABASE_URL", counter.url)
        return settings_env

    async def test_requests_are_503_until_the_server_is_back(
        self, app: FastAPI, client: httpx2.AsyncClient, cluster: Cluster
    ) -> None:
        @app.get("/value")
        async def value() -> int:
            async with app.state.database.session() as session:
                return int(await session.scalar(READ))

        assert (await client.get("/value")).json() == 0
        cluster.stop()
        try:
            for path in ("/value", "/health/ready"):
                answer = await client.get(path)
                assert answer.status_code == 503
                assert answer.headers["Retry-After"] == "1"
            assert (await client.get("/health/live")).status_code == 200
        finally:
            cluster.start()
        assert (await client.get("/value")).json() == 0
        async with asyncio.timeout(10):
            while (await client.get("/health/ready")).status_code != 200:
                pass  # an answer is reused for a second

    async def test_frozen_server_delays_neither_answers_nor_shutdown(
        self, tmp_path: Path, counter: Counter, cluster: Cluster
    ) -> None:
        timings = {"SHUTDOWN_DELAY": "0", "TASKS_DRAIN_TIMEOUT": "0", "TASKS_SWEEP_INTERVAL": "0.1"}
        with ServerProcess(tmp_path, DATABASE_URL=counter.url, **timings) as server:
            assert server.get("/health/ready").status_code == 200
            with frozen(cluster):
                asked_at = time.monotonic()
                while server.get("/health/ready").status_code == 200:
                    asked_at = time.monotonic()  # that answer was reused
                assert time.monotonic() - asked_at < 5  # not as long as the server hangs
                server.terminate()
                ended_at = time.monotonic()
                server.wait_for_exit()
                assert time.monotonic() - ended_at < 10

    @pytest.mark.parametrize("environment", ["development", "production"])
    async def test_service_starts_unready_without_a_server(
        self,
        production_env: pytest.MonkeyPatch,
        database_server: PostgresqlServer,
        capsys: pytest.CaptureFixture[str],
        environment: str,
    ) -> None:
        production_env.setenv("ENVIRONMENT", environment)
        production_env.setenv("DATABASE_URL", database_server.unreachable())
        service = create_app()
        async with service.router.lifespan_context(service):
            transport = httpx2.ASGITransport(service)
            async with httpx2.AsyncClient(transport=transport, base_url="http://test") as client:
                assert (await client.get("/health/ready")).status_code == 503
        output = capsys.readouterr().out
        assert "the database cannot be used" in output
        assert "hunter2" not in output


class TestMigrations:
    @pytest.fixture
    def settings(
        self, database_server: PostgresqlServer, monkeypatch: pytest.MonkeyPatch
    ) -> Iterator[DatabaseSettings]:
        monkeypatch.setattr(database_server, "_prefix", f"100% sure {database_server._prefix}")
        url = database_server.create()
        monkeypatch.setenv("DATABASE_URL", url)
        yield DatabaseSettings()
        database_server.drop(url)

    def test_migrations_can_be_printed_as_sql(
        self, settings: DatabaseSettings, capsys: pytest.CaptureFixture[str]
    ) -> None:
        command.upgrade(Config(toml_file=PROJECT / "pyproject.toml"), "head", sql=True)

        printed = capsys.readouterr().out
        assert printed.index("BEGIN") < printed.index("pg_advisory_xact_lock")
        assert printed.index("pg_advisory_xact_lock") < printed.index("CREATE TABLE background_")
        assert inspect(create_engine(settings.sync_url, poolclass=NullPool)).get_table_names() == []


def test_given_server_is_left_without_new_databases(cluster: Cluster, tmp_path: Path) -> None:
    def names() -> set[str]:
        return {row[0] for row in run(cluster.url, "SELECT datname FROM pg_database")}

    before = names()

    with postgresql.start(cluster.url, tmp_path) as server, server.database(migrated=True) as url:
        assert make_url(url).database in names() - before

    assert names() == before
