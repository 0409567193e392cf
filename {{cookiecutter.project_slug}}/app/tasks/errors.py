"""What can go wrong between a caller and the task module."""


class TaskNotAccepted(Exception):  # noqa: N818 - it is an answer more than an error
    """The task will not run, and its caller has to know: a 503 with Retry-After for a request."""

    retry_after = 1
    """Seconds after which a caller may try again."""


class QueueFull(TaskNotAccepted):
    """The queue is full, and the work was not accepted. Try again in `retry_after` seconds.

    Raise `TASKS_QUEUE_SIZE` if bursts of this size are normal, `TASKS_MAX_CONCURRENCY` if the
    machine has room to work faster, and answer 503 otherwise: that is what the limit is for.
    """

    def __init__(self, name: str, queue_size: int) -> None:
        super().__init__(f"the task queue is full ({queue_size} waiting); {name} was not accepted")


class RunnerClosed(RuntimeError):  # noqa: N818 - it is a state, as in concurrent.futures
    """The runner takes no work: it has not been started, or it is shutting down.

    Start it with `async with runner:` around everything that submits.
    """


class OutsideTransactionError(RuntimeError):
    """A durable task is a row of the caller's transaction, and there is no transaction."""


class UnknownTaskError(RuntimeError):
    """A durable task has to be found by its name after a restart, and the runner has none such."""


class PoisonedError(RuntimeError):
    """The process ended every time while it ran the task; it will not be tried again."""


class ArgumentError(TypeError):
    """An argument of a decorated task would not be the same after a journey through JSON."""
