"""Check that executors see the driver's files and packages, before a run writes.

The driver writes a token beside the tables, and a task in each slot reads it. The same task checks
packages, a product file, image root and checkpoint. Executors that come later are not checked.
"""

import logging
import os
import re
import uuid
from collections.abc import Iterator, Sequence
from contextlib import suppress
from functools import partial
from importlib import metadata
from itertools import islice
from pathlib import Path
from typing import TYPE_CHECKING, NamedTuple
from urllib.parse import unquote

from py4j.protocol import Py4JJavaError
from pyspark.errors import PySparkException
from pyspark.sql import is_remote

from enrich.errors import ConfigError
from enrich.images.locations import local_path
from enrich.spark.session import database_folder, is_on_one_machine, run_on_executors

if TYPE_CHECKING:
    from enrich.spark.inputs import Inputs

log = logging.getLogger(__name__)

_TABLES, _PACKAGES = "spark.sql.warehouse.dir", "spark.pyspark.python"
_FOLDER, _FILE, _ABSENT = "a folder", "a file", "nothing"
_REACHABLE = "a store that answers"
_SHARED = "Mount it on all machines, or give an address that all can read"
_ACTIONS = {
    _TABLES: "Give the tables a place that all machines share",
    _PACKAGES: "Install the driver's packages on all machines",
    "catalog": _SHARED,
    "image_root": f"{_SHARED}, and credentials in the executors' environment",
    "checkpoint": f"{_SHARED}, and credentials in the executors' environment",
}
# Signs in Spark's message that an executor cannot start the job's Python.
_NO_PYTHON = ("Cannot run program", "PYTHON_VERSION_MISMATCH", "No module named")


class Observation(NamedTuple):
    """Result of a probe on a machine: `kind` is a key of `_PROBES`, `seen` a text."""

    setting: str
    kind: str
    name: str
    seen: str


def check_executors(inputs: "Inputs", checkpoint: str) -> int:
    """Compare probes of executors and driver by one Spark job; count the executors.

    On a single machine and in a remote session nothing is checked, and the number is 0.

    Raises:
        ConfigError: an executor sees something else; each setting that differs is named.
    """
    # Not above: executors import this module, and need no package of Delta.
    from enrich.spark.failures import messages_of
    from enrich.spark.tables import name_temporary_folder

    spark = inputs.spark
    if is_on_one_machine(spark):
        return 0
    if is_remote():
        log.warning("the executors of a Spark Connect server are not checked")
        return 0
    database, token = inputs.config.database, uuid.uuid4().hex
    root = inputs.config.temporary_folder
    if not root and spark.catalog.databaseExists(database):
        root = database_folder(spark.catalog.getDatabase(database))
    root = root or str(spark.conf.get(_TABLES))
    expected_token = Observation(_TABLES, "token", local_path(root), token)
    question = partial(find_differences, expected_token, list(_probe_driver(inputs, checkpoint)))
    folder = name_temporary_folder(root)
    try:
        answers, executors = run_on_executors(spark, folder, token, question)
    except (PySparkException, Py4JJavaError) as error:
        lines = (line for one in messages_of(error) for line in one.splitlines())
        reason = next((line for line in lines if any(sign in line for sign in _NO_PYTHON)), None)
        if reason is None:
            raise
        raise ConfigError(
            f"executors cannot start the job's Python ({_PACKAGES}): {reason.strip()}. "
            f"{_ACTIONS[_PACKAGES]}."
        ) from error
    if differences := [one for answer in answers for one in answer]:
        raise ConfigError(_explain(differences))
    log.info("%s of %s executors see what the driver sees", len(answers), executors)
    return len(answers)


Difference = tuple[str, Observation, str]


def find_differences(
    expected_token: Observation, expected: Sequence[Observation], read: str
) -> list[Difference]:
    """Return differences on this machine: its name, the driver's observation, its own.

    Args:
        expected_token: the token that the driver wrote.
        expected: the driver's observations.
        read: the token as it was read here, empty if it is missing.
    """
    host = os.uname().nodename
    found = (
        [(host, expected_token._replace(seen="the driver's token"), _ABSENT)]
        if read != expected_token.seen
        else []
    )
    for observation in expected:
        seen = probe(observation.kind, observation.name)
        if seen != observation.seen:
            found.append((host, observation, seen))
    return found


def probe(kind: str, name: str) -> str:
    """Return what this machine sees of a package, file or store, or the error."""
    try:
        return _PROBES[kind](name)
    except Exception as error:
        return f"{_ABSENT} ({type(error).__name__}: {error})"


def _probe_package(name: str) -> str:
    try:
        return metadata.version(name)
    except metadata.PackageNotFoundError:
        return _ABSENT


def _probe_path(name: str) -> str:
    path = Path(name)
    if path.is_dir():
        return _FOLDER
    return _FILE if path.exists() else _ABSENT


def _probe_images(name: str) -> str:
    from schemas.tables import Status

    from enrich.images.settings import ImageProblem, ImageReading
    from enrich.images.store import ImageStore

    try:
        # A missing image is an answer too: the store can be reached.
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
    "path": _probe_path,
    "images": _probe_images,
    "checkpoint": _probe_checkpoint,
}


def _probe_driver(inputs: "Inputs", checkpoint: str) -> Iterator[Observation]:
    """Yield the driver's observations of all that executors need."""

    def observe(setting: str, kind: str, name: str) -> Observation:
        return Observation(setting, kind, name, probe(kind, name))

    for package in _needed_packages():
        yield observe(_PACKAGES, "package", package)
    for file in inputs.source.products.inputFiles()[:1]:
        if "://" not in (path := local_path(unquote(file))):
            yield observe("catalog", "path", path)
    if inputs.config.columns.image_path is not None:
        yield from _probe_image_root(local_path(inputs.store.root))
    yield observe("checkpoint", "checkpoint", checkpoint)


def _probe_image_root(root: str) -> Iterator[Observation]:
    """Yield the observations of an image root, which the driver itself may lack."""
    if "://" in root:
        if probe("images", root) == _REACHABLE:
            yield Observation("image_root", "images", root, _REACHABLE)
        return
    root = os.path.abspath(root)  # noqa: PTH100  Path.absolute keeps dots
    yield Observation("image_root", "path", root, _FOLDER)
    # Where a share is not mounted, there may be an empty folder.
    with suppress(OSError), os.scandir(root) as inside:
        for first in islice(inside, 1):
            yield Observation("image_root", "path", first.path, probe("path", first.path))


def _needed_packages() -> list[str]:
    """Return the names of the packages that this package needs on an executor."""
    try:
        required = metadata.requires("catalog-enrichment") or []
    except metadata.PackageNotFoundError:
        required = []
    needed = [one for one in required if "extra ==" not in one]
    return ["pyspark", *(re.split(r"[^\w.-]", one)[0] for one in needed)]


def _explain(differences: Sequence[Difference]) -> str:
    """Return the first difference of each setting in a sentence."""
    firsts = {one.setting: (host, one, found) for host, one, found in reversed(differences)}
    sentences = (
        f"{setting}: {one.name} on {host} differs: found {found}, expected {one.seen} as on "
        f"the driver. {_ACTIONS[setting]}"
        for setting, (host, one, found) in firsts.items()
    )
    return f"executors do not see what the driver sees. {'. '.join(sentences)}"
