"""Keeps passwords and tokens out of what is printed, logged or written into tables.

Knows the shapes in which addresses and settings carry them, and no secret itself.
"""

import re

from enrich.errors import ConfigError

HIDDEN = "***"
# A name alone is no secret (abfss://container@account, hdfs://user@host), but for the web it may be
# a token. A secret key may itself hold slashes; a colon before a number begins a port.
# Each pattern begins where a name does, and nowhere within: a path of 16,000 letters took 10 s.
_LOGIN = re.compile(
    r"(?P<scheme>(?<![a-z0-9+.-])[a-z0-9+.-]+://)[^\s/@:'\"<>]*:(?!\d+[/\s])[^\s@'\"<>]*@"
    r"|(?P<web>\bhttps?://)[^\s/@'\"<>]+@",
    re.IGNORECASE,
)
_NAMED = re.compile(
    r"(?P<name>(?<![\w.-])[\w.-]*(?:secret|password|passwd|pwd|token|signature|sig|credential"
    r"|api[._-]?key|(?:secret|access|account)[._-]?key(?:[._-]?id)?)=)[^\s&;,'\"<>]+",
    re.IGNORECASE,
)


def redact(text: str) -> str:
    """Returns the text with logins in addresses, and values that are named as secrets, hidden."""
    return _NAMED.sub(rf"\g<name>{HIDDEN}", _LOGIN.sub(rf"\g<scheme>\g<web>{HIDDEN}@", text))


def refuse_secrets(address: str, setting: str) -> None:
    """Raises ConfigError when an address carries a password or a token.

    Spark writes addresses into its plans and event logs, and the job into its ledger.
    """
    if (shown := redact(address)) != address:
        raise ConfigError(
            f"{setting} holds a password or a token: {shown}. Addresses are shown in plans, logs "
            "and tables; give credentials where the store's own tools look for them (environment, "
            "profile, machine role, Hadoop's configuration)"
        )
