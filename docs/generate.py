"""Write the tables of settings.md from the fields of the settings, and what stands below them.

    python docs/generate.py

A table stands behind a comment that names its class: <!-- fields of enrich.config.JobConfig -->.
"""

import importlib
import re
from collections.abc import Iterator
from enum import Enum
from pathlib import Path
from typing import Any, get_args

from pydantic import BaseModel
from pydantic.fields import FieldInfo

PAGE = Path(__file__).parent / "settings.md"
_TABLE = re.compile(r"<!-- fields of ([\w.]+)\.(\w+) -->\n\n(?:\|.*\n)*")


def generate(page: str) -> str:
    """Return the page with its tables as the settings' fields say.

    Raises:
        ValueError: a setting has no description.
    """
    return _TABLE.sub(lambda found: _render(found.group(0).split("\n")[0], *found.groups()), page)


def _render(comment: str, module: str, name: str) -> str:
    settings = getattr(importlib.import_module(module), name)
    rows = [f"| `{setting}` | {said} | {default} |" for setting, said, default in _read(settings)]
    head = ["| setting | meaning | default |", "|---|---|---|"]
    return "\n".join([comment, "", *head, *rows, ""])


def _read(settings: type[BaseModel], group: str = "") -> Iterator[tuple[str, str, str]]:
    """Yield name, meaning and default; of a group without a description those of its keys."""
    for name, field in settings.model_fields.items():
        if field.description is not None:
            said = " ".join(field.description.split()).removesuffix(".")
            yield f"{group}{name}", said, _default(field)
            continue
        kinds = [
            kind for kind in (field.annotation, *get_args(field.annotation)) if _is_group(kind)
        ]
        if not kinds:
            raise ValueError(f"{settings.__name__}.{name} has no description")
        yield from _read(kinds[0], f"{name}.")


def _is_group(kind: Any) -> bool:
    return isinstance(kind, type) and issubclass(kind, BaseModel)


def _default(field: FieldInfo) -> str:
    default = field.default
    if field.is_required():
        return "required"
    if isinstance(default, BaseModel):
        return "below"
    if isinstance(default, Enum):
        return f"`{default.value}`"
    if isinstance(default, int | float):
        return f"{default:,}"
    return f"`{default}`" if default else "none"


if __name__ == "__main__":
    PAGE.write_text(generate(PAGE.read_text()))
