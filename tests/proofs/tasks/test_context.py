"""What a task can read: context variables, its runner, its own info; and what it frees."""

import asyncio
import gc
import weakref
from collections.abc import Iterator
from contextvars import Context, ContextVar
from typing import Any

import pytest

from app.tasks import (
    Retry,
    RunnerClosed,
    TaskInfo,
    TaskObserver,
    TaskRunner,
    TaskSettings,
    current_runner,
    current_task,
)

request_id: ContextVar[str] = ContextVar("request_id", default="none")
database: ContextVar[str] = ContextVar("database", default="none")


@pytest.fixture(params=["async", "sync"])
def see(request: pytest.FixtureRequest) -> Any:
    """Give an async and a sync function that note the context of their task."""

    def observe(seen: list[Any]) -> None:
        info = current_task()
        assert info is not None
        seen.append((request_id.get(), database.get(), current_runner(), info.id))
        request_id.set("changed by the task")

    async def observe_async(seen: list[Any]) -> None:
        observe(seen)

    return observe if request.param == "sync" else observe_async


async def test_a_task_sees_the_context_of_its_submitter_then_of_the_lifespan(see: Any) -> None:
    seen: list[Any] = []
    database.set("of the lifespan")
    request_id.set("of the lifespan")
    async with TaskRunner(TaskSettings()) as runner:
        request_id.set("of the request")
        task_id = runner.submit(see, seen)
        request_id.set("set too late")
        await runner.join(5)
    assert seen == [("of the request", "of the lifespan", runner, task_id)]
    assert request_id.get() == "set too late"


async def test_the_lifespan_supplies_variables_that_the_submitter_lacks(see: Any) -> None:
    seen: list[Any] = []
    database.set("of the lifespan")
    async with TaskRunner(TaskSettings()) as runner:
        Context().run(runner.submit, see, seen)
        await runner.join(5)
    assert seen[0][:2] == ("none", "of the lifespan")


async def test_variables_provided_by_the_runner_override_the_submitters() -> None:
    seen = []

    async def work() -> None:
        seen.append(database.get())

    first = TaskRunner(TaskSettings(), provided={database: "first"})
    second = TaskRunner(TaskSettings(), provided={database: "second"})
    async with first, second:
        database.set("another")
        first.submit(work)
        second.submit(work)
        await first.join(10)
        await second.join(10)

    assert sorted(seen) == ["first", "second"]


async def test_there_is_no_current_task_outside_a_task(engine: TaskRunner) -> None:
    assert current_task() is None
    with pytest.raises(RunnerClosed, match="does not run in a task"):
        current_runner()
    assert engine.accepting


async def test_a_retry_starts_from_the_context_of_the_submitter(engine: TaskRunner) -> None:
    seen: list[tuple[str, int]] = []

    async def fails() -> None:
        info = current_task()
        assert info is not None
        seen.append((request_id.get(), info.attempt))
        request_id.set("by an attempt")
        raise ValueError

    request_id.set("of the request")
    engine.options(retry=Retry(attempts=2, delay=0)).submit(fails)
    await engine.join(5)
    assert seen == [("of the request", 1), ("of the request", 2)]


async def test_a_task_submitted_by_a_task_inherits_its_context(engine: TaskRunner) -> None:
    seen: list[str] = []

    async def parent() -> None:
        request_id.set("of the parent")
        current_runner().submit(child)

    def child() -> None:
        seen.append(request_id.get())
        current_runner().submit(grandchild)

    async def grandchild() -> None:
        info = current_task()
        assert info is not None
        seen.append(info.name.rpartition(".")[2])

    engine.submit(parent)
    await engine.join(5)
    assert seen == ["of the parent", "grandchild"]


async def test_observers_see_the_context_of_the_task() -> None:
    seen: list[str] = []

    class Watch(TaskObserver):
        def started(self, _: TaskInfo) -> None:
            seen.append(request_id.get())

        def succeeded(self, info: TaskInfo) -> None:
            assert current_task() is info
            seen.append(request_id.get())

    async def change() -> None:
        request_id.set("changed by the task")

    async with TaskRunner(TaskSettings(), [Watch()]) as runner:
        request_id.set("of the request")
        runner.submit(change)
    assert seen == ["of the request", "changed by the task"]


class Payload:
    """An argument that a weak reference can watch."""


class PayloadError(Exception):
    """An exception that a weak reference can watch."""


@pytest.fixture
def no_garbage_collector() -> Iterator[None]:
    gc.collect()
    gc.disable()
    yield
    gc.enable()


async def _succeed(_: Payload) -> None: ...


async def _fail(_: Payload) -> None:
    raise PayloadError


def _fail_in_thread(_: Payload) -> None:
    raise PayloadError


class Errors(TaskObserver):
    """Keeps the errors until a test drops them."""

    def __init__(self) -> None:
        self.kept: list[BaseException | None] = []

    def failed(self, info: TaskInfo) -> None:
        self.kept.append(info.error)


@pytest.mark.usefixtures("no_garbage_collector")
@pytest.mark.parametrize("func", [_succeed, _fail, _fail_in_thread])
async def test_an_ended_task_is_freed_without_the_garbage_collector(func: Any) -> None:
    errors = Errors()
    async with TaskRunner(TaskSettings(), [errors]) as runner:
        payload = Payload()
        watched: list[weakref.ref[Any]] = [weakref.ref(payload)]
        runner.submit(func, payload)
        del payload
        await runner.join(5)
        watched += [weakref.ref(error) for error in errors.kept if error is not None]
        assert len(watched) == (1 if func is _succeed else 2)
        errors.kept.clear()
        async with asyncio.timeout(5):
            while any(ref() is not None for ref in watched):  # noqa: ASYNC110 - a thread may hold one
                await asyncio.sleep(0)
        assert runner.snapshot().tasks == ()


@pytest.mark.usefixtures("no_garbage_collector")
async def test_a_task_info_that_is_kept_does_not_keep_the_arguments(engine: TaskRunner) -> None:
    kept: list[TaskInfo] = []

    class Keeper(TaskObserver):
        def succeeded(self, info: TaskInfo) -> None:
            kept.append(info)

    async with TaskRunner(TaskSettings(), [Keeper()]) as runner:
        payload = Payload()
        watched = weakref.ref(payload)
        runner.submit(_succeed, payload)
        del payload
        await runner.join(5)
    assert kept[0].name == "_succeed"
    assert watched() is None
    assert engine.accepting


async def test_the_traceback_begins_in_the_task_and_not_in_the_engine() -> None:
    errors = Errors()
    async with TaskRunner(TaskSettings(), [errors]) as runner:
        runner.submit(_fail, Payload())
    error = errors.kept[0]
    assert error is not None
    assert error.__traceback__ is not None
    assert error.__traceback__.tb_frame.f_code.co_name == "_fail"
