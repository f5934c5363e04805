"""Peers are held against us for their speed: they have to do the same work."""

import importlib.util
import json
import re
import subprocess
import sys
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
import torch

from bench.peers.model import Model, read_size_px
from bench.peers.stages import SAME_ARITHMETIC, build_stages, build_stages_with_start_up
from bench.ratios import CAREFUL_PEERS
from bench.setup import Setup
from bench.shop import write_shop
from bench.turns import CHECKOUT
from enrich.classifiers.manifest import BUNDLED, read_manifest
from enrich.records import Modalities

_PRODUCTS = 12
# A Spark, or a Ray, of its own: as in the benchmark, and apart from the other tests' session.
_CLASSIFY = """
import importlib, json, sys
from bench.setup import Setup
peer, setup = importlib.import_module(sys.argv[1]), Setup.model_validate_json(sys.argv[2])
with peer.open_peer(setup) as classify:
    for same_arithmetic in json.loads(sys.argv[3]):
        answers = classify(setup.products, same_arithmetic)
        print("ANSWERS" + answers.to_json(orient="records", double_precision=15))
"""
_PACKAGES = {"ray_data": "ray", "daft": "daft"}

Answers = tuple[np.ndarray, np.ndarray]


@pytest.fixture(scope="module")
def setup(tmp_path_factory):
    """A few products whose pictures have the model's size: who resizes how is not asked here."""
    side_px = read_manifest(BUNDLED).config.image.size_px
    shop = write_shop(tmp_path_factory.mktemp("shop"), _PRODUCTS, side_px)
    return Setup(products_file=shop, checkpoint=BUNDLED, cores=2, products=_PRODUCTS)


@pytest.fixture
def ours(setup, monkeypatch):
    """What the engine makes of them in float32: each attribute's best label, and its score."""
    monkeypatch.setattr("enrich.engine.device.choose_dtype", lambda device: torch.float32)
    engine = setup.spec().build(torch.device("cpu"))
    (window, packed), *rest = engine.encode_windows(setup.measured_products())
    assert packed is not None
    output = engine.answerer.read(packed, [Modalities.IMAGE_AND_TEXT] * len(window))
    assert not rest, "a few products are one window"
    best = [logits.float().softmax(1).max(1) for logits in output.logits.values()]
    labels = torch.stack([one.indices for one in best], 1)
    return labels.numpy(), torch.stack([one.values for one in best], 1).numpy()


def classify(peer, setup, same_arithmetic):
    """Returns what a peer makes of the products, in a process of its own."""
    package = _PACKAGES.get(peer)
    if package and importlib.util.find_spec(package) is None:
        pytest.skip(f"PEER ABSENT: {package} is not installed, so this claim is NOT tested")
    told = [f"bench.peers.{peer}", setup.model_dump_json(), json.dumps(same_arithmetic)]
    command = [sys.executable, "-c", _CLASSIFY, *told]
    done = subprocess.run(command, cwd=CHECKOUT, capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    lines = [line for line in done.stdout.splitlines() if line.startswith("ANSWERS")]
    return [read_answers(line.removeprefix("ANSWERS")) for line in lines]


def read_answers(line):
    answers = sorted(json.loads(line), key=lambda one: one["product_id"])
    labels, scores = ([one[name] for one in answers] for name in ("labels", "scores"))
    return np.array(labels), np.array(scores)


@pytest.mark.usefixtures("own_threads")
def test_texts_are_padded_as_examples_do_it_to_the_longest_of_the_batch(monkeypatch):
    model = Model(BUNDLED, same_arithmetic=False)
    seen: list[tuple[int, ...]] = []

    def spy(inputs):
        seen.append(tuple(inputs.token_ids.shape))
        return classifier(inputs)

    classifier = model._classifier
    monkeypatch.setattr(model, "_classifier", spy)
    side_px = read_size_px(BUNDLED)
    pixels = np.zeros((2, 3, side_px, side_px), dtype=np.uint8)
    one = model(pixels[:1], ["hat"])
    both = model(pixels, ["hat", "a red shirt"])

    (_, alone), (_, together) = seen
    assert alone < together < read_manifest(BUNDLED).config.text_length
    assert np.abs(one["scores"][0] - both["scores"][0]).max() < 1e-5


@pytest.mark.long
@pytest.mark.parametrize(
    "peer",
    [
        pytest.param("predict_batch_udf", marks=pytest.mark.spark),
        pytest.param("naive_udf", marks=pytest.mark.spark),
        "ray_data",
        "daft",
    ],
)
def test_peer_answers_what_the_engine_does(peer, setup, ours):
    has_both = peer in CAREFUL_PEERS
    as_documented, *as_ours = classify(peer, setup, [False, True] if has_both else [False])
    labels, scores = as_documented
    assert (labels == ours[0]).all()
    # Daft has a JPEG decoder of its own, whose pixels differ by a grey level here and there: 0.023
    # with the bundled checkpoint.
    assert np.abs(scores - ours[1]).max() < (0.03 if peer == "daft" else 1e-4)

    assert len(as_ours) == has_both
    for labels, scores in as_ours:
        # Two labels that score alike may change places in half device.
        is_sure = ours[1] > 0.6
        assert is_sure.any()
        assert (labels == ours[0])[is_sure].all()
        assert np.abs(scores - ours[1]).max() < 0.05


def test_every_careful_peer_has_both_stages(setup):
    asked: list[tuple[int, bool]] = []

    def classify(count, same_arithmetic):
        asked.append((count, same_arithmetic))
        return pd.DataFrame({"product_id": range(count)})

    for build in (build_stages, build_stages_with_start_up):
        stages = build("peer", classify, setup)
        assert list(stages) == ["peer", "peer" + SAME_ARITHMETIC]
        asked.clear()
        assert [one.run() for one in stages.values()] == [_PRODUCTS, _PRODUCTS]
        assert asked == [(_PRODUCTS, False), (_PRODUCTS, True)]


def test_no_peer_takes_anything_from_the_engine():
    sources = [file.read_text() for file in Path(CHECKOUT, "bench", "peers").glob("*.py")]
    assert sources
    taken = {
        name for text in sources for name in re.findall(r"enrich\.(?:engine|images)[.\w]*", text)
    }
    assert taken == {"enrich.engine.device", "enrich.engine.forward"}, "the model, and no product"
