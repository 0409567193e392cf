"""Spans: one for every run, linked to the span that submitted the task."""

import asyncio
import logging

import pytest
from opentelemetry import trace
from opentelemetry.sdk.trace import ReadableSpan, TracerProvider
from opentelemetry.sdk.trace.export import SimpleSpanProcessor
from opentelemetry.sdk.trace.export.in_memory_span_exporter import InMemorySpanExporter
from opentelemetry.trace import SpanKind, StatusCode

from app.tasks import Retry, TaskRunner, TaskSettings, TracingObserver, task
from tests.tasks.gate import Gate

from .recorder import Recorder


class Traces:
    """A tracer provider that leaves the global one alone."""

    def __init__(self) -> None:
        self._exporter = InMemorySpanExporter()
        self.provider = TracerProvider()
        self.provider.add_span_processor(SimpleSpanProcessor(self._exporter))
        self.tracer = self.provider.get_tracer("test")

    @property
    def spans(self) -> list[ReadableSpan]:
        return [s for s in self._exporter.get_finished_spans() if s.name.startswith("task ")]


@pytest.fixture
def traces() -> Traces:
    return Traces()


@pytest.fixture
def settings() -> TaskSettings:
    return TaskSettings(drain_timeout=0.0)


def attribute(span: ReadableSpan, name: str) -> object:
    assert span.attributes is not None
    return span.attributes[name]


@task(name="work")
async def work() -> None:
    """Do nothing."""


async def test_the_span_of_a_run_links_to_the_span_of_its_request(
    traces: Traces, settings: TaskSettings
) -> None:
    async with TaskRunner(settings, [TracingObserver(traces.provider)]) as runner:
        with traces.tracer.start_as_current_span("request") as request:
            task_id = runner.submit(work, priority=3)
        await runner.join(5)
    (span,) = traces.spans
    assert span.name == "task work"
    assert span.kind is SpanKind.CONSUMER
    assert span.parent is None
    assert [link.context for link in span.links] == [request.get_span_context()]
    assert span.context is not None
    assert span.context.trace_id != request.get_span_context().trace_id
    assert span.status.status_code is StatusCode.UNSET
    assert attribute(span, "task.id") == task_id
    assert attribute(span, "task.priority") == 3
    assert attribute(span, "task.attempt") == 1
    assert attribute(span, "task.state") == "succeeded"


async def test_the_span_of_a_run_has_no_link_without_a_request(
    traces: Traces, settings: TaskSettings
) -> None:
    async with TaskRunner(settings, [TracingObserver(traces.provider)]) as runner:
        runner.submit(work)
        await runner.join(5)
    assert [list(span.links) for span in traces.spans] == [[]]


@pytest.mark.parametrize("threaded", [False, True])
async def test_the_span_of_a_run_is_current_inside_the_task(
    traces: Traces,
    settings: TaskSettings,
    threaded: bool,
) -> None:
    seen: list[object] = []

    async def in_loop() -> None:
        seen.append(trace.get_current_span().get_span_context())

    def in_thread() -> None:
        seen.append(trace.get_current_span().get_span_context())

    async with TaskRunner(settings, [TracingObserver(traces.provider)]) as runner:
        runner.submit(in_thread if threaded else in_loop)
        await runner.join(5)
    assert seen == [span.context for span in traces.spans]
    assert trace.get_current_span() is trace.INVALID_SPAN


async def test_each_run_of_retried_tasks_has_a_span(traces: Traces, settings: TaskSettings) -> None:
    @task(retry=Retry(attempts=3, delay=0))
    async def fails() -> None:
        raise ValueError("no luck")

    async with TaskRunner(settings, [TracingObserver(traces.provider)]) as runner:
        with traces.tracer.start_as_current_span("request") as request:
            runner.submit(fails)
        await runner.join(5)
    assert [attribute(span, "task.attempt") for span in traces.spans] == [1, 2, 3]
    states = [attribute(span, "task.state") for span in traces.spans]
    assert states == ["queued", "queued", "failed"]
    for span in traces.spans:
        assert [link.context for link in span.links] == [request.get_span_context()]
        assert span.status.status_code is StatusCode.ERROR
        assert span.status.description == "ValueError"
        assert [event.name for event in span.events] == ["exception"]


async def test_secrets_in_exceptions_are_redacted_in_spans(
    traces: Traces, settings: TaskSettings
) -> None:
    async def connect() -> None:
        raise ValueError("mysql://user:hunter2@host/db and password=hunter2")

    async with TaskRunner(settings, [TracingObserver(traces.provider)]) as runner:
        runner.submit(connect)
        await runner.join(5)
    (span,) = traces.spans
    (event,) = span.events
    attributes = {name: str(value) for name, value in (event.attributes or {}).items()}

    assert "//***@host/db" in attributes["exception.message"]
    assert "in connect" in attributes["exception.stacktrace"]
    assert "hunter2" not in f"{attributes}{span.status.description}"


async def test_the_span_of_a_timed_out_task_has_an_error_status(
    traces: Traces, settings: TaskSettings
) -> None:
    async with TaskRunner(settings, [TracingObserver(traces.provider)]) as runner:
        runner.options(timeout=0.01).submit(asyncio.Event().wait)
        await runner.join(5)
    (span,) = traces.spans
    assert attribute(span, "task.state") == "timed_out"
    assert span.status.status_code is StatusCode.ERROR


async def test_a_cancelled_task_has_a_span_only_if_it_began(
    traces: Traces, settings: TaskSettings, gate: Gate, caplog: pytest.LogCaptureFixture
) -> None:
    @task(max_concurrency=1, retry=Retry(delay=1e6, max_delay=1e6))
    async def hold(label: str) -> None:
        if label == "retry":
            raise ValueError
        await gate.hold()

    observers = [TracingObserver(traces.provider), recorder := Recorder()]
    async with TaskRunner(settings, observers) as runner:
        retrying = runner.submit(hold, "retry")
        running = runner.submit(hold, "run")
        waiting = runner.submit(hold, "wait")
        await gate.holds(1)
        assert all(runner.cancel(task_id) for task_id in (retrying, waiting, running))
        await runner.join(5)
    assert recorder.hooks.count("cancelled") == 3
    assert [attribute(span, "task.id") for span in traces.spans] == [retrying, running]
    assert [record for record in caplog.records if record.levelno > logging.WARNING] == []


async def test_the_observer_does_nothing_without_a_provider(
    settings: TaskSettings, caplog: pytest.LogCaptureFixture
) -> None:
    async with TaskRunner(settings, [TracingObserver()]) as runner:
        runner.submit(work)
        runner.options(timeout=0.01).submit(asyncio.Event().wait)
        await runner.join(5)
        assert runner.snapshot().succeeded == 1
    assert "observer" not in caplog.text
