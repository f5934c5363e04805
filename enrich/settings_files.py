"""Validated settings from YAML files, with errors in one line."""

from collections import Counter
from collections.abc import Collection, Mapping, Sequence
from typing import Any, Protocol, TypeVar

import yaml
from pydantic import BaseModel, ConfigDict, ValidationError, field_validator

from enrich.errors import ConfigError, kind_of, redact

# 2026-02-30 raises a ValueError, brackets within brackets without end a RecursionError.
_NO_YAML = (yaml.YAMLError, ValueError, RecursionError)

# What pydantic calls tuples and dictionaries.
_IN_YAML = dict.fromkeys(("list_type", "tuple_type"), "expected a list, as [a, b]") | dict.fromkeys(
    ("dict_type", "model_type"), "expected lines 'key: value' below it"
)

# Characters of a wrong value in an error.
_LONGEST = 200

Settings = TypeVar("Settings", bound=BaseModel)


class Readable(Protocol):
    """A file: a path, or one in an object store."""

    def read_text(self, encoding: str | None = None) -> str: ...


class YamlSettings(BaseModel):
    """Base of the job's settings, none of which is a switch; refuses truth values.

    YAML reads yes, no, on and off as such, and pydantic would silently make numbers of them. The
    docstring below a field is its row of docs/settings.md.
    """

    model_config = ConfigDict(extra="forbid", frozen=True, use_attribute_docstrings=True)

    @field_validator("*", mode="before")
    @classmethod
    def _no_truth_value(cls, value: Any) -> Any:
        if isinstance(value, bool):
            raise ValueError(
                "expected another value than true or false, as which YAML reads yes, no, on and off"
            )
        return value


def load_yaml(
    file: Readable,
    settings: type[Settings],
    flags: Mapping[str, object] | None = None,
    stated: Mapping[str, object] | None = None,
) -> Settings:
    """Read a YAML file, on a disk or in an object store, into validated settings.

    `flags` go before all others; of a flag that was not given the value is None. `stated` values go
    before those of the file, as somebody wrote them: None is a value. Raises ConfigError if the
    file cannot be read, or holds an unknown key or a wrong value, and NoAnswer if its store is out
    of reach.
    """
    try:
        content = _read_yaml(file.read_text(encoding="utf-8"))
        if not isinstance(content, dict | None):
            raise ConfigError(f"{file} holds no settings: expected lines like 'key: value'")
        given = {key: value for key, value in (flags or {}).items() if value is not None}
        return settings.model_validate((content or {}) | dict(stated or {}) | given)
    except OSError as error:
        kind = kind_of([str(error)], ConfigError)
        raise kind(f"no configuration in {file}: {error.strerror}") from error
    except ValidationError as error:
        wrong = {problem["loc"][0] for problem in error.errors() if problem["loc"]}
        # An error in a flag's value is not the file's.
        where = "" if wrong and wrong <= {*given, *(stated or {})} else f"{file}: "
        raise ConfigError(f"{where}{describe_invalid(error, settings)}") from error
    except _NO_YAML as error:
        raise ConfigError(f"{file} is not valid YAML: {_describe_no_yaml(error)}") from error


def parse_settings(given: Sequence[str]) -> dict[str, object]:
    """Return settings given as `KEY=VALUE`, values as in YAML.

    Raises ConfigError if one has no `=`, or its value is not valid YAML.
    """
    settings: dict[str, object] = {}
    for one in given:
        key, separator, value = one.partition("=")
        if not separator:
            raise ConfigError(f"the setting cannot be read: found '{one}', expected KEY=VALUE.")
        try:
            settings[key] = _read_yaml(value)
        except _NO_YAML as error:
            problem = _describe_no_yaml(error)
            raise ConfigError(f"the value of {key} is not valid YAML: {problem}") from error
    return settings


def describe_invalid(error: ValidationError, settings: type[BaseModel]) -> str:
    """Return a validation error in one line: keys, values and what was expected."""
    problems = []
    for problem in error.errors():
        key = ".".join(map(str, problem["loc"]))
        if problem["type"] == "extra_forbidden":
            known = ", ".join(_known_beside(settings, problem["loc"]))
            problems.append(f"unknown key '{key}'" + (f" (known: {known})" if known else ""))
        elif problem["loc"]:
            wanted = _IN_YAML.get(problem["type"], problem["msg"])
            # Redaction goes first, because a login is recognised by its end.
            found = redact(repr(problem["input"]))[:_LONGEST]
            problems.append(f"{key}: {wanted}, found {found}")
        else:
            # Of several keys together; what was found is the whole file.
            problems.append(str(problem["msg"]))
    # What was found may be an address with a password in it.
    return redact("; ".join(problems))


class _DistinctKeys(yaml.SafeLoader):
    """YAML loader that refuses duplicate keys.

    YAML's own loader silently keeps the last one.
    """

    def compose_mapping_node(self, anchor: Any) -> yaml.MappingNode:
        """Return the mapping as written, before others are merged into it by `<<`."""
        node = super().compose_mapping_node(anchor)
        keys = [key.value for key, _ in node.value if isinstance(key, yaml.ScalarNode)]
        twice = [key for key, times in Counter(keys).items() if times > 1 and key != "<<"]
        if twice:
            raise yaml.composer.ComposerError(
                None, None, f"{', '.join(twice)} comes twice, expected once", node.start_mark
            )
        return node


def _read_yaml(text: str) -> Any:
    return yaml.load(text, _DistinctKeys)


def _describe_no_yaml(error: Exception) -> str:
    """Return PyYAML's several lines as one, without the caret."""
    mark = getattr(error, "problem_mark", None)
    if isinstance(error, yaml.MarkedYAMLError) and mark is not None:
        said = ", ".join(filter(None, (error.context, error.problem)))
        return f"{said} (line {mark.line + 1}, column {mark.column + 1})"
    return " ".join(str(error).split())


def _known_beside(settings: type[BaseModel], place: tuple[int | str, ...]) -> Collection[str]:
    """Return the keys that may stand beside a key; none for the items of a list."""
    for name in place[:-1]:
        field = settings.model_fields.get(str(name))
        kind = None if field is None else field.annotation
        if not (isinstance(kind, type) and issubclass(kind, BaseModel)):
            return ()
        settings = kind
    return settings.model_fields
