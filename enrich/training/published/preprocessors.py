"""How published weights want their pictures: preprocessor_config.json to an `ImageShape`."""

import math
from collections.abc import Mapping
from pathlib import Path
from typing import Any, NamedTuple

from huggingface_hub import _CACHED_NO_EXIST, file_exists, try_to_load_from_cache
from pydantic import ValidationError
from transformers.image_processing_base import ImageProcessingMixin

from enrich.errors import ConfigError, first_line
from enrich.preprocess import ImageShape, Triple

_FILE = "preprocessor_config.json"


class Normalisation(NamedTuple):
    """What is assumed of weights that come without a preprocessor_config.json."""

    fit: str
    mean: Triple
    std: Triple


# OpenAI's own, shared by nearly all of CLIP's descendants.
OPENAI = Normalisation(
    "crop", (0.48145466, 0.4578275, 0.40821073), (0.26862954, 0.26130258, 0.27577711)
)
# Pixels from -1 to 1, as the first ViT had them.
HALVES = Normalisation("pad", (0.5, 0.5, 0.5), (0.5, 0.5, 0.5))


def open_image_shape(
    name_or_folder: str, default: Normalisation, size_px: int | None
) -> ImageShape:
    """Returns size, mean and standard deviation that a published model was made for.

    A model that saw the centre square gets it; any other saw the whole picture, and gets that
    padded to a square.

    Args:
        name_or_folder: Hub name or local folder.
        default: For a model without preprocessor_config.json.
        size_px: The size in the model's own configuration; used where its preprocessor names none.

    Raises:
        ConfigError: the preprocessor does what this project cannot, or its file cannot be read.
    """
    try:
        settings, _ = ImageProcessingMixin.get_image_processor_dict(name_or_folder)
    except OSError as error:
        # Raised for a damaged file as well, and where the hub is out of reach.
        if not _has_none(name_or_folder):
            raise ConfigError(
                f"the {_FILE} of '{name_or_folder}' cannot be read: {first_line(error)}"
            ) from error
        settings = {
            "do_center_crop": default.fit == "crop",
            "image_mean": default.mean,
            "image_std": default.std,
        }
    scale = settings.get("rescale_factor", 1 / 255)
    if not settings.get("do_rescale", True) or not math.isclose(scale, 1 / 255, rel_tol=1e-3):
        raise ConfigError(
            f"'{name_or_folder}' wants pixels scaled by {scale}; only 1/255 is supported"
        )
    normalised = settings.get("do_normalize", True)
    try:
        return ImageShape(
            size_px=_size(settings) or size_px,  # type: ignore[arg-type]
            fit="crop" if settings.get("do_center_crop") else "pad",
            mean=settings.get("image_mean", default.mean) if normalised else (0.0, 0.0, 0.0),
            std=settings.get("image_std", default.std) if normalised else (1.0, 1.0, 1.0),
        )
    except ValidationError as error:
        raise ConfigError(
            f"the {_FILE} of '{name_or_folder}' is of another kind: {error}"
        ) from error


def _has_none(name_or_folder: str) -> bool:
    """Tells whether a model is known to come without the file.

    Raises:
        ConfigError: its hub cannot be asked.
    """
    if Path(name_or_folder).is_dir():
        return not (Path(name_or_folder) / _FILE).exists()
    if try_to_load_from_cache(name_or_folder, _FILE) is _CACHED_NO_EXIST:
        return True
    try:
        return not file_exists(name_or_folder, _FILE)
    except Exception as error:  # the hub's, its web client's, and that of its offline mode
        raise ConfigError(
            f"whether '{name_or_folder}' has a {_FILE} cannot be found out ({first_line(error)}), "
            "and how its pictures are prepared is in there: try again, or give a local folder"
        ) from error


def _size(settings: Mapping[str, Any]) -> object:
    """Returns the side of the square that the model sees, None where none is said."""
    size = settings.get("crop_size" if settings.get("do_center_crop") else "size")
    if isinstance(size, Mapping):
        sides = {size[side] for side in ("height", "width", "shortest_edge") if size.get(side)}
        return sides.pop() if len(sides) == 1 else None
    return size
