"""What a run stages: new answers of the classifier, and published ones that are carried over.

A chunk of products is one commit, and what a run has staged is not asked again: a run that was
killed after nine of ten chunks goes on with the tenth.
"""

import logging
import math
from collections.abc import Sequence

from pyspark.sql import Column, DataFrame
from pyspark.sql import functions as F
from schemas.quoting import quote_part

from enrich.config import ImageIdentity, JobConfig
from enrich.errors import TableContended
from enrich.records import Status
from enrich.spark.chunks import cut_into_chunks
from enrich.spark.corrections import with_own_labels
from enrich.spark.poison import PoisonFinder
from enrich.spark.resources import build_gpu_profile
from enrich.spark.survey import INPUT_FIELDS, State, Survey
from enrich.spark.tables import OutputTables
from enrich.spark.udf import KEY, Loads, answers_schema, build_answers
from enrich.spec import BuildsEngine

log = logging.getLogger(__name__)

# Products a task. By their hash, some of many small tasks would get a third more than others.
_ENOUGH_TO_GATHER = 1_000


class Stager:
    """Stages one run; `is_resumed` once an earlier attempt is found to have staged rows of it.

    Runs on the driver.
    """

    def __init__(
        self,
        tables: OutputTables,
        spec: BuildsEngine,
        config: JobConfig,
        run_id: str,
        lineage: Sequence[Column],
        *,
        is_full_refresh: bool,
    ) -> None:
        self._tables = tables
        self._spec = spec
        self._config = config
        self._run_id = run_id
        self._lineage = lineage
        # A hash of paths alone knows nothing of pictures that were wrong then and are right now.
        sees_images = config.image_identity is not ImageIdentity.PATH
        self._may_reuse = sees_images and not is_full_refresh
        # One for all chunks: Spark lets no executor serve two profiles, be they equal.
        self._profile = build_gpu_profile(config.gpu_executors)
        self._loads = tables.spark.sparkContext.accumulator({}, Loads())
        self._chunk = 0
        self.is_resumed = False

    @property
    def engine_loads(self) -> dict[str, int]:
        """Engines loaded, by Python worker."""
        return dict(self._loads.value)

    def stage(self, survey: Survey, scratch: str) -> int:
        """Stages all that the run wants and has not staged yet; returns how many were asked about.

        Runs on the driver; one Delta commit a chunk.

        Args:
            survey: What the run wants.
            scratch: A folder that is not there yet, in one that the caller removes.

        Raises:
            RunInProgress: another process is staging the very same run.
            TableContended: a published answer that was to be carried over is another by now.
            WorkersDied: too many products took their Python worker with them.
        """
        staged = read_staged(self._tables, self._run_id)
        rows, last = staged.agg(F.count("*"), F.max("chunk")).collect()[0]
        to_ask, revised = survey.to_ask, survey.revised
        count = survey.asked
        if rows:
            self.is_resumed = True
            self._chunk = 0 if last is None else last + 1
            drop_stale(self._tables, self._run_id, self._spec.model_version, survey)
            staged = read_staged(self._tables, self._run_id)
            to_ask, revised = select_unstaged(to_ask, staged), select_unstaged(revised, staged)
            count = to_ask.count()
        if survey.counts[State.REVISED] and not revised.isEmpty():
            self._carry(revised)
        if self._may_reuse and count >= self._config.products_per_chunk:
            to_ask, count = self._reuse(to_ask, count, f"{scratch}_of_others")
        self._stage_answers(to_ask, count, scratch)
        return count

    def _carry(self, revised: DataFrame) -> None:
        self._write(self._select_carried(revised))
        if not select_unstaged(revised, read_staged(self._tables, self._run_id)).isEmpty():
            raise TableContended(
                f"another run or a rollback changed {self._tables.name('product_attributes')} "
                "meanwhile: start this run again"
            )

    def _reuse(self, to_ask: DataFrame, count: int, scratch: str) -> tuple[DataFrame, int]:
        """Stages what other runs have staged of these very products; returns what is left to ask.

        A backlog that was cut off goes on where it was, also on another day: with another run_id.
        """
        found = self._select_staged_by_others(to_ask)
        # By way of a folder: to Delta, what a commit's query reads of the table must not grow
        # meanwhile, and another run may be staging.
        found.write.parquet(scratch)
        found = self._tables.spark.read.schema(found.schema).parquet(scratch)
        if found.isEmpty():
            return to_ask, count
        self._write(found)
        left = select_unstaged(to_ask, read_staged(self._tables, self._run_id))
        asked = left.count()
        log.info("%s products had been staged by other runs", f"{count - asked:,}")
        return left, asked

    def _stage_answers(self, to_ask: DataFrame, count: int, scratch: str) -> None:
        finder = PoisonFinder(self._ask_and_write, self._config.max_poison_products)
        done = 0
        for chunk in cut_into_chunks(to_ask, count, self._config.products_per_chunk, scratch):
            finder.stage(chunk.rows, chunk.products)
            done += chunk.products
            if chunk.products < count:
                log.info("staged %s of %s products", f"{done:,}", f"{count:,}")
        for poison in finder.found:
            self._write(self._select_crashed(poison))

    def _ask_and_write(self, products: DataFrame, count: int) -> None:
        cores = self._tables.spark.sparkContext.defaultParallelism
        tasks = choose_tasks(count, self._config, cores)
        asked = products.select(*KEY, *INPUT_FIELDS)
        is_evenly_dealt = count < _ENOUGH_TO_GATHER * tasks
        asked = asked.repartition(tasks) if is_evenly_dealt else gather_equal(asked, tasks)
        answers = asked.mapInPandas(
            build_answers(self._spec, self._loads, self._config.image_identity),
            answers_schema(self._spec),
            profile=self._profile,
        )
        # Answers are small: files follow their size, not the number of tasks.
        self._write(answers.hint("rebalance"))

    def _select_carried(self, revised: DataFrame) -> DataFrame:
        """Returns the published answers of revised products as they were staged."""
        attributes = tuple(self._spec.attributes)
        published = with_own_labels(self._tables.read("product_attributes"), attributes)
        labels = [quote_part(c) for a in attributes for c in (a, f"{a}_confidence")]
        # As it was surveyed: another run may have published something else meanwhile.
        mine = published.where(F.col("model_version") == self._spec.model_version)
        same = ["product_id", "content_hash"]
        answers = mine.select(*same, *labels, "predictions", "modalities", "status")
        is_carried = F.lit(True).alias("is_carried")
        return revised.select(*KEY, is_carried).join(answers, same)

    def _select_staged_by_others(self, to_ask: DataFrame) -> DataFrame:
        labels = [quote_part(c) for a in self._spec.attributes for c in (a, f"{a}_confidence")]
        staged = self._tables.read("staged_attributes").where(F.col("run_id") != self._run_id)
        answered = select_lasting(staged, self._spec.model_version).where(
            F.col("modalities").isNotNull()
        )
        same = ["product_id", "content_hash"]
        answers = answered.select(*same, *labels, "predictions", "modalities", "status", "error")
        return to_ask.select(*KEY).join(answers.dropDuplicates(same), same)

    def _select_crashed(self, products: DataFrame) -> DataFrame:
        error = F.lit("the Python worker died over this product, each time it was tried")
        status = F.lit(Status.WORKER_CRASHED)
        return products.select(*KEY, status.alias("status"), error.alias("error"))

    def _write(self, rows: DataFrame) -> None:
        self._tables.append_chunk(rows.select("*", *self._lineage), self._run_id, self._chunk)
        self._chunk += 1


def drop_stale(tables: OutputTables, run_id: str, model_version: str, survey: Survey) -> None:
    """Drops what a run staged for products that have changed or gone since, or does not last.

    Runs on the driver; two actions, a commit if there is something to drop. What the run has
    published already stays staged: after a rollback it is published from there.
    """
    staged = read_staged(tables, run_id)
    lasting = select_lasting(staged, model_version).alias("staged")
    wanted = survey.tried.alias("wanted")
    valid = lasting.join(wanted, _same("staged", "wanted"), "left_semi")
    if valid.count() < staged.count():
        tables.replace_run("staged_attributes", valid, run_id)


def read_staged(tables: OutputTables, run_id: str) -> DataFrame:
    """Returns what a run has staged. Runs on the driver; lazy."""
    return tables.read("staged_attributes").where(F.col("run_id") == run_id)


def select_lasting(staged: DataFrame, model_version: str) -> DataFrame:
    """Returns the staged answers of this model that need not be asked for again.

    Runs on the driver; lazy. An image whose store had failed may be there now.
    """
    is_read = ~F.col("status").eqNullSafe(F.lit(Status.IMAGE_UNREADABLE))
    return staged.where((F.col("model_version") == model_version) & is_read)


def select_unstaged(wanted: DataFrame, staged: DataFrame) -> DataFrame:
    """Returns the products that were not staged as they are. Runs on the driver; lazy."""
    is_staged = _same("wanted", "staged")
    return wanted.alias("wanted").join(staged.alias("staged"), is_staged, "left_anti")


def _same(one: str, other: str) -> list[Column]:
    return [F.col(f"{one}.{name}").eqNullSafe(F.col(f"{other}.{name}")) for name in KEY]


def gather_equal(products: DataFrame, tasks: int) -> DataFrame:
    """Returns the products in so many tasks, those of one content_hash one after the other.

    Runs on the driver; lazy. Sizes of one dress, with one picture and one text, are computed once.
    """
    return products.repartition(tasks, "content_hash").sortWithinPartitions("content_hash")


def choose_tasks(products: int, config: JobConfig, cores: int) -> int:
    """Returns the task count: from the work, not from the product table's file layout.

    In whole rounds over all cores: of five tasks on two cores, the last would have one to itself.
    Runs on the driver.
    """
    at_once = min(cores, math.ceil(products / config.batch_size))
    rounds = math.ceil(products / (config.products_per_task * cores))
    return max(1, rounds * at_once)
