"""The exceptions of the task module."""


class TaskNotAccepted(Exception):  # noqa: N818 - it is an answer more than an error
    """The task was not accepted and will not run; a request is answered 503 with Retry-After."""

    retry_after = 1
    """Seconds after which a caller may try again."""


class QueueFull(TaskNotAccepted):
    """The queue is full, and the task was not accepted. Try again in `retry_after` seconds.

    Raise `TASKS_QUEUE_SIZE` if bursts of this size are normal, and `TASKS_MAX_CONCURRENCY` if the
    machine can run more at once. Otherwise the 503 is right: it is what the limit is for.
    """

    def __init__(self, name: str, queue_size: int) -> None:
        super().__init__(f"{name}: the task queue is full (TASKS_QUEUE_SIZE={queue_size})")


class RunnerClosed(RuntimeError):  # noqa: N818 - it is a state, as in concurrent.futures
    """The runner accepts no work: it has not been started, or it is shutting down.

    Start it with `async with runner:` around everything that submits.
    """


class OutsideTransactionError(RuntimeError):
    """A durable task is stored in the caller's transaction, and there is none."""


class UnknownTaskError(RuntimeError):
    """The runner has no task of this name. A durable one is found by its name after a restart."""


class PoisonedError(RuntimeError):
    """The process died in a run of the task, which has no attempts left."""


class ArgumentError(TypeError):
    """Arguments do not survive JSON, or the task's code no longer accepts those that are stored."""
