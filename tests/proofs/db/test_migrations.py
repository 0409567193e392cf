"""Migrations: branches, concurrent runs, and rollback of a failed one."""

import asyncio
import os
import shutil
import subprocess
import sys
from collections.abc import Callable
from functools import partial
from pathlib import Path

import mypy.api
import pytest
from alembic import command
from alembic.config import Config
from alembic.script import Script, ScriptDirectory
from alembic.util import CommandError
from sqlalchemy import NullPool, create_engine, inspect
from sqlalchemy.exc import DBAPIError
from structlog.testing import capture_logs

from app.db import DatabaseSettings, backend
from app.db import migrate as module
from app.db.migrate import MIGRATIONS, UNKNOWN_REMEDY, CodeRevisions, migrate
from tests.databases.server import run
from tests.db.conftest import Counter

PROJECT = MIGRATIONS.parent
Command = Callable[[Config], object]
MIGRATE_AT_ONCE = """
from multiprocessing import get_context

import alembic.autogenerate
from alembic.config import main

import app.main
from app.db import DatabaseSettings
from app.db.migrate import migrate

def migrate_once(number, barrier):
    barrier.wait()
    main(["upgrade", "head"]) if number % 2 else migrate(DatabaseSettings())

fork = get_context("fork")  # needs no new imports, so that all start in the same millisecond
barrier = fork.Barrier(4)
running = [fork.Process(target=migrate_once, args=(number, barrier)) for number in range(4)]
for process in running:
    process.start()
for process in running:
    process.join()
print([process.exitcode for process in running])
"""


@pytest.fixture
def settings(empty_database_url: str, monkeypatch: pytest.MonkeyPatch) -> DatabaseSettings:
    monkeypatch.setenv("DATABASE_URL", empty_database_url)
    return DatabaseSettings()


@pytest.fixture
def own_migrations(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """Point the code at a copy of the migrations, to which a test can add its own."""
    copy = tmp_path / "migrations of 100%"
    shutil.copytree(MIGRATIONS, copy, ignore=shutil.ignore_patterns("__pycache__"))
    (copy / "versions").mkdir(exist_ok=True)
    monkeypatch.setattr(module, "MIGRATIONS", copy)
    return copy


@pytest.fixture
def own_config(own_migrations: Path) -> Config:
    """Return the configuration of the `alembic` command for the copy."""
    config = Config()
    config.set_main_option("script_location", str(own_migrations).replace("%", "%%"))
    return config


def add_migration(config: Config, message: str, *, autogenerate: bool = False) -> str:
    """Run `alembic revision`; return the id of the new revision."""
    script = command.revision(config, message, autogenerate=autogenerate)
    assert isinstance(script, Script)
    return script.revision


def tables(settings: DatabaseSettings) -> set[str]:
    return set(inspect(create_engine(settings.sync_url, poolclass=NullPool)).get_table_names())


def version(settings: DatabaseSettings) -> set[str]:
    return {row[0] for row in run(settings.url, "SELECT version_num FROM alembic_version")}


def test_branches_are_read_as_alembic_does(own_migrations: Path, own_config: Config) -> None:
    [head] = ScriptDirectory(own_migrations).get_heads()
    for branch in ("1.0", "1.1"):
        command.revision(own_config, "branch", rev_id=branch, head=head, splice=True)
    branches = read_and_compare(own_migrations)
    command.merge(own_config, "heads", rev_id="1.2")
    merged = read_and_compare(own_migrations)

    assert not branches.are_in({"1.0"})
    assert branches.are_in({"1.0", "1.1"})
    assert branches.are_in({"1.2"})  # a later release's database
    assert not branches.are_in(set())
    assert merged.are_in({"1.2"})
    assert not merged.are_in({"1.0", "1.1"})


def test_a_merge_of_branches_passes_the_type_check(
    own_migrations: Path, own_config: Config
) -> None:
    [head] = ScriptDirectory(own_migrations).get_heads()
    for branch in ("1.0", "1.1"):
        command.revision(own_config, "branch", rev_id=branch, head=head, splice=True)

    merged = command.merge(own_config, "heads", "merge")

    assert isinstance(merged, Script)
    found, _, code = mypy.api.run(["--strict", "--follow-imports=skip", merged.path])
    assert code == 0, found


def test_revisions_in_any_formatting_are_read_as_alembic_does(own_migrations: Path) -> None:
    for name, text in {
        "old.py": 'revision = "old"\ndown_revision = None\nbranch_labels = ("a", "b")\n',
        "other.py": 'revision: str = "other"\ndown_revision: str | None = None  # the first\n',
        "merge.py": 'revision = "merge"\ndown_revision = (\n    "old",  # (one)\n    "other",\n)\n',
    }.items():
        (own_migrations / "versions" / name).write_text(text, encoding="utf-8")
    read_and_compare(own_migrations)


def test_revision_that_depends_on_another_branch_is_current(
    own_migrations: Path, own_config: Config, settings: DatabaseSettings
) -> None:
    [head] = ScriptDirectory(own_migrations).get_heads()
    command.revision(own_config, "other", rev_id="b1", head="base", branch_label="other")
    command.revision(own_config, "needs it", rev_id="c1", head=head, depends_on="b1")
    command.upgrade(own_config, "heads")
    assert CodeRevisions.read().are_in(version(settings))


def read_and_compare(folder: Path) -> CodeRevisions:
    """Return the revisions of the code, after checking that Alembic finds the same."""
    revisions = CodeRevisions.read()
    scripts = ScriptDirectory(folder)
    assert revisions.heads == set(scripts.get_heads())
    assert revisions.all == {script.revision for script in scripts.walk_revisions()}
    return revisions


def test_startup_migrates_only_an_empty_database(
    settings: DatabaseSettings, own_config: Config
) -> None:
    """Otherwise a reload would apply a migration that its author has not reviewed yet."""
    first = add_migration(own_config, "one")
    migrate(settings)
    add_migration(own_config, "two")
    migrate(settings)

    assert version(settings) == {first}


async def test_migrate_does_not_wait_for_a_writer_when_nothing_is_due(
    counter: Counter, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(backend, "_MIGRATION_TIMEOUT", 0.1, raising=False)  # only SQLite has it
    async with counter.locked():
        await asyncio.to_thread(migrate, counter.settings)


def test_every_applied_migration_is_logged(settings: DatabaseSettings, own_config: Config) -> None:
    own_config.attributes["settings"] = settings
    migrate(settings)
    revisions = [add_migration(own_config, message) for message in ("one", "two")]

    with capture_logs() as lines:
        command.upgrade(own_config, "head")
        command.downgrade(own_config, "-1")

    done = [(line["event"], *line["revisions"]) for line in lines]
    assert done == [("upgraded", name) for name in revisions] + [("downgraded", revisions[1])]


@pytest.mark.parametrize("act", [partial(command.upgrade, revision="head"), command.check])
def test_unknown_revision_is_left_alone_and_a_remedy_is_logged(
    settings: DatabaseSettings, own_migrations: Path, own_config: Config, act: Command
) -> None:
    later = add_migration(own_config, "later")
    migrate(settings)
    (own_migrations / "versions" / f"{later}_later.py").unlink()

    with capture_logs() as lines:
        migrate(settings)
    with pytest.raises(CommandError, match=rf"\({later}\).*`alembic stamp --purge head`"):
        act(own_config)

    assert version(settings) == {later}
    assert [(line["unknown"], line["remedy"]) for line in lines] == [([later], UNKNOWN_REMEDY)]
    command.stamp(own_config, "head", purge=True)
    command.check(own_config)


def test_autogenerated_migration_runs(
    settings: DatabaseSettings, own_migrations: Path, own_config: Config
) -> None:
    """The generated code for our own column types needs no manual repair."""
    env = own_migrations / "env.py"
    model = """
from sqlalchemy import Column, Integer, MetaData, Table
extra = MetaData()
Table("of_the_test", extra, Column("id", Integer, primary_key=True), Column("at", UtcDateTime))
"""
    source = env.read_text(encoding="utf-8").replace("[Base.metadata", "[extra, Base.metadata")
    env.write_text(source.replace("\n\ndef ", f"\n{model}\n\ndef ", 1), encoding="utf-8")
    migrate(settings)

    add_migration(own_config, "generated", autogenerate=True)
    command.upgrade(own_config, "head")
    command.check(own_config)

    assert "of_the_test" in tables(settings)


def test_four_concurrent_migrations_all_succeed(settings: DatabaseSettings) -> None:
    done = subprocess.run(  # noqa: S603 - this interpreter and fixed words
        [sys.executable, "-c", MIGRATE_AT_ONCE],
        cwd=PROJECT,
        env={**os.environ, "DATABASE_URL": settings.url},
        capture_output=True,
        text=True,
        check=False,
        timeout=120,
    )

    assert done.stdout.endswith("[0, 0, 0, 0]\n"), done.stderr
    assert version(settings) == set(ScriptDirectory(MIGRATIONS).get_heads())


def test_failed_migration_is_rolled_back(
    settings: DatabaseSettings, own_migrations: Path, own_config: Config
) -> None:
    migrate(settings)
    before = tables(settings), version(settings)
    add_migration(own_config, "fine")
    path = own_migrations / "versions" / f"{add_migration(own_config, 'broken')}_broken.py"
    statements = 'op.create_table("half", sa.Column("id", sa.Integer))\n    op.drop_table("none")'
    path.write_text(path.read_text(encoding="utf-8").replace("pass", statements, 1), "utf-8")

    with capture_logs() as lines, pytest.raises(DBAPIError):
        command.upgrade(own_config, "head")

    assert lines == []
    assert (tables(settings), version(settings)) == before
