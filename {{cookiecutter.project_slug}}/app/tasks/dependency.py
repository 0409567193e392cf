"""`Tasks`: the FastAPI dependency to use instead of BackgroundTasks."""

from collections.abc import AsyncIterator
from typing import Annotated

from fastapi import Depends
from fastapi.requests import HTTPConnection

from .options import Call, Submission, Submitter
from .runner import TaskRunner


class RequestTasks(Submitter):
    """The tasks of one request: they run after the response, and only if the request succeeded.

    Adding a task reserves capacity in the queue at once. The task is enqueued when the response has
    been sent and the session committed, and the capacity released when the handler, a dependency
    or the commit raised.
    """

    def __init__(self, runner: TaskRunner) -> None:
        self._runner = runner
        self._submissions: list[Submission] = []
        self._over = False

    def submit_call(self, call: Call) -> str:
        """Reserve capacity for a task that runs after the response."""
        if self._over:
            msg = "the request is over and its tasks are on their way; submit to the runner instead"
            raise RuntimeError(msg)
        submission = self._runner.reserve(call)
        self._submissions.append(submission)
        return submission.id

    def end(self, *, succeeded: bool) -> None:
        """Enqueue the tasks if the request has succeeded, and release their capacity if not."""
        self._over = True
        for submission in self._submissions:
            if succeeded:
                submission.enqueue()
            else:
                submission.release()


async def request_tasks(connection: HTTPConnection) -> AsyncIterator[RequestTasks]:
    """Give a request its tasks. Expects the application's runner at `app.state.runner`.

    In the scope "request" it ends after the response has been sent, and is told of every failure
    of the request, that of a commit included. What fails after `request.state.response_started` is
    set, such as a task of Starlette's or a client that hangs up, is no failure of the request.
    """
    tasks = RequestTasks(connection.app.state.runner)
    succeeded = False
    try:
        yield tasks
        succeeded = True
    finally:
        started = getattr(connection.state, "response_started", False)
        tasks.end(succeeded=succeeded or started)


Tasks = Annotated[RequestTasks, Depends(request_tasks, scope="request")]
"""Annotate a parameter with it to add background tasks: `tasks: Tasks`."""
