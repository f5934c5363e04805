"""Thousands of product rows as no shop should deliver them: each comes out once, with a status.

The seeds are the numbers from 0; `mutated_row(seed)` makes the row of one again.
"""

import csv
import json
import time
from collections import Counter
from collections.abc import Callable
from pathlib import Path

import pandas as pd
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from cases import is_full
from memory import peak_mb, reset_peak, watch_children
from mutated_rows import MutatedRow, is_sound_text, mutated_row

from enrich.classifiers.manifest import BUNDLED, read_manifest
from enrich.engine.spec import open_engine
from enrich.files.products import read_products
from enrich.records import Modalities, Product, Status
from enrich.text import MAX_CHARACTERS, build_text

READ = 10_000 if is_full() else 1_000
ANSWERED = 2_000 if is_full() else 200
REFRESHED = 4_000 if is_full() else 1_000
MOST_MB = 1_500
SLOWEST_S = 10


@pytest.fixture(scope="module")
def engine(tmp_path_factory):
    return open_engine(read_manifest(BUNDLED), str(tmp_path_factory.mktemp("images")))


def to_product(row):
    return Product(row.product_id, row.title, row.description, row.image_path)


def test_every_mutated_row_becomes_a_short_text_and_tokens(engine, drill, capsys):
    slowest = (0.0, 0)
    longest_s = 0.0
    statuses: Counter[str] = Counter()
    reset_peak()
    before = peak_mb()
    begin = time.monotonic()
    for seed in range(READ):
        row = mutated_row(seed)
        asked = time.monotonic()
        found = engine.prepare(to_product(row))
        tokens, mask = engine.encode_texts([found.text])
        slowest = max(slowest, (time.monotonic() - asked, seed))
        assert len(found.text) <= MAX_CHARACTERS, seed
        assert is_sound_text(found.text), seed
        found.text.encode()
        assert tokens.shape == mask.shape
        assert 1 <= tokens.shape[1] <= 48, seed
        assert found.pixels is None and found.status.startswith("image_"), (seed, found.status)
        assert found.error and found.error.isprintable() and "hush" not in found.error, seed
        statuses[found.status] += 1
        longest_s = max(longest_s, slowest[0])
    seconds = time.monotonic() - begin
    drill.counts["rows_tried"] += READ
    with capsys.disabled():
        print(f"\n{READ:,} mutated rows in {seconds:.0f} s, peak {peak_mb():,.0f} MB", end="")
        print(f" ({before:,.0f} MB before), slowest {slowest[0]:.2f} s (seed {slowest[1]})")
        print("  ", ", ".join(f"{name} {count:,}" for name, count in statuses.most_common()))
    assert peak_mb() - before < MOST_MB
    assert longest_s < SLOWEST_S


def test_the_engine_answers_every_mutated_row_in_order(engine, drill):
    rows = [mutated_row(seed) for seed in range(READ, READ + ANSWERED)]
    answers = list(engine.enrich(map(to_product, rows)))
    drill.counts["rows_tried"] += ANSWERED
    assert [answer.product_id for answer in answers] == [row.product_id for row in rows]
    for seed, (row, answer) in enumerate(zip(rows, answers, strict=True), READ):
        has_text = bool(build_text(row.title, row.description))
        assert answer.modalities is (Modalities.TEXT if has_text else None), (seed, row.kind)
        assert len(answer.predictions) == (3 if has_text else 0), (seed, row.kind)
        assert answer.status is not Status.OK, (seed, row.kind)


def test_a_file_of_mutated_rows_is_read_and_answered_row_by_row(engine, drill, tmp_path):
    rows = [mutated_row(seed) for seed in range(ANSWERED)]
    write_parquet(rows, tmp_path / "products.parquet")
    read = read_products(tmp_path / "products.parquet").to_pylist()
    answers = list(engine.enrich(Product(**row) for row in read))
    drill.counts["rows_tried"] += ANSWERED
    assert len(answers) == ANSWERED
    assert all(one.product_id.startswith(str(seed)) for seed, one in enumerate(answers))


def write_parquet(rows, file):
    """Writes the rows as careless software does: bytes in columns that claim to be text."""
    names = ("product_id", "title", "description", "image_path")
    schema = pa.schema([(name, pa.string()) for name in names])
    with pq.ParquetWriter(file, schema) as writer:
        for begin in range(0, len(rows), 200):
            some = rows[begin : begin + 200]
            columns = [_unchecked([getattr(row, name) for row in some]) for name in names]
            writer.write_table(pa.Table.from_arrays(columns, schema=schema))


def _unchecked(values):
    raw = pa.array([None if one is None else _as_bytes(one) for one in values], pa.binary())
    return pa.Array.from_buffers(pa.string(), len(raw), raw.buffers(), null_count=raw.null_count)


def _as_bytes(value):
    return value if isinstance(value, bytes) else str(value).encode(errors="surrogatepass")


def write_json(rows, file):
    """Writes the rows with escapes such as "\\ud800" and with values of other types."""
    with file.open("w") as lines:
        for row in rows:
            values = row._asdict() | {"product_id": row.product_id}
            lines.write(json.dumps(values, default=str).replace("NaN", "null") + "\n")


def write_csv(rows, file):
    frame = pd.DataFrame(rows).drop(columns="kind").astype("object")
    frame.to_csv(file, index=False, errors="replace", quoting=csv.QUOTE_ALL, doublequote=True)


WRITERS: dict[str, Callable[[list[MutatedRow], Path], None]] = {
    "parquet": write_parquet,
    "json": write_json,
    "csv": write_csv,
}


@pytest.mark.spark
@pytest.mark.long
@pytest.mark.parametrize("suffix", list(WRITERS)[: None if is_full() else 1])
def test_a_refresh_of_mutated_rows_accounts_for_every_one_and_changes_nothing_when_repeated(
    shop, drill, capsys, suffix
):
    shop.file = shop.folder / f"products.{suffix}"
    WRITERS[suffix]([mutated_row(seed) for seed in range(REFRESHED)], shop.file)
    begin = time.monotonic()
    with watch_children() as children:
        summary = shop.refresh()
    seconds = time.monotonic() - begin
    counts = summary.counts
    with capsys.disabled():
        print(f"\n{REFRESHED:,} mutated rows of {suffix} refreshed in {seconds:.0f} s: {counts}")
        print(f"  largest processes (MB): {dict(children)}")
    assert summary.outcome == "published"
    assert counts["read"] == REFRESHED
    ended = {name: counts[name] for name in ("published", "quarantined", "unchanged", "withheld")}
    assert sum(ended.values()) == REFRESHED
    drill.counts["rows_in"] += REFRESHED
    drill.counts["rows_out"] += sum(ended.values())
    published, quarantine = shop.table("product_attributes"), shop.table("quarantine")
    # In Parquet an id may hold bytes that are no UTF-8.
    has_none = quarantine["reason"] == "null_id"
    ids = [*published["product_id"], *quarantine["product_id"][~has_none]]
    assert len(set(ids)) == len(ids) == REFRESHED - has_none.sum()
    assert has_none.any() == (suffix == "parquet")
    assert set(published["status"]) == {"ok", "image_missing"}
    assert 0 < children["python"] < MOST_MB

    again = shop.refresh()
    assert (again.outcome, again.counts["unchanged"]) == ("nothing_to_do", counts["published"])
