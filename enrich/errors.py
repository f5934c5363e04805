"""Errors of a set-up. Bad data is a status on a row and never an error.

EnrichError                 exit 1
    ├── MetastoreBusy           exit 1  another process holds the metastore, or prepares it
    ├── TableContended          exit 1  others committed to a table again and again
    ├── StorageFailed           exit 1  a disk is full, or may not be written
    ├── NoAnswer                exit 1  a store or database is out of reach, an input was replaced
    ├── WorkersDied             exit 1  too many products crash their Python worker
    ├── ConfigError             exit 2  a setting or flag is wrong
    │   ├── SchemaMismatch      exit 2  the product table lacks a column or has a wrong type
    │   └── CheckpointError     exit 2  the checkpoint is missing, damaged or of another kind
    ├── AdaptationRefused       exit 3  a checkpoint would not get better in this source
    ├── ExportRefused           exit 3  a checkpoint would answer otherwise in int8
    └── NothingPublished        exit 3  the candidates stay for a look
        ├── ValidationFailed    exit 3  an expectation of severity critical failed
        └── TooManyFailures     exit 3  too much is unreadable or gone, or nothing was read

Messages follow one form: `<object> <problem>: found <x>, expected <y>. <action>.`
"""

import re
from collections.abc import Iterable
from contextlib import suppress
from importlib import import_module
from typing import Any

_MOST_NAMED = 3
# What drivers and clients say of a server that is down, restarts or has too much to do.
_NO_ANSWER = re.compile(
    r"\brefused\b|timed? ?-?out|Unknown ?Host|Name or service not known|name resolution|"
    r"No route to host|unreachable|connection reset|connection attempt failed|could not connect|"
    r"NETWORK_CONNECTION|SLOW_?DOWN|Slow Down|Service[ _]?Unavailable|INTERNAL_FAILURE|THROTTL|"
    r"Too ?Many ?Requests|status( code)?:? (429|5\d\d)|"
    r"Status\((UNAVAILABLE|DEADLINE_EXCEEDED)|Azure Error: \[\w*\] 5\d\d|\", 5\d\d, |state standby|"
    r"terminating connection|is (starting up|shutting down|in recovery mode)|"
    r"too many (clients|connections)|remaining connection slots",
    re.IGNORECASE,
)


def is_no_answer(said: str) -> bool:
    """Return True if a message is of a server that may answer later.

    A mistyped host or port looks the same; a wrong path, user or password does not.
    """
    return bool(_NO_ANSWER.search(said))


def kind_of(messages: Iterable[str], otherwise: "type[EnrichError]") -> "type[EnrichError]":
    """Return NoAnswer if a message is of a server that may answer later.

    Else return `otherwise`.
    """
    return NoAnswer if any(map(is_no_answer, messages)) else otherwise


def first_line(error: BaseException | None) -> str:
    """Return the first line of an error's message, Java's where it is behind it.

    An error without a message gives the name of its class, None an empty text.
    """
    if error is None:
        return ""
    java = getattr(error, "java_exception", None)
    said = ""
    # Where Java is gone, so is what it had to say.
    with suppress(Exception):
        said = str(error if java is None else java.getMessage() or "").strip()
    return said.splitlines()[0] if said else type(error).__name__


def name_some(values: Iterable[str]) -> str:
    """Return the first few distinct values, for a message."""
    named = list(dict.fromkeys(values))
    more = ", ..." if len(named) > _MOST_NAMED else ""
    return ", ".join(map(repr, named[:_MOST_NAMED])) + more


# A double has no more.
_MOST_DIGITS = 17


def tell_apart(observed: float, limit: float, form: str) -> tuple[str, str]:
    """Return both figures with as many digits as tell them apart.

    "0.53, allowed 0.53" would look as if nothing were wrong.

    Args:
        observed: One figure.
        limit: The figure that it is compared to, in the same unit.
        form: The least precise form, such as .2f or .1%.
    """
    fewest, kind = int(form[1:-1]), form[-1]
    pairs = [
        (f"{observed:.{digits}{kind}}", f"{limit:.{digits}{kind}}")
        for digits in range(fewest, _MOST_DIGITS)
    ]
    return next((pair for pair in pairs if pair[0] != pair[1]), pairs[0])


class EnrichError(Exception):
    """Base of all errors that a user can act on."""

    exit_code = 1


class MetastoreBusy(EnrichError):
    """Another process holds the embedded metastore, or prepares a shared one."""


class TableContended(EnrichError):
    """Other processes committed to a table again and again before this one."""


class StorageFailed(EnrichError):
    """A disk or store is full, read-only or refuses the job.

    No table is half written.
    """


class NoAnswer(EnrichError):
    """A database or object store is out of reach, or an input was replaced.

    The same command may do better later.
    """


class WorkersDied(EnrichError):
    """More than `max_crashing_products` products crash their Python worker."""


class ConfigError(EnrichError):
    """A setting, a flag or an input is wrong."""

    exit_code = 2


class SchemaMismatch(ConfigError):
    """The product table lacks a column or has one of a wrong type."""


class CheckpointError(ConfigError):
    """The checkpoint is missing, damaged or of another kind."""


class AdaptationRefused(EnrichError):
    """A checkpoint fitted to a source's labels is not better than before."""

    exit_code = 3


class ExportRefused(EnrichError):
    """In int8 a checkpoint gives other answers."""

    exit_code = 3


class NothingPublished(EnrichError):
    """The run stopped before publishing; what it had staged by then stays."""

    exit_code = 3


class ValidationFailed(NothingPublished):
    """A critical expectation failed, on the products or on the candidates."""


class TooManyFailures(NothingPublished):
    """Too many products are unreadable or would be deleted, or there are none."""


def load_extra(module: str, extra: str) -> Any:
    """Return a module of one of the extras in `pyproject.toml`.

    Raises:
        ConfigError: Its package is not installed, or cannot be loaded.
    """
    package = module.partition(".")[0]
    try:
        return import_module(module)
    except ImportError as error:
        if error.name == package:
            said = (
                f"{package} is not installed. Run python3 -m jobs.set_up {extra}, or without a "
                f"checkout pip install 'catalog-enrichment[{extra}]'."
            )
        else:
            said = f"{package} cannot be loaded: {first_line(error)}"
        raise ConfigError(said) from error
