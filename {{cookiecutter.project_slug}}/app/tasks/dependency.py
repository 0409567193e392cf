"""`Tasks`: the FastAPI dependency to use instead of BackgroundTasks."""

from collections.abc import AsyncIterator
from typing import Annotated

from fastapi import Depends
from fastapi.requests import HTTPConnection

from .options import Call, Submission, Submitter
from .runner import TaskRunner


class RequestTasks(Submitter):
    """The tasks of one request: they run after the response, and only if the request succeeded.

    Adding a task reserves capacity in the queue at once. The task is enqueued once the session has
    committed and the response has been sent. If the handler, a dependency or the commit raises, the
    capacity is released instead.
    """

    def __init__(self, runner: TaskRunner) -> None:
        self._runner = runner
        self._submissions: list[Submission] = []
        self._ended = False

    def submit_call(self, call: Call) -> str:
        """Reserve capacity for a task, which runs after the response."""
        if self._ended:
            msg = "the request has ended and takes no more tasks; submit to the runner instead"
            raise RuntimeError(msg)
        submission = self._runner.reserve(call)
        self._submissions.append(submission)
        return submission.id

    def end(self, *, succeeded: bool) -> None:
        """Enqueue the tasks if the request succeeded; otherwise release their capacity."""
        self._ended = True
        for submission in self._submissions:
            if succeeded:
                submission.enqueue()
            else:
                submission.release()


async def request_tasks(connection: HTTPConnection) -> AsyncIterator[RequestTasks]:
    """Provide the tasks of a request. Expects the application's runner at `app.state.runner`.

    In the scope "request" it ends after the response, and receives any exception of the request,
    the commit included. Once `request.state.response_started` is set, the tasks run even if one of
    Starlette's background tasks fails or the client hangs up.
    """
    tasks = RequestTasks(connection.app.state.runner)
    succeeded = False
    try:
        yield tasks
        succeeded = True
    finally:
        response_started = getattr(connection.state, "response_started", False)
        tasks.end(succeeded=succeeded or response_started)


Tasks = Annotated[RequestTasks, Depends(request_tasks, scope="request")]
"""Declare a parameter `tasks: Tasks` to add background tasks."""
