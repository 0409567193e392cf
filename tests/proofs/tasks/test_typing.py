"""How calls are typed: mypy checks this file, and an unused ignore comment is an error."""

import pytest

from app.tasks import Priority, Retry, Task, TaskRunner, task
from app.tasks.dependency import RequestTasks


@task(timeout=30, retry=Retry(attempts=1))
async def process(number: int, text: str = "") -> bytes:
    return text.encode() * number


@task
def plain(number: int) -> str:
    return str(number)


async def test_correct_calls_are_typed_and_run(engine: TaskRunner) -> None:
    tasks = RequestTasks(engine)
    typed: Task[[int], str] = plain
    text: str = typed(1)
    result: bytes = await process(2, text="a")
    assert (text, result) == ("1", b"aa")
    ids: list[str] = [
        tasks.add_task(process, 1, text="a"),
        tasks.add_task(process, 1, priority=Priority.HIGH),
        tasks.add_task(print, "anything"),
        tasks.options(delay=1, priority=3).add_task(process, 1),
        engine.submit(process, 1, text="a"),
        engine.submit(plain, 1, priority=3),
        engine.options(timeout=1).submit(process, 1, "a"),
    ]
    tasks.end(succeeded=False)
    await engine.join(5)
    assert len(set(ids)) == 7


async def test_wrong_calls_are_type_errors(engine: TaskRunner) -> None:
    tasks = RequestTasks(engine)
    with pytest.raises(TypeError):
        tasks.add_task(process)  # type: ignore[call-overload]
    with pytest.raises(TypeError):
        tasks.add_task(process, "one")  # type: ignore[call-overload]
    with pytest.raises(TypeError):
        tasks.options(delay=1).add_task(process, 1, 2)  # type: ignore[arg-type]
    with pytest.raises(TypeError):
        engine.submit(process, numbr=1)  # type: ignore[call-overload]
    with pytest.raises(TypeError):
        engine.options(timeout=1).submit(plain, 1, 2)  # type: ignore[call-arg]
    with pytest.raises(ValueError, match="delya"):
        engine.options(delya=1)  # type: ignore[call-arg]
    assert engine._capacity.reserved == 0
