"""Builds the two towers that a configuration names. Knows no particular classifier."""

from enrich.classifiers.clip_towers import build_clip_towers
from enrich.classifiers.config import ClassifierConfig, SmallTowers
from enrich.classifiers.interface import ImageTower, TextTower
from enrich.classifiers.small_towers import EfficientNetTower, SmallTextTower


def build_towers(config: ClassifierConfig, vocabulary: int) -> tuple[ImageTower, TextTower]:
    """Returns both towers with random weights.

    Raises:
        ValueError: the image size or the text length is not what the towers were made for.
    """
    towers = config.towers
    if isinstance(towers, SmallTowers):
        return (
            EfficientNetTower(towers, config.image.size_px),
            SmallTextTower(towers, vocabulary, config.text_length, config.dropout),
        )
    return build_clip_towers(towers, config.image.size_px, config.text_length)
