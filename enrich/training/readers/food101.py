"""UPMC Food-101 as published: 101 dishes, each picture with the title of its web page.

    images/{train,test}/<class>/<image>.jpg
    texts/{train,test}_titles.csv               image, title, class; no header

Wang et al., "Recipe recognition with large multimodal food dataset", ICME workshops 2015.
"""

import re
from collections.abc import Iterator
from pathlib import Path

from enrich.errors import ConfigError
from enrich.text import normalise
from enrich.training.readers.rows import LabelledRows, Split

# The only attribute, and the published name of it.
ATTRIBUTE = "class"
_QUOTED = re.compile(r'"((?:[^"]|"")*)"')


def read_food101(folder: Path) -> LabelledRows:
    """Reads both published splits; a class is labelled by its name in words ("apple pie").

    Pictures of one title in one class are one group: pages were crawled more than once.

    Raises:
        ConfigError: a file is missing, or a line does not hold image, title and class.
    """
    splits = {"train": Split.TRAIN, "test": Split.TEST}
    rows = [(split, *row) for split in splits for row in _read_titles(folder, split)]
    return LabelledRows(
        root=folder,
        titles=[title for _, _, title, _ in rows],
        descriptions=[None] * len(rows),
        image_paths=[f"images/{split}/{name}/{image}" for split, image, _, name in rows],
        groups=[f"{name} {normalise(title).casefold() or image}" for _, image, title, name in rows],
        labels={ATTRIBUTE: [name.replace("_", " ") for _, _, _, name in rows]},
        split=[splits[split] for split, *_ in rows],
    )


def _read_titles(folder: Path, split: str) -> Iterator[tuple[str, str, str]]:
    """Yields image, title and class."""
    file = folder / "texts" / f"{split}_titles.csv"
    images = folder / "images" / split
    if not file.is_file() or not images.is_dir():
        raise ConfigError(
            f"no UPMC Food-101 in {folder}: wanted texts/{split}_titles.csv and the folder "
            f"images/{split}/"
        )
    with file.open(encoding="utf-8-sig", errors="replace") as lines:
        for number, line in enumerate(lines, start=1):
            if not line.strip():
                continue
            fields = line.strip().split(",")
            if len(fields) < 3:
                raise ConfigError(
                    f"{file}, row {number} has {len(fields)} field(s); wanted: image, title, class"
                )
            # Copies of the data set differ in whether a title with commas is quoted, and a title
            # that begins with a quotation mark ends in the same line all the same.
            image, *title, name = fields
            yield image.strip(), _unquote(",".join(title)), name.strip()


def _unquote(title: str) -> str:
    quoted = _QUOTED.fullmatch(title)
    return quoted[1].replace('""', '"') if quoted else title
