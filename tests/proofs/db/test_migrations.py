"""Migrations: of branches, in turns, all or nothing."""

import asyncio
import os
import shutil
import subprocess
import sys
from collections.abc import Callable
from functools import partial
from pathlib import Path

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
Act = Callable[[Config], object]
AT_ONCE = """
from multiprocessing import get_context

import alembic.autogenerate
from alembic.config import main

import app.main
from app.db import DatabaseSettings
from app.db.migrate import migrate

def act(number, barrier):
    barrier.wait()
    main(["upgrade", "head"]) if number % 2 else migrate(DatabaseSettings())

fork = get_context("fork")  # imports nothing anew, so that all begin in the same millisecond
barrier = fork.Barrier(4)
running = [fork.Process(target=act, args=(number, barrier)) for number in range(4)]
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
    """Work on a copy of the migrations, in which a test can add some."""
    copy = tmp_path / "migrations of 100%"
    shutil.copytree(MIGRATIONS, copy, ignore=shutil.ignore_patterns("__pycache__"))
    (copy / "versions").mkdir(exist_ok=True)
    monkeypatch.setattr(module, "MIGRATIONS", copy)
    return copy


@pytest.fixture
def own_config(own_migrations: Path) -> Config:
    """Give what the `alembic` command would read beside the copy."""
    config = Config()
    config.set_main_option("script_location", str(own_migrations).replace("%", "%%"))
    return config


def add_migration(config: Config, message: str, *, autogenerate: bool = False) -> str:
    """Do what `alembic revision` does; return the id."""
    script = command.revision(config, message, autogenerate=autogenerate)
    assert isinstance(script, Script)
    return script.revision


def tables(settings: DatabaseSettings) -> set[str]:
    return set(inspect(create_engine(settings.sync_url, poolclass=NullPool)).get_table_names())


def version(settings: DatabaseSettings) -> set[str]:
    return {row[0] for row in run(settings.url, "SELECT version_num FROM alembic_version")}


def test_branches_and_merges(own_migrations: Path, own_config: Config) -> None:
    [head] = ScriptDirectory(own_migrations).get_heads()
    for branch in ("1.0", "1.1"):
        command.revision(own_config, "branch", rev_id=branch, head=head, splice=True)
    branches = as_alembic_reads_them(own_migrations)
    command.merge(own_config, "heads", rev_id="1.2")
    merged = as_alembic_reads_them(own_migrations)

    assert not branches.are_in({"1.0"})
    assert branches.are_in({"1.0", "1.1"})
    assert branches.are_in({"1.2"})  # of a later release
    assert not branches.are_in(set())
    assert merged.are_in({"1.2"})
    assert not merged.are_in({"1.0", "1.1"})


def test_the_template_of_alembic_itself_and_a_formatter(own_migrations: Path) -> None:
    for name, text in {
        "old.py": 'revision = "old"\ndown_revision = None\nbranch_labels = ("a", "b")\n',
        "other.py": 'revision: str = "other"\ndown_revision: str | None = None  # the first\n',
        "merge.py": 'revision = "merge"\ndown_revision = (\n    "old",  # (one)\n    "other",\n)\n',
    }.items():
        (own_migrations / "versions" / name).write_text(text, encoding="utf-8")
    as_alembic_reads_them(own_migrations)


def test_one_that_depends_on_another_branch(
    own_migrations: Path, own_config: Config, settings: DatabaseSettings
) -> None:
    [head] = ScriptDirectory(own_migrations).get_heads()
    command.revision(own_config, "other", rev_id="b1", head="base", branch_label="other")
    command.revision(own_config, "needs it", rev_id="c1", head=head, depends_on="b1")
    command.upgrade(own_config, "heads")
    assert CodeRevisions.read().are_in(version(settings))


def as_alembic_reads_them(folder: Path) -> CodeRevisions:
    """Return the revisions of the code, after a look at whether Alembic finds the same."""
    found = CodeRevisions.read()
    scripts = ScriptDirectory(folder)
    assert found.heads == set(scripts.get_heads())
    assert found.all == {script.revision for script in scripts.walk_revisions()}
    return found


def test_only_an_empty_database_is_migrated_unasked(
    settings: DatabaseSettings, own_config: Config
) -> None:
    """A reload would apply what its author has not read yet."""
    first = add_migration(own_config, "one")
    migrate(settings)
    add_migration(own_config, "two")
    migrate(settings)

    assert version(settings) == {first}


async def test_a_current_database_waits_for_no_writer(
    counter: Counter, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(backend, "_MIGRATION_TIMEOUT", 0.1, raising=False)  # SQLite's
    async with counter.locked():
        await asyncio.to_thread(migrate, counter.settings)


def test_every_migration_is_logged(settings: DatabaseSettings, own_config: Config) -> None:
    own_config.attributes["settings"] = settings
    migrate(settings)
    revisions = [add_migration(own_config, message) for message in ("one", "two")]

    with capture_logs() as lines:
        command.upgrade(own_config, "head")
        command.downgrade(own_config, "-1")

    done = [(line["event"], *line["revisions"]) for line in lines]
    assert done == [("upgraded", name) for name in revisions] + [("downgraded", revisions[1])]


@pytest.mark.parametrize("act", [partial(command.upgrade, revision="head"), command.check])
def test_a_database_of_other_code_is_left_alone_and_the_remedy_is_told(
    settings: DatabaseSettings, own_migrations: Path, own_config: Config, act: Act
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


def test_a_generated_migration_runs(
    settings: DatabaseSettings, own_migrations: Path, own_config: Config
) -> None:
    """What `alembic revision --autogenerate` writes about our own types needs no repair."""
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


def test_four_at_once_take_turns(settings: DatabaseSettings) -> None:
    done = subprocess.run(  # noqa: S603 - this interpreter and fixed words
        [sys.executable, "-c", AT_ONCE],
        cwd=PROJECT,
        env={**os.environ, "DATABASE_URL": settings.url},
        capture_output=True,
        text=True,
        check=False,
        timeout=120,
    )

    assert done.stdout.endswith("[0, 0, 0, 0]\n"), done.stderr
    assert version(settings) == set(ScriptDirectory(MIGRATIONS).get_heads())


def test_a_migration_that_fails_leaves_nothing(
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
