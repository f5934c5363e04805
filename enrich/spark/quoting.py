"""Names and texts from outside, as they may stand in Spark's SQL."""


def quote(name: str) -> str:
    """Returns a dotted name with every part in back-ticks."""
    return ".".join(map(quote_part, name.split(".")))


def quote_literal(text: str) -> str:
    """Returns a text as a literal of Spark's SQL."""
    escaped = text.replace("\\", "\\\\").replace("'", "\\'")
    return f"'{escaped}'"


def quote_part(name: str) -> str:
    """Returns one name in back-ticks, dots and all."""
    return f"`{name.replace('`', '``')}`"
