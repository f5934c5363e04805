"""The Python worker of a task: its device, its threads and its engine.

Runs on executors. A worker keeps its engine from task to task.
"""

import logging
import os
from collections import deque
from collections.abc import Callable, Iterable, Iterator
from dataclasses import replace
from functools import cache
from itertools import islice
from typing import TYPE_CHECKING, Any

import pandas as pd
from pyspark import Accumulator, TaskContext
from schemas.tables import Modalities, Status

from enrich.engine.spec import EngineSpec
from enrich.errors import ConfigError
from enrich.records import EncodedProduct, Product
from enrich.spark.progress import Work, add_work

if TYPE_CHECKING:
    from enrich.engine.engine import Engine

log = logging.getLogger(__name__)

_OUTPUT_ROWS = 1_000
REPLACED = "the image was another one when the run began"
VECTORS = "status STRING, modalities STRING, error STRING, vectors BINARY"
FIELDS = ("title", "description", "image_path")
MapsFrames = Callable[[Iterable[pd.DataFrame]], Iterable[pd.DataFrame]]
# This Python worker's engine on each device, and its recipe. Workers are reused between tasks and
# stages, so this outlives both.
_LOADED: dict[str, tuple[EngineSpec, "Engine"]] = {}


def build_encode(spec: EngineSpec, works: Accumulator[dict[str, Work]]) -> MapsFrames:
    """Return the function that encodes contents on executors, for `mapInPandas`.

    Paths are shipped, never image bytes. A picture that is not the one of the diff makes its
    content `image_unreadable`: its encoding would stand for good under a hash that is not its own.
    """

    def encode(frames: Iterable[pd.DataFrame]) -> Iterator[pd.DataFrame]:
        engine = get_engine(spec, works)
        asked: deque[tuple[str, Any]] = deque()

        def read() -> Iterator[Product]:
            for frame in frames:
                names = ("content_hash", "image_digest", "product_id", *FIELDS)
                for row in zip(*(frame[name] for name in names), strict=True):
                    content_hash, image_digest, product_id, *fields = row
                    product = Product(product_id, *map(_text, fields))
                    asked.append((content_hash, image_digest))
                    yield product

        def rows() -> Iterator[tuple[Any, ...]]:
            for encoded in engine.encode(read()):
                content_hash, image_digest = asked.popleft()
                encoded = _refuse_replaced(encoded, _text(image_digest))
                modalities = None if encoded.modalities is None else str(encoded.modalities)
                yield content_hash, str(encoded.status), modalities, encoded.error, encoded.vectors

        encodings, done = rows(), 0
        # The engine cuts its own batches across Arrow's.
        while some := list(islice(encodings, _OUTPUT_ROWS)):
            names = ["content_hash", *(column.split()[0] for column in VECTORS.split(", "))]
            yield pd.DataFrame(some, columns=names)
            done += len(some)
        # A task that fails leaves no trace in an accumulator.
        add_work(works, contents=done)
        if asked:
            raise RuntimeError(f"the engine gave no encoding of {len(asked)} of its products")

    return encode


def _refuse_replaced(encoded: EncodedProduct, image_digest: str | None) -> EncodedProduct:
    """Return the encoding, unreadable if its picture was replaced after hashing."""
    is_known = image_digest is not None and image_digest != Status.IMAGE_UNREADABLE
    gone = (Status.IMAGE_MISSING, Status.IMAGE_FORBIDDEN)
    now_found = encoded.image_digest or (encoded.status if encoded.status in gone else None)
    if not is_known or now_found is None or now_found == image_digest:
        return encoded
    rests_on_image = encoded.modalities in (Modalities.IMAGE, Modalities.IMAGE_AND_TEXT)
    if rests_on_image or encoded.modalities is None:
        # The vectors hold another picture.
        return replace(
            encoded,
            status=Status.IMAGE_UNREADABLE,
            modalities=None,
            vectors=None,
            error=REPLACED,
        )
    return replace(encoded, status=Status.IMAGE_UNREADABLE, error=REPLACED)


def get_engine(spec: EngineSpec, works: Accumulator[dict[str, Work]] | None = None) -> "Engine":
    """Return this Python worker's engine, loaded and counted at its first use.

    Runs on the executor.
    """
    device = choose_device()
    # Compared as a whole: it also says where image paths start, and the next run may be another
    # source's. An engine of another recipe would only hold memory.
    for other in [name for name, (recipe, _) in _LOADED.items() if recipe != spec]:
        del _LOADED[other]
    if str(device) not in _LOADED:
        use_task_cores()
        _LOADED[str(device)] = spec, _build_engine(spec, device)
        if works is not None:
            add_work(works, loads=1)
    return _LOADED[str(device)][1]


def _build_engine(spec: EngineSpec, device: Any) -> "Engine":
    """Load a task's engine onto its device.

    Raises:
        CheckpointError: the checkpoint is missing or damaged.
        NoAnswer: it is another one than the driver saw.
        ConfigError: the device has no memory left for it, or torch is not built for it.
    """
    import torch

    from enrich.engine.forward import is_out_of_memory

    try:
        return spec.build(device)
    except RuntimeError as error:
        if "no kernel image" in str(error):
            raise ConfigError(
                f"{device} is of a kind that this torch ({torch.__version__}) is not built for. "
                "Install one that is, or hide the GPU (CUDA_VISIBLE_DEVICES=-1)."
            ) from error
        if not is_out_of_memory(error):
            raise
        raise ConfigError(
            f"{device} has no memory for one more engine. Let fewer tasks share it: on one machine "
            "spark-submit --master 'local[4]' gives four to one GPU, on a cluster "
            "spark.task.resource.gpu.amount (or tasks_per_gpu) says how many."
        ) from error


def choose_device() -> Any:
    """Return this task's torch device: the assigned GPU, a visible one, or the CPU.

    In local mode Spark assigns none: this machine's workers share the GPUs that
    CUDA_VISIBLE_DEVICES lets torch see.

    Raises:
        ConfigError: Spark assigned a GPU that torch cannot use.
    """
    import torch

    context = TaskContext.get()
    assigned = context.resources().get("gpu") if context else None
    gpus = _count_gpus()
    if assigned is None:
        return torch.device("cuda", _first_task() % gpus) if gpus else torch.device("cpu")
    address = assigned.addresses[0]
    if not address.isdecimal() or int(address) >= gpus:
        raise ConfigError(
            f"Spark assigned GPU {address} and torch sees {gpus}, counted from 0. Check "
            "spark.executor.resource.gpu.discoveryScript, CUDA_VISIBLE_DEVICES and the driver."
        )
    return torch.device("cuda", int(address))


@cache
def _count_gpus() -> int:
    """Count the GPUs that CUDA can use: 0 if their driver is too old for it."""
    import torch

    gpus = torch.cuda.device_count()
    if gpus and not torch.cuda.is_available():
        log.warning("%s GPUs are not used: CUDA does not start, is their driver too old?", gpus)
        return 0
    return gpus


@cache
def _first_task() -> int:
    """Return the number of the first task that this worker was given.

    Kept, because a worker that is used again keeps its engine. The first tasks of a stage have the
    numbers 0, 1, 2 and so on, so that workers which start together are spread evenly.
    """
    context = TaskContext.get()
    return context.partitionId() if context else 0


def use_task_cores() -> None:
    """Give torch and the tokenizer as many threads as the task has cores.

    Before an engine is built. Spark tells Python workers `spark.task.cpus` alone, which a stage's
    resource profile may overrule.
    """
    import torch

    context = TaskContext.get()
    if context is None:
        return
    torch.set_num_threads(context.cpus())
    # Read when the first texts are cut into tokens.
    os.environ.setdefault("RAYON_NUM_THREADS", str(context.cpus()))


def _text(value: Any) -> str | None:
    # pandas has had NULL as None, NaN and NA.
    return value if isinstance(value, str) else None
