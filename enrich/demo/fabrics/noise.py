"""Smooth random fields, for clouds, patches and folds."""

import numpy as np
from PIL import Image


def smooth_noise(side: int, cells: tuple[int, int], rng: np.random.Generator) -> np.ndarray:
    """Noise in [-1, 1] with about `cells` (rows, columns) bumps over a square of `side` pixels."""
    coarse = rng.uniform(-1, 1, cells).astype(np.float32)
    image = Image.fromarray(coarse).resize((side, side), Image.Resampling.BICUBIC)
    return np.asarray(image)
