"""The outcome of a run as a file, for schedulers that see no exit code.

They see neither exit code nor standard output where the driver runs in a cluster (`--deploy-mode
cluster`, Kubernetes, Databricks). The file is written twice: as the command begins, and as it ends.
So nobody reads an older one, and a place that cannot be written is found before hours of work.
"""

import dataclasses
import json
import logging
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from typing import Any

import typer

from enrich.errors import ConfigError, EnrichError, kind_of
from enrich.files.atomic_write import write_place
from enrich.places import Place
from enrich.redaction import describe_error, redact

log = logging.getLogger("enrich")

RUNNING = "running"


@dataclasses.dataclass(slots=True)
class Outcome:
    """Content of the file beside the exit code.

    `summary` is a dataclass, a dictionary or None.
    """

    summary: Any = None

    def as_line(self) -> dict[str, Any]:
        """Return the JSON line's keys."""
        if self.summary is None or isinstance(self.summary, dict):
            return {**(self.summary or {})}
        return dataclasses.asdict(self.summary)


@contextmanager
def written_outcome(
    place: Place | None, explain: Callable[[Exception], EnrichError | None]
) -> Iterator[Outcome]:
    """Write how the block ends to a file: the JSON line, `exit_code` and `error`.

    A process that is killed leaves `{"outcome": "running"}`.

    Args:
        place: The file; None writes nothing.
        explain: Returns the known error that lies behind one of a library, None if there is none.

    Raises:
        ConfigError, NoAnswer: Nothing can be written there.
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
