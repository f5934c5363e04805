"""Placeholder until the page is merged."""

from dataclasses import dataclass
from typing import Any


@dataclass(frozen=True)
class ReportSources:
    tables: Any
    manifest: Any
    settings: Any
    settings_file: Any
    expected: Any
    open_source: Any


def write_page(sources: ReportSources, summary: Any) -> None:
    return None
