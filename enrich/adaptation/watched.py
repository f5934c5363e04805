"""Encodes products while somebody watches: a progress bar, and a warning of lost images."""

import logging
from collections.abc import Iterator, Sequence

from torch import Tensor

from enrich.engine import Engine
from enrich.images.limits import ImageProblem
from enrich.progress import watch
from enrich.records import Modalities, Product
from enrich.unreadable import describe_failures

log = logging.getLogger(__name__)


def encode_watched(
    engine: Engine, products: Sequence[Product], title: str, *, apart: bool = False
) -> Iterator[tuple[list[tuple[str, Modalities]], Tensor]]:
    """Yields id and modalities of the readable products, some at a time, and their vectors.

    There is a row of vectors for each of them, in order; see `Engine.encode_windows`. Nothing is
    yielded for products of which none is readable. Warns afterwards of images that cannot be read.

    Args:
        engine: Its images start from the catalog's root.
        products: All that are to be encoded.
        title: What stands beside the bar.
        apart: Whether each product is read from each set of modalities.

    Raises:
        ConfigError: images are named, and not one of them can be read.
    """
    problems: list[ImageProblem | None] = []
    watched = watch(products, title, len(products))
    for window, packed in engine.encode_windows(watched, apart=apart):
        problems += [one.image_problem for one in window]
        if packed is not None:
            readable = [
                (one.product_id, one.modalities) for one in window if one.modalities is not None
            ]
            yield readable, packed
    if warning := describe_failures(problems):
        log.warning(warning)
