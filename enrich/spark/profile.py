"""Profile of a source: looked at once for an encoder, kept in source_profiles.

Once, so that labels do not change from night to night with a sample. A database holds one catalog,
whose path may name the day, so it is one source. Delete the rows of the table, and the next run
looks again.
"""

import json
import logging
from collections.abc import Callable, Iterable, Iterator, Mapping
from dataclasses import asdict
from typing import Any

import pyarrow as pa
from pyspark.sql import DataFrame
from pyspark.sql import functions as F
from schemas.tables import TO_ANSWER

from enrich.config import DEMO_FOLDER
from enrich.engine.spec import EngineSpec
from enrich.spark.answer import join_encodings
from enrich.spark.diff import Diff
from enrich.spark.rules import Run
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
    return _from_dict(rows[0].asDict(recursive=True))


def profile_source(
    tables: Tables, header: Run, spec: EngineSpec, diff: Diff, encodings: DataFrame
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
    columns = sample.select("vectors", "modalities", "title", "description").coalesce(1)
    # A worker has torch at hand; the driver would import it for seconds.
    found = columns.mapInArrow(_build_profile(spec), "profile STRING").collect()
    if not found:
        return None
    profile = _from_dict(json.loads(found[0]["profile"]))
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


def _build_profile(
    spec: EngineSpec,
) -> Callable[[Iterable[pa.RecordBatch]], Iterator[pa.RecordBatch]]:
    """Return the function that profiles a sample on an executor, for `mapInArrow`."""

    def profile(batches: Iterable[pa.RecordBatch]) -> Iterator[pa.RecordBatch]:
        from enrich.spark.worker import use_task_cores

        sample = [row for batch in batches for row in batch.to_pylist()]
        if not sample:
            return
        use_task_cores()
        texts = [(row["title"], row["description"]) for row in sample]
        vectors, modalities = ([row[name] for row in sample] for name in ("vectors", "modalities"))
        found = spec.profile(vectors, modalities, texts)
        if found is not None:
            yield pa.RecordBatch.from_pydict({"profile": [json.dumps(asdict(found))]})

    return profile


def _from_dict(found: Mapping[str, Any]) -> SourceProfile:
    attributes = {name: AttributeProfile(**one) for name, one in found["attributes"].items()}
    return SourceProfile(found["products"], found["far_away"], attributes)


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
        told += ". Some 150 labels of this unseen source tell what its thresholds should be"
    return told
