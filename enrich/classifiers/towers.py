"""Builds the two towers that a configuration names. Knows no particular classifier.

transformers takes seconds to load, which a worker whose towers are not of it does without.
"""

from enrich.classifiers.coca_towers import build_coca
from enrich.classifiers.config import ClassifierConfig, CocaTowers, PairTowers, SmallTowers
from enrich.classifiers.small_towers import EfficientNetTower, SmallTextTower
from enrich.classifiers.tower_interface import ImageTower, TextTower


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
    if isinstance(towers, PairTowers):
        from enrich.classifiers.pair_towers import build_pair_towers

        return build_pair_towers(towers, config.text_length)
    if isinstance(towers, CocaTowers):
        image_tower, text_tower, _ = build_coca(towers, config.image.size_px, config.text_length)
        return image_tower, text_tower
    from enrich.classifiers.clip_towers import build_clip_towers

    return build_clip_towers(towers, config.image.size_px, config.text_length)
