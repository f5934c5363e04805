"""Texts changed so that a classifier learns to look at the picture: swapped, reworded, masked.

`swap`, `reword` and `relabel` change a batch's texts in place. Knows nothing of pictures, and not
how likely a change is.
"""

import numpy as np

from enrich.training.label_words import LabelWords
from enrich.training.labelled import UNLABELLED


def swap(
    texts: list[str], groups: np.ndarray, chosen: np.ndarray, rng: np.random.Generator
) -> np.ndarray:
    """Replaces chosen texts by texts of other groups; returns where.

    A row without a text gets none, and no row gets the text of one without.
    """
    others = rng.permutation(len(texts))
    has_text = np.array([bool(text) for text in texts], dtype=bool)
    swapped = chosen & has_text & has_text[others] & (groups != groups[others])
    own = list(texts)
    for at in np.flatnonzero(swapped):
        texts[at] = own[others[at]]
    return swapped


def reword(
    texts: list[str], label_words: LabelWords, chosen: np.ndarray, rng: np.random.Generator
) -> None:
    """Replaces a share of the chosen texts' words, from none to all, by unknown ones.

    An unknown word is a word of some text of the batch with its letters shuffled. Label words
    stay, so the text is still right about its picture, like one of a shop that training does
    not know. Else the classifier would learn that a text which sounds strange is another
    product's.
    """
    if not chosen.any():
        return
    known = [word for text in texts for word in label_words.find_others(text)]
    for at in np.flatnonzero(chosen):
        share = rng.random()

        def change(word: str, share: float = share) -> str:
            if rng.random() >= share:
                return word
            return "".join(rng.permutation(list(known[rng.integers(len(known))])))

        texts[at] = label_words.change_others(texts[at], change)


def relabel(
    texts: list[str],
    label_words: LabelWords,
    targets: np.ndarray,
    chosen: np.ndarray,
    rng: np.random.Generator,
) -> np.ndarray:
    """Makes the chosen texts name labels of other rows; returns the labels to learn.

    These are the ones that the text names now, else those of `targets`. Where a picture seems to
    contradict its own text, it is more often the picture that is misread: a contradiction is no
    sign that the text is another product's.
    """
    targets = targets.copy()
    wanted = rng.permutation(targets)
    for at in np.flatnonzero(chosen):
        for column, attribute in enumerate(label_words.attributes):
            old, new = int(targets[at, column]), int(wanted[at, column])
            if UNLABELLED in (old, new) or old == new:
                continue
            renamed = label_words.rename(texts[at], attribute, old, new)
            if renamed != texts[at]:
                texts[at], targets[at, column] = renamed, new
    return targets


def mask(text: str, label_words: LabelWords, *, is_alone: bool) -> str:
    """Returns the text without label words.

    A text of nothing else becomes empty. If it `is_alone`, without an image, it stays as it is:
    nothing of the row would be left.
    """
    masked = label_words.remove(text)
    if masked.strip():
        return masked
    return text if is_alone else ""


def other_group(groups: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Returns a fixed permutation of rows to rows of another group, and where there is one.

    Where a group holds more than half of the rows, some of its rows have no partner left.
    """
    rng = np.random.default_rng(0)
    # Neighbouring groups may be alike too, so the groups are put into random order first.
    rank = rng.permutation(groups.max() + 1)[groups]
    order = np.argsort(rank, kind="stable")
    # Rows of a group are neighbours in this order, so a step as long as the largest group leads out
    # of each of them.
    permutation = np.empty_like(order)
    permutation[order] = np.roll(order, np.bincount(groups).max())
    return permutation, groups[permutation] != groups
