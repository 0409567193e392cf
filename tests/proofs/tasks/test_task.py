"""The decorator, and the callables that can be submitted without it."""

import functools
import math
from collections.abc import Callable
from functools import partial
from typing import Any

import pytest

from app.tasks import Retry, Task, TaskRunner, TaskSettings, task

from .recorder import Recorder


@task
async def add(a: int, b: int = 1) -> int:
    """Add two numbers."""
    return a + b


@task(name="sum", priority=3, timeout=math.inf, max_concurrency=2, rate_limit="10/minute")
def add_sync(a: int, b: int) -> int:
    return a + b


def test_two_tasks_with_one_name_are_refused() -> None:
    doubles: list[Task[..., Any]] = [task(name="one")(add.func), task(name="one")(add_sync.func)]
    with pytest.raises(ValueError, match="more than one task is called one"):
        TaskRunner(TaskSettings(), tasks=[add, *doubles])


class Mailer:
    sent: list[str] = []  # noqa: RUF012 - shared on purpose

    @staticmethod
    @task
    async def outer_static(to: str) -> None:
        Mailer.sent.append(f"outer {to}")

    @task
    @staticmethod
    async def inner_static(to: str) -> None:
        Mailer.sent.append(f"inner {to}")

    async def method(self, to: str) -> None:
        self.sent.append(f"method {to}")

    async def __call__(self, to: str) -> None:
        self.sent.append(f"call {to}")


async def test_a_task_stays_directly_callable() -> None:
    assert await add(1, b=2) == 3
    assert add_sync(1, 2) == 3


def test_a_task_looks_like_its_function() -> None:
    assert add.__doc__ == "Add two numbers."
    assert vars(add)["__name__"] == "add"
    assert repr(add) == "<Task add>"


def test_the_name_is_the_qualified_name_unless_given() -> None:
    assert Mailer.outer_static.name == "Mailer.outer_static"
    assert Mailer.inner_static.name == "Mailer.inner_static"
    assert add_sync.name == "sum"


def test_attributes_of_the_function_do_not_replace_the_options() -> None:
    async def flaky() -> None: ...

    vars(flaky).update(retry=object(), timeout="never", name="other")  # as tenacity's decorator

    assert task(flaky).retry is None
    assert task(timeout=3)(flaky).timeout == 3
    assert task(name="mine")(flaky).name == "mine"


async def test_decorating_a_task_again_gives_it_other_options(
    engine: TaskRunner, recorder: Recorder
) -> None:
    slow = task(name="slow add", timeout=60)(add)
    engine.submit(slow, 1)
    await engine.join(5)
    assert (slow.name, slow.timeout, add.timeout) == ("slow add", 60, None)
    assert recorder.names("succeeded") == ["slow add"]


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"priority": 10}, r"priority\n.* less than or equal to 9"),
        ({"priority": -1}, r"priority\n.* greater than or equal to 0"),
        ({"priority": True}, r"priority\n.* valid integer"),
        ({"priority": 5.0}, r"priority\n.* valid integer"),
        ({"priority": "high"}, r"priority\n.* valid integer"),
        ({"name": "n" * 201}, r"name\n.* at most 200 characters"),
        ({"timeout": 0}, r"timeout\n.* greater than 0"),
        ({"timeout": "3"}, r"timeout\n.* valid number"),
        ({"timeout": math.nan}, r"timeout\n.* greater than 0"),
        ({"max_concurrency": 0}, r"max_concurrency\n.* greater than or equal to 1"),
        ({"rate_limit": "fast"}, "written like"),
        ({"rate_limit": "0/second"}, '"10/minute"'),
        ({"rate_limit": "1/fortnight"}, '"10/minute"'),
        ({"retry": 3}, r"retry\n.* instance of Retry"),
        ({"retry": {"attempts": 3}}, r"retry\n.* instance of Retry"),
        ({"durable": "no"}, r"durable\n.* valid boolean"),
        ({"schedule": 300.0}, r"schedule\.timedelta\n.* valid timedelta"),
    ],
)
def test_an_invalid_option_is_refused(options: dict[str, Any], message: str) -> None:
    with pytest.raises(ValueError, match=message):
        task(**options)(lambda: None)


@pytest.mark.parametrize(
    "options", [{"attempts": 0}, {"delay": -1}, {"max_delay": math.inf}, {"delay": math.nan}]
)
def test_an_invalid_retry_is_refused(options: dict[str, Any]) -> None:
    with pytest.raises(ValueError, match=r"greater than or equal to|finite number"):
        Retry(**options)


@pytest.mark.parametrize("types", [["ValueError"], (ValueError, "x"), (int,), None])
def test_retrying_on_other_than_exception_types_is_refused(types: Any) -> None:
    with pytest.raises(ValueError, match="subclass of BaseException"):
        Retry(on=types)


@pytest.mark.parametrize(
    "options", [{"delay": -1}, {"delay": math.inf}, {"delay": math.nan}, {"timeout": -1}]
)
async def test_an_invalid_option_of_a_call_is_refused(
    engine: TaskRunner, options: dict[str, Any]
) -> None:
    with pytest.raises(ValueError, match=r"delay|timeout"):
        engine.options(**options)


def test_methods_cannot_be_tasks() -> None:
    async def method(self: object) -> None: ...

    async def for_class(cls: type) -> None: ...

    class_method: Any = classmethod(for_class)
    for func in (method, for_class, class_method):
        with pytest.raises(TypeError, match="make it a static method"):
            task(func)


async def test_static_methods_run_with_the_decorators_in_either_order(engine: TaskRunner) -> None:
    Mailer.sent.clear()
    engine.submit(Mailer.outer_static, "a")
    engine.submit(Mailer().outer_static, "b")
    engine.submit(Mailer.inner_static, "c")
    engine.submit(Mailer().inner_static, "d")
    await engine.join(5)
    assert sorted(Mailer.sent) == ["inner c", "inner d", "outer a", "outer b"]


def _plain_callables() -> list[tuple[str, Callable[..., Any]]]:
    mailer = Mailer()

    def sync(to: str) -> None:
        mailer.sent.append(f"sync {to}")

    @functools.wraps(sync)
    def wrapped(to: str) -> None:
        sync(f"wrapped {to}")

    return [
        ("method x", mailer.method),
        ("call x", mailer),
        ("sync x", sync),
        ("sync wrapped x", wrapped),
        ("outer x", partial(Mailer.outer_static)),
        ("method x", partial(partial(mailer.method))),
        ("lambda x", lambda to: mailer.sent.append(f"lambda {to}")),
        ("x", mailer.sent.append),
    ]


@pytest.mark.parametrize(("sent", "func"), _plain_callables())
async def test_any_callable_runs(engine: TaskRunner, sent: str, func: Callable[..., Any]) -> None:
    Mailer.sent.clear()
    engine.submit(func, "x")
    await engine.join(5)
    assert Mailer.sent == [sent]


class Sender:
    def __init__(self) -> None:
        self.sent: list[tuple[str, int]] = []

    async def __call__(self, text: str, number: int) -> None:
        self.sent.append((text, number))


@pytest.mark.parametrize("wrapped", ["object", "partial", "partial of an object"])
async def test_a_partial_and_a_callable_object_can_be_decorated(wrapped: str) -> None:
    sender = Sender()

    async def send(text: str, number: int) -> None:
        await sender(text, number)

    funcs: dict[str, Callable[..., Any]] = {
        "object": sender,
        "partial": partial(send, number=1),
        "partial of an object": partial(sender, number=1),
    }
    decorated = task(name=wrapped)(funcs[wrapped])
    async with TaskRunner(TaskSettings()) as runner:
        runner.submit(decorated, "hi", number=2)
        await runner.join(10)

    assert sender.sent == [("hi", 2)]


async def test_the_name_of_a_plain_callable_does_not_depend_on_the_call(
    engine: TaskRunner, recorder: Recorder
) -> None:
    mailer = Mailer()
    funcs: list[Callable[..., Any]] = [partial(add, 1), partial(partial(add), 2), mailer]
    funcs.append(mailer.method)
    for func in funcs:
        engine.submit(func, 1)
    await engine.join(5)
    assert recorder.names("queued") == ["add", "add", "Mailer", "Mailer.method"]


async def test_functions_that_return_a_coroutine_or_generator_fail(
    engine: TaskRunner, recorder: Recorder
) -> None:
    def generator() -> Any:
        yield

    async def async_generator() -> Any:
        yield

    for func in (lambda: add(1), generator, async_generator):
        engine.submit(func)
    await engine.join(5)
    assert recorder.hooks.count("failed") == 3
    assert all("nobody would run" in str(error) for error in recorder.errors)


async def test_task_ids_are_unique(engine: TaskRunner) -> None:
    ids = {engine.submit(add, 1) for _ in range(500)}
    assert len(ids) == 500
    await engine.join(5)


async def test_wrong_arguments_are_refused_at_the_call(engine: TaskRunner) -> None:
    with pytest.raises(TypeError, match="task add: missing a required argument: 'a'"):
        engine.submit(add)  # type: ignore[call-overload]
    with pytest.raises(TypeError, match="too many positional"):
        engine.submit(add, 1, 2, 3)  # type: ignore[call-overload]


async def test_wrong_arguments_of_a_plain_callable_fail_the_task(
    engine: TaskRunner, recorder: Recorder
) -> None:
    engine.submit(partial(add.func), "a", "b", "c")
    await engine.join(5)
    assert recorder.names("failed") == ["add"]


def test_a_task_is_generic_in_its_signature() -> None:
    typed: Task[[int, int], int] = add_sync
    assert typed.is_async is False
