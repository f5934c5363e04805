"""Builds the two towers that a configuration names. Knows no particular classifier.

transformers takes seconds to load, which a worker whose towers are not of it does without.
"""

from enrich.classifiers.config import (
    ClassifierConfig,
    HuggingFaceTowers,
    OpenClipTowers,
    SmallTowers,
)
from enrich.classifiers.small_towers import EfficientNetTower, SmallTextTower
from enrich.classifiers.tower_interface import ImageTower, TextTower


def build_towers(config: ClassifierConfig, vocabulary: int) -> tuple[ImageTower, TextTower]:
    """Returns both towers with random weights.

    Raises:
        ValueError: the image size or the text length is not what the towers were made for.
        ConfigError: the towers are open_clip's, which is not installed.
    """
    towers, size_px, length = config.towers, config.image.size_px, config.text_length
    if isinstance(towers, SmallTowers):
        return (
            EfficientNetTower(towers, size_px),
            SmallTextTower(towers, vocabulary, length, config.dropout),
        )
    if isinstance(towers, OpenClipTowers):
        from enrich.classifiers.open_clip_towers import build_open_clip

        return build_open_clip(towers, size_px, length)[:2]
    from enrich.classifiers import hugging_face_towers as hugging_face

    if isinstance(towers, HuggingFaceTowers):
        return hugging_face.build_halves(towers, size_px, length)
    return hugging_face.build_pair(towers, size_px, length)
