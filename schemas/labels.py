"""Label sets of the bundled checkpoint, and words that name a label in a text.

A checkpoint carries its own label sets; these are for `cma-clip-small` and the demo catalog.
`words/` has their words in other languages, a file a language.
"""

import json
from dataclasses import dataclass
from importlib import resources

# NULL as a label of its own, in counts and in a label baseline's file: a comparison that skips
# NULLs still passes when half the labels are gone.
ABSTAINED = "(abstained)"

# Labels that people give beside those of an attribute: the attribute does not apply to the product,
# or none of its labels fits. NULL is published for both.
NOT_APPLICABLE, OTHER = RESERVED = ("not_applicable", "other")
# Why the classifier gives no label: its confidence is too low, or one of the RESERVED.
UNSURE = "unsure"
ABSTENTIONS = (UNSURE, *RESERVED)

ATTRIBUTE_LABELS: dict[str, tuple[str, ...]] = {
    "color": (
        "beige",
        "black",
        "blue",
        "bronze",
        "brown",
        "gold",
        "green",
        "grey",
        "multi",
        "orange",
        "pink",
        "purple",
        "red",
        "silver",
        "turquoise",
        "white",
        "yellow",
    ),
    "pattern": (
        "checked",
        "colourblocked",
        "embellished",
        "lace",
        "printed",
        "solid",
        "striped",
        "textured",
        "washed",
    ),
    "style": ("casual", "ethnic", "formal", "party", "smart casual", "sports", "travel"),
}

# Words that shops write for a label beside its own name. Training hides them from a share of the
# texts, so that the classifier also learns to look at the picture.
LABEL_WORDS: dict[str, dict[str, tuple[str, ...]]] = {
    "color": {
        "beige": ("cream", "ivory", "nude", "skin", "khaki", "tan", "sand", "off white"),
        "black": ("charcoal", "onyx", "jet"),
        "blue": ("navy", "teal", "indigo", "denim", "sky", "cobalt", "royal"),
        "bronze": ("copper",),
        "brown": ("coffee", "chocolate", "mushroom", "taupe", "walnut", "espresso", "camel"),
        "gold": ("golden", "brass"),
        "green": ("olive", "lime", "mint", "emerald", "fluorescent", "sage"),
        "grey": ("gray", "melange", "slate", "graphite"),
        "multi": ("multicolour", "multicolor", "multicoloured", "multicolored", "assorted"),
        "orange": ("rust", "coral", "peach"),
        "pink": ("rose", "magenta", "fuchsia", "blush"),
        "purple": ("lavender", "mauve", "violet", "plum", "lilac"),
        "red": ("maroon", "burgundy", "crimson", "scarlet", "wine"),
        "silver": ("steel", "metallic", "chrome", "nickel"),
        "turquoise": ("turquoise blue", "sea green", "aqua"),
        "white": ("pearl", "snow"),
        "yellow": ("mustard", "lemon"),
    },
    "pattern": {
        "checked": ("check", "checks", "checkered", "plaid", "gingham", "tartan"),
        "colourblocked": ("colorblocked", "colourblock", "colorblock"),
        "embellished": ("sequin", "sequins", "beaded", "embroidered", "embroidery"),
        "lace": ("laced",),
        "printed": ("print", "prints", "graphic", "floral", "dotted", "polka"),
        "solid": ("plain",),
        "striped": ("stripe", "stripes", "pinstripe"),
        "textured": ("texture", "knitted", "quilted", "ribbed"),
        "washed": ("wash", "faded", "distressed"),
    },
    "style": {
        "sports": ("sport", "sporty", "athletic", "training", "running"),
        "ethnic": ("traditional",),
        "formal": ("office",),
    },
}

# Languages that `words/` has a file for, by their ISO 639-1 codes.
LANGUAGES = ("de", "es", "fr", "it", "nl", "pt")


def read_language(code: str) -> dict[str, dict[str, str]]:
    """Return the label that each word of a language names, by attribute and word."""
    text = (resources.files("schemas") / "words" / f"{code}.json").read_text(encoding="utf-8")
    return {
        attribute: {word: label for label, words in by_label.items() for word in words}
        for attribute, by_label in json.loads(text).items()
    }


@dataclass(frozen=True, slots=True)
class AuditedLabel:
    """Judgements by people of published answers of one label, which audits drew.

    Attributes:
        labels: answers that a person has labelled, at least 1.
        right: of these, answers whose label the person gave too.
        target: share of right answers that was promised, in (0, 1).
    """

    attribute: str
    label: str
    labels: int
    right: int
    target: float
