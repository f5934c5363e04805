"""From a decoded picture to the pixels that an image tower sees.

Training and inference call the same function, so that they see the same pixels. Knows nothing of
files; mean and std are applied on the device by the classifier.
"""

from typing import Annotated, Literal

import numpy as np
from PIL import Image
from pydantic import BaseModel, ConfigDict, Field, FiniteFloat

Triple = tuple[FiniteFloat, FiniteFloat, FiniteFloat]
Positive = Annotated[FiniteFloat, Field(gt=0)]


class ImageShape(BaseModel):
    """How a picture is brought to the tower's size; travels with the checkpoint.

    `pad` keeps the whole picture and fills the square with white, which is what stands around a
    product in a catalog; `crop` cuts the centre square as CLIP's own preprocessing does.
    """

    model_config = ConfigDict(extra="forbid", frozen=True)

    size_px: int = Field(gt=0)
    fit: Literal["pad", "crop"]
    mean: Triple
    std: tuple[Positive, Positive, Positive]


def to_pixels(image: Image.Image, shape: ImageShape) -> np.ndarray:
    """Returns an RGB picture as uint8 array of shape (3, size_px, size_px).

    A view: in memory a pixel's channels lie side by side, which is how a tower wants them.
    """
    square = _pad(image, shape.size_px) if shape.fit == "pad" else _crop(image, shape.size_px)
    return square.transpose(2, 0, 1)


def _pad(image: Image.Image, size_px: int) -> np.ndarray:
    # Loads torch, which a driver that reads an ImageShape does without.
    from enrich.resize import resize

    scale = size_px / max(image.size)
    width, height = (max(1, round(side * scale)) for side in image.size)
    inner = resize(image, width, height)
    if height == width:
        return inner
    canvas = np.full((size_px, size_px, 3), 255, dtype=np.uint8)
    top, left = (size_px - height) // 2, (size_px - width) // 2
    canvas[top : top + height, left : left + width] = inner
    return canvas


def _crop(image: Image.Image, size_px: int) -> np.ndarray:
    from enrich.resize import resize

    side = min(image.size)
    left, top = ((length - side) // 2 for length in image.size)
    return resize(image, size_px, size_px, box=(left, top, left + side, top + side))
