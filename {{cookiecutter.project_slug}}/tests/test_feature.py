"""Features: how they are found, what prevents the start, and who may import whom."""

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
    """Yield a function that adds a feature with the given source until the test ends."""
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


def feature_source(name: str, task_name: str = "") -> str:
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
def test_every_feature_package_creates_a_feature_with_its_name(name: str) -> None:
    package = importlib.import_module(f"{features.__name__}.{name}")

    feature = package.create_feature(Settings())

    assert isinstance(feature, Feature)
    assert feature.name == name


def test_a_new_feature_package_is_found(add_feature: AddFeature) -> None:
    add_feature("zz_new", feature_source("zz_new"))

    assert [feature.name for feature in load_features(Settings())] == [*FEATURES, "zz_new"]


def test_the_service_does_not_start_when_a_feature_is_broken(add_feature: AddFeature) -> None:
    add_feature("broken", "import nothing_of_that_name")

    with pytest.raises(ModuleNotFoundError):
        create_app(Settings())


@pytest.mark.parametrize("name", ["work_of_the_test", "send_email"])  # the latter is app.mail's
async def test_two_tasks_cannot_have_the_same_name(add_feature: AddFeature, name: str) -> None:
    add_feature("first", feature_source("first"))
    add_feature("second", feature_source("second", name))
    service = create_app(Settings())

    with pytest.raises(ValueError, match=f"more than one task is called {name}: give them names"):
        async with service.router.lifespan_context(service):
            pass


# Features import the platform, which imports no feature.


@cache
def imports(path: Path, root: Path = APP) -> set[str]:
    """Return the absolute names of everything that a file imports, in functions too."""
    package = ".".join([root.name, *path.relative_to(root).parent.parts])
    names: set[str] = set()
    for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
        if isinstance(node, ast.Import):
            names.update(alias.name for alias in node.names)
        elif isinstance(node, ast.ImportFrom):
            module = resolve_name("." * node.level + (node.module or ""), package)
            names.update(f"{module}.{alias.name}" for alias in node.names)
    return names


def is_in(name: str, package: str) -> bool:
    return f"{name}.".startswith(f"{package}.")


def test_a_feature_imports_no_other_feature() -> None:
    for name in FEATURES:
        own = f"app.features.{name}"
        for path in (APP / "features" / name).rglob("*.py"):
            others = {i for i in imports(path) if is_in(i, "app.features") and not is_in(i, own)}
            assert not others, path


def test_the_platform_imports_no_feature() -> None:
    for path in APP.rglob("*.py"):
        if (APP / "features") not in path.parents:
            # `load_features` imports the package `app.features` itself, to find what is in it.
            assert not {i for i in imports(path) if i.startswith("app.features.")}, path


def test_the_task_module_imports_nothing_else_of_the_application() -> None:
    for path in (APP / "tasks").rglob("*.py"):
        outside = {i for i in imports(path) if is_in(i, "app") and not is_in(i, "app.tasks")}
        assert not outside, path


def test_no_imports_are_circular() -> None:
    """Not even imports for types: in a circle there is no file to begin reading with."""
    files = {module_of(path): path for path in APP.rglob("*.py")}
    graph = {name: {file_of(i, files) for i in imports(path)} for name, path in files.items()}
    TopologicalSorter(graph).prepare()  # raises CycleError, which names the files


def module_of(path: Path) -> str:
    parts = [APP.name, *path.relative_to(APP).with_suffix("").parts]
    return ".".join(parts).removesuffix(".__init__")


def file_of(name: str, files: Mapping[str, Path]) -> str:
    """Return the module of an imported name, which may be a module itself or a name in one."""
    return name if name in files else name.rpartition(".")[0]


ASSEMBLY = ("app.main", "app.service", "app.lifespan")


def test_a_feature_does_not_import_the_modules_that_assemble_the_service() -> None:
    for path in (APP / "features").rglob("*.py"):
        assembly = {i for i in imports(path) if any(is_in(i, name) for name in ASSEMBLY)}
        assert not assembly, path
