"""Options and error handling that all commands share."""

import os
import re
import sys
import tempfile
from collections.abc import Callable
from inspect import getfile
from pathlib import Path
from typing import Annotated, Any, TypeVar

import typer
from typer.core import TyperGroup

from enrich.config import DATABASE_PATTERN, JobConfig, home, is_checkout
from enrich.errors import ConfigError, EnrichError
from enrich.logs import report_crash, report_error, start_logging
from enrich.places import Place, parse_flag
from enrich.settings_files import load_yaml

# Of typer or of click, as typer's version has it.
_USAGE_ERROR: Any = typer.BadParameter.__mro__[1]


def _check_database(name: str | None) -> str | None:
    if name is not None and not re.fullmatch(DATABASE_PATTERN, name):
        raise ConfigError(
            f"{name!r} cannot be the name of a database: expected letters, digits and underscores, "
            "with a catalog's name and a dot before them or without."
        )
    return name


_DATABASE = typer.Option(help="Database of the output tables.", callback=_check_database)
DatabaseOption = Annotated[str, _DATABASE]
# Of a job whose settings name a database too.
OtherDatabaseOption = Annotated[str | None, _DATABASE]


def _check_place(place: str | None) -> str | None:
    if place == "":
        raise typer.BadParameter("is empty. Is a variable not set?")
    return place


def check_words(words: str | None) -> str | None:
    """Return a name or reason without surrounding blanks; refuse blank ones."""
    if words is not None and not words.strip():
        raise typer.BadParameter("is blank. Is a variable not set?")
    return words and words.strip()


# Of a job whose settings name a checkpoint or a catalog too.
OtherCheckpointOption = Annotated[
    str | None,
    typer.Option(
        help="Checkpoint of the classifier (default: the settings', else the bundled one)."
    ),
]
OtherCatalogOption = Annotated[
    str | None,
    typer.Option(
        help="Product table: a Parquet, CSV or JSON file, a folder of these, or a Delta folder.",
        callback=_check_place,
    ),
]
TableOption = Annotated[str | None, typer.Option(help="Product table: a path, or a table's name.")]
ImageRootOption = Annotated[
    str | None,
    typer.Option(
        help="Where relative image paths start (default: the catalog's folder).",
        callback=_check_place,
    ),
]


SetOption = Annotated[
    list[str] | None,
    typer.Option(
        "--set",
        metavar="KEY=VALUE",
        help="Replace a setting of the configuration; the value is YAML. Repeatable.",
    ),
]
SummaryOption = Annotated[
    Place | None,
    typer.Option(
        help="Also write the JSON line to this file or URI, with the exit code.",
        metavar="FILE-or-URI",
        parser=parse_flag,
    ),
]


class _JobSettings(JobConfig):
    """The main job's settings, of which another job needs no validation."""

    validation: Any = None


DEFAULT_CONFIG = Path(__file__).resolve().parent.parent / "jobs" / "conf" / "local.yaml"
ConfigOption = Annotated[
    Place,
    typer.Option(
        help="YAML settings of the main job. Flags override them.",
        metavar="FILE",
        parser=parse_flag,
    ),
]
# Of a job that needs none.
OtherConfigOption = Annotated[
    Place | None,
    typer.Option(
        help="YAML settings of the main job. Flags override them.",
        metavar="FILE",
        parser=parse_flag,
    ),
]
Settings = TypeVar("Settings", bound=JobConfig)


def read_settings(config: Place | None, **flags: object) -> JobConfig:
    """Return the main job's settings for another job; what is None was not given.

    Raises:
        ConfigError: The file cannot be read, or holds an unknown key or a wrong value.
    """
    return read_settings_as(_JobSettings, config or DEFAULT_CONFIG, **flags)


def read_catalog_settings(
    config: Place | None, catalog: str | None, image_root: str | None, checkpoint: str | None
) -> JobConfig:
    """Return the main job's settings for a job that reads a catalog.

    Flags override the file.

    Raises:
        ConfigError: Neither a file nor a flag names the catalog, the file cannot be read, or it
            holds an unknown key or a wrong value.
    """
    if config is None and catalog is None:
        raise ConfigError("no product table is named. Give --catalog, or --config with a catalog.")
    return read_settings(config, catalog=catalog, image_root=image_root, checkpoint=checkpoint)


def read_settings_as(kind: type[Settings], config: Place, **flags: object) -> Settings:
    """Return settings of a kind, from a file and flags.

    Those of the default file write beside the local tables.
    """
    named = {"data_docs": "data_docs", "report_dir": "reports", "metrics_dir": "metrics"}
    stated = {key: home() / "lakehouse" / name for key, name in named.items()}
    settings = load_yaml(config, kind, flags, stated if config == DEFAULT_CONFIG else None)
    return settings.starting_from(config.parent)


def run_command(
    main: Callable[..., None],
    explain: Callable[[Exception], EnrichError | None] = lambda error: None,
) -> None:
    """Run `main` as a command line, and exit with a known error's code.

    Args:
        main: The command; its parameters are the flags.
        explain: Returns the known error behind an error of a library, else None.
    """
    # rich tracebacks print local variables, among them product texts and secrets.
    app = typer.Typer(add_completion=False, pretty_exceptions_enable=False)
    app.command()(main)
    run_app(app, Path(getfile(main)), explain)


def run_app(
    app: Callable[..., Any], file: Path, explain: Callable[[Exception], EnrichError | None]
) -> None:
    """Run an app of typer that stands in a file, and end as `run_command` does."""
    _give_home()
    start_logging()
    try:
        _refuse_other_checkout(file)
        sys.exit(app(standalone_mode=False))
    except Exception as error:
        known = _recognise(error) or explain(error)
        if known is None:
            report_crash(error)
            sys.exit(1)
        report_error(known)
        sys.exit(known.exit_code)


def _give_home() -> None:
    """Set HOME where a user has none, as in some containers.

    Libraries end when they look for it.
    """
    try:
        Path.home()
    except RuntimeError:
        os.environ["HOME"] = tempfile.gettempdir()


def _refuse_other_checkout(job: Path) -> None:
    """Raise ConfigError if a job would run on another checkout's code and tables.

    That happens in a copy whose environment was copied along, and where another environment is
    active. An installed package belongs to no checkout.
    """
    own, used = (file.resolve().parent.parent for file in (job, Path(__file__)))
    if is_checkout(own) and is_checkout(used) and not own.samefile(used):
        raise ConfigError(
            f"{job} would run on another checkout's code and tables: found a Python environment of "
            f"{used}, expected one of {own}. In {own} run `python3 -m jobs.set_up`, and activate "
            "the .venv there."
        )


def _recognise(error: Exception) -> EnrichError | None:
    """Return an error of ours, also for a wrong flag; None for other errors.

    typer would draw a box around a wrong flag. Airflow and people read the last line of a log.
    """
    if isinstance(error, _USAGE_ERROR):
        context = getattr(error, "ctx", None)
        listed = "commands" if context and isinstance(context.command, TyperGroup) else "flags"
        return ConfigError(f"{error.format_message().rstrip('.')}. --help lists the {listed}.")
    return error if isinstance(error, EnrichError) else None
