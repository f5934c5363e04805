"""Reads image files from any file system and decodes them within limits.

A bad image raises `ImageProblem` with the status that its row will carry; it never takes the
run down. Knows nothing of tensors or of what the pixels mean.
"""

import io
import warnings
from functools import lru_cache
from pathlib import Path
from typing import NamedTuple
from urllib.parse import unquote, urlsplit

from PIL import Image, ImageOps, UnidentifiedImageError
from pyarrow import ArrowException, fs
from pydantic import BaseModel, ConfigDict, Field

from enrich.errors import ConfigError
from enrich.records import Status

FORMATS = ("JPEG", "PNG", "WEBP", "GIF", "BMP", "TIFF", "MPO")
# What is said of a product that names no image.
NO_PATH = "no image path"
SCHEMES = {"s3": "s3", "s3a": "s3", "gs": "gs", "hdfs": "hdfs", "abfss": "abfss", "file": "file"}


class ImageLimits(BaseModel):
    """How much an image may cost before it is refused."""

    model_config = ConfigDict(extra="forbid", frozen=True)

    max_bytes: int = Field(default=50_000_000, gt=0)
    max_pixels: int = Field(default=50_000_000, gt=0)


class ImageProblem(Exception):
    """An image that cannot be used, with the status for its row."""

    def __init__(self, status: Status, reason: str) -> None:
        super().__init__(reason)
        self.status = status


class Place(NamedTuple):
    """Where a file is; `path` is absolute inside the authority (bucket, host, container)."""

    scheme: str
    authority: str
    path: str

    def is_under(self, root: "Place") -> bool:
        """Returns whether this is the root itself or lies below it."""
        below = f"{root.path.rstrip('/')}/"
        same_store = self[:2] == root[:2]
        return same_store and (self.path == root.path or self.path.startswith(below))

    def open_store(self) -> tuple[fs.FileSystem, str]:
        """Returns the file system and how it spells this path."""
        file_system, prefix = _file_system(self.scheme, self.authority)
        return file_system, prefix.rstrip("/") + self.path


@lru_cache(maxsize=32)
def _file_system(scheme: str, authority: str) -> tuple[fs.FileSystem, str]:
    """Returns pyarrow's file system and its name for the authority: a bucket, or nothing."""
    if scheme == "file":
        return fs.LocalFileSystem(), ""
    file_system, prefix = fs.FileSystem.from_uri(f"{scheme}://{authority}/")
    return file_system, prefix


class ImageStore:
    """Resolves image paths against one root and reads the files below the allowed roots.

    A relative path starts from `root`. An absolute path or URI must lie under `root` or one of
    `allowed_roots`, after `..` and symbolic links are resolved.
    """

    def __init__(
        self, root: str, allowed_roots: tuple[str, ...] = (), limits: ImageLimits | None = None
    ) -> None:
        self.limits = limits or ImageLimits()
        self._root = _split(root)
        self._allowed = {self._root, *map(_split, allowed_roots)}

    def read(self, image_path: str | None) -> bytes:
        """Returns the file's bytes.

        Raises:
            ImageProblem: no path, no such file, outside the allowed roots, or too many bytes.
        """
        place = self._resolve(image_path)
        try:
            file_system, path = place.open_store()
            with file_system.open_input_stream(path) as stream:
                data: bytes = stream.read(self.limits.max_bytes + 1)
        # A path that no file system can spell is a ValueError.
        except (OSError, ValueError, ArrowException) as error:
            raise ImageProblem(Status.IMAGE_MISSING, _first_line(error)) from error
        if len(data) > self.limits.max_bytes:
            reason = f"more than max_bytes = {self.limits.max_bytes:,} bytes"
            raise ImageProblem(Status.IMAGE_TOO_LARGE, reason)
        return data

    def identity(self, image_path: str | None) -> str:
        """Returns size and modification time of the file as text, without reading it."""
        place = self._resolve(image_path)
        try:
            file_system, path = place.open_store()
            info = file_system.get_file_info(path)
        except (OSError, ValueError, ArrowException) as error:
            raise ImageProblem(Status.IMAGE_MISSING, _first_line(error)) from error
        if info.type != fs.FileType.File:
            raise ImageProblem(Status.IMAGE_MISSING, "no such file")
        return f"{info.size}:{info.mtime_ns}"

    def _resolve(self, image_path: str | None) -> Place:
        if not image_path or not image_path.strip():
            raise ImageProblem(Status.IMAGE_MISSING, NO_PATH)
        try:
            place = _split(image_path, relative_to=self._root)
        except (ConfigError, ValueError, OSError, RuntimeError) as error:
            raise ImageProblem(Status.IMAGE_FORBIDDEN, _first_line(error)) from error
        if not any(place.is_under(root) for root in self._allowed):
            raise ImageProblem(Status.IMAGE_FORBIDDEN, "outside the allowed image roots")
        return place


def _split(location: str, relative_to: Place | None = None) -> Place:
    """Returns the normal form of a path or URI.

    Raises:
        ConfigError: a scheme that is not allowed, or `..` in the path of an object.
    """
    if "://" in location:
        parts = urlsplit(location)
        if parts.scheme not in SCHEMES:
            raise ConfigError(
                f"'{parts.scheme}://' is not allowed for images; allowed: {', '.join(SCHEMES)}"
            )
        scheme, authority, path = SCHEMES[parts.scheme], parts.netloc, unquote(parts.path)
    elif location.startswith("/") or relative_to is None:
        scheme, authority, path = "file", "", location
    else:
        scheme, authority, path = relative_to._replace(path=f"{relative_to.path}/{location}")
    if scheme == "file":
        return Place(scheme, "", str(Path(path).resolve()))
    if ".." in path.split("/"):
        raise ConfigError("'..' is not allowed in the path of an object")
    return Place(scheme, authority, "/" + path.strip("/"))


def decode(data: bytes, *, limits: ImageLimits, target_px: int) -> Image.Image:
    """Returns the picture in RGB, upright, transparency on white.

    Args:
        data: The file's bytes.
        limits: The header's pixel count is checked before a pixel is decoded.
        target_px: Larger JPEGs are decoded scaled down by a power of two, to no less than twice
            this many pixels a side, which saves most of their decoding time.

    Raises:
        ImageProblem: the bytes are no whole image of a known format, or too many pixels.
    """
    try:
        with warnings.catch_warnings():
            # Pillow warns of large images; the limit below is ours and exact.
            warnings.simplefilter("ignore", Image.DecompressionBombWarning)
            image = Image.open(io.BytesIO(data), formats=FORMATS)
            width, height = image.size
            if width * height > limits.max_pixels:
                reason = f"{width} x {height} px is over max_pixels = {limits.max_pixels:,}"
                raise ImageProblem(Status.IMAGE_TOO_LARGE, reason)
            image.draft("RGB", (2 * target_px, 2 * target_px))
            image.load()
            return _to_rgb(ImageOps.exif_transpose(image))
    except Image.DecompressionBombError as error:
        raise ImageProblem(Status.IMAGE_TOO_LARGE, _first_line(error)) from error
    except UnidentifiedImageError as error:
        raise ImageProblem(Status.IMAGE_CORRUPT, _describe_unknown(data)) from error
    except ImageProblem:
        raise
    except Exception as error:
        # Damaged files make Pillow raise whatever its parsers happen to meet.
        raise ImageProblem(Status.IMAGE_CORRUPT, _first_line(error)) from error


def _to_rgb(image: Image.Image) -> Image.Image:
    if image.mode.startswith("I"):
        # 16-bit gray: Pillow's own conversion to RGB clips at 255 instead of scaling.
        image = image.point(lambda value: value / 257).convert("L")
    if image.mode in ("RGBA", "LA", "PA", "La", "RGBa") or "transparency" in image.info:
        image = image.convert("RGBA")
        canvas = Image.new("RGBA", image.size, "white")
        canvas.alpha_composite(image)
        image = canvas
    return image.convert("RGB")


def _describe_unknown(data: bytes) -> str:
    return f"no image of a known format ({len(data):,} bytes)" if data else "an empty file"


def _first_line(error: BaseException) -> str:
    return (str(error).splitlines() or [type(error).__name__])[0][:300]
