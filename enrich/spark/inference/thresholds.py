"""Abstains on answers anew: another target precision wants other labels, not other answers."""

from collections.abc import Mapping

from pyspark.sql import Column, DataFrame
from pyspark.sql import functions as F

from enrich.calibration import Thresholds
from enrich.records import Modalities


def abstain_by(rows: DataFrame, thresholds: Thresholds) -> DataFrame:
    """Returns answered rows whose `predictions` are abstained on below these thresholds.

    Runs on the driver; lazy.
    """
    limits = F.create_map(*_pairs({a: F.create_map(*_pairs(thresholds[a])) for a in thresholds}))

    def decide(prediction: Column) -> Column:
        limit = limits[prediction["attribute"]][F.col("modalities")]
        # NaN, which Spark takes for larger than any threshold, is no confidence.
        confidence = F.nanvl(prediction["confidence"], F.lit(None).cast("double"))
        return prediction.withField("abstained", ~F.coalesce(confidence >= limit, F.lit(False)))

    return rows.withColumn("predictions", F.transform("predictions", decide))


def _pairs(values: Mapping[str, Column] | Mapping[Modalities, float]) -> list[Column]:
    return [F.lit(part) for pair in values.items() for part in pair]
