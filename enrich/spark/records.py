"""What one run is asked to do, what validation sees of it, and what the run did."""

import re
from collections.abc import Mapping
from dataclasses import dataclass, field
from datetime import date, datetime
from typing import Any, NamedTuple

from pyspark.sql import DataFrame

from enrich.errors import ConfigError

# Airflow's run ids fit; quotes and slashes do not.
_RUN_ID = re.compile(r"[A-Za-z0-9._:+-]{1,100}")


@dataclass(frozen=True, slots=True)
class RunRequest:
    """What one run is asked to do; `run_id` None derives it from the date and the inputs.

    Raises:
        ConfigError: the run id has characters that do not belong into SQL and file names.
    """

    run_date: date
    run_id: str | None = None
    full_refresh: bool = False
    limit: int | None = None
    publish: bool = True

    def __post_init__(self) -> None:
        if self.run_id is not None and not _RUN_ID.fullmatch(self.run_id):
            raise ConfigError(
                f"run id {self.run_id!r} is not usable; wanted up to 100 letters, digits or ._:+-"
            )


class Attempt(NamedTuple):
    """An attempt at a run. Of two the newer has the later date or, on one date, the later start."""

    run_date: date
    started_at: datetime

    @classmethod
    def of(cls, row: Mapping[str, Any]) -> "Attempt":
        """Returns the last attempt that the ledger's row of a run tells of."""
        return cls(row["run_date"], row["started_at"])


@dataclass(frozen=True, slots=True)
class InputRows:
    """What the check before inference gets to see of a run.

    `products` is the product table with product_id, title, description, image_path,
    product_category, and is_new: whether it is new or changed, so that the classifier is asked
    about it for the first time. Texts and paths of rows whose answer holds are NULL.
    """

    run_id: str
    products: DataFrame


@dataclass(frozen=True, slots=True)
class StagedRows:
    """What validation gets to see of a run: answered rows, and the table they would go to.

    `expected` is how many rows there should be.
    """

    run_id: str
    rows: DataFrame
    expected: int
    published: DataFrame


def products_per_second(asked: int | None, seconds: Mapping[str, float]) -> float | None:
    """Returns how many products the classifier answered a second; None if it was asked about none.

    `seconds` are by stage.
    """
    inference_s = seconds.get("inference")
    return round(asked / inference_s, 1) if asked and inference_s else None


@dataclass(slots=True)
class RunSummary:
    """What a run did; becomes the ledger's row and the last line on standard output.

    Every row read is published, unchanged, quarantined or withheld.
    """

    run_id: str = ""
    outcome: str = ""
    counts: dict[str, Any] = field(default_factory=dict)
    seconds: dict[str, float] = field(default_factory=dict)
    products_per_second: float | None = None
    model_version: str = ""
    validation: dict[str, Any] = field(default_factory=lambda: {"outcome": "not_run", "notes": []})
    table_versions: dict[str, int] = field(default_factory=dict)
    report: str | None = None
    data_docs: str | None = None
    engine_loads: dict[str, int] = field(default_factory=dict)
    error: str | None = None
    reason: str | None = None


def has_passed_gate(seconds: Mapping[str, float] | None) -> bool:
    """Tells by the seconds of an attempt's stages whether its gate has let the answers pass.

    Publishing is the stage that comes after the gate.
    """
    return "publish" in (seconds or {})
