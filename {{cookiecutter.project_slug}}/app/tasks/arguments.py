"""Checks that a task's arguments survive JSON, so that every engine sees the same values."""

import inspect
import json
from collections import OrderedDict
from collections.abc import Callable, Mapping
from contextlib import suppress
from datetime import date, timedelta
from functools import cached_property, partial
from types import GenericAlias
from typing import Any, get_type_hints
from uuid import UUID

from pydantic import TypeAdapter, ValidationError

from .errors import ArgumentError
from .info import FailedTask

# Immutable, and unchanged by JSON if the parameter is annotated with the same type: not checked.
# Not datetime and time: only the offset of their time zone survives.
_EXACT = frozenset({bool, int, str, UUID, date, timedelta, type(None)})

Arguments = tuple[tuple[Any, ...], dict[str, Any]]
MAX_LENGTH = 1_000_000
"""Bytes that one argument may have as JSON: the queue and the table keep it while it waits."""


class ArgumentCheck:
    """Checks the arguments of one function, whose annotations are read when first needed."""

    def __init__(self, func: Callable[..., Any], name: str) -> None:
        self._func = func
        self._name = name
        self._signature = inspect.signature(func)
        self._adapters: dict[str, TypeAdapter[Any]] = {}
        self._exact_calls: set[tuple[type, ...]] = set()
        """Argument types that need no check, unless a string is long."""

    def __call__(self, args: tuple[Any, ...], kwargs: dict[str, Any]) -> Arguments:
        """Return the arguments as they are after a round trip through JSON.

        Raises ArgumentError if one of them changes on the way, and TypeError if they do not fit the
        function.
        """
        types = tuple(map(type, args))
        if not kwargs and types in self._exact_calls and all(map(_is_short, args)):
            return args, kwargs
        try:
            bound = self._signature.bind(*args, **kwargs)
        except TypeError as error:
            msg = f"task {self._name}: {error}"
            raise TypeError(msg) from None
        if not kwargs and self._are_exact(bound.arguments):
            self._exact_calls.add(types)
        for name, value in bound.arguments.items():
            bound.arguments[name] = self._round_trip(name, value)
        return bound.args, bound.kwargs

    def to_json(self, args: tuple[Any, ...], kwargs: dict[str, Any]) -> str:
        """Return checked arguments as a JSON object by parameter name."""
        bound = self._signature.bind(*args, **kwargs)
        values = [
            f"{json.dumps(name)}: {self._adapter(name).dump_json(value).decode()}"
            for name, value in bound.arguments.items()
        ]
        return "{" + ", ".join(values) + "}"

    def value_as_json(self, name: str, arguments: Arguments) -> str:
        """Return the value of one parameter, or else its default, as JSON."""
        bound = self._signature.bind(*arguments[0], **arguments[1])
        bound.apply_defaults()
        return self._adapter(name).dump_json(bound.arguments[name]).decode()

    def from_json(self, text: str) -> Arguments:
        """Return the arguments that `to_json` was given.

        Raises ArgumentError if the function has changed and no longer accepts them.
        """
        try:
            values = {name: self._restore(name, value) for name, value in json.loads(text).items()}
            given = inspect.BoundArguments(self._signature, OrderedDict(values))
            bound = self._signature.bind(*given.args, **given.kwargs)
        except (TypeError, ValueError) as error:
            msg = f"the code of {self._name} does not accept the stored arguments: {error}"
            raise ArgumentError(msg) from None
        return bound.args, bound.kwargs

    @cached_property
    def _hints(self) -> dict[str, Any]:
        try:
            return get_type_hints(annotated_function(self._func), include_extras=True)
        except NameError as error:
            msg = f"task {self._name}: {error}: its arguments' types must exist at run time"
            raise ArgumentError(msg) from error

    def _are_exact(self, arguments: Mapping[str, Any]) -> bool:
        return all(
            type(value) in _EXACT and self._hints.get(name) is type(value)
            for name, value in arguments.items()
        )

    def _round_trip(self, name: str, value: Any) -> Any:
        try:
            adapter = self._adapter(name)
            encoded = adapter.dump_json(value, warnings="error")
            # The arguments in a FailedTask were accepted before, one by one.
            if len(encoded) > MAX_LENGTH and not isinstance(value, FailedTask):
                msg = f"it has {len(encoded):,} bytes as JSON; the limit is {MAX_LENGTH:,}"
                raise ValueError(msg)
            restored = adapter.validate_json(encoded)
            same = bool(restored == value)
        # pydantic, and the serializers and comparisons of any type, may raise anything
        except Exception as error:
            problem = f"cannot: {one_line(str(error))}"
            raise ArgumentError(self._message(name, value, problem)) from error
        if not same:
            raise ArgumentError(self._message(name, value, f"comes back as {_describe(restored)}"))
        return restored

    def _restore(self, name: str, value: Any) -> Any:
        if name not in self._signature.parameters:
            msg = f"it has no parameter {name!r}"
            raise TypeError(msg)
        try:
            return self._adapter(name).validate_json(json.dumps(value))
        except ValidationError as error:  # its text has the value, which may be a secret
            msg = f"{error.errors(include_input=False)[0]['msg']} for {name!r}"
            raise TypeError(msg) from None

    def _adapter(self, name: str) -> TypeAdapter[Any]:
        if name in self._adapters:
            return self._adapters[name]
        hint = self._hints.get(name, Any)
        kind = self._signature.parameters[name].kind
        if kind is inspect.Parameter.VAR_POSITIONAL:
            hint = GenericAlias(tuple, (hint, ...))
        elif kind is inspect.Parameter.VAR_KEYWORD:
            hint = GenericAlias(dict, (str, hint))
        return self._adapters.setdefault(name, TypeAdapter(hint))

    def _message(self, parameter: str, value: Any, problem: str) -> str:
        remedy = "Pass an id or plain data, and annotate the parameter with its type."
        if value is None:
            remedy = "If it is the id of a new row, call `await session.flush()` first."
        return (
            f"task {self._name}: argument {parameter!r} must survive JSON, but {_describe(value)} "
            f"{problem}. {remedy}"
        )


def annotated_function(func: Callable[..., Any]) -> Callable[..., Any]:
    """Return the function that has the annotations, also for partials and callable objects."""
    while isinstance(func, partial):
        func = func.func
    func = inspect.unwrap(func)
    return func if inspect.isroutine(func) else type(func).__call__


def _is_short(value: object) -> bool:
    # As JSON an ASCII character has six bytes at most. Other text may not be valid Unicode.
    return not isinstance(value, str) or (6 * len(value) + 2 <= MAX_LENGTH and value.isascii())


def _describe(value: object) -> str:
    text = "(no text)"
    with suppress(Exception):  # it fails for an ORM object whose session is closed
        text = repr(value)
    return one_line(f"{type(value).__name__} {text}")


def one_line(text: str) -> str:
    """Return a text as one line of 120 characters at most."""
    text = " ".join(text.split())
    return text if len(text) <= 120 else f"{text[:117]}..."  # noqa: PLR2004 - one line
