"""Faulty engines show the classifier pixels as a broken job would."""

from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image

from enrich.classifiers.manifest import BUNDLED, read_manifest
from enrich.config import JobConfig
from enrich.drill.faults import Fault, build_faulty_engine
from enrich.engine import Engine
from enrich.records import EnrichedProduct, Modalities, Product, Status
from enrich.spec import build_spec

ORANGE = Product("1", title="shirt", image_path="orange.png")


@pytest.fixture
def root(tmp_path: Path) -> Path:
    Image.new("RGB", (64, 64), (250, 120, 10)).save(tmp_path / "orange.png")
    return tmp_path


def build(root: Path, fault: Fault | None) -> Engine:
    manifest = read_manifest(BUNDLED)
    spec = build_spec(JobConfig(), manifest, str(root))
    return build_faulty_engine(spec, manifest, fault, torch.device("cpu"))


def answer(root: Path, fault: Fault | None) -> EnrichedProduct:
    (one,) = build(root, fault).enrich([ORANGE])
    return one


def test_swapped_channels_show_orange_as_blue(root: Path) -> None:
    sound, swapped = (
        build(root, fault).prepare(ORANGE).pixels for fault in (None, Fault.SWAPPED_CHANNELS)
    )
    assert sound is not None and swapped is not None
    assert (sound[0].mean(), sound[2].mean()) == (250, 10)
    np.testing.assert_array_equal(swapped, sound[::-1])


def test_wrong_normalisation_applies_neither_mean_nor_deviation(root: Path) -> None:
    pixels = torch.full((1, 3, 2, 2), 255, dtype=torch.uint8)
    sound = build(root, None).classifier.normalise_pixels(pixels)
    wrong = build(root, Fault.WRONG_NORMALISATION).classifier.normalise_pixels(2 * (pixels // 4))
    assert sound.max() == pytest.approx(1.0)
    assert wrong.max() == pytest.approx(126 / 255)


def test_without_images_a_product_is_read_from_its_text_alone(root: Path) -> None:
    found = answer(root, Fault.IMAGES_MISSING)
    assert (found.status, found.modalities) == (Status.IMAGE_MISSING, Modalities.TEXT)
    assert answer(root, None).modalities is Modalities.IMAGE_AND_TEXT


@pytest.mark.parametrize("fault", Fault)
def test_every_fault_reaches_the_answers(root: Path, fault: Fault) -> None:
    assert answer(root, fault).predictions != answer(root, None).predictions
