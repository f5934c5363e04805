"""The gate of one refresh: checks of its products, and of its candidates."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

from pyspark.sql import DataFrame
from schemas.images import ImageSample
from schemas.verdict import Verdict

from expectations.baseline import LabelBaseline
from expectations.settings import ValidationSettings


@dataclass(frozen=True, slots=True)
class Gate:
    """What a run is held against."""

    settings: ValidationSettings
    attribute_labels: Mapping[str, Sequence[str]]
    baseline: LabelBaseline | None
    docs_dir: Path | None

    @property
    def max_unusable_id_share(self) -> float:
        """The settings' own."""
        return self.settings.max_unusable_id_share

    def check_input(self, run_id: str, products: DataFrame, images: ImageSample) -> Verdict:
        """Check the products before any content is encoded."""
        from expectations.validation import Validation

        return (
            Validation(run_id, self.settings, self.docs_dir)
            .validate_input(products, images)
            .verdict
        )

    def check_candidates(
        self, run_id: str, candidates: DataFrame, published: DataFrame, expected_rows: int
    ) -> Verdict:
        """Check the candidates before any of them is published."""
        from expectations.validation import Validation

        validation = Validation(run_id, self.settings, self.docs_dir)
        return validation.validate_staged(
            candidates, published, self.attribute_labels, self.baseline, expected_rows
        ).verdict
