"""Encode contents on executors, chunk by chunk, and append them to `encodings`.

Chunks overlap: executors encode one while the last is committed and the next is planned. What is
encoded already, by whichever run, killed or not, is not encoded again: resuming, reusing and
repeating are one anti-join. A row that kills its worker is found and becomes a status.
"""

import logging
import math
from collections import Counter, deque
from collections.abc import Callable, Mapping
from concurrent.futures import Future, ThreadPoolExecutor, wait
from dataclasses import dataclass, field
from datetime import datetime
from functools import cache, partial
from typing import NamedTuple

from py4j.protocol import Py4JError
from pyspark import Accumulator, SparkConf
from pyspark.errors import PySparkException
from pyspark.resource import ResourceProfile, ResourceProfileBuilder
from pyspark.resource.requests import ExecutorResourceRequests, TaskResourceRequests
from pyspark.sql import Column, DataFrame
from pyspark.sql import functions as F
from schemas.tables import TO_ANSWER, Status

from enrich.config import GpuExecutors, JobConfig
from enrich.engine.spec import EngineSpec
from enrich.errors import ConfigError, EnrichError, WorkersDied
from enrich.spark.progress import Progress, Work
from enrich.spark.rules import row_holds
from enrich.spark.session import application_of, in_spark_thread, name_jobs, slots_of
from enrich.spark.tables import Tables, Transaction, now
from enrich.spark.worker import FIELDS, REPLACED, VECTORS, build_encode

log = logging.getLogger(__name__)

# Chunks in flight: executors encode one while the driver commits another and plans the next. Small
# jobs of a commit wait behind all tasks in flight, so slots wait for one after every fourth chunk.
_CHUNKS_IN_FLIGHT = 4
# The writer that commits what a search for a crash encodes.
_SEARCH = "search"
# A crash is looked for in so many parts at a time.
_PARTS = 8
_SIGNS_OF_DEATH = ("Python worker exited unexpectedly", "ExecutorLostFailure")
_CRASHED = "the Python worker died over this content, each time it was tried"


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
    """Encoding of one run.

    `since`: encodings of other runs that are older do not count (a full refresh), None: all count.
    `folder`: of the run, for what it writes down for itself.
    """

    tables: Tables
    run_id: str
    spec: EngineSpec
    config: JobConfig
    since: datetime | None
    version: int
    folder: str
    _commits: Counter[str] = field(default_factory=Counter)
    _progress: Progress | None = None
    crashed: list[str] = field(default_factory=list)
    on_progress: Callable[[Mapping[str, float] | None], None] = lambda figures: None

    def encode(self, due: DataFrame) -> Encoded:
        """Encode the contents of due products that no encoding holds for.

        Args:
            due: rows of the diff, written down.

        Raises:
            WorkersDied: so many contents kill their worker that it is rather the machines.
            EnrichError: rows were lost or doubled on the way.
        """
        held = select_holding(self.read(), self.spec.limits_digest, self.run_id)
        # Before `distinct`, which shuffles its rows: few changes need few of the encodings.
        held = held.join(due.select("content_hash"), "content_hash", "left_semi")
        held = held.select("content_hash", F.lit(True).alias("is_held")).distinct()
        contents = select_contents(due).join(held, "content_hash", "left").persist()
        try:
            is_missing = F.col("is_held").isNull()
            wanted, asked = contents.agg(F.count("*"), F.count_if(is_missing)).collect()[0]
            missing = contents.where(is_missing).drop("is_held")
            if asked:
                self._progress = Progress(self.tables.spark, asked, self.on_progress)
                with self._progress:
                    self._encode_chunks(missing, asked)
        finally:
            contents.unpersist()
        return Encoded(wanted, asked, self._check(due, asked) if asked else 0)

    @property
    def engine_loads(self) -> dict[str, int]:
        """Number of engines that each Python worker has loaded."""
        return self._progress.engine_loads if self._progress is not None else {}

    @property
    def figures(self) -> dict[str, float]:
        """Figures of encoding by name; empty where nothing was encoded."""
        return self._progress.figures if self._progress is not None else {}

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
            ThreadPoolExecutor(_CHUNKS_IN_FLIGHT) as threads,
        ):
            while chunks and not any(_has_failed(result) for _, result in running):
                if len(running) == _CHUNKS_IN_FLIGHT:
                    done += self._finish(running, count, done)
                chunk, number = take_chunk(chunks, self._enough()), number + 1
                described = f"encode, chunk {number}: {chunk.contents} of {count} contents"
                append = partial(
                    self._encode_chunk, chunk, described, str(number % _CHUNKS_IN_FLIGHT)
                )
                running.append((chunk, threads.submit(in_spark_thread(self.tables.spark, append))))
            while running:
                done += self._finish(running, count, done)

    def _enough(self) -> float:
        """Return how many contents a chunk is to have, by the pace so far."""
        assert self._progress is not None
        slots = slots_of(self.tables.spark, self.config.gpu_executors)
        return self.config.seconds_per_chunk * self._progress.at_full_load(slots)

    def _encode_chunk(self, chunk: "Chunk", described: str, writer: str) -> None:
        with name_jobs(self.tables.spark, f"run {self.run_id}: {described}"):
            self._append(self._encode_lazily(chunk.rows, chunk.contents), writer)

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
        assert self._progress is not None
        self._progress.committed += chunk.contents
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
        log.warning(
            "a Python worker died among %s contents: encoding them again in %s parts", count, parts
        )
        # Another depth deals the same rows differently.
        dealt = F.pmod(F.xxhash64("content_hash", F.lit(depth)), F.lit(parts))
        for part in range(parts):
            some = rows.where(dealt == part)
            if not (size := some.count()):
                continue
            try:
                self._append(self._encode_lazily(some, size), _SEARCH)
            except (PySparkException, Py4JError) as other:
                if not is_worker_death(other):
                    raise
                self._search(some, size, other, depth + 1)

    def _note_death(self, rows: DataFrame, error: Exception, *, is_found: bool) -> None:
        if is_found:
            self.crashed += [row["product_id"] for row in rows.select("product_id").collect()]
            log.warning(
                "product %r crashes its Python worker: quarantined as worker_crashed",
                self.crashed[-1],
            )
        most = self.config.max_crashing_products
        if len(self.crashed) > most or not most:
            raise WorkersDied(
                f"Products crash their Python worker: found {len(self.crashed) or 'at least 1'}, "
                f"expected at most {most} (max_crashing_products). So many are more likely a sign "
                "of too little memory or of a broken driver. Look into the executors' logs, and "
                "repeat the command: what is encoded is not encoded again."
            ) from error

    def _encode_lazily(self, rows: DataFrame, count: int) -> DataFrame:
        """Return the rows encoded; lazy. Nothing is shuffled behind the engine."""
        assert self._progress is not None
        return encode_rows(rows, count, self.spec, self.config, self._progress.works)

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
                f"{self.tables.name('encodings')} is not complete: found {row['written']} rows of "
                f"{row['distinct']} contents, expected {asked} of each. Repeat the command."
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


def encode_rows(
    contents: DataFrame,
    count: int,
    spec: EngineSpec,
    config: JobConfig,
    works: Accumulator[dict[str, Work]],
) -> DataFrame:
    """Return `count` contents encoded, by `content_hash`; lazy."""
    spark, wanted = contents.sparkSession, config.gpu_executors
    slots = slots_of(spark, wanted)
    if wanted is not None:
        # As many executors as would start for small tasks are not worth their start.
        slots = min(slots, math.ceil(count / config.products_per_task))
    asked = contents.repartition(choose_tasks(count, config, slots), "content_hash")
    asked = asked.select("content_hash", "image_digest", "product_id", *FIELDS)
    return asked.mapInPandas(
        build_encode(spec, works),
        f"content_hash STRING, {VECTORS}",
        profile=build_gpu_profile(wanted, application_of(spark)),
    )


def select_contents(due: DataFrame) -> DataFrame:
    """Return a row for each content of due products, that of highest priority; lazy."""
    urgent = F.coalesce("priority", F.lit(-math.inf)).alias("priority")
    one = F.max(F.struct(urgent, "product_id", "image_digest", *FIELDS)).alias("one")
    needed = due.where(F.col("outcome").isin(*TO_ANSWER))
    return needed.groupBy("content_hash").agg(one).select("content_hash", "one.*")


def select_holding(encodings: DataFrame, limits: str, run_id: str) -> DataFrame:
    """Return the encodings that still say what encoding again would say (R3); lazy."""
    return encodings.where(row_holds("encoded_at", limits, now(), run_id))


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


def refuse_impossible_executors(wanted: GpuExecutors | None, conf: SparkConf) -> None:
    """Raise ConfigError if this cluster can never start the executors for encoding.

    Spark would ask for an executor again and again, and the run would wait. What else is missing
    Spark says itself as the stage begins.
    """
    if wanted is None:
        return
    master = conf.get("spark.master", "") or ""
    is_kubernetes, is_yarn = master.startswith("k8s://"), master.startswith("yarn")
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
