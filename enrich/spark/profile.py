"""Profile of a source: looked at once for an encoder, kept in source_profiles.

Once, so that labels do not change from night to night with a sample. A database holds one catalog,
whose path may name the day, so it is one source. Delete the rows of the table, and the next run
looks again.
"""

import logging
from typing import Any

from pyspark.sql import DataFrame
from pyspark.sql import functions as F
from schemas.tables import TO_ANSWER

from enrich.config import DEMO_FOLDER
from enrich.engine.spec import EngineSpec
from enrich.spark.answer import join_encodings
from enrich.spark.diff import Diff
from enrich.spark.runs import RunHeader
from enrich.spark.tables import Tables, now
from enrich.unseen import SAMPLE, AttributeProfile, SourceProfile

log = logging.getLogger(__name__)


def read_profile(tables: Tables, source: str, encoder_version: str) -> SourceProfile | None:
    """Return the latest profile of the source by an encoder; None if nobody looked.

    The demo is a source of its own: a shop may follow it in its database.
    """
    is_same = F.col("source").endswith(DEMO_FOLDER) == source.endswith(DEMO_FOLDER)
    found = tables.read_or_empty("source_profiles")
    found = found.where(is_same & (F.col("encoder_version") == encoder_version))
    rows = found.orderBy(F.desc("looked_at")).limit(1).collect()
    if not rows:
        return None
    attributes = {
        name: AttributeProfile(**one.asDict()) for name, one in rows[0]["attributes"].items()
    }
    return SourceProfile(rows[0]["products"], rows[0]["far_away"], attributes)


def profile_source(
    tables: Tables, header: RunHeader, spec: EngineSpec, diff: Diff, encodings: DataFrame
) -> SourceProfile | None:
    """Profile a source by a sample of its due products.

    The profile of a whole run is stored: products of a limited run may be of one kind.

    Returns:
        None where the sample is too small.
    """
    due = diff.select(*TO_ANSWER)
    asked = join_encodings(due, encodings, with_descriptions=spec.reads_descriptions)
    # By content, which has nothing to do with what a product is.
    sample = asked.where("vectors IS NOT NULL").orderBy("content_hash").limit(SAMPLE)
    columns = sample.select("vectors", "modalities", "title", "description").toArrow()
    vectors, modalities, *texts = (columns.column(at).to_pylist() for at in range(4))
    profile = spec.profile(vectors, modalities, [*zip(*texts, strict=True)]) if vectors else None
    if profile is None:
        return None
    row: dict[str, Any] = {
        "source": header.source,
        "encoder_version": header.encoder_version,
        "looked_at": now(),
        "run_id": header.run_id,
        "products": profile.products,
        "far_away": profile.far_away,
        "is_unseen": profile.is_unseen,
        "rise": profile.rise,
        "attributes": [(name, _fields_of(one)) for name, one in profile.attributes.items()],
    }
    if header.is_whole:
        tables.append("source_profiles", tables.to_rows("source_profiles", [row]), header.run_id)
    if profile.is_unseen:
        log.warning("%s", describe_profile(profile))
    return profile


def _fields_of(profile: AttributeProfile) -> dict[str, float | None]:
    """Return the fields of an attribute's profile, as the table has them."""
    found = ((name, getattr(profile, name)) for name in AttributeProfile.__slots__)
    return {name: None if value is None else float(value) for name, value in found}


def describe_profile(profile: SourceProfile) -> str:
    """Return what the profile says, as a few sentences."""
    by_name = profile.attributes.items()
    told = f"{profile.far_away:.0%} of the products look unlike those of training"
    expected = [
        f"{one.expected_accuracy:.0%} of {name}"
        for name, one in by_name
        if one.expected_accuracy is not None
    ]
    if expected:
        told += f"; expected to be right of the best labels: {', '.join(expected)}"
    if doubtful := [name for name, one in by_name if not one.is_trusted]:
        told += f". Best labels alone are not to be trusted for {', '.join(doubtful)}"
    if profile.is_unseen:
        told += ". Thresholds are higher here; some 150 labels of this source lower them again"
    return told
