"""Which staged answers stand for products that the classifier would be asked about again."""

from collections.abc import Callable

from pyspark.sql import DataFrame
from pyspark.sql import functions as F
from schemas.tables import Outcome

from enrich.records import Status
from enrich.spark.inference.key import is_answered, is_same
from enrich.spark.inputs import Inputs
from enrich.spark.survey import SAME_PRODUCT, is_of_checkpoint
from enrich.spark.tables.merge_conditions import MATCHES, SOURCE_STANDS

# Only answers of these statuses are taken from other runs. All other statuses depend on limits,
# allowed roots or a store, which may be others by now.
_SURE = (Status.OK, Status.TEXT_EMPTY, Status.IMAGE_MISSING)


def may_reuse(inputs: Inputs, asked: int) -> bool:
    """Tells whether a run looks for answers that other runs had staged when they were cut off.

    So a backlog goes on where it was, also on another day, when it is another run. It does not pay
    for less than a chunk, which is what a crash may cost.
    """
    return asked >= inputs.config.products_per_chunk and not inputs.request.full_refresh


def select_cut_off(read: Callable[[str], DataFrame], run_id: str, model_version: str) -> DataFrame:
    """Returns the answers that other runs had staged when they were cut off.

    Runs on the driver; lazy. An attempt that has come to an end is in the ledger, and what became
    of the answers that were staged by then is somebody's decision: they may have been blocked or
    taken back.

    Args:
        read: Reads an output table.
        run_id: The run that asks.
        model_version: The checkpoint's that it asks.
    """
    ended = read("enrichment_runs").where(F.col("outcome") != Outcome.FAILED).alias("ended")
    is_decided = F.col("staged.run_id") == F.col("ended.run_id")
    is_decided &= F.col("staged.enriched_at") <= F.col("ended.started_at")
    staged = read("staged_attributes").where(F.col("run_id") != run_id)
    is_usable = is_answered() & F.col("is_carried").isNull()
    mine = (F.col("model_version") == model_version) & F.col("status").isin(*_SURE)
    return staged.where(is_usable & mine).alias("staged").join(ended, is_decided, "left_anti")


def select_lasting(read: Callable[[str], DataFrame], inputs: Inputs, run_id: str) -> DataFrame:
    """Returns the answers that a run has staged and need not be asked for again.

    Without answers whose image's store had failed: it may be there now. Without those whose product
    another run has published an answer of since: that one is newer. Without those that were carried
    over from an answer that stands no more. In a full refresh, without what a run of the same id
    staged on another day. Runs on the driver; lazy.
    """
    mine = read("staged_attributes").where(F.col("run_id") == run_id)
    is_lasting = F.col("model_version") == inputs.spec.model_version
    is_lasting &= ~F.col("status").eqNullSafe(F.lit(Status.IMAGE_UNREADABLE))
    if inputs.request.full_refresh:
        is_lasting &= F.col("run_date") == F.lit(inputs.request.run_date)
    lasting = _without_outdated(mine.where(is_lasting), read, inputs, run_id)
    is_carried = F.col("is_carried").isNotNull()
    return lasting.where(~is_carried).unionByName(_select_standing(lasting.where(is_carried), read))


def _select_standing(carried: DataFrame, read: Callable[[str], DataFrame]) -> DataFrame:
    """Returns the rows that were carried over and are still copies of what is published.

    Runs on the driver; lazy.
    """
    published = read("product_attributes").alias("old")
    # An inner join: of few rows Spark sends each to the table, instead of sorting the table.
    is_it = F.expr(f"{MATCHES} AND {SOURCE_STANDS}")
    return published.join(carried.alias("new"), is_it).select("new.*")


def _without_outdated(
    staged: DataFrame, read: Callable[[str], DataFrame], inputs: Inputs, run_id: str
) -> DataFrame:
    """Returns a run's staged rows without those that another run's published answer is newer than.

    That is of the same text and image and of the same checkpoint, and may say something else:
    under other limits, say. Runs on the driver; lazy.
    """
    is_other = (F.col("run_id") != run_id) & is_of_checkpoint(inputs.spec.model_version)
    # Runs that began after this attempt, or by a wrong clock, are the MERGE's concern.
    is_other &= F.col("enriched_at") <= F.lit(inputs.started_at)
    others = read("product_attributes").where(is_other)
    is_newer = [F.col(f"staged.{name}") == F.col(f"other.{name}") for name in SAME_PRODUCT]
    is_newer.append(F.col("staged.enriched_at") < F.col("other.enriched_at"))
    return staged.alias("staged").join(others.alias("other"), is_newer, "left_anti")


def select_unstaged(wanted: DataFrame, staged: DataFrame) -> DataFrame:
    """Returns the products that were not staged as they are. Runs on the driver; lazy."""
    is_staged = is_same("wanted", "staged")
    return wanted.alias("wanted").join(staged.alias("staged"), is_staged, "left_anti")
