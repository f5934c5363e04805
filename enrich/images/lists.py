"""Lists of images: which pictures a product's image path names, in the order to try them."""

import json
from typing import Any

from pydantic import Field, field_validator

from enrich.settings_files import YamlSettings

# Of a product's images so many are tried.
MOST_IMAGES = 10


class ImageLists(YamlSettings):
    """Reading of an image path that names several images.

    `choice` is the place of the image that is tried first, from 1, or from -1 at the end; the
    others follow in their order. `separator` stands between the images of a text. Without one only
    a list in JSON is a list, as which a column of lists is read.
    """

    choice: int = 1
    separator: str | None = Field(default=None, min_length=1)

    @field_validator("choice")
    @classmethod
    def _counts_from_one(cls, choice: int) -> int:
        if choice == 0:
            raise ValueError("found 0, expected 1 for the first, 2, ..., or -1 for the last")
        return choice

    def images_of(self, image_path: str) -> list[str]:
        """Return the images of a path, the one to try first in front; at least one."""
        found = _parse(image_path)
        if found is None and self.separator is not None:
            found = image_path.split(self.separator)
        named = [one.strip() for one in found or [] if isinstance(one, str)]
        begin = self.choice - 1 if self.choice > 0 else self.choice
        ordered = [one for one in (*named[begin:][:1], *named) if one]
        return list(dict.fromkeys(ordered))[:MOST_IMAGES] or [image_path]


def _parse(text: str) -> list[Any] | None:
    """Return the list that a text is in JSON, else None."""
    if not text.startswith("["):
        return None
    try:
        found = json.loads(text)
    except (ValueError, RecursionError):
        return None
    return found if isinstance(found, list) else None
