"""What a run stages: new answers of the classifier, and published ones that are carried over.

A chunk of products is one commit, and what a run has staged is not asked again: a run that was
killed after nine of ten chunks goes on with the tenth.
"""

import logging
import math
import time
from functools import cached_property
from typing import NamedTuple

from pyspark.resource import ResourceProfile
from pyspark.sql import DataFrame
from pyspark.sql import functions as F
from schemas.quoting import quote_part

from enrich.config import JobConfig
from enrich.errors import RunInProgress, TableContended
from enrich.records import Status
from enrich.spark.corrections import with_own_labels
from enrich.spark.inference.chunks import cut_into_chunks
from enrich.spark.inference.key import KEY, is_same
from enrich.spark.inference.poison import PoisonFinder
from enrich.spark.inference.resources import build_gpu_profile
from enrich.spark.inference.reuse import (
    may_reuse,
    select_cut_off,
    select_lasting,
    select_unstaged,
)
from enrich.spark.inference.thresholds import abstain_by
from enrich.spark.inference.udf import Loads, answers_schema, build_answers
from enrich.spark.inputs import Inputs
from enrich.spark.survey import (
    ASKED,
    INPUT_FIELDS,
    PENDING,
    SAME_PRODUCT,
    USABLE,
    State,
    Survey,
    is_of_checkpoint,
)
from enrich.spark.tables.scratch import write_aside

log = logging.getLogger(__name__)

# Products per task. Dealt out by their hash, fewer would leave some tasks with a third more than
# others.
_ENOUGH_TO_GATHER = 1_000


class Staged(NamedTuple):
    """How a run was staged.

    `asked` is how many products the classifier was asked about, `is_resumed` whether an earlier
    attempt at the run had staged rows, and `reuse_s` the seconds spent on answers of other runs.
    """

    asked: int
    is_resumed: bool
    reuse_s: float


class Stager:
    """Stages one run. Runs on the driver."""

    def __init__(self, inputs: Inputs, run_id: str) -> None:
        self._inputs = inputs
        self._tables = inputs.tables
        self._spec = inputs.spec
        self._config = inputs.config
        self._run_id = run_id
        self._loads = inputs.spark.sparkContext.accumulator({}, Loads())
        self._chunk = 0

    @cached_property
    def _profile(self) -> ResourceProfile | None:
        # One for all chunks: to Spark an equal one is another profile, and an executor serves one.
        return build_gpu_profile(self._config.gpu_executors)

    @cached_property
    def _found(self) -> tuple[int, int | None]:
        """How many rows earlier attempts at the run have staged, and their last chunk.

        Kept, and counted only when it is first needed: a run with nothing pending never asks, and
        saves one action.

        Raises:
            RunInProgress: a later attempt has staged rows, which this one would not publish.
        """
        is_later = F.col("enriched_at") > F.lit(self._inputs.started_at)
        found = self._read_staged().agg(F.count("*"), F.max("chunk"), F.count_if(is_later))
        rows, last, later = found.collect()[0]
        if later:
            raise RunInProgress(self._run_id)
        return rows, last

    @property
    def has_staged(self) -> bool:
        """Whether earlier attempts at the run have staged rows.

        Raises:
            RunInProgress: a later attempt has.
        """
        rows, _ = self._found
        return rows > 0

    @property
    def engine_loads(self) -> dict[str, int]:
        """Engines loaded, by Python worker."""
        return dict(self._loads.value)

    def stage(self, survey: Survey, scratch: str) -> Staged:
        """Stages all that the run wants and has not staged yet.

        Runs on the driver; one Delta commit a chunk.

        Args:
            survey: What the run wants.
            scratch: A folder that is not there yet, in one that the caller removes.

        Raises:
            RunInProgress: another process is staging the very same run.
            TableContended: a published answer that was to be carried over is another by now.
            WorkersDied: too many products took their Python worker with them.
        """
        to_ask, revised = survey.select(*ASKED), survey.select(State.REVISED)
        count = survey.count(*ASKED)
        rows, last = self._found
        if rows:
            self._chunk = 0 if last is None else last + 1
            self.drop_stale(survey)
            staged = self._read_staged()
            to_ask, revised = select_unstaged(to_ask, staged), select_unstaged(revised, staged)
            count = to_ask.count()
        if survey.count(State.REVISED) and not (rows and revised.isEmpty()):
            self._carry(revised)
        begin = time.perf_counter()
        if may_reuse(self._inputs, count):
            to_ask, count = self._reuse(to_ask, count, f"{scratch}_of_others")
        reuse_s = time.perf_counter() - begin
        self._stage_answers(to_ask, count, scratch)
        return Staged(count, rows > 0, round(reuse_s, 2))

    def has_all(self, survey: Survey) -> bool:
        """Tells whether an answer to all that is pending is staged, now or before."""
        if not survey.count(*PENDING):
            return True
        rows, _ = self._found
        if not rows:
            return False
        staged = select_lasting(self._tables.read, self._inputs, self._run_id)
        return select_unstaged(survey.select(*PENDING), staged).isEmpty()

    def drop_stale(self, survey: Survey) -> None:
        """Drops what is staged of products that have changed or gone since, or does not last.

        Runs on the driver; one action if there are staged rows, a commit if there is something to
        drop. What the run has published already stays staged: after a rollback it is published
        from there.
        """
        rows, _ = self._found
        if not rows:
            return
        lasting = select_lasting(self._tables.read, self._inputs, self._run_id).alias("staged")
        wanted = survey.select(*USABLE).alias("wanted")
        valid = lasting.join(wanted, is_same("staged", "wanted"), "left_semi")
        if valid.count() < rows:
            self._tables.replace_run("staged_attributes", valid, self._run_id)

    def _read_staged(self) -> DataFrame:
        return self._tables.read_rows("staged_attributes", self._run_id)

    def _carry(self, revised: DataFrame) -> None:
        """Stages the published answers of revised products."""
        self._write(self._select_carried(revised))
        if not select_unstaged(revised, self._read_staged()).isEmpty():
            raise TableContended(
                f"another run or a rollback changed {self._tables.name('product_attributes')} "
                "meanwhile: start this run again"
            )

    def _reuse(self, to_ask: DataFrame, count: int, scratch: str) -> tuple[DataFrame, int]:
        """Stages the answers to these very products that runs had staged when they were cut off.

        Returns the products that are left to ask about, and how many they are.
        """
        # By way of a folder: Delta refuses a commit that reads from the table itself if others add
        # to what it read, and another run may be staging.
        answers = write_aside(self._select_of_others(to_ask), scratch)
        if answers.isEmpty():
            return to_ask, count
        self._write(answers)
        left = select_unstaged(to_ask, self._read_staged())
        asked = left.count()
        log.info("%s products had been staged by runs that were cut off", f"{count - asked:,}")
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
        """Returns the published answers of revised products as they would be staged now."""
        # Of this checkpoint, as the survey found them: another run may have published since.
        is_mine = is_of_checkpoint(self._spec.model_version)
        published = self._tables.read("product_attributes").where(is_mine)
        decided = abstain_by(published, self._spec.thresholds)
        answers = self._select_answers(with_own_labels(decided, tuple(self._spec.attributes)))
        is_carried = F.lit(True).alias("is_carried")
        return revised.select(*KEY, is_carried).join(answers, SAME_PRODUCT)

    def _select_of_others(self, to_ask: DataFrame) -> DataFrame:
        cut_off = select_cut_off(self._tables.read, self._run_id, self._spec.model_version)
        answers = to_ask.select(*KEY).join(self._select_answers(cut_off, "error"), SAME_PRODUCT)
        # Several runs may have been cut off one after the other.
        return answers.dropDuplicates(SAME_PRODUCT)

    def _select_answers(self, rows: DataFrame, *more: str) -> DataFrame:
        labels = [quote_part(c) for a in self._spec.attributes for c in (a, f"{a}_confidence")]
        return rows.select(*SAME_PRODUCT, *labels, "predictions", "modalities", "status", *more)

    def _select_crashed(self, products: DataFrame) -> DataFrame:
        error = F.lit("the Python worker died over this product, each time it was tried")
        status = F.lit(Status.WORKER_CRASHED)
        return products.select(*KEY, status.alias("status"), error.alias("error"))

    def _write(self, rows: DataFrame) -> None:
        # The run's start, not each row's: a repeated task writes the same row.
        enriched_at = {"enriched_at": self._inputs.started_at}
        lineage = self._inputs.lineage(self._run_id) | enriched_at
        columns = (F.lit(value).alias(name) for name, value in lineage.items())
        self._tables.append_chunk(rows.select("*", *columns), self._run_id, self._chunk)
        self._chunk += 1


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
