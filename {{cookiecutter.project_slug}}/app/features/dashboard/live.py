"""Takes the samples, and sends open pages the sections that have changed."""

import asyncio
from collections.abc import AsyncIterator, Mapping
from contextlib import asynccontextmanager
from pathlib import Path
from time import monotonic

import structlog
from fastapi import FastAPI

from app.errors import ServiceUnavailable
from app.pages import add_link, render_fragment
from app.shutdown import Shutdown
from app.tasks import RunnerClosed, TaskRunner

from .recorder import Recorder
from .samples import INTERVAL, Samples
from .view import make_view

logger = structlog.get_logger(__name__)

TEMPLATES = Path(__file__).with_name("templates")
SECTIONS = ("figures", "charts", "running", "failures", "durable", "limits")
"""The parts of the page, each a template and an element with that id."""
MAX_PAGES = 20
"""Pages that are kept up to date at the same time."""
LIFETIME = 600.0
"""Seconds until a page has to ask again: one that only seems to read must not stay for ever."""


class Live:
    """The pages that are open.

    A section is made once for all of them. A page that is slow skips what it has missed.
    """

    def __init__(self, recorder: Recorder, samples: Samples) -> None:
        self._recorder = recorder
        self._samples = samples
        self._pages = 0
        self._sections: Mapping[str, str] = {}
        self._updated = asyncio.Event()
        """Set by the next update, which is the first that a page of now may be sent."""
        self._is_over = False

    async def count_page(self) -> AsyncIterator[None]:
        """Count a page as long as it is open; a FastAPI dependency."""
        if self._pages == MAX_PAGES:
            msg = "too many task pages are open"
            raise ServiceUnavailable(msg)
        self._pages += 1
        try:
            yield
        finally:
            self._pages -= 1

    async def changes(self) -> AsyncIterator[tuple[str, str]]:
        """Yield the name and the HTML of each section that has changed, for `LIFETIME` at most.

        It begins with all of them, as they are from now on.
        """
        closes_at = monotonic() + LIFETIME
        seen: Mapping[str, str] = {}
        while not self._is_over and monotonic() < closes_at:
            await self._updated.wait()
            latest = self._sections
            for name, html in latest.items():
                if seen.get(name) != html:
                    yield name, html
            seen = latest

    async def update(self, runner: TaskRunner) -> None:
        """Take a sample, and tell the open pages."""
        try:
            self._samples.add(runner.snapshot(0))
        except RunnerClosed:  # it starts after the features
            return
        if not self._pages:
            return
        # A page that is opened from here on may show more already.
        updated, self._updated = self._updated, asyncio.Event()
        self._sections = {}
        try:
            view = await make_view(runner, self._recorder, self._samples)
            if not self._is_over:
                self._sections = {
                    name: render_fragment(TEMPLATES, f"{name}.html.j2", view) for name in SECTIONS
                }
        finally:
            updated.set()

    @asynccontextmanager
    async def lifespan(self, app: FastAPI) -> AsyncIterator[None]:
        """Update the pages every few seconds; end them when the service stops."""
        add_link(app, "Tasks", "/dashboard")
        self._updated, self._is_over = asyncio.Event(), False
        tasks = [
            asyncio.create_task(self._update_for_ever(app.state.runner)),
            asyncio.create_task(self._end_with(app.state.shutdown)),
        ]
        try:
            yield
        finally:
            self._end()
            for task in tasks:
                task.cancel()
            await asyncio.wait(tasks)

    async def _update_for_ever(self, runner: TaskRunner) -> None:
        while True:
            try:
                await self.update(runner)
            except Exception:  # one failure must not end the page for all
                logger.exception("the task page could not be brought up to date")
            await asyncio.sleep(INTERVAL)

    async def _end_with(self, shutdown: Shutdown) -> None:
        await shutdown.begun()
        self._end()

    def _end(self) -> None:
        self._is_over = True
        self._sections = {}  # who has just come is not sent them either
        self._updated.set()
