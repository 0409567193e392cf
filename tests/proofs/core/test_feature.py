"""Features: what stops the startup, their middleware, routes and imports."""

import importlib
import shutil
import sys
from pathlib import Path
from pkgutil import iter_modules

import httpx2
import pytest
from fastapi import APIRouter, HTTPException
from fastapi.staticfiles import StaticFiles
from sqlalchemy.orm import Session
from starlette.middleware import Middleware
from starlette.responses import PlainTextResponse
from starlette.types import ASGIApp, Message, Receive, Scope, Send

import app
from app.feature import Feature
from app.service import create_app
from app.settings import Settings
from tests.conftest import API_KEY
from tests.test_feature import APP, AddFeature, imports, is_in


def test_cache_folder_of_a_deleted_feature_is_ignored(tmp_path: Path) -> None:
    (tmp_path / "deleted" / "__pycache__").mkdir(parents=True)

    assert list(iter_modules([str(tmp_path)])) == []


@pytest.mark.parametrize(
    ("source", "error"),
    [
        ("from app.settings import nothing_of_that_name", ImportError),
        ("1 / 0", ZeroDivisionError),
        ("def", SyntaxError),
        ("", AttributeError),
        ("def create_feature(settings): raise KeyError('a')", KeyError),
    ],
)
def test_broken_feature_stops_the_startup(
    add_feature: AddFeature, source: str, error: type[Exception]
) -> None:
    add_feature("broken", source)

    with pytest.raises(error):
        create_app(Settings())


def refuse() -> None:
    raise HTTPException(403, "not you")


@pytest.mark.parametrize("is_nested", [False, True])
@pytest.mark.usefixtures("settings_env")
async def test_own_authentication_never_leaves_a_route_unguarded(
    tmp_path: Path, is_nested: bool
) -> None:
    (tmp_path / "a.txt").write_text("private", encoding="utf-8")
    api, other, router = APIRouter(), APIRouter(), APIRouter()
    api.add_api_route("/api", lambda: "private")
    other.mount("/files", StaticFiles(directory=tmp_path))
    other.add_route("/starlette", lambda _: PlainTextResponse("private"))
    if is_nested:
        router.include_router(api)
        router.include_router(other)
    else:
        router.routes += [*api.routes, *other.routes]
    app = create_app(features=[Feature(name="mine", router=router, auth=refuse)])
    transport = httpx2.ASGITransport(app)

    async with httpx2.AsyncClient(transport=transport, base_url="http://test") as visitor:
        assert (await visitor.get("/api")).status_code == 403
        # FastAPI runs no dependencies for them.
        for path in ("/files/a.txt", "/starlette"):
            assert (await visitor.get(path)).status_code == 401
            answer = await visitor.get(path, headers={"X-API-Key": API_KEY})
            assert answer.text == "private"


class RecordStatus:
    """Middleware that records the status of each answer."""

    def __init__(self, app: ASGIApp, statuses: list[str], name: str) -> None:
        self._app, self._statuses, self._name = app, statuses, name

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        async def record(message: Message) -> None:
            if message["type"] == "http.response.start":
                self._statuses.append(f"{self._name} {message['status']}")
            await send(message)

        await self._app(scope, receive, record)


async def test_feature_middleware_sees_the_413_of_the_body_limit() -> None:
    statuses: list[str] = []
    router = APIRouter()

    @router.post("/anything")
    async def anything() -> None: ...

    layers = [Middleware(RecordStatus, statuses=statuses, name=name) for name in ("outer", "inner")]
    feature = Feature(name="mine", middleware=layers, router=router, public=True)
    service = create_app(Settings(), [feature])

    transport = httpx2.ASGITransport(service)
    async with httpx2.AsyncClient(transport=transport, base_url="http://test") as client:
        await client.post("/anything", content=b"x" * 70_000)

    assert statuses == ["inner 413", "outer 413"]


async def test_api_routes_take_precedence_over_page_routes() -> None:
    pages, api = APIRouter(include_in_schema=False), APIRouter()

    @pages.get("/same")
    async def page() -> str:
        return "page"

    @api.get("/same")
    async def resource() -> str:
        return "resource"

    routers = {"pages": pages, "the-api": api}
    features = [Feature(name=name, router=router, public=True) for name, router in routers.items()]
    service = create_app(Settings(), features)

    transport = httpx2.ASGITransport(service)
    async with httpx2.AsyncClient(transport=transport, base_url="http://test") as client:
        answer = await client.get("/same")

    assert answer.json() == "resource"


def test_imports_of_every_form_are_found(tmp_path: Path) -> None:
    path = tmp_path / "app" / "features" / "one" / "module.py"
    path.parent.mkdir(parents=True)
    path.write_text(
        "import app.a\n"
        "from app import b\n"
        "from . import c\n"
        "from .d import e\n"
        "from ..two import f\n"
        "def later():\n"
        "    from ... import g\n"
        "    if True:\n"
        "        import app.h as i\n",
        encoding="utf-8",
    )

    assert imports(path, tmp_path / "app") == {
        "app.a",
        "app.b",
        "app.features.one.c",
        "app.features.one.d.e",
        "app.features.two.f",
        "app.g",
        "app.h",
    }


def test_copy_of_the_task_module_is_independent_of_the_original(tmp_path: Path) -> None:
    shutil.copytree(APP / "tasks", tmp_path / "copied_tasks")
    sys.path.insert(0, str(tmp_path))
    try:
        copy = importlib.import_module("copied_tasks")
    finally:
        sys.path.remove(str(tmp_path))
        names = [name for name in sys.modules if is_in(name, "copied_tasks")]
        modules = [sys.modules.pop(name) for name in names]

    session = Session()
    outboxes = [tasks.durable.outbox.outbox_of(session) for tasks in (app.tasks, copy)]
    assert outboxes[0] is not outboxes[1]
    assert copy.TaskRunner is not app.tasks.TaskRunner
    assert all(module.__file__ and str(tmp_path) in module.__file__ for module in modules)
