"""Arguments of decorated tasks have to survive JSON, or the call is refused."""

import math
from collections.abc import Callable
from dataclasses import dataclass
from datetime import UTC, date, datetime, timedelta
from decimal import Decimal
from enum import Enum, IntEnum
from pathlib import Path
from typing import TYPE_CHECKING, Any
from uuid import UUID
from zoneinfo import ZoneInfo

import pytest
from pydantic import BaseModel, SecretStr

from app.tasks import ArgumentError, TaskRunner, TaskSettings, task

if TYPE_CHECKING:
    from fractions import Fraction


class Color(Enum):
    RED = "red"


class Level(IntEnum):
    LOW = 1


class Item(BaseModel):
    name: str
    tags: set[str] = set()


class Special(Item):
    extra: int = 0


@dataclass
class Point:
    x: int
    y: int


class Row:
    """Stands for an ORM instance."""

    id = 1


class Incomparable:
    """Raises when it is compared."""

    def __eq__(self, _: object) -> bool:
        raise RuntimeError

    def __hash__(self) -> int:
        return 0


ANY = UUID(int=7)


def annotated(hint: Any) -> Callable[[Any], Any]:
    """Return a function that checks the argument of a task with one parameter of a type."""

    def func(value: Any) -> None: ...

    func.__annotations__["value"] = hint
    checked = task(func)
    return lambda value: checked.check_arguments((value,), {})[0][0]


@pytest.mark.parametrize(
    ("hint", "value"),
    [
        (int, 2**70),
        (str, "naïve 🎉"),
        (float, 0.1),
        (bool, True),
        (UUID, ANY),
        (datetime, datetime(2026, 1, 2, 3, tzinfo=UTC)),
        (date, date(2026, 1, 2)),
        (timedelta, timedelta(days=-1, microseconds=1)),
        (Decimal, Decimal("1.10")),
        (Path, Path("/data/x.csv")),
        (bytes, b"text"),
        (set[int], {1, 2}),
        (tuple[int, str], (1, "a")),
        (dict[int, str], {1: "a"}),
        (Color, Color.RED),
        (Level, Level.LOW),
        (Item, Item(name="a", tags={"b"})),
        (Point, Point(1, 2)),
        (int | None, None),
        (list[UUID], [ANY]),
        (Any, {"a": [1, 2.5, None, True, "x"]}),
    ],
)
def test_a_value_that_survives_json_is_unchanged(hint: Any, value: Any) -> None:
    result = annotated(hint)(value)
    assert result == value
    assert type(result) is type(value)


@pytest.mark.parametrize(
    ("hint", "value"),
    [
        (Any, Row()),
        (Row, Row()),
        (Any, object()),
        (Any, Incomparable()),
        (Any, math.nan),
        (float, math.nan),
        (float, math.inf),
        (Any, [1.0, math.inf]),
        (Any, (1, 2)),
        (Any, {"a": (1, 2)}),
        (Any, {1: "a"}),
        (Any, {1, 2}),
        (Any, ANY),
        (Any, date(2026, 1, 2)),
        (Any, Decimal("1.1")),
        (Any, b"text"),
        (Any, Item(name="a")),
        (bytes, b"\xff"),
        (str, "\ud800"),
        (Any, "\ud800"),
        (UUID, str(ANY)),
        (int, "1"),
        (list[int], (1, 2)),
        (Item, Special(name="a", extra=3)),
        (SecretStr, SecretStr("s3cret")),
        (Any, lambda: None),
    ],
)
def test_a_value_that_does_not_survive_json_is_refused(hint: Any, value: Any) -> None:
    with pytest.raises(ArgumentError, match="argument 'value' must survive JSON"):
        annotated(hint)(value)


def test_an_open_file_is_refused(tmp_path: Path) -> None:
    with (tmp_path / "file").open("w") as file, pytest.raises(ArgumentError, match="must survive"):
        annotated(Any)(file)


def test_the_error_message_is_short_and_says_what_to_do() -> None:
    with pytest.raises(ArgumentError) as caught:
        annotated(Any)({1: "x" * 10_000})
    assert "Pass an id or plain data" in str(caught.value)
    assert len(str(caught.value)) < 500


class Unprintable:
    def __repr__(self) -> str:
        raise LookupError


def test_a_value_whose_repr_fails_is_refused() -> None:
    with pytest.raises(ArgumentError, match=r"Unprintable .*Pass an id"):
        annotated(Any)(Unprintable())


def test_the_error_message_names_the_expected_type() -> None:
    with pytest.raises(ArgumentError, match=r"str 'abc' cannot: .*Expected `int`"):
        annotated(int)("abc")


def test_argument_error_is_a_type_error() -> None:
    assert issubclass(ArgumentError, TypeError)


def test_an_enum_without_a_type_hint_becomes_its_value() -> None:
    assert type(annotated(Any)(Level.LOW)) is int


def test_checked_arguments_are_copies() -> None:
    given = [1, 2]
    assert annotated(list[int])(given) is not given


@task
async def every_kind(
    first: int, /, second: UUID, third: str = "c", *rest: Point, flag: bool, **more: list[int]
) -> None: ...


@task
async def keyword_only(*, value: tuple[int, ...]) -> None: ...


def test_parameters_of_every_kind_are_checked() -> None:
    args, kwargs = every_kind.check_arguments(
        (1, ANY, "x", Point(1, 2), Point(3, 4)), {"flag": True, "m": [1], "n": [2]}
    )
    assert args == (1, ANY, "x", Point(1, 2), Point(3, 4))
    assert kwargs == {"flag": True, "m": [1], "n": [2]}


def test_keyword_arguments_become_positional_where_possible() -> None:
    args, kwargs = every_kind.check_arguments((1,), {"second": ANY, "flag": False})
    assert every_kind.check_arguments(args, kwargs) == ((1, ANY), {"flag": False})
    assert keyword_only.check_arguments((), {"value": (1, 2)}) == ((), {"value": (1, 2)})


@pytest.mark.parametrize(
    ("args", "kwargs", "parameter"),
    [
        ((1, "not a uuid"), {"flag": True}, "second"),
        ((1, ANY, "c", Point(1, 2), "no point"), {"flag": True}, "rest"),
        ((1, ANY), {"flag": True, "m": (1,)}, "more"),
        ((1, ANY), {"flag": "yes"}, "flag"),
    ],
)
def test_the_error_names_the_parameter_whatever_its_kind(
    args: tuple[Any, ...], kwargs: dict[str, Any], parameter: str
) -> None:
    with pytest.raises(ArgumentError, match=f"argument '{parameter}'"):
        every_kind.check_arguments(args, kwargs)


@pytest.mark.parametrize(
    ("args", "kwargs"),
    [((), {}), ((1, ANY), {}), ((), {"first": 1, "second": ANY, "flag": True})],
)
def test_arguments_that_do_not_fit_the_signature_are_refused(
    args: tuple[Any, ...], kwargs: dict[str, Any]
) -> None:
    with pytest.raises(TypeError, match="task every_kind: "):
        every_kind.check_arguments(args, kwargs)
    with pytest.raises(TypeError, match="task keyword_only: "):
        keyword_only.check_arguments(((1, 2),), {})


def test_default_values_are_not_added() -> None:
    args, kwargs = every_kind.check_arguments((1, ANY), {"flag": True})
    assert args == (1, ANY)
    assert kwargs == {"flag": True}


def test_the_error_names_a_type_that_is_undefined_at_run_time() -> None:
    def func(value: "Fraction") -> None: ...

    with pytest.raises(ArgumentError, match="'Fraction' is not defined"):
        task(func).check_arguments((1,), {})


async def test_undecorated_callables_accept_any_arguments(engine: TaskRunner) -> None:
    seen: list[Any] = []
    row = Row()
    engine.submit(seen.append, row)
    await engine.join(5)
    assert seen == [row]


async def test_a_refused_call_reserves_no_capacity(engine: TaskRunner) -> None:
    with pytest.raises(ArgumentError):
        engine.submit(keyword_only, value=[object()])  # type: ignore[call-overload]
    assert engine._capacity.reserved == 0


@pytest.mark.parametrize(
    "value",
    ["x" * 1_000_001, "\N{EURO SIGN}" * 400_000, '"' * 500_000],
    ids=["ascii", "not ascii", "quoted"],
)
async def test_an_argument_that_is_too_large_is_refused(value: str) -> None:
    @task
    async def take(text: str) -> None:
        """Ignore the text."""

    async with TaskRunner(TaskSettings()) as runner:
        with pytest.raises(ArgumentError, match=r"'text' .* 1,[02]00,00. bytes .* 1,000,000"):
            runner.submit(take, value)
        runner.submit(take, value[:300_000])
        with pytest.raises(ArgumentError):  # the accepted call must not change the answer
            runner.submit(take, value)


def test_the_error_for_a_missing_row_id_suggests_a_flush() -> None:
    with pytest.raises(ArgumentError, match=r"await session.flush\(\)"):
        annotated(UUID)(None)


async def test_a_time_zone_argument_becomes_a_fixed_offset() -> None:
    seen = []

    @task
    async def remind(at: datetime) -> None:
        seen.append(at)

    due = datetime(2026, 7, 1, tzinfo=ZoneInfo("Europe/Berlin"))
    async with TaskRunner(TaskSettings()) as runner:
        runner.submit(remind, due)
        await runner.join(10)

    assert seen == [due]
    assert not isinstance(seen[0].tzinfo, ZoneInfo)  # JSON keeps the offset but not its name
