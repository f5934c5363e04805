"""Check of a local path for a product table that is complete, by its files.

For the job half a table is a wrong input, and the task is not retried.
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
# Names of the table that the job reads in a folder of several tables, in the job's order.
_TABLE_IN_FOLDER = [
    "products",
    *(f"products{kind}{packed}" for kind in _KINDS for packed in ("", *_COMPRESSED)),
]
# Spark writes files there before it moves them to their places.
_UNFINISHED = ("_temporary", ".spark-staging")

log = logging.getLogger(__name__)


def is_written(path: Path) -> bool:
    """Return whether a table exists and has not been written to for a minute.

    If not, the reason is logged. Images are left out: they may change without the table, and there
    may be millions of them.
    """
    why_not = why_not_written(path)
    if why_not:
        log.info("waiting for products: %s", why_not)
    return not why_not


def why_not_written(path: Path) -> str:
    """Return why a table is not complete, "" if it is."""
    if any((folder / "_delta_log").is_dir() for folder in (path, path / "products")):
        return ""  # Delta shows whole commits only
    if not path.exists():
        return f"{path} is not there"
    table = next((path / name for name in _TABLE_IN_FOLDER if _is_table(path / name)), path)
    if not table.is_dir():
        return _why_not_quiet(table, [table])
    # The catalog's own folder may hold any other files beside the parts.
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
    """Return whether the job reads this path, and not the next one in its order.

    A folder of pictures with a table's name is skipped.
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
    """Return whether Spark ignores a file or folder of this name."""
    return name.startswith(".") or (name.startswith("_") and "=" not in name)


def _is_image(name: str) -> bool:
    kind, _ = mimetypes.guess_type(name, strict=False)
    return kind is not None and kind.startswith("image/")
