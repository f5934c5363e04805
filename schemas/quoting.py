"""Quoting of names and texts from outside for Spark's SQL."""

import re

_PART = re.compile(r"`(?:[^`]|``)*`|[^.`]+")


def quote(name: str) -> str:
    """Return a dotted name with every part in back-ticks; quoted parts stay."""
    parts = _PART.findall(name)
    if ".".join(parts) != name:
        return quote_part(name)  # not a valid name in SQL, and so not another one's
    return ".".join(part if part.startswith("`") else quote_part(part) for part in parts)


def quote_literal(text: str) -> str:
    """Return a text as a literal of Spark's SQL."""
    escaped = text.replace("\\", "\\\\").replace("'", "\\'")
    return f"'{escaped}'"


def quote_part(name: str) -> str:
    """Return one name in back-ticks, dots and all."""
    return f"`{name.replace('`', '``')}`"
