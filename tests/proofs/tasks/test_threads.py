"""Sync functions run in threads of their own, and tasks can be submitted from any thread."""

import asyncio
import threading
from collections import Counter

import anyio.to_thread
import pytest

from app.tasks import QueueFull, TaskRunner, TaskSettings, current_runner, task
from app.tasks.threads import TaskThreads
from tests.tasks.watcher import Watcher

from .recorder import Recorder


class Meeting:
    """Holds `count` threads until all of them and the test are there at once."""

    def __init__(self, count: int) -> None:
        self._barrier = threading.Barrier(count + 1)

    def attend(self) -> None:
        self._barrier.wait(5)

    async def complete(self) -> None:
        """Join as the last one, without blocking the loop."""
        await asyncio.get_running_loop().run_in_executor(None, self._barrier.wait, 5)


async def test_sync_functions_run_concurrently_in_threads() -> None:
    meeting = Meeting(8)
    names: list[str] = []

    def attend() -> None:
        names.append(threading.current_thread().name)
        meeting.attend()

    async with TaskRunner(TaskSettings(max_threads=8)) as runner:
        for _ in range(8):
            runner.submit(attend)
        await meeting.complete()
    assert len(set(names)) == 8
    assert all(name.startswith("task-") for name in names)


async def test_async_tasks_run_while_all_threads_are_busy(recorder: Recorder) -> None:
    first, second = Meeting(2), Meeting(2)
    passed = asyncio.Event()

    async def quick() -> None:
        passed.set()

    settings = TaskSettings(max_threads=2, max_concurrency=10)
    async with TaskRunner(settings, [recorder]) as runner:
        for meeting in (first, first, second, second):
            runner.submit(meeting.attend)
        runner.submit(quick, priority=9)
        async with asyncio.timeout(5):
            await passed.wait()
        assert recorder.running == 2
        await first.complete()
        await second.complete()
    assert recorder.hooks.count("succeeded") == 5


async def test_threads_are_reused_and_end_with_the_runner() -> None:
    before = set(threading.enumerate())
    async with TaskRunner(TaskSettings()) as runner:
        for _ in range(20):
            runner.submit(int)
            await runner.join(5)
        mine = [t for t in set(threading.enumerate()) - before if t.name.startswith("task-")]
        assert [t.name for t in mine] == ["task-1"]
    for thread in mine:
        thread.join(5)
        assert not thread.is_alive()


async def test_sync_functions_take_none_of_fastapis_threads() -> None:
    limiter = anyio.to_thread.current_default_thread_limiter()
    meeting = Meeting(50)
    async with TaskRunner(TaskSettings(max_threads=50, max_concurrency=50)) as runner:
        for _ in range(50):
            runner.submit(meeting.attend)
        assert await anyio.to_thread.run_sync(int) == 0
        assert limiter.borrowed_tokens == 0
        await meeting.complete()


async def test_a_thread_that_cannot_be_started_fails_only_its_task(
    recorder: Recorder, monkeypatch: pytest.MonkeyPatch
) -> None:
    def refuse(_: threading.Thread) -> None:
        msg = "can't start new thread"
        raise RuntimeError(msg)

    async with TaskRunner(TaskSettings(), [recorder]) as runner:
        with monkeypatch.context() as patched:
            patched.setattr(threading.Thread, "start", refuse)
            runner.submit(int)
            await runner.join(5)
        runner.submit(int)
        await runner.join(5)
    assert recorder.hooks[-4:] == ["failed", "queued", "started", "succeeded"]


async def test_a_thread_whose_loop_is_closed_drops_its_result() -> None:
    release, ended = threading.Event(), threading.Event()
    loop = asyncio.new_event_loop()
    threads = TaskThreads()

    def run() -> None:
        release.wait(5)

    async def start() -> None:
        threads.call(run)

    def in_own_thread() -> None:
        loop.run_until_complete(start())
        loop.close()
        ended.set()

    others = set(threading.enumerate())  # threads of earlier tests may still be ending
    threading.Thread(target=in_own_thread).start()
    assert ended.wait(5)
    new = set(threading.enumerate()) - others
    (worker,) = [thread for thread in new if thread.name == "task-1"]
    release.set()
    worker.join(5)
    assert not worker.is_alive()


async def test_submitting_from_a_thread_never_waits(recorder: Recorder) -> None:
    async with TaskRunner(TaskSettings(queue_size=2), [recorder]) as runner:
        full: list[QueueFull] = []

        def submit() -> None:  # the loop is blocked meanwhile, so nothing can start
            for _ in range(3):
                try:
                    runner.submit(int)
                except QueueFull as error:
                    full.append(error)

        thread = threading.Thread(target=submit)
        thread.start()
        thread.join(5)
        assert len(full) == 1
        await runner.join(5)
    assert Counter(recorder.hooks) == {"queued": 2, "started": 2, "succeeded": 2, "rejected": 1}


async def test_a_sync_task_can_submit_from_its_thread(recorder: Recorder) -> None:
    def parent(depth: int) -> None:
        if depth:
            current_runner().submit(parent, depth - 1)

    async with TaskRunner(TaskSettings(), [recorder]) as runner:
        runner.submit(parent, 10)
    assert recorder.hooks.count("succeeded") == 11


async def test_two_thousand_concurrent_submissions_run_once_each(recorder: Recorder) -> None:
    ran: Counter[int] = Counter()
    lock = threading.Lock()

    @task(max_concurrency=3)
    async def limited(number: int) -> None:
        ran[number] += 1

    async def plain(number: int) -> None:
        ran[number] += 1

    def sync(number: int) -> None:
        with lock:
            ran[number] += 1

    funcs = (limited, plain, sync, plain)
    settings = TaskSettings(queue_size=2000, max_threads=4, drain_timeout=30)
    async with TaskRunner(settings, [recorder]) as runner:

        def submit(start: int) -> list[str]:
            return [
                runner.submit(funcs[number % 4], number, priority=number % 10)
                for number in range(start, start + 100)
            ]

        async def submit_here(start: int) -> list[str]:
            ids = []
            for number in range(start, start + 100):
                ids.append(runner.submit(funcs[number % 4], number))
                if number % 10 == 0:
                    await asyncio.sleep(0)  # let the others submit in between
            return ids

        starts = range(0, 2000, 200)
        ids = await asyncio.gather(
            *(asyncio.to_thread(submit, start) for start in starts),
            *(submit_here(start + 100) for start in starts),
        )
        await runner.join(25)
        snapshot = runner.snapshot()
    assert len({task_id for submitted in ids for task_id in submitted}) == 2000
    assert len(ran) == 2000
    assert set(ran.values()) == {1}
    assert (snapshot.succeeded, snapshot.queued, snapshot.running) == (2000, 0, 0)
    assert Counter(recorder.hooks) == dict.fromkeys(("queued", "started", "succeeded"), 2000)
    assert (recorder.waiting, recorder.running, runner._capacity.reserved) == (0, 0, 0)


async def test_a_paused_sync_task_does_not_block_others() -> None:
    """Jobs that wait for a thread queue behind the paused ones."""
    order: list[str] = []

    @task(name="paused")
    def paused() -> None:
        order.append("paused")

    @task(name="free")
    def free() -> None:
        order.append("free")

    watcher = Watcher()
    async with TaskRunner(TaskSettings(max_threads=1), [watcher], tasks=[paused, free]) as runner:
        for func in (free, paused, paused, free, paused, free):
            runner.submit(func)
        await runner.pause("paused")
        await watcher.until("succeeded", 3)
        assert order == ["free"] * 3
        await runner.resume("paused")
        await runner.join(30)
    assert order.count("paused") == 3
