"""An OpenTelemetry span for every run of a task, linked to the span that submitted it."""

from collections.abc import Mapping
from contextvars import ContextVar

from opentelemetry import context as otel_context
from opentelemetry import trace
from opentelemetry.trace import Link, Span, SpanKind, Status, StatusCode
from opentelemetry.trace.propagation.tracecontext import TraceContextTextMapPropagator

from .context import Propagator
from .info import TaskInfo
from .observers import TaskObserver
from .redaction import describe_error, describe_traceback

_run: ContextVar[Span | None] = ContextVar("task_run", default=None)


class TracingObserver(TaskObserver):
    """Makes the span of a run the current span in the task.

    The submitter's span is linked and is not the parent, as in the semantic conventions for
    messaging: its trace has ended when a task begins an hour later or for the third time. Source:
    https://opentelemetry.io/docs/specs/semconv/messaging/messaging-spans/
    """

    def __init__(self, provider: trace.TracerProvider | None = None) -> None:
        self._tracer = trace.get_tracer("app.tasks", tracer_provider=provider)

    def started(self, info: TaskInfo) -> None:
        """Start the span, in the run's own context, which ends with the run."""
        submitter = trace.get_current_span().get_span_context()
        span = self._tracer.start_span(
            f"task {info.name}",
            context=otel_context.Context(),
            kind=SpanKind.CONSUMER,
            links=[Link(submitter)] if submitter.is_valid else [],
            attributes={
                "task.id": info.id,
                "task.name": info.name,
                "task.attempt": info.attempt,
                "task.priority": int(info.priority),
                "task.wait": info.wait,
            },
        )
        _run.set(span)
        otel_context.attach(trace.set_span_in_context(span))

    def succeeded(self, info: TaskInfo) -> None:
        """End the span of the run, unless the task was cancelled before a run."""
        span = _run.get()
        if span is None or info.duration is None:
            return
        span.set_attribute("task.state", str(info.state))
        if info.error is not None:
            attributes = {
                "exception.message": describe_error(info.error),
                "exception.stacktrace": describe_traceback(info.error),
            }
            span.record_exception(info.error, attributes=attributes)
            span.set_status(Status(StatusCode.ERROR, type(info.error).__name__))
        span.end()

    retried = failed = timed_out = cancelled = succeeded


def _inject_trace() -> dict[str, str]:
    injected: dict[str, str] = {}
    TraceContextTextMapPropagator().inject(injected)
    return injected


def _extract_trace(injected: Mapping[str, str]) -> None:
    otel_context.attach(TraceContextTextMapPropagator().extract(injected))


TRACE_PROPAGATOR = Propagator(_inject_trace, _extract_trace)
"""Links a task in another process, or after a restart, to the span that submitted it."""
