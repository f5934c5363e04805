"""What a sample of a run's images looked like: read by the job, judged by the quality gate."""

from typing import NamedTuple


class ImageSample(NamedTuple):
    """How many images were tried and could be read; `problem` is the first one that could not.

    Under `paths` different paths some could be read, and `alike` of these are one and the same.
    """

    tried: int
    read: int
    problem: str | None = None
    paths: int = 0
    alike: int = 0
