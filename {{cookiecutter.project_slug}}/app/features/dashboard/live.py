"""Keeps the samples, and sends open pages the sections that have changed."""

import asyncio
from collections.abc import AsyncIterator, Iterable, Mapping
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
SECTIONS = ("figures", "charts", "running", "failures", "durable", "kinds")
"""The parts of the page, each a template and an element with that id."""
LISTENERS = 20
"""Pages that are kept up to date at the same time."""
LIFETIME = 600.0
"""Seconds until a page has to ask again: one that only seems to read must not stay for ever."""


class Live:
    """The pages that are open, and the clock that looks at the runner for them.

    A section is made once for all of them. A page that is slow skips what it has missed.
    """

    def __init__(self, recorder: Recorder, samples: Samples) -> None:
        self._recorder = recorder
        self._samples = samples
        self._sections: Mapping[str, str] = {}
        self._listeners: set[asyncio.Event] = set()
        self._places = LISTENERS
        self._over = False

    async def take_place(self) -> AsyncIterator[None]:
        """Hold one of the places for listeners; a FastAPI dependency."""
        if self._places == 0:
            msg = "too many task pages are open"
            raise ServiceUnavailable(msg)
        self._places -= 1
        try:
            yield
        finally:
            self._places += 1

    async def changes(self) -> AsyncIterator[tuple[str, str]]:
        """Yield the name and the HTML of each section that has changed, for `LIFETIME` at most.

        It begins with all of them, as they are from now on.
        """
        closes_at = monotonic() + LIFETIME
        news = asyncio.Event()
        self._listeners.add(news)
        seen: Mapping[str, str] = {}
        try:
            while not self._over and monotonic() < closes_at:
                await news.wait()
                news.clear()
                latest = self._sections
                for name, html in latest.items():
                    if seen.get(name) != html:
                        yield name, html
                seen = latest
        finally:
            self._listeners.discard(news)

    @asynccontextmanager
    async def lifespan(self, app: FastAPI) -> AsyncIterator[None]:
        """Look at the runner every few seconds; let the pages go when the service stops."""
        add_link(app, "Tasks", "/dashboard")
        self._over = False
        chores = [
            asyncio.create_task(self._tick(app.state.runner)),
            asyncio.create_task(self._end_with(app.state.shutdown)),
        ]
        try:
            yield
        finally:
            self._let_go()
            for chore in chores:
                chore.cancel()
            await asyncio.wait(chores)

    async def look(self, runner: TaskRunner) -> None:
        """Take a sample, and tell the open pages."""
        try:
            self._samples.add(runner.snapshot(0))
        except RunnerClosed:  # it starts after the features
            return
        listeners = tuple(self._listeners)  # a page that comes from here on may show more already
        if not listeners:
            return
        view = await make_view(runner, self._recorder, self._samples)
        self._sections = {
            name: render_fragment(TEMPLATES, f"{name}.html.j2", {"view": view}) for name in SECTIONS
        }
        _wake(listeners)

    async def _tick(self, runner: TaskRunner) -> None:
        while True:
            try:
                await self.look(runner)
            except Exception:  # the page must not end for all because of one bad moment
                logger.exception("the task page could not be brought up to date")
            await asyncio.sleep(INTERVAL)

    async def _end_with(self, shutdown: Shutdown) -> None:
        await shutdown.begun()
        self._let_go()

    def _let_go(self) -> None:
        self._over = True
        self._sections = {}  # who has just come is not sent them either
        _wake(self._listeners)


def _wake(listeners: Iterable[asyncio.Event]) -> None:
    for listener in listeners:
        listener.set()
