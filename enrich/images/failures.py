"""Says how many of a catalog's images cannot be read, where all of them were tried at once."""

from collections import Counter
from collections.abc import Sequence

from enrich.errors import ConfigError
from enrich.images.limits import ImageProblem
from enrich.records import NO_IMAGE_PATH


def describe_failures(problems: Sequence[ImageProblem | None]) -> str | None:
    """Returns how many of the images that are named cannot be read, and why; None for none.

    Args:
        problems: What is the matter with each product's image, None where it can be read.

    Raises:
        ConfigError: images are named, and not one of them can be read.
    """
    named = [one for one in problems if one is None or str(one) != NO_IMAGE_PATH]
    failed = [one for one in named if one is not None]
    if not failed:
        return None
    counts = Counter(one.status for one in failed).most_common()
    found = ", ".join(f"{count:,} {status}" for status, count in counts)
    if len(failed) == len(named):
        raise ConfigError(
            f"not one of {len(named):,} images can be read ({found}; the first: {failed[0]}); "
            "wanted: image paths that start from the catalog's image root, or none at all"
        )
    return f"{len(failed):,} of {len(named):,} images cannot be read: {found}"
