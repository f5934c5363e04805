"""Finds the products that take a Python worker with them, and stages all others.

A decoder that crashes or eats all memory cannot be caught in Python: the worker is gone, and Spark
fails the whole write, the next time too. So the rows are tried again in parts, down to one.
"""

import logging
from collections.abc import Callable

from py4j.protocol import Py4JError
from pyspark.errors import PySparkException
from pyspark.sql import DataFrame
from pyspark.sql import functions as F

from enrich.errors import WorkersDied

log = logging.getLogger(__name__)

# More parts than two: all but one of them are staged in the same round, and rounds are fewer.
_PARTS = 8
_SIGNS_OF_DEATH = ("Python worker exited unexpectedly", "ExecutorLostFailure")


class PoisonFinder:
    """Stages rows around the products that kill; `found` are those, one frame of one row each.

    Runs on the driver.
    """

    def __init__(self, stage: Callable[[DataFrame, int], None], max_poison: int) -> None:
        """`stage` writes a frame's rows, given their number; it raises if one kills its worker.

        More than `max_poison` such rows end the run.
        """
        self.found: list[DataFrame] = []
        self._stage = stage
        self._max_poison = max_poison

    def stage(self, rows: DataFrame, count: int, depth: int = 0) -> None:
        """Stages the rows but those that kill their worker.

        Runs on the driver.

        Raises:
            WorkersDied: more than `max_poison` products kill; it is rather the machines.
        """
        try:
            self._stage(rows, count)
        except (PySparkException, Py4JError) as error:
            if not is_worker_death(error):
                raise
            if count == 1:
                self._note(rows, error)
                return
            self._refuse_many(error)
            parts = min(_PARTS, count)
            log.warning("a Python worker died over %s products: trying %s parts", count, parts)
            # Another depth deals the same rows differently.
            dealt = F.pmod(F.xxhash64("product_id", F.lit(depth)), F.lit(parts))
            for part in range(parts):
                some = rows.where(dealt == part)
                if size := some.count():
                    self.stage(some, size, depth + 1)

    def _note(self, rows: DataFrame, error: Exception) -> None:
        self.found.append(rows)
        # A run that is stopped by them quarantines none: only here are they named.
        for row in rows.select("product_id").collect():
            log.warning("product %r took its Python worker with it", row["product_id"])
        self._refuse_many(error)

    def _refuse_many(self, error: Exception) -> None:
        if len(self.found) > self._max_poison or not self._max_poison:
            raise WorkersDied(
                f"{len(self.found) or 'some'} products took their Python worker with them; "
                f"at most max_poison_products = {self._max_poison} are allowed. So many are more "
                "likely a sign of too little memory or a broken driver: look into the executors' "
                "logs. If it is the products themselves (the log names each that was found), raise "
                "max_poison_products. What was staged stays, the same run goes on from there"
            ) from error


def is_worker_death(error: Exception) -> bool:
    """Returns whether a write failed because the process of a worker ended.

    Runs on the driver.
    """
    return any(sign in str(error) for sign in _SIGNS_OF_DEATH)
