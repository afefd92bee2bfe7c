"""Tables of TOML and JSON as dataclasses, every key and type checked."""

import typing
from dataclasses import MISSING, fields, is_dataclass
from typing import Any, Literal, TypeVar

T = TypeVar("T")


def from_table(kind: type[T], table: Any, where: str) -> T:
    """Build a dataclass from a table, refusing unknown keys, missing keys and wrong types.

    Args:
        kind: A dataclass, possibly of dataclasses.
        table: Plain values, as TOML or JSON give them.
        where: Name of the table for messages.

    Raises:
        ValueError: With the key, what was expected and what came.
    """
    if not is_dataclass(kind):
        raise TypeError(f"{kind} is not a dataclass")
    if not isinstance(table, dict):
        raise ValueError(f"{where} must be a table; got {table!r}")
    known = [f.name for f in fields(kind)]
    refuse_unknown(table, known, where)
    missing = [
        f.name
        for f in fields(kind)
        if f.name not in table and f.default is MISSING and f.default_factory is MISSING
    ]
    if missing:
        raise ValueError(f"{where} must say {', '.join(missing)}")
    types_ = typing.get_type_hints(kind)
    values = {k: _convert(types_[k], v, f"{k} in {where}") for k, v in table.items()}
    return typing.cast(T, kind(**values))


def refuse_unknown(table: dict[str, Any], known: typing.Iterable[str], where: str) -> None:
    """Raise a ValueError that names the first key of a table that is none of the known ones."""
    unknown = sorted(set(table) - set(known))
    if unknown:
        raise ValueError(f"unknown key {unknown[0]!r} in {where}; known keys: {', '.join(known)}")


def _convert(kind: Any, value: Any, where: str) -> Any:
    """Return ``value`` as the annotated type, or explain in one sentence why it is not one."""
    origin, arguments = typing.get_origin(kind), typing.get_args(kind)
    if kind is Any:
        return value
    if origin is Literal:
        if value not in arguments:
            raise ValueError(f"{where} must be one of {', '.join(map(repr, arguments))}; {value!r}")
        return value
    if origin is tuple and isinstance(value, list | tuple):
        return _convert_tuple(arguments, value, where)
    if origin is dict and isinstance(value, dict):
        return {k: _convert(arguments[1], v, f"{where}.{k}") for k, v in value.items()}
    if is_dataclass(kind) and isinstance(value, dict):
        name = f" ({value['name']})" if "name" in value else ""
        return from_table(typing.cast(type[Any], kind), value, where + name)
    return _convert_plain(origin or kind, value, where)


def _convert_tuple(kinds: tuple[Any, ...], values: Any, where: str) -> tuple[Any, ...]:
    if kinds[-1] is Ellipsis:
        kinds = kinds[:1] * len(values)
    if len(kinds) != len(values):
        raise ValueError(f"{where} must have {len(kinds)} values; got {len(values)}")
    return tuple(_convert(k, v, where) for k, v in zip(kinds, values, strict=True))


def _convert_plain(kind: Any, value: Any, where: str) -> Any:
    if kind is float and isinstance(value, int) and not isinstance(value, bool):
        return float(value)
    if not isinstance(value, kind) or (isinstance(value, bool) and kind is not bool):
        raise ValueError(f"{where} must be {kind.__name__}; got {value!r}")
    return value
