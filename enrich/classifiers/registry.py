"""The classifiers by name: each one file, one class, one interface."""

from enrich.classifiers.cma_clip import CmaClip
from enrich.classifiers.config import ClassifierConfig, ClassifierName
from enrich.classifiers.interface import Classifier

CLASSIFIERS: dict[ClassifierName, type[Classifier]] = {
    "cma_clip": CmaClip,
}


def build_classifier(config: ClassifierConfig, vocabulary: int) -> Classifier:
    """Returns the classifier that the configuration names, with random weights."""
    return CLASSIFIERS[config.classifier](config, vocabulary)
