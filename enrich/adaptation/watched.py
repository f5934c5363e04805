"""Classifies products while somebody watches: a progress bar, and a warning of lost images."""

import logging
from collections.abc import Iterator, Sequence

from enrich.classifiers.interface import ModelOutput
from enrich.engine import Engine
from enrich.images.limits import ImageProblem
from enrich.progress import watch
from enrich.records import Modalities, Product
from enrich.unreadable import describe_failures

log = logging.getLogger(__name__)


def classify_watched(
    engine: Engine, products: Sequence[Product], title: str, *, warns: bool = True
) -> Iterator[tuple[list[tuple[str, Modalities]], ModelOutput]]:
    """Yields id and modalities of the readable products, some at a time, and their output.

    The output has a row for each of them, in order, and is on the CPU. Nothing is yielded for
    products of which none is readable.

    Args:
        engine: Its images start from the catalog's root.
        products: All that are to be classified.
        title: What stands beside the bar.
        warns: Whether to say afterwards how many images cannot be read.

    Raises:
        ConfigError: images are named, and not one of them can be read; if it warns.
    """
    problems: list[ImageProblem | None] = []
    for window, output in engine.classify(watch(products, title, len(products))):
        problems += [one.image_problem for one in window]
        if output is not None:
            readable = [
                (one.product_id, one.modalities) for one in window if one.modalities is not None
            ]
            yield readable, output
    if warns and (warning := describe_failures(problems)):
        log.warning(warning)
