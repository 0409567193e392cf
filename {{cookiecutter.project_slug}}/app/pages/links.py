"""The links at the top of every page."""

from dataclasses import dataclass

from fastapi import FastAPI


@dataclass(frozen=True)
class Link:
    """A page that can be reached from all others."""

    title: str
    path: str


def add_link(app: FastAPI, title: str, path: str) -> None:
    """Add a link; a feature does that in its lifespan."""
    link = Link(title, path)
    app.state.links = (*(other for other in links(app) if other != link), link)


def links(app: FastAPI) -> tuple[Link, ...]:
    """Return the links of an application, in the order of its features."""
    found: tuple[Link, ...] = getattr(app.state, "links", ())
    return found
