"""The lifespan: what a feature can use when it starts, and in which order everything stops."""

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

import pytest
from fastapi import FastAPI

from app.feature import Feature
from app.mail import current_sender
from app.service import create_app
from app.tasks import RunnerClosed, TaskInfo, TaskObserver, task

events: list[str] = []


@task
async def note() -> None:
    events.append("task")


class EndRecorder(TaskObserver):
    """Records the success of a task."""

    def succeeded(self, info: TaskInfo) -> None:
        events.append(f"{info.name} succeeded")


@asynccontextmanager
async def lifespan(app: FastAPI) -> AsyncIterator[None]:
    await app.state.database.check()
    assert current_sender.get() is not None
    assert not app.state.runner.accepting
    events.append("entered")
    yield
    await app.state.database.check()
    with pytest.raises(RunnerClosed):
        app.state.runner.submit(note)
    events.append("left")


@pytest.mark.usefixtures("settings_env")
async def test_a_feature_starts_before_its_tasks_and_stops_after_them() -> None:
    events.clear()
    feature = Feature(name="one", tasks=[note], observers=[EndRecorder()], lifespan=lifespan)
    app = create_app(features=[feature, Feature(name="two")])

    async with app.router.lifespan_context(app):
        app.state.runner.submit(note)

    assert events == ["entered", "task", "note succeeded", "left"]
