"""What entry points share: options, how a command ends, and how its configuration file is read."""

import re
import sys
from collections import Counter
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Annotated, Any, TypeVar

import typer
import yaml
from pydantic import BaseModel, ValidationError

from enrich.config import DATABASE_PATTERN
from enrich.errors import ConfigError, EnrichError
from enrich.images.patience import leaving_hanging_reads
from enrich.logs import report_crash, report_error
from enrich.redaction import describe_invalid

# 2026-02-30 raises a ValueError, brackets within brackets without end a RecursionError.
_NO_YAML = (yaml.YAMLError, ValueError, RecursionError)

Settings = TypeVar("Settings", bound=BaseModel)


def _check_database(name: str) -> str:
    if not re.fullmatch(DATABASE_PATTERN, name):
        raise ConfigError(
            f"{name!r} cannot be the name of a database; wanted letters, digits and underscores"
        )
    return name


DatabaseOption = Annotated[
    str, typer.Option(help="Where the output tables live.", callback=_check_database)
]


def _check_place(place: str | None) -> str | None:
    if place == "":
        raise typer.BadParameter("is empty, as where a variable was not set")
    return place


CheckpointOption = Annotated[
    str, typer.Option(help="Classifier checkpoint; the bundled one.", callback=_check_place)
]
ImageRootOption = Annotated[
    str | None,
    typer.Option(
        help="Where relative image paths start; the catalog's folder.", callback=_check_place
    ),
]


def run_command(
    main: Callable[..., None],
    explain: Callable[[Exception], EnrichError | None] = lambda error: None,
) -> None:
    """Runs `main` as a command line; a known error becomes one message and its exit code.

    Args:
        explain: Says which known error lies behind one of a library, None if it is none.
    """
    # rich tracebacks print local variables, among them product texts and secrets.
    app = typer.Typer(add_completion=False, pretty_exceptions_enable=False)
    app.command()(main)
    with leaving_hanging_reads():
        try:
            app()
        except Exception as error:
            known = error if isinstance(error, EnrichError) else explain(error)
            if known is None:
                report_crash()
                sys.exit(1)
            report_error(known)
            sys.exit(known.exit_code)


class _DistinctKeys(yaml.SafeLoader):
    """Refuses a key that comes twice, of which YAML's own loader keeps the last one in silence."""

    def compose_mapping_node(self, anchor: Any) -> yaml.MappingNode:
        """Returns the mapping as it is written, before others are merged into it by `<<`."""
        node = super().compose_mapping_node(anchor)
        keys = [key.value for key, _ in node.value if isinstance(key, yaml.ScalarNode)]
        twice = [key for key, times in Counter(keys).items() if times > 1 and key != "<<"]
        if twice:
            raise yaml.composer.ComposerError(
                None, None, f"{', '.join(twice)} comes twice; wanted: once", node.start_mark
            )
        return node


def _read_yaml(text: str) -> Any:
    return yaml.load(text, _DistinctKeys)


def load_yaml(
    file: Path,
    settings: type[Settings],
    flags: Mapping[str, object] | None = None,
    stated: Mapping[str, object] | None = None,
) -> Settings:
    """Reads a YAML file into validated settings.

    Args:
        file: The YAML file.
        settings: What it is read into.
        flags: Values that go before all others; of a flag that was not given it is None.
        stated: Values that go before those of the file, as somebody wrote them: None is a value.

    Raises:
        ConfigError: the file cannot be read, or holds an unknown key or a wrong value.
    """
    try:
        content = _read_yaml(file.read_text()) or {}
        if not isinstance(content, dict):
            raise ConfigError(f"{file} holds no settings: wanted lines of the form 'key: value'")
        given = {key: value for key, value in (flags or {}).items() if value is not None}
        return settings.model_validate(content | dict(stated or {}) | given)
    except OSError as error:
        raise ConfigError(f"no configuration in {file}: {error.strerror}") from error
    except ValidationError as error:
        wrong = {problem["loc"][0] for problem in error.errors() if problem["loc"]}
        # An error in a flag's value is not the file's.
        where = "" if wrong and wrong <= {*given, *(stated or {})} else f"{file}: "
        raise ConfigError(f"{where}{describe_invalid(error, settings)}") from error
    except _NO_YAML as error:
        raise ConfigError(f"{file} is not valid YAML: {error}") from error


def parse_settings(given: Sequence[str]) -> dict[str, object]:
    """Returns settings given as `KEY=VALUE`, values as in YAML.

    Raises:
        ConfigError: one has no `=`, or its value is not valid YAML.
    """
    settings: dict[str, object] = {}
    for one in given:
        key, separator, value = one.partition("=")
        if not separator:
            raise ConfigError(f"'{one}' is no setting; wanted KEY=VALUE")
        try:
            settings[key] = _read_yaml(value)
        except _NO_YAML as error:
            raise ConfigError(f"the value of {key} is not valid YAML: {error}") from error
    return settings
