"""The classifiers by name."""

import inspect

from enrich.classifiers.cma_clip import CmaClip
from enrich.classifiers.config import ClassifierConfig, ClassifierName
from enrich.classifiers.interface import Classifier
from enrich.classifiers.joint import ClipTransformer, Coca, PerceiverIo
from enrich.classifiers.pooled import (
    ClipMlp,
    ClipSum,
    ClipZeroShot,
    EmbraceNet,
    ImageOnly,
    TextOnly,
)
from enrich.classifiers.stream import Mmbt, SingleStream

CLASSIFIERS: dict[ClassifierName, type[Classifier]] = {
    "cma_clip": CmaClip,
    "clip_zero_shot": ClipZeroShot,
    "clip_sum": ClipSum,
    "clip_mlp": ClipMlp,
    "clip_transformer": ClipTransformer,
    "mmbt": Mmbt,
    "embracenet": EmbraceNet,
    "perceiver_io": PerceiverIo,
    "coca": Coca,
    "image_only": ImageOnly,
    "text_only": TextOnly,
    "single_stream": SingleStream,
}


def build_classifier(config: ClassifierConfig, vocabulary: int) -> Classifier:
    """Return the classifier that the configuration names, with random weights."""
    return CLASSIFIERS[config.classifier](config, vocabulary)


def summarise(classifier: type[Classifier]) -> str:
    """Return the first line of the classifier's docstring."""
    return inspect.cleandoc(classifier.__doc__ or "").partition("\n")[0]
