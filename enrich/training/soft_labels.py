"""Soft labels: answers to pictures, of towers that were not trained on them.

Labels of shops are noisy, many are missing, and a tower learns those of its own pictures by heart.
Two trainings, each on one half of the groups, answer the pictures of the other half. A third one
learns their probabilities beside the labels: distillation (Hinton et al. 2015, arXiv 1503.02531),
cross-fitted.
"""

from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path

import numpy as np
import torch
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
        for rows, logits in _answers(classifier, encode_texts, seen, foreign):
            known = classifier.config.attributes
            at = 0
            for attribute, labels in attributes.items():
                if attribute in known:
                    chosen = logits[attribute][..., _columns(labels, known[attribute])]
                    has_head = torch.tensor([label in known[attribute] for label in labels])
                    probs = chosen.masked_fill(~has_head, float("-inf")).softmax(-1).mean(0)
                    soft[rows, at : at + len(labels)] = probs.numpy()
                at += len(labels)
    return soft


def _columns(labels: Sequence[str], known: Sequence[str]) -> list[int]:
    """Return the place of each label among those that are known, 0 for others."""
    return [known.index(label) if label in known else 0 for label in labels]


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
