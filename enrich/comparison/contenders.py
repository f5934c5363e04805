"""The checkpoints that are compared, loaded all at once: a broken one stops the run at its start.

They stay in memory together, because their speed is measured in turns.
"""

from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path

import torch
from schemas.labels import LABEL_WORDS

from enrich.adaptation.checkpoint import list_adaptations
from enrich.classifiers.checkpoint import load_classifier
from enrich.classifiers.interface import Classifier
from enrich.classifiers.manifest import Manifest, fetch_manifest
from enrich.comparison.figure import file_name
from enrich.lexicon import Lexicon
from enrich.tokenizer import TextEncoder
from enrich.training.batches import Batches, open_batches
from enrich.training.label_words import LabelWords
from enrich.training.labelled import LabelledProducts
from enrich.training.names import refuse_same_names


@dataclass(frozen=True, slots=True)
class Contender:
    """A loaded checkpoint; its `name` is that of its folder, and no two have the same.

    `label_words` are those of all contenders' labels: each is asked about the same masked texts.
    """

    name: str
    manifest: Manifest
    classifier: Classifier
    encoder: TextEncoder
    label_words: LabelWords

    @property
    def attributes(self) -> dict[str, tuple[str, ...]]:
        """The labels of each attribute, in the order of the logits."""
        return self.manifest.config.attributes

    @property
    def fitted_to(self) -> list[str]:
        """The shops to whose labelled products it was fitted, of whatever split those are."""
        return [adaptation["shop"] for adaptation in list_adaptations(self.manifest)]

    def as_stored(self) -> Classifier:
        """Returns the classifier with all its layers in floating point.

        Those in eight bits have no parameters, and the FLOP counter does not know them.
        """
        config = self.manifest.config
        if not config.int8:
            return self.classifier
        exact = replace(self.manifest, config=config.model_copy(update={"int8": False}))
        return load_classifier(exact, self.classifier.device)[0]

    def batches(self, products: LabelledProducts, cache: Path) -> Batches:
        """Returns the products as this checkpoint takes them, their pictures decoded once."""
        shape = self.manifest.config.image
        return open_batches(products, shape, self.encoder, self.label_words, cache)


def load_contenders(locations: Sequence[str], device: torch.device) -> list[Contender]:
    """Loads every checkpoint, in the order given.

    Raises:
        CheckpointError: one of them cannot be loaded.
        ConfigError: two have the same name.
    """
    names = [Path(location).resolve().name for location in locations]
    refuse_same_names("checkpoint folder", names, "the report goes", file_name)
    manifests = [fetch_manifest(location) for location in locations]
    labels: dict[str, tuple[str, ...]] = {}
    for manifest in manifests:
        for attribute, own in manifest.config.attributes.items():
            labels[attribute] = labels.get(attribute, ()) + own
    label_words = LabelWords(labels, Lexicon.of_labels(LABEL_WORDS))
    return [
        Contender(name, manifest, *load_classifier(manifest, device), label_words)
        for name, manifest in zip(names, manifests, strict=True)
    ]
