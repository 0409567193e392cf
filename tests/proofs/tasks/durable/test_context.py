"""Request id, trace and identity of a durable task, in its first process and in later ones."""

import json
from contextvars import ContextVar

import pytest
import structlog
from opentelemetry.sdk.trace import TracerProvider
from opentelemetry.sdk.trace.export import SimpleSpanProcessor
from opentelemetry.sdk.trace.export.in_memory_span_exporter import InMemorySpanExporter

from app.logs import LOG_CONTEXT
from app.tasks import Propagator, TaskInfo, TracingObserver, current_task, task
from app.tasks.context import propagate_all
from app.tasks.trace_observer import TRACE_PROPAGATOR

from .world import World

seen: list[dict[str, object]] = []
infos: list[TaskInfo] = []


@task(durable=True)
async def observe() -> None:
    seen.append(structlog.contextvars.get_contextvars())
    info = current_task()
    assert info is not None
    infos.append(info)


async def test_the_request_id_survives_a_restart(world: World) -> None:
    seen.clear()
    with structlog.contextvars.bound_contextvars(request_id="abc-123"):
        async with world.process(observe, propagator=LOG_CONTEXT) as process:
            await process.submit(observe)
            await process.watcher.until("succeeded")
            process.runner._poller.stop_claiming()  # type: ignore[union-attr]  # it has started
            await process.submit(observe)
    async with world.process(observe, propagator=LOG_CONTEXT) as process:
        await process.watcher.until("succeeded")
    assert [context["request_id"] for context in seen] == ["abc-123", "abc-123"]


async def test_combined_propagators_restore_request_id_and_trace(world: World) -> None:
    seen.clear()
    spans = InMemorySpanExporter()
    provider = TracerProvider()
    provider.add_span_processor(SimpleSpanProcessor(spans))
    propagator = propagate_all(LOG_CONTEXT, TRACE_PROPAGATOR)
    with (
        structlog.contextvars.bound_contextvars(request_id="abc-123"),
        provider.get_tracer("test").start_as_current_span("request") as request,
    ):
        async with world.process(observe, propagator=propagator) as process:
            process.runner._poller.stop_claiming()  # type: ignore[union-attr]  # it has started
            await process.submit(observe)
    observer = TracingObserver(provider)
    async with world.process(observe, propagator=propagator, observers=[observer]) as process:
        await process.watcher.until("succeeded")
    (run,) = [span for span in spans.get_finished_spans() if span.name == "task observe"]
    assert [link.context.span_id for link in run.links] == [request.get_span_context().span_id]
    assert [set(context) for context in seen] == [{"request_id"}]


async def test_the_request_id_does_not_leak_into_other_tasks(world: World) -> None:
    seen.clear()
    for n in range(3):
        await world.insert(f"row-{n}", observe.name, context=json.dumps({"log.request_id": str(n)}))
    await world.insert("none", observe.name)
    async with world.process(observe, propagator=LOG_CONTEXT) as process:
        await process.watcher.until("succeeded", 4)
    assert [context.get("request_id") for context in seen] == ["0", "1", "2", None]


async def test_a_task_keeps_its_id_and_creation_time(world: World) -> None:
    infos.clear()
    await world.insert("an-id", observe.name, created_at=1000.0)
    async with world.process(observe) as process:
        await process.watcher.until("succeeded")
    assert [(info.id, info.created_at, info.attempt) for info in infos] == [("an-id", 1000.0, 1)]


async def test_a_propagator_that_cannot_extract_fails_only_its_task(world: World) -> None:
    colour: ContextVar[str] = ContextVar("colour", default="")

    def restore(saved: dict[str, str]) -> None:
        colour.set(saved["colour"])

    propagator = Propagator(lambda: {"colour": colour.get()}, restore)  # type: ignore[arg-type]
    await world.insert("bad", observe.name)
    async with world.process(observe, propagator=propagator) as process:
        await process.watcher.until("failed")
        await process.submit(observe)
        await process.watcher.until("succeeded")
        assert (await process.record("bad")).error == "KeyError: 'colour'"


async def test_a_propagator_that_cannot_inject_fails_the_commit(world: World) -> None:
    def save() -> dict[str, str]:
        raise KeyError

    async with world.process(observe, propagator=Propagator(save)) as process:
        with pytest.raises(KeyError):
            await process.submit(observe)
        assert process.reserved == 0
    assert world.states == []
