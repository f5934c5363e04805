"""Whether a product table at a local path is written to its end, as far as its files tell.

To the job half of a table is a wrong input, after which it is not tried again.
"""

import logging
import mimetypes
import os
import time
from collections.abc import Iterable
from contextlib import suppress
from pathlib import Path

QUIET_S = 60

_KINDS = (".parquet", ".csv", ".json", ".jsonl")
_COMPRESSED = (".gz", ".bz2", ".zst")
_PARTS = (*_KINDS, *(kind + packed for kind in _KINDS for packed in _COMPRESSED))
# In a catalog folder of several tables, the one that the job reads, in the job's order.
_TABLE_IN_FOLDER = [
    "products",
    *(f"products{kind}{packed}" for kind in _KINDS for packed in ("", *_COMPRESSED)),
]
# Where Spark writes before it moves all files to their places.
_UNFINISHED = ("_temporary", ".spark-staging")

log = logging.getLogger(__name__)


def is_written(path: Path) -> bool:
    """Returns whether a table is there, and nobody has written to it for a minute; logs why not.

    Images are left out: they come and go while a table stays, and there may be millions of them.
    """
    why_not = why_not_written(path)
    if why_not:
        log.info("waiting for products: %s", why_not)
    return not why_not


def why_not_written(path: Path) -> str:
    """Returns what a table has yet to become, or nothing if it is written to its end."""
    if any((folder / "_delta_log").is_dir() for folder in (path, path / "products")):
        return ""  # Delta shows whole commits only
    if not path.exists():
        return f"{path} is not there"
    table = next((path / name for name in _TABLE_IN_FOLDER if _is_table(path / name)), path)
    if not table.is_dir():
        return _why_not_quiet(table, [table])
    # Beside parts in the catalog's own folder may lie anything.
    is_of_parts = table == path and not path.name.lower().endswith(_PARTS)
    written, has_data = [], False
    for folder, folders, files in os.walk(table):
        if unfinished := [name for name in folders if name.startswith(_UNFINISHED)]:
            holds = Path(folder, unfinished[0])
            return f"{table} is being replaced, or its writer was killed: it holds {holds}"
        folders[:] = [name for name in folders if not _is_hidden(name)]
        others = [name for name in files if not _is_image(name)]
        data = [name for name in others if not _is_hidden(name)]
        if is_of_parts:
            data = [name for name in data if name.lower().endswith(_PARTS)]
        written += [Path(folder, name) for name in others]
        if data and len(others) == len(files):
            # A folder also changes when an old file is moved into it. One with images changes with
            # every image, and so is left out.
            written.append(Path(folder))
        has_data = has_data or bool(data)
    return _why_not_quiet(table, written) if has_data else f"{table} holds no data that can be read"


def _is_table(path: Path) -> bool:
    """Returns whether the job reads this one, and not what stands behind it in its order.

    It passes over a folder of pictures that is called as a table may be.
    """
    if path.suffix or not path.is_dir():
        return bool(path.suffix) and path.exists()
    return any(
        one.name.lower().endswith(_PARTS)
        or one.name.startswith(_UNFINISHED)
        or ("=" in one.name and one.is_dir())
        for one in path.iterdir()
    )


def _why_not_quiet(table: Path, written: Iterable[Path]) -> str:
    times = []
    for path in written:
        with suppress(FileNotFoundError):
            status = path.stat()
            # Unpacked files may have an mtime in the future, of a time zone further east. Then
            # ctime counts, which no program can set.
            times.append(min(status.st_mtime, status.st_ctime))
    now = time.time()
    quiet_s = now - max(times, default=now)
    if quiet_s < 0:
        return (
            f"{table} was written {-quiet_s:,.0f} s after now: is this machine's clock right? If "
            "it is, and nobody writes there, touch the files"
        )
    return "" if quiet_s > QUIET_S else f"{table} was written to {quiet_s:.0f} s ago"


def _is_hidden(name: str) -> bool:
    """Returns whether Spark takes a file or folder of this name for none of a table's data."""
    return name.startswith(".") or (name.startswith("_") and "=" not in name)


def _is_image(name: str) -> bool:
    kind, _ = mimetypes.guess_type(name, strict=False)
    return kind is not None and kind.startswith("image/")
