"""Errors of a set-up, and texts without passwords, tokens and terminal controls.

Bad data is a status on a row and never an error.

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

Messages follow one form: `<object> <problem>: found <x>, expected <y>. <action>.` Redaction knows
the shapes of addresses and settings, and no secret itself.
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

    "0.53, allowed 0.53" would look as if nothing were wrong. `form` is the least precise form, such
    as .2f or .1%.
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

    Raises ConfigError if its package is not installed, or cannot be loaded.
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


HIDDEN = "***"
_LONGEST_REASON = 300
_LONGEST_LOOKED_AT = 4_000
# A name alone is no secret (abfss://container@account, hdfs://user@host), but for the web it may be
# a token. A secret key may itself hold slashes and an @; a colon before a number begins a port, but
# where stores have none.
# Java hides by the same patterns (jobs/conf/spark/log4j2.properties).
# Each pattern begins where a name does, and nowhere within: a path of 16,000 letters took 10 s.
LOGIN = re.compile(
    r"(?P<scheme>(?<![a-z0-9+.-])[a-z0-9+.-]+://)"
    # A user's name may be an e-mail address.
    r"(?:[^\s/@:'\"<>]*@[^\s/@:'\"<>]*:[^\s/'\"<>]+@"
    r"|(?:(?<=s3://)|(?<=s3a://)|(?<=gs://)|(?![^\s/@:'\"<>]*:\d+[/\s]))"
    r"[^\s/@:'\"<>]*:[^\s'\"<>]*@)"
    r"|(?P<web>\bhttps?://)[^\s/@'\"<>]+@",
    re.IGNORECASE,
)
NAMED = re.compile(
    r"(?P<name>(?<![\w.-])[\w.-]*(?:secret|password|passwd|pwd|token|signature|sig|credential"
    r"|api[._-]?key|(?:secret|access|account)[._-]?key(?:[._-]?id)?)"
    # Hadoop names the account behind it: fs.azure.account.key.NAME.dfs.core.windows.net
    # Python and JSON put quotation marks around names and values.
    r"(?:\.[\w.-]{1,100})?(?:['\"]?\s{0,3}=|['\"]\s{0,3}:)\s{0,3})"
    r"(?!\*{3})(?:'[^']*'|\"[^\"]*\"|[^\s&;,'\"<>]+)",
    re.IGNORECASE,
)

# A URL may be signed under any name; of an image nobody needs its query to know it.
QUERY = re.compile(r"(?P<url>\bhttps?://[^\s?'\"<>]{1,4000})\?(?!\*{3})[^\s'\"<>]+", re.IGNORECASE)

# Controls, what turns the direction of writing, halves of characters, and what is none.
_OBEYED = re.compile(
    r"[\x00-\x08\x0b-\x1f\x7f-\x9f\u200e\u200f\u202a-\u202e\u2066-\u2069\ud800-\udfff\ufffe\uffff]"
)


def redact(text: str) -> str:
    """Return the text with logins, queries of URLs and named secrets hidden."""
    without_login = LOGIN.sub(rf"\g<scheme>\g<web>{HIDDEN}@", text)
    return NAMED.sub(rf"\g<name>{HIDDEN}", QUERY.sub(rf"\g<url>?{HIDDEN}", without_login))


def refuse_secrets(address: str, setting: str) -> None:
    """Raise ConfigError if an address carries a password or a token.

    Spark writes addresses into its plans and event logs, and the job into its ledger.
    """
    if (shown := redact(address)) != address:
        raise ConfigError(
            f"{setting} holds a password or a token: found {shown}. Addresses are shown in plans, "
            "logs and tables. Give credentials where the store's own tools look for them "
            "(environment, profile, machine role, Hadoop's configuration)."
        )


def describe_error(error: BaseException) -> str:
    """Return the first line of an error in a form that is safe for a table.

    Credentials of addresses are hidden. Characters are replaced that tables cannot hold or that
    terminals obey: a file's name is part of most messages, and shops write anything there.
    """
    return tame(redact(first_line(error)[:_LONGEST_LOOKED_AT])[:_LONGEST_REASON])


def tame(text: str) -> str:
    """Return the text without characters that a terminal obeys, except line ends.

    Characters that tables cannot hold are replaced too. Joiners of letters stay.
    """
    return _OBEYED.sub("\ufffd", text)
