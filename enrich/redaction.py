"""Redaction of passwords and tokens in output, logs and tables.

The patterns know the shapes of addresses and settings, and no secret itself.
"""

import re

from enrich.errors import ConfigError, first_line

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
