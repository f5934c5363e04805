"""Encode contents on executors, chunk by chunk, and append them to `encodings`.

Chunks overlap: executors encode one while the last is committed and the next is planned. What is
encoded already, by whichever run, killed or not, is not encoded again: resuming, reusing and
repeating are one anti-join. A row that kills its worker is found and becomes a status.
"""

import logging
import math
import os
from collections import Counter, deque
from collections.abc import Callable, Iterable, Iterator, Mapping
from concurrent.futures import Future, ThreadPoolExecutor, wait
from dataclasses import dataclass, field, replace
from datetime import datetime
from functools import cache, partial
from itertools import islice
from typing import Any, NamedTuple

import pandas as pd
from py4j.protocol import Py4JError
from pyspark import Accumulator, SparkConf, TaskContext
from pyspark.errors import PySparkException
from pyspark.resource import ResourceProfile, ResourceProfileBuilder
from pyspark.resource.requests import ExecutorResourceRequests, TaskResourceRequests
from pyspark.sql import Column, DataFrame
from pyspark.sql import functions as F
from schemas.tables import TO_ANSWER, Modalities, Status

from enrich.config import GpuExecutors, JobConfig
from enrich.engine.spec import BuildsEngine, RunsProducts
from enrich.errors import ConfigError, EnrichError, WorkersDied
from enrich.records import EncodedProduct, Product
from enrich.spark.pace import Pace, Work, add_work
from enrich.spark.rules import CRASH_HOLDS, holds
from enrich.spark.session import application_of, in_spark_thread, name_jobs, slots_of
from enrich.spark.tables import Tables, Transaction, now

log = logging.getLogger(__name__)

_OUTPUT_ROWS = 1_000
# Chunks in flight: executors encode one while the driver commits another and plans the next. Small
# jobs of a commit wait behind all tasks in flight, so slots wait for one after every fourth chunk.
_AT_ONCE = 4
# The writer that commits what a search for a crash encodes.
_SEARCH = "search"
# A crash is looked for in so many parts at a time.
_PARTS = 8
_SIGNS_OF_DEATH = ("Python worker exited unexpectedly", "ExecutorLostFailure")
REPLACED = "the image was another one when the run began"
_CRASHED = "the Python worker died over this content, each time it was tried"
VECTORS = "status STRING, modalities STRING, error STRING, vectors BINARY"


class Encoded(NamedTuple):
    """Counts of encoding: `contents` were needed, `encoded` of them by this run."""

    contents: int
    encoded: int
    images_opened: int

    @property
    def reused(self) -> int:
        """Number of contents that had been encoded before."""
        return self.contents - self.encoded


@dataclass(slots=True)
class Encoder:
    """Encoding of one run. Runs on the driver.

    `since`: encodings of other runs that are older do not count (a full refresh), None: all count.
    `folder`: of the run, for what it writes down for itself.
    """

    tables: Tables
    run_id: str
    spec: BuildsEngine
    config: JobConfig
    since: datetime | None
    version: int
    folder: str
    _commits: Counter[str] = field(default_factory=Counter)
    _pace: Pace | None = None
    crashed: list[str] = field(default_factory=list)
    tell: Callable[[Mapping[str, float] | None], None] = lambda figures: None

    def encode(self, due: DataFrame) -> Encoded:
        """Encode the contents of due products that no encoding holds for.

        Args:
            due: rows of the diff, written down.

        Raises:
            WorkersDied: so many contents kill their worker that it is rather the machines.
            EnrichError: rows were lost or doubled on the way.
        """
        held = select_holding(self.read(), self.spec.limits_digest, self.run_id)
        held = held.select("content_hash", F.lit(True).alias("is_held")).distinct()
        contents = select_contents(due).join(held, "content_hash", "left").persist()
        try:
            is_missing = F.col("is_held").isNull()
            wanted, asked = contents.agg(F.count("*"), F.count_if(is_missing)).collect()[0]
            missing = contents.where(is_missing).drop("is_held")
            if asked:
                self._pace = Pace(self.tables.spark, asked, self.tell)
                with self._pace:
                    self._encode_chunks(missing, asked)
        finally:
            contents.unpersist()
        return Encoded(wanted, asked, self._check(due, asked) if asked else 0)

    @property
    def engine_loads(self) -> dict[str, int]:
        """Number of engines that each Python worker has loaded."""
        return self._pace.engine_loads if self._pace is not None else {}

    @property
    def figures(self) -> dict[str, float]:
        """Figures of encoding by name; empty where nothing was encoded."""
        return self._pace.figures if self._pace is not None else {}

    def read(self) -> DataFrame:
        """Return the encodings that this run uses: one version of the table, and its own."""
        is_of_encoder = F.col("encoder_version") == self.spec.encoder_version
        before = self.tables.read_version("encodings", self.version).where(is_of_encoder)
        if self.since is not None:
            before = before.where(F.col("encoded_at") >= F.lit(self.since))
        if not self._commits:
            return before
        return before.unionByName(self.tables.read_run("encodings", self.run_id))

    def _encode_chunks(self, contents: DataFrame, count: int) -> None:
        done, number, running = 0, 0, deque[tuple[Chunk, Future[None]]]()
        size, folder = self.config.products_per_chunk, f"{self.folder}/contents"
        chunks = cut_into_chunks(contents, count, size, folder)
        with (
            # Around all chunks: the setting is the session's, and one would end it for the other.
            self.tables.tag_commits(self.run_id),
            # After a failure the other chunks still end: what they encode is kept.
            ThreadPoolExecutor(_AT_ONCE) as threads,
        ):
            while chunks and not any(_has_failed(result) for _, result in running):
                if len(running) == _AT_ONCE:
                    done += self._finish(running, count, done)
                chunk, number = take_chunk(chunks, self._enough()), number + 1
                described = f"encode, chunk {number}: {chunk.contents} of {count} contents"
                append = partial(self._encode_chunk, chunk, described, str(number % _AT_ONCE))
                running.append((chunk, threads.submit(in_spark_thread(self.tables.spark, append))))
            while running:
                done += self._finish(running, count, done)

    def _enough(self) -> float:
        """Return how many contents a chunk is to have, by the pace so far."""
        assert self._pace is not None
        slots = slots_of(self.tables.spark, self.config.gpu_executors)
        return self.config.seconds_per_chunk * self._pace.at_full_load(slots)

    def _encode_chunk(self, chunk: "Chunk", described: str, writer: str) -> None:
        with name_jobs(self.tables.spark, f"run {self.run_id}: {described}"):
            self._append(self._ask(chunk.rows, chunk.contents), writer)

    def _finish(self, running: deque[tuple["Chunk", Future[None]]], count: int, done: int) -> int:
        """Wait for the oldest chunk, search it if a worker died; return its contents."""
        chunk, result = running.popleft()
        try:
            result.result()
        except (PySparkException, Py4JError) as error:
            if not is_worker_death(error):
                raise
            # Alone on the executors: whoever else is at work could die of this chunk's rows.
            wait([other for _, other in running])
            with name_jobs(self.tables.spark, f"run {self.run_id}: encode, search for a crash"):
                self._search(chunk.rows, chunk.contents, error)
        assert self._pace is not None
        self._pace.committed += chunk.contents
        if chunk.contents < count:
            log.info("encoded %s of %s contents", f"{done + chunk.contents:,}", f"{count:,}")
        return chunk.contents

    def _search(self, rows: DataFrame, count: int, error: Exception, depth: int = 0) -> None:
        """Encode rows around those that kill their worker.

        A decoder that crashes or eats all memory cannot be caught in Python, and Spark fails the
        whole write. So the rows are tried again in parts, down to one.
        """
        # At depth 0 other chunks shared the executors, and one of them may have killed the worker.
        # So even a single content is tried once more, alone, before it is blamed.
        is_found = count == 1 and depth > 0
        self._note_death(rows, error, is_found=is_found)
        if is_found:
            self._append(rows.select("content_hash", *_crashed_columns()), _SEARCH)
            return
        parts = min(_PARTS, count)
        log.warning("a Python worker died over %s contents: trying %s parts", count, parts)
        # Another depth deals the same rows differently.
        dealt = F.pmod(F.xxhash64("content_hash", F.lit(depth)), F.lit(parts))
        for part in range(parts):
            some = rows.where(dealt == part)
            if not (size := some.count()):
                continue
            try:
                self._append(self._ask(some, size), _SEARCH)
            except (PySparkException, Py4JError) as other:
                if not is_worker_death(other):
                    raise
                self._search(some, size, other, depth + 1)

    def _note_death(self, rows: DataFrame, error: Exception, *, is_found: bool) -> None:
        if is_found:
            self.crashed += [row["product_id"] for row in rows.select("product_id").collect()]
            log.warning("product %r took its Python worker with it", self.crashed[-1])
        most = self.config.max_crashing_products
        if len(self.crashed) > most or not most:
            raise WorkersDied(
                f"{len(self.crashed) or 'Some'} products took their Python worker with them, "
                f"allowed are {most} (max_crashing_products). So many are more likely a sign of "
                "too little memory or a broken driver: look into the executors' logs. What is "
                "encoded stays, the same command goes on from there."
            ) from error

    def _ask(self, rows: DataFrame, count: int) -> DataFrame:
        """Return the rows encoded; lazy. Nothing is shuffled behind the engine."""
        assert self._pace is not None
        return ask_engine(rows, count, self.spec, self.config, self._pace.works)

    def _append(self, rows: DataFrame, writer: str) -> None:
        """Append encodings; a `writer` makes one commit after another."""
        lineage = {
            "run_id": self.run_id,
            "encoder_version": self.spec.encoder_version,
            "encoded_at": now(),
            "limits": self.spec.limits_digest,
        }
        columns = (F.lit(value).alias(name) for name, value in lineage.items())
        self._commits[writer] += 1
        transaction = Transaction(f"{self.run_id}-{writer}", self._commits[writer])
        self.tables.append("encodings", rows.select("*", *columns), self.run_id, transaction)

    def _check(self, due: DataFrame, asked: int) -> int:
        """Count decoded pictures, and check that no row was lost or doubled (R12)."""
        own = self.tables.read_run("encodings", self.run_id)
        has_image = F.coalesce(F.col("modalities").startswith("image"), F.lit(False))
        row = own.agg(
            F.count("*").alias("written"),
            F.count_distinct("content_hash").alias("distinct"),
            F.count_if(has_image).alias("opened"),
            F.count_if(F.col("error") == REPLACED).alias("replaced"),
        ).collect()[0]
        if not asked == row["written"] == row["distinct"]:
            raise EnrichError(
                f"{asked} contents were to be encoded: found {row['written']} rows of "
                f"{row['distinct']} contents in {self.tables.name('encodings')}. Repeat the "
                "command."
            )
        if row["replaced"]:
            self._forget_looks(due, own)
        return int(row["opened"])

    def _forget_looks(self, due: DataFrame, own: DataFrame) -> None:
        """Make the next run read the bytes of pictures that were replaced."""
        replaced = own.where(F.col("error") == REPLACED).select("content_hash")
        paths = due.join(replaced, "content_hash", "left_semi").select("image_path").distinct()
        nothing = {"size": "bigint", "etag": "string", "modified_at": "timestamp"}
        forgotten = paths.where(F.col("image_path").isNotNull()).select(
            F.col("image_path").alias("path"),
            *(F.lit(None).cast(kind).alias(name) for name, kind in nothing.items()),
            F.lit(None).cast("string").alias("digest"),
            F.lit(self.run_id).alias("run_id"),
            F.lit(now()).alias("looked_at"),
        )
        self.tables.append("images", forgotten, self.run_id)


_FIELDS = ("title", "description", "image_path")


def ask_engine(
    contents: DataFrame,
    count: int,
    spec: BuildsEngine,
    config: JobConfig,
    works: Accumulator[dict[str, Work]],
) -> DataFrame:
    """Return `count` contents encoded, by `content_hash`; lazy. Runs on the driver."""
    spark, wanted = contents.sparkSession, config.gpu_executors
    slots = slots_of(spark, wanted)
    if wanted is not None:
        # As many executors as would start for small tasks are not worth their start.
        slots = min(slots, math.ceil(count / config.products_per_task))
    asked = contents.repartition(choose_tasks(count, config, slots), "content_hash")
    asked = asked.select("content_hash", "image_digest", "product_id", *_FIELDS)
    return asked.mapInPandas(
        build_encode(spec, works),
        f"content_hash STRING, {VECTORS}",
        profile=build_gpu_profile(wanted, application_of(spark)),
    )


def select_contents(due: DataFrame) -> DataFrame:
    """Return a row for each content of due products, that of highest priority; lazy."""
    urgent = F.coalesce("priority", F.lit(-math.inf)).alias("priority")
    one = F.max(F.struct(urgent, "product_id", "image_digest", *_FIELDS)).alias("one")
    needed = due.where(F.col("outcome").isin(*TO_ANSWER))
    return needed.groupBy("content_hash").agg(one).select("content_hash", "one.*")


def select_holding(encodings: DataFrame, limits: str, run_id: str) -> DataFrame:
    """Return the encodings that still say what encoding again would say (R3); lazy."""
    is_recent = F.col("encoded_at") > F.lit(now() - CRASH_HOLDS)
    return encodings.where(
        holds(
            F.col("status"),
            has_same_limits=F.col("limits") == limits,
            is_own=F.col("run_id") == run_id,
            is_recent=is_recent,
        )
    )


def _has_failed(result: Future[None]) -> bool:
    """Return True for an error that a search for a crash cannot mend."""
    error = result.exception() if result.done() else None
    return error is not None and not is_worker_death(error)


class Chunk(NamedTuple):
    """Some of the contents that a run encodes: neighbouring parts of what is cut."""

    cut: DataFrame
    first: int
    last: int
    contents: int

    @property
    def rows(self) -> DataFrame:
        """The contents; lazy."""
        return self.cut.where(F.col(_PART).between(self.first, self.last)).drop(_PART)


_PART = "part"


def cut_into_chunks(contents: DataFrame, count: int, size: int, folder: str) -> deque[Chunk]:
    """Cut contents into chunks of about `size`; a higher `priority` comes earlier.

    Contents of one priority are dealt to chunks by their hash.

    Args:
        folder: where the contents are written; it is not there yet.
    """
    if count <= size:
        return deque([Chunk(contents.withColumn(_PART, F.lit(0)), 0, 0, count)])
    order = (F.desc("priority"), F.xxhash64("content_hash"))
    ranges = contents.repartitionByRange(math.ceil(count / size), *order)
    # Written, because Spark draws the bounds of ranges anew wherever it computes them again.
    cut = ranges.withColumn(_PART, F.spark_partition_id())
    cut.write.format("delta").partitionBy(_PART).save(folder)
    written = contents.sparkSession.read.format("delta").load(folder)
    sizes = {row[_PART]: row["count"] for row in written.groupBy(_PART).count().collect()}
    return deque(Chunk(written, part, part, sizes[part]) for part in sorted(sizes))


def take_chunk(chunks: deque[Chunk], enough: float) -> Chunk:
    """Take the first chunk, joined with those after it until it has `enough` contents."""
    chunk = chunks.popleft()
    while chunks and chunk.contents + chunks[0].contents <= enough:
        after = chunks.popleft()
        chunk = chunk._replace(last=after.last, contents=chunk.contents + after.contents)
    return chunk


def choose_tasks(contents: int, config: JobConfig, slots: int) -> int:
    """Return the task count: from the work, not from the product table's file layout.

    In whole rounds over all slots: of five tasks on two slots, the last would have one to itself.
    """
    at_once = min(slots, math.ceil(contents / config.batch_size))
    rounds = math.ceil(contents / (config.products_per_task * slots))
    return max(1, rounds * at_once)


def is_worker_death(error: BaseException) -> bool:
    """Tell whether a write failed because the process of a worker ended."""
    return any(sign in str(error) for sign in _SIGNS_OF_DEATH)


def _crashed_columns() -> list[Column]:
    return [
        F.lit(Status.WORKER_CRASHED).alias("status"),
        F.lit(None).cast("string").alias("modalities"),
        F.lit(_CRASHED).alias("error"),
        F.lit(None).cast("binary").alias("vectors"),
    ]


MapsFrames = Callable[[Iterable[pd.DataFrame]], Iterable[pd.DataFrame]]
# This Python worker's engine on each device, and its recipe. Workers are reused between tasks and
# stages, so this outlives both.
_LOADED: dict[str, tuple[BuildsEngine, RunsProducts]] = {}


def build_encode(spec: BuildsEngine, works: Accumulator[dict[str, Work]]) -> MapsFrames:
    """Return the function that encodes contents on executors, for `mapInPandas`.

    Paths are shipped, never image bytes. A picture that is not the one of the diff makes its
    content `image_unreadable`: its encoding would stand for good under a hash that is not its own.
    """

    def encode(frames: Iterable[pd.DataFrame]) -> Iterator[pd.DataFrame]:
        engine = engine_of_this_worker(spec, works)
        asked: deque[tuple[str, Any]] = deque()

        def read() -> Iterator[Product]:
            for frame in frames:
                names = ("content_hash", "image_digest", "product_id", *_FIELDS)
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


def engine_of_this_worker(
    spec: BuildsEngine, works: Accumulator[dict[str, Work]] | None = None
) -> RunsProducts:
    """Return this Python worker's engine, loaded and counted at its first use.

    Runs on the executor.
    """
    device = choose_device()
    # Compared as a whole: it also says where image paths start, and the next run may be another
    # source's. An engine of another recipe would only hold memory.
    for other in [name for name, (recipe, _) in _LOADED.items() if recipe != spec]:
        del _LOADED[other]
    if str(device) not in _LOADED:
        take_cores()
        _LOADED[str(device)] = spec, _build_engine(spec, device)
        if works is not None:
            add_work(works, loads=1)
    return _LOADED[str(device)][1]


def _build_engine(spec: BuildsEngine, device: Any) -> RunsProducts:
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


def take_cores() -> None:
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


def refuse_impossible_executors(wanted: GpuExecutors | None, conf: SparkConf) -> None:
    """Raise ConfigError if this Spark cannot start the executors for encoding.

    Spark itself says so as a stage begins, and on Kubernetes never: it asks for an executor again
    and again, and the run waits.
    """
    if wanted is None:
        return
    master = conf.get("spark.master", "") or ""
    is_kubernetes, is_yarn = master.startswith("k8s://"), master.startswith("yarn")
    if not (is_kubernetes or is_yarn or master.startswith("spark://")):
        raise ConfigError(
            f"gpu_executors has no effect with --master {master}: stages have executors of their "
            "own on YARN, Kubernetes and standalone clusters. Leave gpu_executors out."
        )
    if (conf.get("spark.dynamicAllocation.enabled") or "").lower() != "true":
        raise ConfigError("gpu_executors needs spark.dynamicAllocation.enabled=true.")
    if is_kubernetes and not wanted.vendor:
        raise ConfigError("gpu_executors needs its 'vendor' on Kubernetes, such as nvidia.com.")
    if (is_kubernetes or is_yarn) and not wanted.discovery_script:
        raise ConfigError(
            "gpu_executors needs its 'discovery_script' on YARN and Kubernetes: "
            "jobs/conf/cluster/discover_gpus.sh, by its path on the executors."
        )


@cache
def build_gpu_profile(wanted: GpuExecutors | None, application: str) -> ResourceProfile | None:
    """Return the resource profile for encoding, None for the common executors.

    Spark has it on YARN, Kubernetes and Standalone, with dynamic allocation.
    """
    if wanted is None:
        return None
    tasks = wanted.gpus * wanted.tasks_per_gpu
    executor = (
        ExecutorResourceRequests()
        .cores(wanted.cores)
        .memory(wanted.memory)
        .memoryOverhead(wanted.memory_overhead)
        .resource("gpu", wanted.gpus, wanted.discovery_script, wanted.vendor)
    )
    task = TaskResourceRequests().cpus(max(1, wanted.cores // tasks))
    task.resource("gpu", 1 / wanted.tasks_per_gpu)
    return ResourceProfileBuilder().require(executor).require(task).build


def _text(value: Any) -> str | None:
    # pandas has had NULL as None, NaN and NA.
    return value if isinstance(value, str) else None
