"""Settings: one frozen dataclass per program, read once from one TOML file.

Every key is a field, every field has a default, and an unknown key is refused with the nearest
known one beside it. No setting turns a check off, and nothing else reads the environment.

    config = load_config(ServerSettings, read_bounded(path, MAX_CONFIG_BYTES))

A field may be a `str`, `int`, `bool`, a `tuple[str, ...]`, or another such dataclass (a table).
Bounds of a number stand in the field's metadata: `between(least, most)`.
"""

import dataclasses
import difflib
import tomllib
from typing import Any, Final, TypeVar, get_type_hints

from fleetward.trust.errors import Misuse, Refused

MAX_CONFIG_BYTES: Final = 64 * 1024

T = TypeVar("T")


def between(default: int, least: int, most: int) -> Any:
    """A whole number with its default and bounds, both included."""
    return dataclasses.field(default=default, metadata={"between": (least, most)})


def load_config(cls: type[T], content: bytes) -> T:
    """Read the settings of one program.

    Raises `Refused` naming the key, what was expected and what came.
    """
    try:
        table = tomllib.loads(content.decode("utf-8"))
    except (tomllib.TOMLDecodeError, UnicodeDecodeError, RecursionError) as e:
        raise Refused(
            f"expected settings as TOML in UTF-8; reading failed: {e}; correct that place",
            reason="config_not_toml",
        ) from e
    return _read_table(cls, table, "")


def _read_table(cls: type[T], table: dict[str, Any], prefix: str) -> T:
    if not dataclasses.is_dataclass(cls):
        raise Misuse(f"{cls.__name__} is not a dataclass", reason="config_class_unsuitable")
    hints = get_type_hints(cls)
    fields = {field.name: field for field in dataclasses.fields(cls)}
    values: dict[str, Any] = {}
    for key, value in table.items():
        if key not in fields:
            raise _unknown_key(prefix + key, prefix, list(fields), key)
        values[key] = _read_value(hints[key], fields[key], value, prefix + key)
    result: T = cls(**values)
    return result


def _read_value(hint: Any, field: dataclasses.Field[Any], value: Any, name: str) -> Any:
    if dataclasses.is_dataclass(hint) and isinstance(hint, type):
        if not isinstance(value, dict):
            raise _wrong_value(name, f"a table [{name}]", value)
        return _read_table(hint, value, name + ".")
    if hint == tuple[str, ...]:
        if not isinstance(value, list) or not all(isinstance(item, str) for item in value):
            raise _wrong_value(name, "a list of strings", value)
        return tuple(value)
    if hint not in (str, int, bool):
        raise Misuse(f"settings cannot hold {hint} ({name})", reason="config_class_unsuitable")
    if type(value) is not hint:
        words = {str: "a string", int: "a whole number", bool: "true or false"}[hint]
        raise _wrong_value(name, words, value)
    if "between" in field.metadata:
        least, most = field.metadata["between"]
        if not least <= value <= most:
            raise _wrong_value(name, f"a number from {least} to {most}", value)
    return value


def _unknown_key(name: str, prefix: str, known: list[str], key: str) -> Refused:
    nearest = difflib.get_close_matches(key, known, n=1, cutoff=0.5)
    hint = f"did you mean {prefix}{nearest[0]}?" if nearest else f"known are {', '.join(known)}"
    return Refused(
        f"expected a known setting; {name} came; {hint}",
        reason="config_unknown_key",
    )


def _wrong_value(name: str, expected: str, came: object) -> Refused:
    return Refused(
        f"expected {expected} for {name}; {str(came)[:80]!r} came; correct that line",
        reason="config_wrong_value",
    )
