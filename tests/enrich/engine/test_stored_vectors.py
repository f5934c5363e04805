"""Rounding vectors to float16, to store them, moves no answer to real products."""

import pandas as pd
import torch

from enrich.classifiers.manifest import BUNDLED, read_manifest
from enrich.engine.device import autocast
from enrich.engine.spec import open_engine
from enrich.records import Modalities, Product

MOST_MOVED = 0.002
_BATCH = 50


def _read(engine, folder):
    """Yields the products that have a picture and a text, in batches."""
    rows = pd.read_parquet(folder / "products.parquet").astype(object)
    fields = rows[["product_id", "title", "description", "image_path"]]
    products = (Product(*row) for row in fields.where(rows.notna(), None).itertuples(index=False))
    prepared = [
        one for one in map(engine.prepare, products) if one.modalities is Modalities.IMAGE_AND_TEXT
    ]
    for start in range(0, len(prepared), _BATCH):
        batch = prepared[start : start + _BATCH]
        yield batch, engine.build_inputs(batch)


def _compare(exact, stored):
    """Returns how far confidences of kept labels move, and how many labels change but by ties."""
    confidence, best = exact.max(1)
    moved = (stored.gather(1, best.unsqueeze(1)).squeeze(1) - confidence).abs()
    changed = stored.argmax(1) != best
    top = exact.topk(2, dim=1).values
    is_tie = top[:, 0] - top[:, 1] < MOST_MOVED
    return moved.max().item(), int((changed & ~is_tie).sum())


@torch.inference_mode()
def test_storing_vectors_moves_no_confidence_and_no_label_but_ties(sample, monkeypatch):
    # In bfloat16 the last layers round more coarsely than float16 does.
    monkeypatch.setattr("enrich.engine.device.choose_dtype", lambda device: torch.float32)
    engine = open_engine(read_manifest(BUNDLED), str(sample))
    classifier, answerer = engine.classifier, engine.answerer
    most, changed, rows = 0.0, 0, 0
    for batch, inputs in _read(engine, sample):
        with autocast(classifier.device):
            tokens = classifier.towers(inputs)
        rows += len(batch)
        unnamed = answerer.find_named([(None, None)] * len(batch))
        for one in Modalities:
            with autocast(classifier.device):
                vectors = classifier.join(
                    tokens,
                    inputs.has_image & (one is not Modalities.TEXT),
                    inputs.has_text & (one is not Modalities.IMAGE),
                )
            exact, stored = (
                answerer.probabilities(classifier.answer(some), [one] * len(batch), unnamed)
                for some in (vectors, vectors.as_stored())
            )
            for attribute, probs in exact.items():
                moved, others = _compare(probs, stored[attribute])
                most, changed = max(most, moved), changed + others
    assert rows > 400
    assert 0 < most <= MOST_MOVED and changed == 0
