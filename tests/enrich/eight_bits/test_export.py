"""A checkpoint in eight bits is written where answers stay, and then is one like any other."""

import json
from pathlib import Path

import pytest

from enrich.classifiers.eight_bits import EightBitLinear
from enrich.classifiers.manifest import Manifest, read_manifest
from enrich.eight_bits.agreement import EightBitComparison, LabelAgreement
from enrich.eight_bits.export import refuse_other_answers, write_exported
from enrich.eight_bits.report import summarise
from enrich.engine import open_engine
from enrich.errors import ExportRefused
from enrich.records import Product


@pytest.mark.parametrize(
    ("same", "same_best", "is_refused"),
    [
        (1_000, 1_000, False),
        (990, 1_000, False),
        (975, 1_000, True),
        # All of it abstained on: the tables would show no difference.
        (1_000, 900, True),
    ],
)
def test_other_labels_are_refused_and_so_are_other_answers(
    same: int, same_best: int, is_refused: bool
) -> None:
    comparison = EightBitComparison(
        {"color": LabelAgreement(1_000, same, same_best, 0.01, 0.1)}, 900, 2, 1
    )
    if is_refused:
        with pytest.raises(ExportRefused, match="color stays in"):
            refuse_other_answers(comparison, 0.98)
    else:
        refuse_other_answers(comparison, 0.98)


def test_a_few_products_that_all_stay_are_too_few_to_tell() -> None:
    with pytest.raises(ExportRefused, match="larger --sample"):
        refuse_other_answers(
            EightBitComparison({"color": LabelAgreement(20, 20, 20, 0, 0)}, 20, 2, 1), 0.98
        )


def test_what_is_written_computes_in_eight_bits_under_a_version_of_its_own(
    manifest: Manifest, products: list[Product], comparison: EightBitComparison, tmp_path: Path
) -> None:
    write_exported(manifest, "clip-int8", comparison, tmp_path / "clip-int8")

    written = read_manifest(tmp_path / "clip-int8")
    assert written.config.int8 and written.config.name == "clip-int8"
    assert written.digests.encoder != manifest.digests.encoder
    assert written.calibration == manifest.calibration
    metrics = json.loads((tmp_path / "clip-int8" / "metrics.json").read_text())
    assert metrics["made"] == "up" and metrics["int8"] == summarise(comparison)
    card = (tmp_path / "clip-int8" / "MODEL_CARD.md").read_text()
    assert card.startswith("# tiny\n") and f"content {manifest.digests.model}" in card
    assert "15 of the products were answered with their image" in card

    engine = open_engine(written, "/nowhere")
    towers = (engine.classifier.image_tower, engine.classifier.text_tower)
    assert all(any(isinstance(p, EightBitLinear) for p in tower.modules()) for tower in towers)
    assert len(list(engine.enrich(products))) == len(products)
