"""Logging: lines for people, or one JSON object a line for collectors.

Log lines go to standard error, results to standard output. Fields of a line are given as logging's
`extra`, or bound for all lines that follow. Passwords, tokens and terminal controls are removed.
"""

import logging
import sys
import traceback
from collections.abc import Mapping
from enum import StrEnum
from typing import Any

import structlog
import typer
from structlog.typing import EventDict, WrappedLogger

from enrich.errors import describe_error, redact, tame

# What a line may say besides its message; anything else that a library hands over is left out.
FIELDS = ("run_id", "stage", "seconds", "counts", "outcome")

log = logging.getLogger("enrich")


class LogFormat(StrEnum):
    """The form of a line."""

    TEXT = "text"
    JSON = "json"


def start_logging(log_format: LogFormat = LogFormat.TEXT) -> None:
    """Send log lines to standard error; the last call counts."""
    handler = logging.StreamHandler()
    handler.setFormatter(_JSON if log_format is LogFormat.JSON else _RedactedText())
    root = logging.getLogger()
    root.handlers[:] = [handler]
    log.setLevel(logging.INFO)
    # A library's warning would be a line of another form.
    logging.captureWarnings(log_format is LogFormat.JSON)
    structlog.contextvars.clear_contextvars()


def bind_run(run_id: str) -> None:
    """Add this run_id to every line from now on."""
    structlog.contextvars.bind_contextvars(run_id=run_id)


def is_json() -> bool:
    """Return True if lines are JSON objects now."""
    return any(handler.formatter is _JSON for handler in logging.getLogger().handlers)


def report_error(error: Exception) -> None:
    """Log in one line why the job ends."""
    if is_json():
        log.error("%s", error)
    else:
        # Libraries speak in several lines, and only the last one is made known by Airflow.
        said = " ".join(map(str.strip, str(error).splitlines()))
        typer.echo(f"error: {tame(redact(said))}", err=True)


def report_crash(error: Exception) -> None:
    """Log the trace of an unexpected error, and one line about it at the end.

    Call it from within the error's `except`.
    """
    said = f"unexpected {type(error).__name__}: {describe_error(error)}"
    if is_json():
        log.critical("%s", said, exc_info=True)
    else:
        sys.stderr.write(tame(redact(traceback.format_exc())))
        typer.echo(f"error: {said}", err=True)


class _RedactedText(logging.Formatter):
    def __init__(self) -> None:
        super().__init__("%(asctime)s %(message)s", datefmt="%H:%M:%S")

    def format(self, record: logging.LogRecord) -> str:
        return tame(redact(super().format(record)))


def _redact_event(_: WrappedLogger, __: str, event: EventDict) -> EventDict:
    redacted: EventDict = _redact_value(event)
    return redacted


def _redact_value(value: Any) -> Any:
    """Return the value with every text in it redacted."""
    if isinstance(value, str):
        return redact(value)
    if isinstance(value, Mapping):
        return {key: _redact_value(one) for key, one in value.items()}
    if isinstance(value, (list, tuple)):
        return [_redact_value(one) for one in value]
    return value


_JSON = structlog.stdlib.ProcessorFormatter(
    foreign_pre_chain=[
        structlog.processors.TimeStamper(fmt="iso", utc=True, key="time"),
        structlog.stdlib.add_log_level,
        structlog.stdlib.add_logger_name,
        structlog.contextvars.merge_contextvars,
        structlog.stdlib.ExtraAdder(allow=FIELDS),
    ],
    processors=[
        structlog.stdlib.ProcessorFormatter.remove_processors_meta,
        # As text: a structured trace would hold the values of local variables, product texts too.
        structlog.processors.format_exc_info,
        structlog.processors.EventRenamer("message"),
        _redact_event,
        structlog.processors.JSONRenderer(default=str),
    ],
)
