"""Thousands of image files as no shop should deliver them: a status each, no crash, no flood.

The seeds are the numbers from 0; `mutated_image(seed)` makes the file of one again.
"""

import time
from collections import Counter, defaultdict

import numpy as np
import pytest
import torch
from cases import is_full
from memory import peak_mb, reset_peak
from mutated_images import MutatedImage, mutated_image
from PIL import Image

from enrich.classifiers.manifest import BUNDLED, read_manifest
from enrich.config import JobConfig
from enrich.engine.spec import build_spec
from enrich.records import Modalities, Product, Status

# pytest undoes what `enrich.images.decoding` says of Pillow's warnings.
pytestmark = pytest.mark.filterwarnings("ignore")

PREPARED = 10_000 if is_full() else 250
ANSWERED = 1_000 if is_full() else 50
# One picture of 50 megapixels at a time (1.1 GB), and the engine.
MOST_MB = 2_500
SLOWEST_S = 30
SIDE_PX = read_manifest(BUNDLED).config.image.size_px
FAULTS = {Status.IMAGE_CORRUPT, Status.IMAGE_TOO_LARGE}


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    return tmp_path_factory.mktemp("images")


@pytest.fixture(scope="module")
def engine(folder):
    config = JobConfig(read_threads=4)
    return build_spec(config, read_manifest(BUNDLED), str(folder)).build(torch.device("cpu"))


def products(folder, seeds):
    """Yields products one by one; the file of one is gone a while after it was read."""
    for seed in seeds:
        image = mutated_image(seed)
        (folder / f"{seed}.jpg").write_bytes(image.data)
        (folder / f"{seed - 1_000}.jpg").unlink(missing_ok=True)
        yield Product(f"p{seed}", f"shirt number {seed}", None, f"{seed}.jpg"), image


def assert_has_a_status(seed, image, found):
    what = f"seed {seed}, {image.kind}: {found.status}, {found.error}"
    assert found.product_id == f"p{seed}", what
    if image.is_sound:
        assert found.status is Status.OK, what
    if image.kind in ("another type", "empty", "zero bytes"):
        assert found.status is Status.IMAGE_CORRUPT, what
    if found.status is Status.OK:
        assert found.error is None, what
        assert found.modalities is Modalities.IMAGE_AND_TEXT, what
    else:
        assert found.status in FAULTS, what
        assert found.modalities is Modalities.TEXT, what
        assert found.error and found.error.isprintable() and len(found.error) <= 300, what
        found.error.encode()


def test_every_mutated_image_is_decoded_or_has_a_reason(engine, folder, drill, capsys):
    outcomes: dict[str, Counter[str]] = defaultdict(Counter)
    slowest = (0.0, 0)
    reset_peak()
    before = peak_mb()
    begin = time.monotonic()
    for seed, (product, image) in enumerate(products(folder, range(PREPARED))):
        asked = time.monotonic()
        found = engine.prepare(product)
        slowest = max(slowest, (time.monotonic() - asked, seed))
        assert_has_a_status(seed, image, found)
        if found.pixels is not None:
            assert found.pixels.shape == (3, SIDE_PX, SIDE_PX), seed
            assert found.pixels.dtype == np.uint8, seed
        outcomes[image.kind][found.status] += 1
    seconds = time.monotonic() - begin
    drill.counts["images_tried"] += PREPARED
    with capsys.disabled():
        print(f"\n{PREPARED:,} mutated images in {seconds:.0f} s, peak {peak_mb():,.0f} MB", end="")
        print(f" ({before:,.0f} MB before), slowest {slowest[0]:.1f} s (seed {slowest[1]})")
        for kind, counts in outcomes.items():
            print(f"  {kind:22}", ", ".join(f"{name} {n:,}" for name, n in counts.most_common()))
    assert peak_mb() - before < MOST_MB
    assert slowest[0] < SLOWEST_S


def test_the_engine_answers_every_mutated_image_in_order_and_its_neighbours_as_ever(
    engine, folder, drill, capsys
):
    Image.new("RGB", (90, 120), (200, 30, 30)).save(folder / "red.jpg")
    known = Product("known", "plain shirt", "of cotton", "red.jpg")
    (alone,) = engine.enrich([known])
    # Other seeds than above.
    seeds = range(PREPARED, PREPARED + ANSWERED)
    mutated: list[tuple[Product, MutatedImage]] = []

    def stream():
        for pair in products(folder, seeds):
            mutated.append(pair)
            yield pair[0]
            yield known

    reset_peak()
    before = peak_mb()
    answers = list(engine.enrich(stream()))
    with capsys.disabled():
        print(f"\n{len(answers):,} answers of the whole engine, peak {peak_mb():,.0f} MB")
    assert peak_mb() - before < MOST_MB
    drill.counts["images_tried"] += ANSWERED
    assert len(answers) == 2 * ANSWERED
    for seed, (_, image), answer in zip(seeds, mutated, answers[::2], strict=True):
        assert_has_a_status(seed, image, answer)
        assert len(answer.predictions) == len(alone.predictions), seed
        confidences = [prediction.confidence for prediction in answer.predictions]
        assert all(0 <= confidence <= 1 for confidence in confidences), seed
    for answer in answers[1::2]:
        assert (answer.product_id, answer.status) == ("known", Status.OK)
        for found, wanted in zip(answer.predictions, alone.predictions, strict=True):
            assert found.label == wanted.label
            assert found.confidence == pytest.approx(wanted.confidence, abs=0.02)
