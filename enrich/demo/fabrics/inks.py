"""Which colors meet on one cloth: the labelled one, what is seen against it, and the seams."""

import numpy as np

from enrich.demo.fabrics.shades import RGB, luminance, pick_shade, scaled

VIVID = ("red", "blue", "green", "yellow", "orange", "pink", "purple", "turquoise")


def pick_inks(color: str, rng: np.random.Generator) -> tuple[str, tuple[RGB, ...]]:
    if color == "multi":
        names = rng.permutation(VIVID)[: int(rng.integers(4, 7))]
        return "multi", tuple(pick_shade(str(name), rng)[1] for name in names)
    word, shade = pick_shade(color, rng)
    return word, (shade, _contrast_for(shade, rng), _contrast_for(shade, rng))


def _contrast_for(shade: RGB, rng: np.random.Generator) -> RGB:
    """A second color that is seen against the first: black or white mostly, or another color."""
    names = ("white", "black", "grey", "beige", "blue", *VIVID)
    weights = np.array([8, 4, 2, 2, 2, *[0.7] * len(VIVID)])
    for _ in range(8):
        candidate = pick_shade(str(rng.choice(names, p=weights / weights.sum())), rng)[1]
        if abs(luminance(candidate) - luminance(shade)) > 75:
            return candidate
    return (250, 250, 250) if luminance(shade) < 128 else (30, 30, 34)


def seam_for(shade: RGB) -> RGB:
    # On near-black cloth a darker seam cannot be seen.
    if luminance(shade) < 60:
        red, green, blue = (value + 38 for value in shade)
        return red, green, blue
    return scaled(shade, 0.66)
