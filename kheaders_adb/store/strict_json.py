"""Reading JSON strictly: every field is there and of its type, or it is a StoreError."""

from __future__ import annotations

import enum
import json
import math
from collections.abc import Callable, Mapping
from typing import TypeVar

from kheaders_adb.errors import StoreError

_STEP = "reading a record of the store"

_T = TypeVar("_T")
_E = TypeVar("_E", bound=enum.Enum)


class Fields:
    """A JSON object whose fields are read with their types checked."""

    __slots__ = ("_items",)

    def __init__(self, items: Mapping[str, object]) -> None:
        self._items = items

    @classmethod
    def parse(cls, text: bytes) -> Fields:
        """The object that ``text`` holds.

        Raises:
            StoreError: it is not UTF-8, not JSON, or not an object.
        """
        try:
            return cls.of(json.loads(text.decode("utf-8")))
        except (ValueError, RecursionError) as error:
            raise StoreError(f"not JSON: {error}", step=_STEP) from error

    @classmethod
    def of(cls, item: object) -> Fields:
        """``item``, which must be an object.

        Raises:
            StoreError: it is something else.
        """
        if not isinstance(item, dict):
            raise StoreError(f"an object was expected, not {type(item).__name__}", step=_STEP)
        return cls(item)

    def _get(self, name: str) -> object:
        try:
            return self._items[name]
        except KeyError as error:
            raise StoreError(f"the field {name!r} is missing", step=_STEP) from error

    def _bad(self, name: str, wanted: str) -> StoreError:
        return StoreError(f"the field {name!r} is not {wanted}", step=_STEP)

    def has(self, name: str) -> bool:
        """Whether the field is there, for those that older versions did not write."""
        return name in self._items

    def string(self, name: str) -> str:
        """A string.  Raises StoreError, as all of these do, if the field is missing or something else."""
        value = self._get(name)
        if not isinstance(value, str):
            raise self._bad(name, "a string")
        return value

    def optional(self, name: str) -> str | None:
        """A string or null."""
        value = self._get(name)
        if value is not None and not isinstance(value, str):
            raise self._bad(name, "a string or null")
        return value

    def optional_or_absent(self, name: str) -> str | None:
        """A string, null, or no such field: one that files of older versions lack."""
        return self.optional(name) if name in self._items else None

    def integer(self, name: str) -> int:
        """A number without a fraction, 0 or more."""
        value = self._get(name)
        if not isinstance(value, int) or isinstance(value, bool) or value < 0:
            raise self._bad(name, "a whole number")
        return value

    def optional_integer(self, name: str) -> int | None:
        """A number without a fraction, 0 or more, or null."""
        return None if self._get(name) is None else self.integer(name)

    def strings(self, name: str) -> dict[str, str] | None:
        """An object of strings, or null."""
        value = self._get(name)
        if value is None:
            return None
        if not isinstance(value, dict) or not all(isinstance(item, str) for item in value.values()):
            raise self._bad(name, "an object of strings")
        return value

    def number(self, name: str) -> float:
        """A finite number, 0 or more."""
        value = self._get(name)
        if isinstance(value, bool) or not isinstance(value, int | float):
            raise self._bad(name, "a number")
        try:
            number = float(value)
        except OverflowError as error:
            raise self._bad(name, "a number of a sensible size") from error
        if not math.isfinite(number) or number < 0:
            raise self._bad(name, "a finite number")
        return number

    def choice(self, name: str, options: type[_E]) -> _E:
        """One of an enumeration's values."""
        value = self._get(name)
        try:
            return options(value)
        except ValueError as error:
            wanted = ", ".join(str(option.value) for option in options)
            raise self._bad(name, f"one of {wanted}") from error

    def fields(self, name: str) -> Fields:
        """An object."""
        value = self._get(name)
        if not isinstance(value, dict):
            raise self._bad(name, "an object")
        return Fields(value)

    def each(self, name: str, convert: Callable[[object], _T]) -> tuple[_T, ...]:
        """A list, each item of it converted."""
        value = self._get(name)
        if not isinstance(value, list):
            raise self._bad(name, "a list")
        return tuple(convert(item) for item in value)
