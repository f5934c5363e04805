"""A source is looked at once, and answered less where it looks unlike training."""

import sys
from dataclasses import dataclass, replace

import pytest
from pyspark import cloudpickle

from bench.fake_engine import FakeEngineSpec
from enrich.config import DEMO_FOLDER
from enrich.spark.dry_run import plan_refresh
from enrich.unseen import AttributeProfile, SourceProfile
from tests.support.shop import products

# Spark's workers cannot import what only pytest has on its path.
cloudpickle.register_pickle_by_value(sys.modules[__name__])

FAR_AWAY = 0.5
# Not the demo, which keeps to its own tables.
OWN = {"catalog": "shop"}


@dataclass(frozen=True, slots=True)
class StrangeSpec(FakeEngineSpec):
    """Recipe of an engine that has never seen such a source."""

    def profile(self, vectors, modalities, texts):
        assert len(vectors) == len(modalities) == len(texts)
        expected = AttributeProfile(0.75, 0.7, named=0.25, contradicted=0.0)
        return SourceProfile(len(vectors), FAR_AWAY, dict.fromkeys(self.attributes, expected))

    def in_source(self, rise):
        if not rise:
            return self
        return replace(self, model_version=f"{self.model_version}-risen", threshold=0.9)


@pytest.fixture
def strange(shop):
    shop.write(products(12))
    return shop


def test_an_unseen_source_is_answered_less_from_its_first_run_on(strange):
    limited = strange.refresh(spec=StrangeSpec(), limit=6)
    assert limited.source_profile is not None and limited.source_profile["products"] == 6
    # It decides nothing about the whole source.
    assert strange.table("source_profiles").empty
    first = strange.refresh(spec=StrangeSpec())

    profile = strange.table("source_profiles").iloc[0]
    assert (profile["products"], profile["far_away"], profile["is_unseen"]) == (12, FAR_AWAY, True)
    assert profile["attributes"]["color"]["expected_accuracy"] == pytest.approx(0.7)
    assert first.source_profile is not None and first.source_profile["far_away"] == FAR_AWAY
    rows = strange.table("product_attributes")
    assert set(rows["model_version"]) == {"fake-1-risen"}
    assert rows["color"].isna().all() and rows["color_confidence"].notna().all()

    again = strange.refresh(spec=StrangeSpec())
    assert again.outcome == "nothing_to_do"
    assert len(strange.table("source_profiles")) == 1


def test_a_catalog_whose_path_names_the_day_stays_one_source(strange):
    strange.refresh(spec=StrangeSpec(), config=OWN)
    strange.file = strange.folder / "tomorrow.parquet"
    strange.write(products(12))

    planned = plan_refresh(strange.prepare(StrangeSpec(), OWN))
    assert planned.counts["due"] == 0
    assert planned.source_profile is not None and planned.answered_share is None


def test_a_shop_that_follows_the_demo_is_a_source_of_its_own(strange):
    own, strange.file = strange.file, strange.folder / DEMO_FOLDER
    strange.file.mkdir()
    products(12).to_parquet(strange.file / "products.parquet")
    strange.refresh(spec=StrangeSpec())
    strange.file = own

    strange.refresh(spec=StrangeSpec(), config=OWN)
    assert len(strange.table("source_profiles")) == 2


def test_thresholds_stay_where_the_settings_say_so(strange):
    strange.refresh(spec=StrangeSpec(), config={"unseen_source": "calibrated"})

    rows = strange.table("product_attributes")
    assert set(rows["model_version"]) == {"fake-1"}
    assert rows["color"].notna().any()
    assert len(strange.table("source_profiles")) == 1


def test_a_plan_looks_at_a_sample_of_an_unknown_source_and_writes_nothing(strange):
    plan = plan_refresh(strange.prepare(StrangeSpec()))

    assert plan.source_profile is not None
    assert (plan.source_profile.products, plan.source_profile.far_away) == (12, FAR_AWAY)
    # Its thresholds are already those of an unseen source.
    assert plan.model_version == "fake-1-risen"
    assert plan.answered_share == {"color": 0.0, "pattern": 0.0}
    assert strange.version("run_events") == strange.version("source_profiles") == 0

    strange.refresh(spec=StrangeSpec())
    strange.write(products(14))
    known = plan_refresh(strange.prepare(StrangeSpec()))
    assert known.source_profile is not None and known.answered_share is None
