"""Options, error handling and the outcome file that all commands share.

The outcome file (`--summary`) is for schedulers that see neither exit code nor standard output,
because the driver runs in a cluster (`--deploy-mode cluster`, Kubernetes, Databricks). It is
written twice: as the command begins, and as it ends. So nobody reads an older one, and a place that
cannot be written is found before hours of work.
"""

import json
import logging
import os
import sys
import tempfile
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import asdict, dataclass
from functools import wraps
from inspect import Parameter, Signature, getfile, signature, unwrap
from pathlib import Path
from typing import Annotated, Any

import typer
from typer.core import TyperGroup

from enrich.config import DEMO_CATALOG, JobConfig, check_database, home, is_checkout
from enrich.errors import ConfigError, EnrichError, describe_error, kind_of, redact
from enrich.logs import report_crash, report_error, start_logging
from enrich.places import Place, parse_flag, write_place
from enrich.settings_files import load_yaml

log = logging.getLogger("enrich")

# Of typer or of click, as typer's version has it.
_USAGE_ERROR: Any = typer.BadParameter.__mro__[1]


def _check_database(name: str | None) -> str | None:
    try:
        return None if name is None else check_database(name)
    except ValueError as error:
        raise ConfigError(f"--database: {error}, found {name!r}") from error


def _check_place(place: str | None) -> str | None:
    if place == "":
        raise typer.BadParameter("is empty. Is a variable not set?")
    return place


def check_words(words: str | None) -> str | None:
    """Return a name or reason without surrounding blanks; refuse blank ones."""
    if words is not None and not words.strip():
        raise typer.BadParameter("is blank. Is a variable not set?")
    return words and words.strip()


def _leave_out_default(config: Place | None) -> Place | None:
    return None if config is not None and config.resolve() == DEFAULT_CONFIG else config


DEFAULT_CONFIG = Path(__file__).resolve().parent.parent / "jobs" / "conf" / "local.yaml"

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


@dataclass(frozen=True)
class Given:
    """Common options of a command line, None for one that was not given."""

    config: Annotated[
        Place | None,
        typer.Option(
            help="YAML settings, which flags override (default: jobs/conf/local.yaml).",
            metavar="FILE",
            parser=parse_flag,
            callback=_leave_out_default,
        ),
    ] = None
    catalog: Annotated[
        str | None,
        typer.Option(
            help="Product table: a file or folder; for jobs with Spark also a table's name.",
            callback=_check_place,
        ),
    ] = None
    image_root: Annotated[
        str | None,
        typer.Option(
            help="Where relative image paths start (default: the catalog's folder).",
            callback=_check_place,
        ),
    ] = None
    database: Annotated[
        str | None,
        typer.Option(help="Database of the output tables.", callback=_check_database),
    ] = None
    checkpoint: Annotated[
        str | None,
        typer.Option(
            help="Checkpoint of the classifier (default: the settings', else the bundled one)."
        ),
    ] = None

    def read(self, **others: object) -> JobConfig:
        """Return the settings, `others` as if they were common options too.

        Those of the default file write beside the local tables, and their baseline is the demo's.
        Raises ConfigError if the file cannot be read, or holds an unknown key or a wrong value.
        """
        flags = {name: one for name, one in vars(self).items() if name != "config"} | others
        named = {"report_dir": "reports", "metrics_dir": "metrics"}
        stated: dict[str, Any] = {key: home() / "lakehouse" / one for key, one in named.items()}
        if self.catalog not in (None, DEMO_CATALOG):
            stated["baseline"] = None
        file = self.config or DEFAULT_CONFIG
        settings = load_yaml(file, JobConfig, flags, None if self.config else stated)
        return settings.starting_from(file.parent)

    def read_with_catalog(self) -> JobConfig:
        """Return the settings for a job that does not work on the demo.

        Raises ConfigError as `read` does, or if neither a file nor a flag names the catalog.
        """
        if self.config is None and self.catalog is None:
            raise ConfigError(
                "no product table is named. Give --catalog, or --config with a catalog."
            )
        return self.read()

    def repeat(self, *names: str) -> dict[str, str]:
        """Return those of the options that were given, for a command in another folder."""
        given = {name: str(one) for name in names if (one := vars(self)[name])}
        return {
            name: one if name == "database" or "://" in one else str(Path(one).resolve())
            for name, one in given.items()
        }


def common_options(*names: str) -> Callable[[Callable[..., None]], Callable[..., None]]:
    """Give a command `--config` and more options of `Given`, as its argument `given`."""
    shared = [signature(Given).parameters[name] for name in ("config", *names)]

    def decorate(command: Callable[..., None]) -> Callable[..., None]:
        @wraps(command)
        def with_options(**flags: Any) -> None:
            given = Given(**{option.name: flags.pop(option.name) for option in shared})
            command(given, **flags)

        own = list(signature(command, eval_str=True).parameters.values())[1:]
        options = [one.replace(kind=Parameter.KEYWORD_ONLY) for one in (*own, *shared)]
        with_options.__signature__ = Signature(options)  # type: ignore[attr-defined]
        return with_options

    return decorate


def run_command(
    main: Callable[..., None],
    explain: Callable[[Exception], EnrichError | None] = lambda error: None,
) -> None:
    """Run `main` as a command line, and exit with a known error's code.

    Its parameters are the flags. `explain` returns the known error behind an error of a library,
    else None.
    """
    # rich tracebacks print local variables, among them product texts and secrets.
    app = typer.Typer(add_completion=False, pretty_exceptions_enable=False)
    app.command()(main)
    run_app(app, Path(getfile(unwrap(main))), explain)


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


RUNNING = "running"


@dataclass(slots=True)
class Outcome:
    """Content of the file beside the exit code.

    `summary` is a dataclass, a dictionary or None.
    """

    summary: Any = None

    def as_line(self) -> dict[str, Any]:
        """Return the JSON line's keys."""
        if self.summary is None or isinstance(self.summary, dict):
            return {**(self.summary or {})}
        return asdict(self.summary)


@contextmanager
def written_outcome(
    place: Place | None, explain: Callable[[Exception], EnrichError | None]
) -> Iterator[Outcome]:
    """Write how the block ends to a file: the JSON line, `exit_code` and `error`.

    A process that is killed leaves `{"outcome": "running"}`. Without a place nothing is written.
    `explain` is as in `run_command`. Raises ConfigError or NoAnswer if the file cannot be written.
    """
    outcome = Outcome()
    if place is None:
        yield outcome
        return
    try:
        _write(place, {"outcome": RUNNING, "exit_code": None})
    except OSError as error:
        kind = kind_of([str(error)], ConfigError)
        raise kind(f"--summary {place} cannot be written: {error.strerror}") from error
    try:
        yield outcome
    except typer.Exit as end:
        _write_end(place, outcome.as_line() | {"exit_code": end.exit_code})
        raise
    except BaseException as error:
        known = explain(error) if isinstance(error, Exception) else None
        known = error if isinstance(error, EnrichError) else known
        said = describe_error(error) if known is None else redact(str(known))
        code = 1 if known is None else known.exit_code
        failed = {"outcome": "failed", "exit_code": code, "error": said}
        _write_end(place, outcome.as_line() | failed)
        raise
    _write_end(place, outcome.as_line() | {"exit_code": 0})


def _write_end(place: Place, content: Mapping[str, Any]) -> None:
    """Write the file; what goes wrong is logged, because the run has done its work."""
    try:
        _write(place, content)
    except OSError as error:
        log.error("--summary %s could not be written: %s", place, error.strerror)


def _write(place: Place, content: Mapping[str, Any]) -> None:
    write_place(place, f"{json.dumps(content)}\n".encode())
