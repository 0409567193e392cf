"""Submission of durable tasks: a call becomes a row of the current session's transaction."""

from collections.abc import Callable, Mapping
from typing import Any, Protocol

from ..arguments import Arguments
from ..errors import OutsideTransactionError, QueueFull, UnknownTaskError
from ..limits import Capacity
from ..options import Options
from ..propagation import Propagator
from ..task import Task
from .loop import Loop
from .outbox import Outbox, current_outbox
from .row import new_row


class Backlog(Protocol):
    """What takes tasks from the table and is told of new ones."""

    backlog: int
    """About how many tasks are due and nobody has."""
    loop: Loop
    """Woken when a task is committed and its submitter is done."""

    def expect(self, delay: float) -> None:
        """Note that this process has added a task that is due in `delay` seconds."""
        ...


class DurableSubmissions:
    """Makes calls rows, as many as there is capacity for."""

    def __init__(
        self,
        tasks: Mapping[str, Task[..., Any]],
        propagator: Propagator,
        capacity: Capacity,
        backlog: Backlog,
        aging: float,
    ) -> None:
        self._tasks = tasks
        self._propagator = propagator
        self._capacity = capacity
        self._backlog = backlog
        self._aging = aging

    def reserve(
        self, task: Task[..., Any], arguments: Arguments, options: Options, *, regardless: bool
    ) -> "DurableSubmission":
        """Make a call a row of the current session's transaction.

        Raises UnknownTaskError if no process would find the task, ValueError for a retry of the
        call's own, OutsideTransactionError outside a session, and QueueFull, unless `regardless`.
        """
        if task.name not in self._tasks:
            msg = (
                f"the runner does not know the durable task {task.name}:"
                " list it in the `tasks` of its feature"
            )
            raise UnknownTaskError(msg)
        if options.retry is not None:
            msg = "a durable task may outlive this process: give its `retry` to @task(...)"
            raise ValueError(msg)
        outbox = _open_outbox(task.name)
        row = new_row(task, arguments, options, self._propagator.inject(), self._aging)
        # Rows that are not committed yet have reserved capacity; the others are the backlog.
        reserved = self._capacity.reserve(besides=self._backlog.backlog)
        if not reserved and not regardless:
            raise QueueFull(task.name, self._capacity.limit)
        submission = DurableSubmission(row["id"], self._backlog.loop.wake)

        def forget() -> None:
            if reserved:
                self._capacity.release()

        def committed() -> None:
            forget()
            self._backlog.expect(row["delay"])
            submission.proceed()

        outbox.add(row, committed, rolled_back=forget)
        return submission


class DurableSubmission:
    """A durable task that was submitted.

    Its row is the truth. This only wakes the poller when both the transaction has committed and the
    submitter is done: in a request, when the response has been sent.
    """

    __slots__ = ("_steps_left", "_wake", "id")

    def __init__(self, task_id: str, wake: Callable[[], None]) -> None:
        self.id = task_id
        self._wake = wake
        self._steps_left = 2

    def proceed(self) -> None:
        """Take one of the two steps."""
        self._steps_left -= 1
        if self._steps_left == 0:
            self._wake()

    def enqueue(self) -> None:
        """Take the submitter's step."""
        self.proceed()

    def release(self) -> None:
        """Take the submitter's step: if the task was committed before the failure, it runs."""
        self.proceed()


def _open_outbox(name: str) -> Outbox:
    outbox = current_outbox.get()
    if outbox is None or not outbox.is_open:
        msg = (
            f"the durable task {name} was submitted outside a session: add it in an endpoint"
            " that takes a SessionDep, or inside `async with task_session():`"
        )
        raise OutsideTransactionError(msg)
    return outbox
