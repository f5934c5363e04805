"""A run's page, compared to the tables that it was collected from."""

from collections import Counter
from dataclasses import replace
from datetime import date
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
from PIL import Image
from shop import products

from bench.fake_engine import FakeEngineSpec
from enrich.classifiers.manifest import BUNDLED, read_manifest
from enrich.config import ColumnNames, JobConfig
from enrich.errors import ValidationFailed
from enrich.images.store import ImageStore
from enrich.report.content import Change, ExpectedLabels, pictured_cards
from enrich.spark import runs
from enrich.spark.report import ReportSources, _read_events, collect_report, write_page
from enrich.spark.runs import read_event, summarise
from enrich.spark.source import open_source
from schemas.labels import ABSTAINED, NOT_APPLICABLE

pytestmark = [pytest.mark.spark, pytest.mark.long]

ATTRIBUTES = FakeEngineSpec().attributes
DELETES = {"missing_products": "delete"}


def sources_of(shop, folder=None, attributes=ATTRIBUTES):
    manifest = read_manifest(BUNDLED)
    config = manifest.config.model_copy(update={"attributes": attributes})
    return ReportSources(
        replace(shop.tables, attributes=tuple(attributes)),
        replace(manifest, config=config),
        settings=JobConfig(report_dir=folder),
        given={},
        expected=ExpectedLabels("reviewed", {"color": {"red": 3, ABSTAINED: 1}}),
        open_source=lambda: (
            open_source(shop.spark, str(shop.file), ColumnNames()),
            ImageStore(str(shop.folder)),
        ),
    )


def collect(shop, run_id, **sources):
    source = open_source(shop.spark, str(shop.file), ColumnNames())
    event = read_event(shop.tables, run_id)
    return collect_report(sources_of(shop, **sources), event, source.products)


def summary_of(shop, run_id):
    return summarise(read_event(shop.tables, run_id))


def with_pictures(shop, table):
    """Return the products with a JPEG each, of which the first one's is broken."""
    noise = np.random.default_rng(0)
    for product_id in table["product_id"]:
        pixels = noise.integers(0, 255, (64, 48, 3), dtype=np.uint8)
        Image.fromarray(pixels).save(shop.folder / f"{product_id}.jpg")
    (shop.folder / "p0.jpg").write_bytes(b"no picture")
    return table.assign(image_path=table["product_id"] + ".jpg")


def labels_of(table, attribute):
    return dict(Counter(table[attribute].fillna(ABSTAINED)))


def test_page_of_a_first_run_says_what_the_tables_say(shop, tmp_path):
    broken = pd.DataFrame(
        {
            "product_id": ["p1", None, "empty"],
            "title": ["the second p1", "<script>no id</script>", None],
            "description": None,
            # Longer than what is shown, so that it is to be hidden before it is cut.
            "image_path": [None, f"https://feed:{'secret' * 200}@cdn.example/a.jpg", "gone.jpg"],
        }
    ).astype("string")
    shop.write(pd.concat([with_pictures(shop, products(120)), broken]))
    spec = FakeEngineSpec(opens_images=True, image_root=str(shop.folder))
    run_id = shop.refresh(spec=spec).run_id

    report = collect(shop, run_id)

    published = shop.table("product_attributes")
    for attribute in report.attributes:
        assert attribute.labels == labels_of(published, attribute.name)
        assert sum(attribute.answered) == published[attribute.name].notna().sum()
        assert sum(attribute.abstained) == published[attribute.name].isna().sum()
        assert attribute.answered[15] == sum(attribute.answered), "the fake is 0.75 sure of all"
        assert attribute.image_weights[0] == 120
        assert (attribute.before, attribute.changes) == ({}, ())
    assert [attribute.name for attribute in report.attributes] == [*ATTRIBUTES]
    assert report.reasons == {"new": 120}
    assert report.statuses == {"ok": 120}
    assert report.quarantined == {"duplicate_id": 1, "null_id": 1, "no_modality": 1}
    assert (report.before.version, report.before.products, report.before.answered_again) == (
        published_version(shop, run_id) - 1,
        0,
        0,
    )
    assert [check["expectation"] for check in report.checks] == ["expect_all_rows"]
    assert (report.run["counts"]["read"], report.run["counts"]["published"]) == (123, 120)

    gallery = report.gallery
    assert gallery["changed"] == gallery["failed"] == []
    said = {(a["attribute"], a["label"]) for card in gallery["examples"] for a in card["answers"]}
    assert said >= {(a, label) for a, labels in ATTRIBUTES.items() for label in labels}
    assert len({card["product_id"] for card in gallery["examples"]}) == len(gallery["examples"])
    assert len(gallery["unsure"]) == 12
    assert all(
        card["title"] == f"shirt number {card['product_id'][1:]}" for card in gallery["unsure"]
    )
    assert {card["status"]: card["product_id"] for card in gallery["quarantined"]} == {
        "duplicate_id": "p1",
        "null_id": None,
        "no_modality": "empty",
    }

    write_page(sources_of(shop, tmp_path / "pages"), shop.summary)
    page = Path(shop.summary.report or "").read_text()
    paths = [card["image_path"] for card in pictured_cards(gallery) if card["image_path"]]
    assert page.count("data:image/webp") == sum(path != "p0.jpg" for path in paths) > 0
    assert "&lt;script&gt;no id" in page
    assert "https://***@cdn.example/a.jpg" in page and "secretsecret" not in page
    assert "publish <b>" in page, "also what its event cannot know"
    written = sorted(file.name for file in (tmp_path / "pages").iterdir())
    assert written == [f"{run_id}.html", "index.html"]


def test_what_an_attribute_does_not_apply_to_is_told_apart_from_what_is_not_sure(shop):
    spec = FakeEngineSpec(applies_to={"pattern": ("shirts",)})
    config = {"columns": {"category": "kind"}}
    table = products(6).assign(kind=["shirts", "shoes", "shoes", None, "shirts", "shirts"])
    shop.write(table)

    first = shop.refresh(spec=spec, config=config)

    assert first.counts["not_applicable"] == {"pattern": 2}
    published = shop.table("product_attributes").set_index("product_id")
    assert published.loc[["p1", "p2"], "pattern"].isna().all()
    report = collect(shop, first.run_id)
    pattern = next(one for one in report.attributes if one.name == "pattern")
    assert pattern.labels[NOT_APPLICABLE] == 2
    assert sum(pattern.answered) + sum(pattern.abstained) == 4

    # A product of another category is answered anew, and nothing is encoded.
    shop.write(table.assign(kind=["shirts", "shirts", "shoes", None, "shirts", "shirts"]))
    second = shop.refresh(spec=spec, config=config)
    assert (second.counts["published"], second.counts["encoded"]) == (1, 0)
    assert second.counts["not_applicable"] == {}
    (row,) = collect(shop, second.run_id).attributes[1].labels.items()
    assert row[0] != NOT_APPLICABLE and row[1] == 1


def published_version(shop, run_id):
    return int(read_event(shop.tables, run_id)["published_version"])


def test_page_shows_each_candidate_beside_the_row_that_it_replaces(published_shop):
    shop = published_shop
    shop.write(products(40))
    shop.refresh()
    old = shop.table("product_attributes").set_index("product_id")
    renamed = products(42).iloc[1:]
    renamed.loc[1:12, "title"] = [f"trousers {number}" for number in range(12)]
    shop.write(renamed)
    labels = {"p30": "red" if old.loc["p30", "color"] != "red" else "blue", "p31": None}
    for product_id, label in labels.items():
        shop.correct(product_id, "color", label)

    run_id = shop.refresh(config=DELETES).run_id
    # Rows of later commits do not show on the page of this run.
    shop.sql("DELETE FROM shop.product_attributes WHERE product_id > 'p2'")
    report = collect(shop, run_id)

    rows = shop.table("candidates")
    new = rows[(rows["run_id"] == run_id) & (rows["op"] == "upsert")].set_index("product_id")
    assert report.reasons == {"changed": 12, "new": 2, "revised": 2, "missing": 1}
    for product_id, label in labels.items():
        new.loc[product_id, "color"] = label
    both = old.join(new, rsuffix="_new", how="inner")
    assert (report.before.products, report.before.answered_again) == (40, 14)
    differs = pd.DataFrame(
        {a: both[a].fillna(ABSTAINED) != both[f"{a}_new"].fillna(ABSTAINED) for a in ATTRIBUTES}
    )
    assert report.before.changed == differs.any(axis=1).sum() > 0
    for attribute in report.attributes:
        changed = both[differs[attribute.name]].fillna(ABSTAINED)
        pairs = zip(changed[attribute.name], changed[f"{attribute.name}_new"], strict=True)
        assert set(attribute.changes) == {Change(*pair, n) for pair, n in Counter(pairs).items()}
        assert attribute.before == labels_of(old, attribute.name)
        assert attribute.labels == labels_of(new, attribute.name)
    cards = {(card["product_id"], card["about"]): card for card in report.gallery["changed"]}
    assert cards.keys() == {(p, a) for a in ATTRIBUTES for p in differs.index[differs[a]]}
    for (product_id, about), card in cards.items():
        (said,) = (answer for answer in card["answers"] if answer["attribute"] == about)
        row = both.loc[product_id].fillna(ABSTAINED)
        assert (said["old"], said["label"]) == (row[about], row[f"{about}_new"])
        assert said["is_corrected"] == (product_id in labels and about == "color")
    assert ("p30", "color") not in {(c["product_id"], c["about"]) for c in report.gallery["unsure"]}
    # Spread over other files and tasks, the same products are shown.
    shop.sql("OPTIMIZE shop.candidates")
    with_tasks = shop.spark.conf.get("spark.sql.shuffle.partitions")
    shop.spark.conf.set("spark.sql.shuffle.partitions", "7")
    try:
        assert collect(shop, run_id) == report
    finally:
        shop.spark.conf.set("spark.sql.shuffle.partitions", str(with_tasks))


def test_pages_and_the_list_follow_what_people_decide(published_shop, tmp_path):
    shop = published_shop
    first = shop.summary.run_id
    write_page(sources_of(shop, tmp_path), shop.summary)
    more = {**ATTRIBUTES, "style": ("casual", "formal")}
    spec, sources = FakeEngineSpec("fake-2", more), sources_of(shop, tmp_path, more)
    with pytest.raises(ValidationFailed):
        shop.refresh(failures=["color: too blue"], spec=spec, run_date=date(2026, 11, 25))
    write_page(sources, shop.summary)
    second = shop.summary.run_id
    page, index = tmp_path / f"{second}.html", tmp_path / "index.html"

    blocked = collect(shop, second, attributes=more)
    # Nothing of another attribute stands there before.
    style = next(attribute for attribute in blocked.attributes if attribute.name == "style")
    assert (sum(style.labels.values()), style.before, style.changes) == (6, {}, ())
    assert (blocked.reasons, blocked.before.answered_again) == ({"reanswered": 6}, 6)
    assert blocked.run["error"] and "color: too blue" in blocked.run["error"]
    assert f"--run-id {second} --reason" in page.read_text()
    listed = index.read_text()
    assert listed.index(f'href="{second}.html"') < listed.index(f'href="{first}.html"')
    assert ">Blocked<" in listed and ">Published<" in listed

    shop.approve(second, "a new <season>", spec)
    write_page(sources, summary_of(shop, second))
    approved = collect(shop, second, attributes=more)
    assert approved.before == replace(blocked.before, version=published_version(shop, second) - 1)
    assert (approved.attributes, approved.gallery) == (blocked.attributes, blocked.gallery)
    words = page.read_text()
    assert "a new &lt;season&gt;" in words
    assert "catalog-enrich approve" not in words and "too blue" not in words

    idle = shop.refresh(spec=spec, run_date=date(2026, 11, 26))
    write_page(sources, idle)
    assert (idle.outcome, idle.report) == ("nothing_to_do", None)

    for run_id in (undone := shop.roll_back(first, "wrong pictures")):
        write_page(sources, summary_of(shop, run_id))
    assert set(undone) == {first, second, idle.run_id}
    assert "again as it was before this run" in (tmp_path / f"{first}.html").read_text()
    assert f"Undone with run {first}" in page.read_text()
    assert index.read_text().count(">Rolled back<") == 3
    pages = {file.name for file in tmp_path.glob("*.html")} - {"index.html"}
    assert pages == {f"{first}.html", f"{second}.html"}
    rolled_back = collect(shop, second, attributes=more)
    assert (rolled_back.before, rolled_back.gallery) == (approved.before, approved.gallery)


def test_page_without_product_table_or_candidates_shows_what_is_left(
    published_shop, tmp_path, caplog
):
    shop = published_shop
    sources = sources_of(shop, tmp_path)
    shop.file.unlink()

    write_page(sources, shop.summary)

    page = Path(shop.summary.report or "")
    assert "p1" in page.read_text() and "shirt number" not in page.read_text()
    assert "the page shows no texts and no pictures: " in caplog.text

    shop.sql("DELETE FROM shop.candidates")
    write_page(sources, shop.summary)
    assert "maintenance has deleted them" in page.read_text()


def test_a_page_that_cannot_be_written_fails_no_run(published_shop, tmp_path, caplog):
    shop, summary = published_shop, published_shop.summary
    (tmp_path / "file").write_text("in the way")

    write_page(sources_of(shop, tmp_path / "file"), summary)
    assert f"the page of run {summary.run_id} is missing" in caplog.text
    write_page(sources_of(shop, tmp_path), replace(summary, run_id="gone"))
    assert "the page of run gone could not be written" in caplog.text
    assert summary.report is None


def test_a_page_of_changes_does_not_count_the_published_table(published_shop):
    shop = published_shop
    shop.write(products(mark=" new"))
    event = read_event(shop.tables, shop.refresh().run_id)
    of_all, of_changes = (
        collect_report(sources_of(shop), event | {"diff": diff}, None)
        for diff in ("full", "changes")
    )
    assert (of_all.before.products, of_changes.before.products) == (6, None)
    assert of_changes.before.answered_again == of_all.before.answered_again == 6
    for one in of_changes.attributes:
        assert one.before == {} and one.labels
    # Of two outcomes with one number the later one counts.
    runs.append_event(shop.tables, event | {"reason": "later", "at": runs.now()})
    assert _read_events(shop.tables, event["run_id"])[event["run_id"]]["reason"] == "later"
