"""The classifiers by name: each is one class in a file of its own, all behind one interface."""

from enrich.classifiers.clip_mlp import ClipMlp
from enrich.classifiers.clip_sum import ClipSum
from enrich.classifiers.clip_transformer import ClipTransformer
from enrich.classifiers.clip_zero_shot import ClipZeroShot
from enrich.classifiers.cma_clip import CmaClip
from enrich.classifiers.coca import Coca
from enrich.classifiers.config import ClassifierConfig, ClassifierName
from enrich.classifiers.embracenet import EmbraceNet
from enrich.classifiers.image_only import ImageOnly
from enrich.classifiers.interface import Classifier
from enrich.classifiers.mmbt import Mmbt
from enrich.classifiers.perceiver_io import PerceiverIo
from enrich.classifiers.single_stream import SingleStream
from enrich.classifiers.text_only import TextOnly

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
    """Returns the classifier that the configuration names, with random weights."""
    return CLASSIFIERS[config.classifier](config, vocabulary)
