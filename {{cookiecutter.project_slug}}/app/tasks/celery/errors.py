"""What can go wrong between this process and the broker."""

from ..errors import TaskNotAccepted


class BrokerUnavailable(TaskNotAccepted):
    """The broker cannot be reached, so that the task could not be kept. Try again later.

    Durable tasks are accepted all the same: their rows wait in the database.
    """

    def __init__(self, name: str, retry_after: int = 2) -> None:
        super().__init__(f"the broker cannot be reached; {name} was not accepted", retry_after)


class StatesUnavailable(TaskNotAccepted):
    """The Redis with the states of tasks cannot be reached. Try again later.

    Until then nobody can tell what has become of a task in memory, or cancel it.
    """

    def __init__(self, retry_after: int = 2) -> None:
        super().__init__("the states of tasks cannot be reached", retry_after)
