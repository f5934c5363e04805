"""Prove that executors see what the driver sees, before a run writes anything.

A token that the driver writes beside the tables is read by a task in each slot. The same task looks
at packages, product files, image root and checkpoint. Executors that come later are not asked.
"""

import hashlib
import logging
import os
import re
import sys
import uuid
from collections.abc import Iterator, Sequence
from functools import partial
from importlib import metadata
from itertools import islice
from pathlib import Path
from typing import NamedTuple
from urllib.parse import unquote

from py4j.protocol import Py4JJavaError
from pyspark import cloudpickle
from pyspark.errors import PySparkException

from enrich.errors import ConfigError
from enrich.images.locations import local_path
from enrich.spark.failures import messages_of, reason_of
from enrich.spark.refresh import Inputs
from enrich.spark.session import database_folder, is_on_one_machine, run_on_executors

log = logging.getLogger(__name__)

_TABLES, _PACKAGES = "spark.sql.warehouse.dir", "spark.pyspark.python"
_FOLDER, _REACHABLE, _ABSENT = "a folder", "a store that answers", "nothing"
# Product files, and files of the image root, that are compared.
_MOST_FILES = 20
# Bytes at a file's begin and end that are compared: a Parquet file's columns stand at the end.
_ENDS = 4096
_SHARED = "Mount it on all machines, or give an address that all can read"
_ACTIONS = {
    _TABLES: "Give the tables a place that all machines share",
    _PACKAGES: "Install the driver's packages on all machines",
    "catalog": _SHARED,
    "image_root": f"{_SHARED}, and credentials in the executors' environment",
    "checkpoint": f"{_SHARED}, and credentials in the executors' environment",
}
# What Spark says where an executor cannot start the job's Python.
_NO_PYTHON = ("Cannot run program", "PYTHON_VERSION_MISMATCH", "No module named")


class Observation(NamedTuple):
    """Something that a machine looks at: for which setting, by which `_PROBES`, what is seen."""

    setting: str
    kind: str
    name: str
    seen: str


def check_executors(inputs: Inputs, checkpoint: str) -> int:
    """Compare what executors and driver see, by one Spark job; return how many were asked.

    On one machine there is nothing to prove, and nobody is asked.

    Raises:
        ConfigError: an executor sees something else; each setting that differs is named.
    """
    spark = inputs.spark
    if is_on_one_machine(spark):
        return 0
    database, token = inputs.config.database, uuid.uuid4().hex
    root = str(spark.conf.get(_TABLES))
    if spark.catalog.databaseExists(database):
        root = database_folder(spark.catalog.getDatabase(database))
    # Of a name that begins with an underscore Spark would read nothing.
    folder = f"{root}/preflight-{token}"
    expected_token = Observation(_TABLES, "token", local_path(root), token)
    question = partial(find_differences, expected_token, list(_probe_driver(inputs, checkpoint)))
    # By value: executors that lack this package are to say so.
    cloudpickle.register_pickle_by_value(sys.modules[__name__])
    try:
        answers, executors = run_on_executors(spark, folder, token, question)
    except (PySparkException, Py4JJavaError) as error:
        if not any(sign in said for said in messages_of(error) for sign in _NO_PYTHON):
            raise
        raise ConfigError(
            f"executors cannot start the job's Python ({_PACKAGES}): {reason_of(error)}. "
            f"{_ACTIONS[_PACKAGES]}."
        ) from error
    finally:
        cloudpickle.unregister_pickle_by_value(sys.modules[__name__])
    if differences := [one for answer in answers for one in answer]:
        raise ConfigError(_explain(differences))
    log.info("%s of %s executors see what the driver sees", len(answers), executors)
    return len(answers)


Difference = tuple[str, Observation, str]


def find_differences(
    expected_token: Observation, sights: Sequence[Observation], read: str
) -> list[Difference]:
    """Return where this machine sees something else: its name, what the driver saw, what it sees.

    Args:
        expected_token: the token that the driver wrote.
        sights: what the driver saw.
        read: the token as it was read here, empty where it is not there.
    """
    host = os.uname().nodename
    found = (
        [(host, expected_token._replace(seen="the driver's token"), _ABSENT)]
        if read != expected_token.seen
        else []
    )
    for sight in sights:
        seen = probe(sight.kind, sight.name)
        if seen != sight.seen:
            found.append((host, sight, seen))
    return found


def probe(kind: str, name: str) -> str:
    """Return what this machine sees of something, or why it sees nothing."""
    try:
        return _PROBES[kind](name)
    except Exception as error:
        return f"{_ABSENT} ({type(error).__name__}: {error})"


def _probe_package(name: str) -> str:
    try:
        return metadata.version(name)
    except metadata.PackageNotFoundError:
        return _ABSENT


def _probe_code(name: str) -> str:
    import enrich

    # A path within an archive holds no files, on each machine alike.
    folder = Path(enrich.__file__).parent
    code = hashlib.sha256()
    for file in sorted(folder.rglob("*.py")):
        code.update(f"{file.relative_to(folder)}\0".encode() + file.read_bytes())
    return f"version {code.hexdigest()[:12]}"


def _probe_file(name: str) -> str:
    path = Path(name)
    if path.is_dir() or not path.exists():
        return _FOLDER if path.is_dir() else _ABSENT
    with path.open("rb") as file:
        ends = file.read(_ENDS)
        size = file.seek(0, os.SEEK_END)
        file.seek(max(0, size - _ENDS))
        digest = hashlib.sha256(ends + file.read()).hexdigest()[:12]
    return f"{size:,} bytes, digest {digest}"


def _probe_images(name: str) -> str:
    from schemas.tables import Status

    from enrich.images.settings import ImageProblem, ImageReading
    from enrich.images.store import ImageStore

    try:
        # That there is no such image is an answer.
        ImageStore(name, reading=ImageReading(attempts=1, timeout_s=5)).stat("_preflight")
    except ImageProblem as problem:
        if problem.status is not Status.IMAGE_MISSING:
            return f"{problem.status}: {problem}"
    return _REACHABLE


def _probe_checkpoint(name: str) -> str:
    from enrich.classifiers.manifest import digest_listing

    return f"digest {digest_listing(name)}"


_PROBES = {
    "package": _probe_package,
    "code": _probe_code,
    "file": _probe_file,
    "images": _probe_images,
    "checkpoint": _probe_checkpoint,
}


def _probe_driver(inputs: Inputs, checkpoint: str) -> Iterator[Observation]:
    """Yield what the driver sees of all that executors need."""

    def observe(setting: str, kind: str, name: str) -> Observation:
        return Observation(setting, kind, name, probe(kind, name))

    for package in _needed_packages():
        yield observe(_PACKAGES, "package", package)
    yield observe(_PACKAGES, "code", "enrich")
    files = [local_path(unquote(file)) for file in inputs.source.products.inputFiles()]
    for file in files[:: len(files) // _MOST_FILES + 1]:
        if "://" not in file:
            yield observe("catalog", "file", file)
    if inputs.config.columns.image_path is not None:
        yield from _probe_image_root(local_path(inputs.store.root))
    yield observe("checkpoint", "checkpoint", checkpoint)


def _probe_image_root(root: str) -> Iterator[Observation]:
    """Yield what executors must see of an image root, which the driver itself does not need."""
    if "://" in root:
        if probe("images", root) == _REACHABLE:
            yield Observation("image_root", "images", root, _REACHABLE)
        return
    root = os.path.abspath(root)  # noqa: PTH100  Path.absolute keeps dots
    yield Observation("image_root", "file", root, _FOLDER)
    if Path(root).is_dir():
        with os.scandir(root) as inside:
            files = [one.path for one in islice(inside, _MOST_FILES) if one.is_file()]
        for file in files:
            yield Observation("image_root", "file", file, probe("file", file))


def _needed_packages() -> list[str]:
    """Return the names of the packages that this one needs on an executor."""
    try:
        required = metadata.requires("catalog-enrichment") or []
    except metadata.PackageNotFoundError:
        required = []
    needed = [one for one in required if "extra ==" not in one]
    return ["pyspark", *(re.split(r"[^\w.-]", one)[0] for one in needed)]


def _explain(differences: Sequence[Difference]) -> str:
    """Return the first difference of each setting in a sentence."""
    firsts = {sight.setting: (host, sight, found) for host, sight, found in reversed(differences)}
    expected_token = (
        f"{setting}: {sight.name} on {host} differs: found {found}, expected {sight.seen} as on "
        f"the driver. {_ACTIONS[setting]}"
        for setting, (host, sight, found) in firsts.items()
    )
    return f"executors do not see what the driver sees. {'. '.join(expected_token)}"
