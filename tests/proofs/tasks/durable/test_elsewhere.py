"""A copy of `app/tasks` works in another service under another name, as its README says."""

import subprocess
import sys
from pathlib import Path
from shutil import copytree, ignore_patterns

import pytest

import app.tasks

OTHER_SERVICE = """
import asyncio
from contextlib import asynccontextmanager

from sqlalchemy.ext.asyncio import AsyncSession, create_async_engine

from jobs import TaskRunner, TaskSettings, step, task
from jobs.durable import metadata
from jobs.durable.outbox import outbox

engine = create_async_engine("sqlite+aiosqlite:///other.db")


@asynccontextmanager
async def sessions(*, read_only=False):
    async with AsyncSession(engine) as session:
        with outbox(session):
            async with session.begin():
                yield session


async def charge() -> str:
    return "a receipt"


@task(durable=True)
async def order() -> None:
    print(await step("charge", charge))


async def main():
    async with engine.begin() as connection:
        await connection.run_sync(metadata.create_all)
    async with TaskRunner(TaskSettings(), tasks=[order], sessions=sessions) as runner:
        async with sessions():
            runner.submit(order)
        await runner.join(10)
    await engine.dispose()


asyncio.run(main())
"""


def test_the_task_module_works_in_another_service(tmp_path: Path) -> None:
    pytest.importorskip("aiosqlite")
    ignored = ignore_patterns("celery", "__pycache__")
    copytree(Path(app.tasks.__file__).parent, tmp_path / "jobs", ignore=ignored)
    command = [sys.executable, "-c", OTHER_SERVICE]
    result = subprocess.run(  # noqa: S603 - this interpreter and the text above
        command, cwd=tmp_path, check=True, capture_output=True, text=True, timeout=60
    )
    assert result.stdout == "a receipt\n"
