"""Soft labels: answers to pictures, of towers that were not trained on them.

Labels of shops are noisy, many are missing, and a tower learns those of its own pictures by heart.
Two trainings, each on one half of the groups, answer the pictures of the other half. A third one
learns their probabilities beside the labels: distillation (Hinton et al. 2015, arXiv 1503.02531),
cross-fitted.
"""

import math
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path

import numpy as np
import torch
import torch.nn.functional as F
from jaxtyping import Float
from torch import Tensor

from enrich.classifiers.checkpoint import load_classifier
from enrich.classifiers.interface import Classifier, ModelInputs
from enrich.classifiers.manifest import read_manifest
from enrich.classifiers.towers import TextEncoder
from enrich.engine.device import autocast, local_device
from enrich.terminal import watch
from enrich.training.batches import Batches
from enrich.training.caches import CachedViews, cache_views

_BATCH = 256


def cross_fit_labels(
    batches: Batches,
    attributes: Mapping[str, Sequence[str]],
    halves: Sequence[Path],
    train_rows: np.ndarray,
    views: int,
) -> Float[np.ndarray, "N S"]:
    """Return probabilities of labels by the picture alone, attributes side by side.

    `halves` are checkpoints of trainings on half 0 and on half 1 of the groups; a row is answered
    by that of the other half, over `views` of its picture. Rows without a picture or outside of
    `train_rows` are 0, and so are attributes that a checkpoint does not answer. Raises
    CheckpointError if one cannot be read.
    """
    width = sum(map(len, attributes.values()))
    soft = np.zeros((len(batches.products), width), dtype=np.float32)
    pictured = train_rows[batches.images.has_image[train_rows]]
    for number, checkpoint in enumerate(halves):
        classifier, encode_texts = load_classifier(read_manifest(checkpoint), local_device())
        foreign = pictured[batches.products.half[pictured] != number]
        seen = cache_views(classifier, batches.images, "image_lower", views)
        known = classifier.config.attributes
        for rows, logits in _answers(classifier, encode_texts, seen, foreign):
            probs = [
                _probabilities(logits.get(attribute), known.get(attribute, ()), labels)
                for attribute, labels in attributes.items()
            ]
            soft[rows] = torch.cat([one.expand(len(rows), -1) for one in probs], dim=1).numpy()
    return soft


def _probabilities(
    logits: Float[Tensor, "V B _"] | None, known: Sequence[str], labels: Sequence[str]
) -> Float[Tensor, "_ C"]:
    """Return the mean of labels' probabilities over views, 0 for unknown labels."""
    if logits is None or set(known).isdisjoint(labels):
        return torch.zeros(1, len(labels))
    # Behind the known labels, one for all others.
    padded = F.pad(logits, (0, 1), value=-math.inf)
    places = [known.index(label) if label in known else len(known) for label in labels]
    return padded[..., places].softmax(-1).mean(0)


def _answers(
    classifier: Classifier, encode_texts: TextEncoder, seen: CachedViews, rows: np.ndarray
) -> Iterator[tuple[np.ndarray, dict[str, Float[Tensor, "V B _"]]]]:
    """Yield rows, and the logits of each view of their pictures, batch by batch."""
    parts = [rows[at : at + _BATCH] for at in range(0, len(rows), _BATCH)]
    for part in watch(parts, "soft labels", len(parts)):
        ids, mask = encode_texts([""] * len(part))
        shown = torch.ones(len(part), dtype=torch.bool)
        by_view = []
        for view in seen.views:
            lower = torch.from_numpy(np.asarray(view[part], dtype=np.float32))
            inputs = ModelInputs(ids, mask, shown, ~shown, image_lower=lower)
            with torch.inference_mode(), autocast(classifier.device):
                by_view.append(classifier(inputs.to(classifier.device)).logits)
        yield part, {a: torch.stack([one[a].float().cpu() for one in by_view]) for a in by_view[0]}
