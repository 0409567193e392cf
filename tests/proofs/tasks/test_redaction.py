"""Descriptions of exceptions and arguments show no secret, are short, and are made quickly."""

import json
import tracemalloc
from collections.abc import Callable
from contextlib import suppress
from functools import partial
from typing import Any

import pytest
from pydantic import BaseModel, Field, ValidationError

from app.tasks import Retry, describe_arguments, describe_error, describe_traceback, redact
from app.tasks.limits import Rate
from cost import costs_little

SIZE = 100_000


def raised_by(call: Callable[[], object]) -> Exception:
    with pytest.raises(Exception) as raised:  # noqa: PT011 - the tests inspect the error
        call()
    return raised.value


WORST = ["/", "//", "//a@", "a", "token", "token=", 'token="', "token='\"", "bearer ", "password_"]
WORST += [", input_value=", ", input_value=, input_type=", ")=(", "row contains ("]


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("mysql://user:hunter2@host/db failed", "mysql://***@host/db failed"),
        ("mysql://user:hun@/ter2@host/db", "mysql://***@host/db"),
        ("see https://host/path, mail a@example.com", "see https://host/path, mail a@example.com"),
        ("password=hunter2 user=ann", "password=*** user=ann"),
        ("password = 'hunter2 hunter2' user=ann", "password = *** user=ann"),
        ('{"smtp_password": "hunter2", "user": "ann"}', '{"smtp_password": ***, "user": "ann"}'),
        ("AWS_SECRET_ACCESS_KEY=hunter2", "AWS_SECRET_ACCESS_KEY=***"),
        ("X-API-Key: hunter2", "X-API-Key: ***"),
        ("the API key: hunter2", "the API key: ***"),
        ("password := hunter2", "password := ***"),
        ("passphrase => hunter2", "passphrase => ***"),
        ('{\\"password\\": \\"hunter2\\"}', '{\\"password\\": ***'),
        ('password="a\\"hunter2" user=ann', "password=*** user=ann"),
        ("secret_key_base_of_the_application=hunter2", "secret_key_base_of_the_application=***"),
        ("Authorization: Bearer hunter2", "Authorization: Bearer ***"),
        ("API_KEYS=hunter2,hunter3", "API_KEYS=***"),
        ("API_KEYS: production needs one", "API_KEYS: production needs one"),
        ("a token is a word", "a token is a word"),
        (
            "[type=x, input_value={'password': 'hunter2', 'n': 1}, input_type=dict]",
            "[type=x, input_value=***, input_type=dict]",
        ),
        (
            "[type=x, input_value='hunter2, input_type=', input_type=str]\nnext",
            "[type=x, input_value=***, input_type=str]\nnext",
        ),
        (
            "DETAIL:  Key (tenant, token)=(1, hunter2) already exists.\nnext",
            "DETAIL:  Key (tenant, token)=(***\nnext",
        ),
        ("Failing row contains (1, ann, hunter2).", "Failing row contains (***"),
    ],
)
def test_redact_hides_secrets_and_nothing_else(text: str, expected: str) -> None:
    assert redact(text, 1000) == expected


@pytest.mark.parametrize("length", range(1, 60))
@pytest.mark.parametrize(
    "text",
    [
        "at mysql://user:hunter2@host/db",
        'password="hunter2 hunter2"',
        "[type=x, input_value=['hunter2', 'hunter2'], input_type=list]",
    ],
)
def test_truncated_text_shows_no_part_of_a_secret(text: str, length: int) -> None:
    assert "hun" not in redact(text, length)


@pytest.mark.parametrize(
    ("arguments", "shown"),
    [
        ('{"n": 1, "to": [1.5, null, {"a": "b"}]}', {"n": 1, "to": [1.5, None, {"a": "b"}]}),
        ('{"url": "mysql://me:hunter2@db/x", "q": "a=b"}', {"url": "mysql://***@db/x", "q": "a=b"}),
        ('{"passwords": ["hunter1", "hunter2"]}', {"passwords": "***"}),
        ('{"x": {"api_key": {"value": "hunter2"}}}', {"x": '{"api_key": ***}'}),
        ('{"x": [["http://me:hunter2@host"]]}', {"x": '[["http://***@host"]]'}),
        ('{"x": ["hunter", "token=hunter2"]}', {"x": '["hunter", "token=***'}),
        (f'{{"{"x" * 500}_token": "hunter2"}}', {"x" * 500 + "_token": "***"}),
        ('{"a": NaN, "b": -Infinity}', {"a": "NaN", "b": "-Infinity"}),
        ('{"a": "\\ud800\\u0000"}', {"a": "??"}),
        (f'{{"a": "{"b" * 600}"}}', {"a": "b" * 500}),
        ("{}", {}),
        ("", None),
        ("[1]", None),
        ("not JSON", None),
        ('{"a": ' + "[" * 100_000 + "]" * 100_000 + "}", None),
        ('{"a": ' + "9" * 5000 + "}", None),
    ],
)
def test_described_arguments_are_redacted_and_truncated(arguments: str, shown: object) -> None:
    assert describe_arguments(arguments) == shown  # None when they are not a JSON object


@pytest.mark.parametrize(
    ("error", "text"),
    [
        (None, ""),
        (ValueError("no\nmore"), "ValueError: no"),
        (KeyError(), "KeyError"),
        (
            ExceptionGroup("two", [ExceptionGroup("one", [OSError("away")]), ValueError("no")]),
            "ExceptionGroup: two (2 sub-exceptions): OSError: away",
        ),
        (
            raised_by(partial(Retry, attempts=0)),
            (
                "ValidationError: 1 validation error for Retry: attempts: "
                "Input should be greater than or equal to 1"
            ),
        ),
    ],
)
def test_an_error_is_described_in_one_line(error: BaseException | None, text: str) -> None:
    assert describe_error(error) == text


class Login(BaseModel):
    password: str = Field(min_length=100)
    token: dict[str, int]


def test_the_input_of_a_validation_error_is_not_shown() -> None:
    given = {"password": "hunter2", "token": {"hunter2": "hunter2 hunter2"}}
    traceback = describe_traceback(raised_by(partial(Login.model_validate, given)))

    assert "hunter2 hunter2" not in traceback
    assert "'hunter2'" not in traceback
    assert "should have at least 100 characters" in traceback


_WITHOUT_TEXT: Any = ("file", 1, None, b"line")


@pytest.mark.parametrize(
    "error",
    [SyntaxError("no", _WITHOUT_TEXT), ValidationError.from_exception_data("empty", [])],
)
def test_a_malformed_exception_is_described_by_its_type(error: Exception) -> None:
    assert describe_error(error).startswith(type(error).__name__)
    assert type(error).__name__ in describe_traceback(error)


def parse_rate(text: str) -> None:
    with suppress(ValueError):
        Rate.parse(text)


@pytest.mark.parametrize("unit", [*WORST, "1", " ", "1/minute "])
def test_no_text_is_slow_to_redact_or_parse(unit: str) -> None:
    text = (unit * SIZE)[:SIZE]
    for worst in (text, f"{text} ", f"token{' ' * SIZE}", f"token={' ' * SIZE}"):
        error = ValueError(worst)
        for call in (
            partial(describe_error, error),
            partial(describe_traceback, error),
            partial(redact, worst, 10_000),  # the longest text that is ever kept
            partial(parse_rate, worst),
            partial(describe_arguments, json.dumps({worst: worst})),
        ):
            with costs_little():
                call()


@pytest.mark.parametrize("group", [False, True])
def test_describing_a_text_of_many_lines_takes_little_memory(*, group: bool) -> None:
    cause = ValueError("a\n" * 3_000_000)  # 6 MB; split into lines over 100 MB more
    error: Exception = ExceptionGroup("", [cause]) if group else KeyError()
    error.__cause__ = cause
    cause.__context__ = error
    tracemalloc.start()
    try:
        describe_error(cause)
        describe_traceback(error)
        _, peak = tracemalloc.get_traced_memory()
    finally:
        tracemalloc.stop()
    assert peak < 1_000_000
