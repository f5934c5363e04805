"""Under which conditions products are evaluated, epochs are chosen and confidences are fitted."""

from collections.abc import Collection, Mapping
from enum import StrEnum

from enrich.records import Modalities
from enrich.training.config import TrainingConfig


class Condition(StrEnum):
    """What an evaluation takes away from its products. No row loses all that it has."""

    AS_IS = "as is"
    NO_TEXT = "text removed"
    NO_IMAGE = "image removed"
    WORDS_MASKED = "label words masked"
    OTHER_TEXT = "text of another product"


# The conditions under which a set of modalities is calibrated, and how much a row of each counts. A
# shop whose titles do not name the color is as likely as one whose titles do; one whose texts are
# other products' is rare.
CALIBRATED_UNDER = {
    Modalities.IMAGE_AND_TEXT: {
        Condition.AS_IS: 1.0,
        Condition.WORDS_MASKED: 1.0,
        Condition.OTHER_TEXT: 0.3,
    },
    Modalities.IMAGE: {Condition.NO_TEXT: 1.0},
    Modalities.TEXT: {Condition.NO_IMAGE: 1.0},
}
# What the trust in pictures is fitted to. Texts of other products count even less here: confidence
# is to be right for them too, but answers to all other products are not to get worse for them.
TRUSTED_UNDER = CALIBRATED_UNDER[Modalities.IMAGE_AND_TEXT] | {Condition.OTHER_TEXT: 0.1}
# The best epoch has the highest mean accuracy under these.
SELECTED_UNDER = (
    Condition.AS_IS,
    Condition.NO_TEXT,
    Condition.WORDS_MASKED,
    Condition.OTHER_TEXT,
)


def shown_in_training(config: TrainingConfig) -> frozenset[Condition]:
    """Returns the conditions that a training shows; under others its classifier learns nothing."""
    if config.drop_text == 1:
        return frozenset({Condition.NO_TEXT})
    shown = {
        Condition.NO_TEXT: config.drop_text + config.image_alone,
        Condition.NO_IMAGE: config.drop_image,
        Condition.WORDS_MASKED: config.mask_label_words,
        Condition.OTHER_TEXT: config.swap_text,
    }
    whole = {Condition.AS_IS} if config.drop_text + config.drop_image < 1 else set()
    return frozenset(whole | {one for one, share in shown.items() if share > 0})


def only_shown(
    shares: Mapping[Condition, float], shown: Collection[Condition]
) -> dict[Condition, float]:
    """Returns the shares of those conditions that training has `shown`; there may be none."""
    return {condition: share for condition, share in shares.items() if condition in shown}
