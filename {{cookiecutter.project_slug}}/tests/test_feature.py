"""Features: how they are found, what stops the start, and who may import whom."""

import ast
import importlib
import shutil
import sys
from collections.abc import Callable, Iterator
from importlib.util import resolve_name
from pathlib import Path
from pkgutil import iter_modules

import httpx2
import pytest
from fastapi import APIRouter
from starlette.middleware import Middleware
from starlette.types import ASGIApp, Message, Receive, Scope, Send

import app
from app import features
from app.feature import Feature, load_features
from app.main import create_app
from app.settings import Settings

APP = Path(app.__file__).parent
FEATURES = sorted(module.name for module in iter_modules(features.__path__))

AddFeature = Callable[[str, str], None]


@pytest.fixture
def add_feature(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[AddFeature]:
    """Give a function that adds a feature with the given source, for one test."""
    added: list[str] = []
    monkeypatch.setattr(features, "__path__", [*features.__path__, str(tmp_path)])

    def add(name: str, source: str) -> None:
        package = tmp_path / name
        package.mkdir()
        (package / "__init__.py").write_text(source, encoding="utf-8")
        added.append(f"{features.__name__}.{name}")
        importlib.invalidate_caches()

    yield add
    for name in added:
        sys.modules.pop(name, None)


def task_feature(name: str, task_name: str = "") -> str:
    return f"""
from app.feature import Feature
from app.tasks import task

@task(name={task_name or None!r})
def work() -> None:
    pass

def create_feature(settings):
    return Feature(name={name!r}, tasks=[work])
"""


@pytest.mark.parametrize("name", FEATURES)
def test_every_package_makes_a_feature_of_its_name(name: str) -> None:
    package = importlib.import_module(f"{features.__name__}.{name}")

    feature = package.create_feature(Settings())

    assert isinstance(feature, Feature)
    assert feature.name == name


def test_all_are_loaded_in_the_order_of_their_names() -> None:
    assert [feature.name for feature in load_features(Settings())] == FEATURES
    assert "health" in FEATURES


def test_a_new_feature_is_found(add_feature: AddFeature) -> None:
    add_feature("new", task_feature("new"))

    assert "new" in [feature.name for feature in load_features(Settings())]


def test_what_is_left_of_a_deleted_feature_is_not_found(tmp_path: Path) -> None:
    (tmp_path / "deleted" / "__pycache__").mkdir(parents=True)

    assert list(iter_modules([str(tmp_path)])) == []


@pytest.mark.parametrize(
    ("source", "error"),
    [
        ("import nothing_of_that_name", ModuleNotFoundError),
        ("from app.settings import nothing_of_that_name", ImportError),
        ("1 / 0", ZeroDivisionError),
        ("def", SyntaxError),
        ("", AttributeError),
        ("def create_feature(settings): raise KeyError('a')", KeyError),
    ],
)
def test_a_broken_feature_stops_the_start(
    add_feature: AddFeature, source: str, error: type[Exception]
) -> None:
    add_feature("broken", source)

    with pytest.raises(error):
        create_app(Settings())


@pytest.mark.parametrize("name", ["work", "send_alert", "send_email"])
async def test_two_tasks_of_one_name_stop_the_start(add_feature: AddFeature, name: str) -> None:
    """The platform's own tasks count too."""
    add_feature("first", task_feature("first"))
    add_feature("second", task_feature("second", name))
    service = create_app(Settings())

    with pytest.raises(ValueError, match=f"more than one task is called {name}: give them names"):
        async with service.router.lifespan_context(service):
            pass


def test_tasks_with_names_of_their_own_are_fine(add_feature: AddFeature) -> None:
    add_feature("first", task_feature("first"))
    add_feature("second", task_feature("second", "second.work"))

    assert create_app(Settings()).routes


class Layer:
    """Notes on its way out what status an answer has."""

    def __init__(self, app: ASGIApp, seen: list[str], name: str) -> None:
        self._app, self._seen, self._name = app, seen, name

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        async def note(message: Message) -> None:
            if message["type"] == "http.response.start":
                self._seen.append(f"{self._name} {message['status']}")
            await send(message)

        await self._app(scope, receive, note)


async def test_the_middleware_of_features_sees_what_the_server_answers_itself() -> None:
    seen: list[str] = []
    router = APIRouter()

    @router.post("/anything")
    async def anything() -> None: ...

    layers = [Middleware(Layer, seen=seen, name=name) for name in ("outer", "inner")]
    feature = Feature(name="mine", middleware=layers, router=router, public=True)
    service = create_app(Settings(), [feature])

    transport = httpx2.ASGITransport(service)
    async with httpx2.AsyncClient(transport=transport, base_url="http://test") as client:
        await client.post("/anything", content=b"x" * 70_000)

    assert seen == ["inner 413", "outer 413"]


async def test_routes_of_the_api_are_asked_before_those_of_pages() -> None:
    pages, api = APIRouter(include_in_schema=False), APIRouter()

    @pages.get("/same")
    async def page() -> str:
        return "page"

    @api.get("/same")
    async def resource() -> str:
        return "resource"

    routers = {"pages": pages, "the-api": api}
    parts = [Feature(name=name, router=one, public=True) for name, one in routers.items()]
    service = create_app(Settings(), parts)

    transport = httpx2.ASGITransport(service)
    async with httpx2.AsyncClient(transport=transport, base_url="http://test") as client:
        answer = await client.get("/same")

    assert answer.json() == "resource"


# Two tiers, one arrow.


def imports(path: Path, root: Path = APP) -> set[str]:
    """Return the absolute names of what a file imports, wherever in the file it does."""
    package = ".".join([root.name, *path.relative_to(root).parent.parts])
    found: set[str] = set()
    for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
        if isinstance(node, ast.Import):
            found.update(alias.name for alias in node.names)
        elif isinstance(node, ast.ImportFrom):
            module = resolve_name("." * node.level + (node.module or ""), package)
            found.update(f"{module}.{alias.name}" for alias in node.names)
    return found


def is_in(name: str, package: str) -> bool:
    return f"{name}.".startswith(f"{package}.")


def test_imports_of_any_kind_are_seen(tmp_path: Path) -> None:
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


def test_features_import_no_other_feature() -> None:
    for name in FEATURES:
        own = f"app.features.{name}"
        for path in (APP / "features" / name).rglob("*.py"):
            others = {i for i in imports(path) if is_in(i, "app.features") and not is_in(i, own)}
            assert not others, path


def test_the_platform_imports_no_feature() -> None:
    for path in APP.rglob("*.py"):
        if (APP / "features") not in path.parents:
            # The package itself is what `load_features` looks through.
            assert not {i for i in imports(path) if i.startswith("app.features.")}, path


def test_the_task_module_imports_nothing_of_the_application() -> None:
    for path in (APP / "tasks").rglob("*.py"):
        outside = {i for i in imports(path) if is_in(i, "app") and not is_in(i, "app.tasks")}
        assert not outside, path


def test_features_use_the_platform_and_not_what_puts_it_together() -> None:
    for path in (APP / "features").rglob("*.py"):
        top = {i for i in imports(path) if is_in(i, "app.main") or is_in(i, "app.lifespan")}
        assert not top, path


def test_the_task_module_can_be_lifted_out(tmp_path: Path) -> None:
    shutil.copytree(APP / "tasks", tmp_path / "lifted_tasks")
    sys.path.insert(0, str(tmp_path))
    try:
        lifted = importlib.import_module("lifted_tasks")
    finally:
        sys.path.remove(str(tmp_path))
        names = [name for name in sys.modules if is_in(name, "lifted_tasks")]
        modules = [sys.modules.pop(name) for name in names]

    assert lifted.TaskRunner is not app.tasks.TaskRunner
    assert all(module.__file__ and str(tmp_path) in module.__file__ for module in modules)
