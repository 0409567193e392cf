"""The lifespan: what features find when they are entered, and in which order all of it ends."""

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

import pytest
from fastapi import FastAPI

from app.feature import Feature
from app.mail import current_sender
from app.service import create_app
from app.tasks import RunnerClosed, TaskInfo, TaskObserver, task

seen: list[str] = []


@task
async def note() -> None:
    seen.append("task")


class Notes(TaskObserver):
    """Writes down the end of a task."""

    def succeeded(self, info: TaskInfo) -> None:
        seen.append(f"{info.name} succeeded")


@asynccontextmanager
async def lifespan(app: FastAPI) -> AsyncIterator[None]:
    await app.state.database.check()
    assert current_sender.get() is not None
    assert not app.state.runner.accepting
    seen.append("entered")
    yield
    await app.state.database.check()
    with pytest.raises(RunnerClosed):
        app.state.runner.submit(note)
    seen.append("left")


async def test_a_feature_lives_around_its_tasks(settings_env: pytest.MonkeyPatch) -> None:  # noqa: ARG001 - it is read
    seen.clear()
    feature = Feature(name="one", tasks=[note], observers=[Notes()], lifespan=lifespan)
    app = create_app(features=[feature, Feature(name="two")])

    async with app.router.lifespan_context(app):
        app.state.runner.submit(note)

    assert seen == ["entered", "task", "note succeeded", "left"]
