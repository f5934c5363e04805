"""Another target precision chooses labels anew; nobody asks the classifier again for that.

test_corrections.py sees a shop get it, beside what people say.
"""

import math

import pandas as pd
import pytest
from fake_shop import Shop, passes, products
from long_tests import in_full
from pyspark.sql import SparkSession

from enrich.fake_engine import FakeEngineSpec
from enrich.records import Modalities
from enrich.spark.inference.thresholds import abstain_by
from enrich.spec import versions_of_checkpoint

pytestmark = pytest.mark.spark

LENIENT = FakeEngineSpec("fake-1-p90")
# The fake is never so sure.
STRICT = FakeEngineSpec("fake-1-p95", threshold=0.9)


def test_versions_of_one_checkpoint_differ_in_the_target_precision_alone() -> None:
    assert versions_of_checkpoint("shop-p90-0a1b-p90") == ("shop-p90-0a1b-p90", "shop-p90-0a1b-p95")
    assert versions_of_checkpoint("shop-0a1b-p95") == ("shop-0a1b-p90", "shop-0a1b-p95")
    assert versions_of_checkpoint("fake-1") == ("fake-1",)


def test_answers_are_abstained_on_as_the_engine_does_it(spark: SparkSession) -> None:
    thresholds = {
        "color": {Modalities.TEXT: 0.5, Modalities.IMAGE: 0.7},
        "pattern": {Modalities.TEXT: math.inf, Modalities.IMAGE: 0.6},
    }
    confidences = (0.5, 0.6, 0.7, math.nan, None)
    said = [[(a, confidence, None) for a in thresholds] for confidence in confidences]
    schema = (
        "modalities STRING, "
        "predictions ARRAY<STRUCT<attribute: STRING, confidence: DOUBLE, abstained: BOOLEAN>>"
    )
    rows = [(str(m), one) for m in (Modalities.TEXT, Modalities.IMAGE) for one in said]

    decided = abstain_by(spark.createDataFrame(rows, schema), thresholds).collect()

    for row in decided:
        for one in row.predictions:
            threshold = thresholds[one.attribute][Modalities(row.modalities)]
            is_answered = one.confidence is not None and one.confidence >= threshold
            assert one.abstained is not is_answered
    answered = [not one.abstained for row in decided for one in row.predictions]
    assert sum(answered) == 3 + 1 + 2


@in_full
def test_the_old_labels_are_back_with_the_old_target_precision(shop: Shop) -> None:
    shop.write(products(20))
    shop.refresh(spec=LENIENT)
    before = shop.table("product_attributes")
    shop.refresh(spec=STRICT)

    shop.refresh(spec=LENIENT, run_id="back")

    same = ["product_id", "color", "color_confidence", "pattern", "status", "modalities"]
    after = shop.table("product_attributes")
    assert after[same].equals(before[same])
    assert set(after["model_version"]) == {"fake-1-p90"}
    again = shop.refresh(spec=LENIENT, run_id="back")
    assert (again.outcome, again.counts["unchanged"]) == ("nothing_to_do", 20)


@in_full
def test_what_is_new_is_asked_and_what_was_unreadable_is_not(shop: Shop) -> None:
    table = products(8)
    table.loc[7, "title"] = None
    shop.write(table)
    shop.refresh(spec=LENIENT)
    grown = pd.concat([table, products(10)[8:]])
    grown.loc[0, "title"] = "another title"
    shop.write(grown)

    counts = shop.refresh(spec=STRICT, validate=passes).counts

    assert (counts["pending"], counts["carried"], counts["published"]) == (9, 6, 9)
    assert counts["quarantined"] == 1
    assert len(shop.table("quarantine")) == 1
    full = shop.refresh(spec=STRICT, full_refresh=True, run_id="full").counts
    assert (full["pending"], full["carried"], full["enriched"]) == (10, 0, 9)
