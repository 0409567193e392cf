"""Features: how they are found, what stops the start, and who may import whom."""

import ast
import importlib
import sys
from collections.abc import Callable, Iterator, Mapping
from functools import cache
from graphlib import TopologicalSorter
from importlib.util import resolve_name
from pathlib import Path
from pkgutil import iter_modules

import pytest

import app
from app import features
from app.feature import Feature, load_features
from app.service import create_app
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
def work_of_the_test() -> None:
    pass

def create_feature(settings):
    return Feature(name={name!r}, tasks=[work_of_the_test])
"""


@pytest.mark.parametrize("name", FEATURES)
def test_every_package_makes_a_feature_of_its_name(name: str) -> None:
    package = importlib.import_module(f"{features.__name__}.{name}")

    feature = package.create_feature(Settings())

    assert isinstance(feature, Feature)
    assert feature.name == name


def test_a_new_feature_is_found(add_feature: AddFeature) -> None:
    add_feature("zz_new", task_feature("zz_new"))

    assert [feature.name for feature in load_features(Settings())] == [*FEATURES, "zz_new"]


def test_a_broken_feature_stops_the_start(add_feature: AddFeature) -> None:
    add_feature("broken", "import nothing_of_that_name")

    with pytest.raises(ModuleNotFoundError):
        create_app(Settings())


@pytest.mark.parametrize("name", ["work_of_the_test", "send_email"])
async def test_two_tasks_of_one_name_stop_the_start(add_feature: AddFeature, name: str) -> None:
    """The platform's own tasks count too."""
    add_feature("first", task_feature("first"))
    add_feature("second", task_feature("second", name))
    service = create_app(Settings())

    with pytest.raises(ValueError, match=f"more than one task is called {name}: give them names"):
        async with service.router.lifespan_context(service):
            pass


# Two tiers, one arrow.


@cache
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


def test_no_file_imports_itself_in_a_circle() -> None:
    """Not even for its types: a circle has no place to begin to read."""
    files = {module_of(path): path for path in APP.rglob("*.py")}
    graph = {name: {file_of(i, files) for i in imports(path)} for name, path in files.items()}
    TopologicalSorter(graph).prepare()  # raises CycleError, which names them


def module_of(path: Path) -> str:
    parts = [APP.name, *path.relative_to(APP).with_suffix("").parts]
    return ".".join(parts).removesuffix(".__init__")


def file_of(name: str, files: Mapping[str, Path]) -> str:
    """Return the module that is imported: what is imported may be a name in one."""
    return name if name in files else name.rpartition(".")[0]


TOP = ("app.main", "app.service", "app.lifespan")


def test_features_use_the_platform_and_not_what_puts_it_together() -> None:
    for path in (APP / "features").rglob("*.py"):
        top = {i for i in imports(path) if any(is_in(i, name) for name in TOP)}
        assert not top, path
