"""Names and texts from outside, as they may stand in Spark's SQL."""

import re

_PART = re.compile(r"`(?:[^`]|``)*`|[^.`]+")


def quote(name: str) -> str:
    """Returns a dotted name with every part in back-ticks, those that are already as they are."""
    parts = _PART.findall(name)
    if ".".join(parts) != name:
        return quote_part(name)  # nothing that SQL takes for a name, and so for no other one
    return ".".join(part if part.startswith("`") else quote_part(part) for part in parts)


def quote_literal(text: str) -> str:
    """Returns a text as a literal of Spark's SQL."""
    escaped = text.replace("\\", "\\\\").replace("'", "\\'")
    return f"'{escaped}'"


def quote_part(name: str) -> str:
    """Returns one name in back-ticks, dots and all."""
    return f"`{name.replace('`', '``')}`"
