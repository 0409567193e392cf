"""What can go wrong between this process and the broker."""

from ..errors import TaskNotAccepted


class BrokerUnavailable(TaskNotAccepted):
    """The broker cannot be reached, so that the task could not be kept. Try again later.

    Durable tasks are accepted all the same: their rows wait in the database.
    """

    def __init__(self, name: str, retry_after: int = 2) -> None:
        super().__init__(f"the broker cannot be reached; {name} was not accepted", retry_after)
