"""From a decoded picture to the pixels that an image tower sees.

Training and inference call the same function, so that they see the same pixels. Knows nothing of
files; mean and std are applied on the device by the classifier.
"""

from typing import Literal

import numpy as np
from PIL import Image
from pydantic import BaseModel, ConfigDict, Field

Triple = tuple[float, float, float]


class ImageShape(BaseModel):
    """How a picture is brought to the tower's size; travels with the checkpoint.

    `pad` keeps the whole picture and fills the square with white, which is what stands around a
    product in a catalog; `crop` cuts the centre square as CLIP's own preprocessing does.
    """

    model_config = ConfigDict(extra="forbid", frozen=True)

    size_px: int = Field(gt=0)
    fit: Literal["pad", "crop"]
    mean: Triple
    std: Triple


def to_pixels(image: Image.Image, shape: ImageShape) -> np.ndarray:
    """Returns the picture as uint8 array of shape (3, size_px, size_px), RGB."""
    square = _pad(image, shape.size_px) if shape.fit == "pad" else _crop(image, shape.size_px)
    return np.asarray(square, dtype=np.uint8).transpose(2, 0, 1)


def _pad(image: Image.Image, size_px: int) -> Image.Image:
    scale = size_px / max(image.size)
    width, height = (max(1, round(side * scale)) for side in image.size)
    canvas = Image.new("RGB", (size_px, size_px), "white")
    inner = image.resize((width, height), Image.Resampling.BICUBIC, reducing_gap=3.0)
    canvas.paste(inner, ((size_px - width) // 2, (size_px - height) // 2))
    return canvas


def _crop(image: Image.Image, size_px: int) -> Image.Image:
    side = min(image.size)
    left, top = ((length - side) // 2 for length in image.size)
    box = (left, top, left + side, top + side)
    return image.resize((size_px, size_px), Image.Resampling.BICUBIC, box=box, reducing_gap=3.0)
