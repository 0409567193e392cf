"""Takes the snapshots, and sends open pages the sections that have changed."""

import asyncio
from collections.abc import AsyncIterator, Mapping
from contextlib import asynccontextmanager
from pathlib import Path
from time import monotonic

import structlog
from fastapi import FastAPI

from app.errors import ServiceUnavailable
from app.pages import add_link, render_fragment
from app.tasks import RunnerClosed, TaskRunner

from .recorder import INTERVAL, Recorder
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

    def __init__(self, recorder: Recorder) -> None:
        self._recorder = recorder
        self._pages = 0
        self._sections: Mapping[str, str] = {}
        """Nothing if the pages have to ask again."""
        self._updated = asyncio.Event()
        """Set by the next update, which is the first that a page of now may be sent."""

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
        while monotonic() < closes_at:
            await self._updated.wait()
            latest = self._sections
            if not latest:
                return
            for name, html in latest.items():
                if seen.get(name) != html:
                    yield name, html
            seen = latest

    async def update(self, runner: TaskRunner) -> None:
        """Take a snapshot, and tell the open pages."""
        try:
            self._recorder.snapshots.append(runner.snapshot(0))
        except RunnerClosed:  # it starts after the features
            return
        if not self._pages:
            return
        # A page that is opened from here on may show more already.
        updated, self._updated, self._sections = self._updated, asyncio.Event(), {}
        try:
            view = await make_view(runner, self._recorder)
            self._sections = {
                name: render_fragment(TEMPLATES, f"{name}.html.j2", view) for name in SECTIONS
            }
        finally:
            updated.set()

    @asynccontextmanager
    async def lifespan(self, app: FastAPI) -> AsyncIterator[None]:
        """Update the pages every few seconds; end them when the service stops."""
        add_link(app, "Tasks", "/dashboard")
        self._updated = asyncio.Event()
        stopping = asyncio.create_task(app.state.shutdown.begun())
        updating = asyncio.create_task(self._update_until(stopping, app.state.runner))
        try:
            yield
        finally:
            stopping.cancel()
            await updating

    async def _update_until(self, stopping: asyncio.Task[None], runner: TaskRunner) -> None:
        while not stopping.done():
            pause = asyncio.wait([stopping], timeout=INTERVAL)
            _, error = await asyncio.gather(pause, self.update(runner), return_exceptions=True)
            if error:
                logger.error("the task page could not be brought up to date", exc_info=error)
        self._sections = {}  # who has just come is not sent them either
        self._updated.set()
