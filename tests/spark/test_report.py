"""What a run's page says, held against the tables that it was collected from."""

from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import replace
from datetime import date
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
from enrich.spark.records import StagedRows
from enrich.spark.report.collect import ReportSources, collect_report
from enrich.spark.report.gallery import CARDS_A_SHELF
from enrich.spark.report.page import write_report
from enrich.spark.rollback import roll_back
from enrich.spark.settling import drop_staged_run
from fake_shop import Shop, fails, passes, products
from PIL import Image

from enrich.classifiers.manifest import BUNDLED, read_manifest
from enrich.config import ColumnNames, JobConfig
from enrich.errors import ConfigError, ValidationFailed
from enrich.fake_engine import FakeEngineSpec
from enrich.images.store import ImageStore
from enrich.report.content import Change, ExpectedLabels
from enrich.spark.source import open_source
from schemas.labels import ABSTAINED
from schemas.verdict import Verdict

pytestmark = [
    pytest.mark.spark,
    pytest.mark.long,
]

ATTRIBUTES = FakeEngineSpec().attributes


def sources_of(shop: Shop, attributes: Mapping[str, Sequence[str]] = ATTRIBUTES) -> ReportSources:
    manifest = read_manifest(BUNDLED)
    config = manifest.config.model_copy(update={"attributes": attributes})
    return ReportSources(
        replace(shop.tables, attributes=tuple(attributes)),
        replace(manifest, config=config),
        settings=JobConfig(),
        settings_file=None,
        expected=ExpectedLabels("reviewed", {"color": {"red": 3, ABSTAINED: 1}}),
        open_source=lambda: (
            open_source(shop.spark, str(shop.file), ColumnNames()),
            ImageStore(str(shop.folder)),
        ),
    )


def with_pictures(shop: Shop, table: pd.DataFrame) -> pd.DataFrame:
    """Returns the products with a JPEG each, of which the first one's is broken."""
    noise = np.random.default_rng(0)
    for product_id in table["product_id"]:
        pixels = noise.integers(0, 255, (64, 48, 3), dtype=np.uint8)
        Image.fromarray(pixels).save(shop.folder / f"{product_id}.jpg")
    (shop.folder / "p0.jpg").write_bytes(b"no picture")
    return table.assign(image_path=table["product_id"] + ".jpg")


def labels_of(table: pd.DataFrame, attribute: str) -> dict[str, int]:
    return dict(Counter(table[attribute].fillna(ABSTAINED)))


def test_page_of_a_first_run_says_what_the_tables_say(shop: Shop, tmp_path: Path) -> None:
    broken = pd.DataFrame(
        {
            "product_id": ["p1", None, "empty"],
            "title": ["the second p1", "<script>no id</script>", None],
            "description": None,
            # Longer than what is shown, so that it is to be hidden before it is cut.
            "image_path": [None, f"https://feed:{'secret' * 200}@cdn.example/a.jpg", None],
        }
    ).astype("string")
    shop.write(pd.concat([with_pictures(shop, products(120)), broken]))
    run_id = shop.refresh(validate=lambda rows: replace(passes(rows), baseline="reviewed")).run_id
    catalog = open_source(shop.spark, str(shop.file), ColumnNames())

    report = collect_report(sources_of(shop), run_id, catalog.products)

    published = shop.table("product_attributes")
    for attribute in report.attributes:
        assert attribute.labels == labels_of(published, attribute.name)
        assert sum(attribute.answered) == published[attribute.name].notna().sum()
        assert sum(attribute.abstained) == published[attribute.name].isna().sum()
        assert attribute.answered[15] == sum(attribute.answered), "the fake is 0.75 sure of all"
        assert attribute.image_weights[0] == 120
        assert attribute.before == {}
        assert attribute.changes == ()
    assert report.baseline == "reviewed"
    assert report.attributes[0].baseline == {"red": 3, ABSTAINED: 1}
    assert report.statuses == {"ok": 120, "image_missing": 1}
    assert report.quarantined == {"duplicate_id": 1, "null_id": 1, "no_modality": 1}
    assert (report.before.products, report.before.seen_again) == (0, 0)
    assert [check.expectation for check in report.checks] == ["expect_all_rows_staged"]
    assert (report.run.counts["read"], report.run.counts["published"]) == (123, 120)

    gallery = report.gallery
    assert gallery.changed == ()
    assert 0 < len(gallery.sure) <= CARDS_A_SHELF
    assert {card.answers[0].label for card in gallery.sure} == {"red", "green", "blue"}
    assert len(gallery.unsure) == 12
    assert all(card.title == f"shirt number {card.product_id[1:]}" for card in gallery.unsure)
    assert [card.product_id for card in gallery.failed] == ["empty"]
    assert {card.status: card.product_id for card in gallery.quarantined} == {
        "duplicate_id": "p1",
        "null_id": None,
        "no_modality": "empty",
    }

    page = write_report(sources_of(shop), run_id, tmp_path / "pages").read_text()
    assert page.count("data:image/webp") == sum(path != "p0.jpg" for path in gallery.pictures)
    assert "&lt;script&gt;no id" in page
    assert "https://***@cdn.example/a.jpg" in page and "secretsecret" not in page
    assert list((tmp_path / "pages").iterdir()) == [tmp_path / "pages" / f"{run_id}.html"]


def test_same_products_are_shown_however_rows_are_spread(shop: Shop) -> None:
    shop.write(products(80))
    run_id = shop.refresh().run_id
    once = collect_report(sources_of(shop), run_id)
    spread = shop.spark.conf.get("spark.sql.shuffle.partitions")
    shop.sql("OPTIMIZE shop.staged_attributes")
    shop.spark.conf.set("spark.sql.shuffle.partitions", "7")
    try:
        again = collect_report(sources_of(shop), run_id)
    finally:
        shop.spark.conf.set("spark.sql.shuffle.partitions", str(spread))

    assert again == once


def test_changes_are_told_against_what_was_published_before_the_run(shop: Shop) -> None:
    shop.write(products(40))
    shop.refresh()
    old = shop.table("product_attributes").set_index("product_id")
    renamed = products(42)
    # Few enough that the shelf of changes has room for p30, too.
    renamed.loc[:4, "title"] = [f"trousers {number}" for number in range(5)]
    shop.write(renamed)
    label = "red" if old.loc["p30", "color"] != "red" else "blue"
    shop.sql(
        "INSERT INTO shop.attribute_corrections VALUES "
        f"('p30', 'color', '{label}', 'ann', TIMESTAMP '2026-11-24 10:00:00', NULL)"
    )

    run_id = shop.refresh().run_id
    # Rows of later commits do not show on the page of this run.
    shop.sql("DELETE FROM shop.product_attributes WHERE product_id > 'p2'")
    report = collect_report(sources_of(shop), run_id)

    staged = shop.table("staged_attributes")
    new = staged[staged["run_id"] == run_id].set_index("product_id")
    new.loc["p30", "color"] = label
    both = old.join(new, rsuffix="_new", how="inner")
    assert (report.before.products, report.before.seen_again) == (40, 6)
    differs = pd.DataFrame(
        {a: both[a].fillna(ABSTAINED) != both[f"{a}_new"].fillna(ABSTAINED) for a in ATTRIBUTES}
    )
    assert report.before.changed == differs.any(axis=1).sum() > 0
    for attribute in report.attributes:
        changed = both[differs[attribute.name]].fillna(ABSTAINED)
        counts = Counter(
            zip(changed[attribute.name], changed[f"{attribute.name}_new"], strict=True)
        )
        assert set(attribute.changes) == {Change(*pair, n) for pair, n in counts.items()}
        assert attribute.before == labels_of(old, attribute.name)
        assert attribute.labels == labels_of(new, attribute.name)
    shown = {(card.product_id, card.about) for card in report.gallery.changed}
    assert shown <= {(p, a) for a in ATTRIBUTES for p in differs.index[differs[a]]}
    assert len(shown) == sum(min(6, differs[a].sum()) for a in ATTRIBUTES)
    corrected = [
        answer
        for card in (*report.gallery.changed, *report.gallery.sure)
        for answer in card.answers
        if answer.is_corrected
    ]
    assert {(answer.attribute, answer.label) for answer in corrected} == {("color", label)}
    assert ("p30", "color") not in {(c.product_id, c.about) for c in report.gallery.unsure}


def test_page_of_a_blocked_run_is_written_again_when_a_person_publishes_it(
    shop: Shop, tmp_path: Path
) -> None:
    shop.refresh()
    version = shop.version("product_attributes")
    with pytest.raises(ValidationFailed):
        shop.refresh(
            validate=fails, model_version="fake-2", run_id="second", run_date=date(2026, 11, 25)
        )
    sources = sources_of(shop)

    blocked = collect_report(sources, "second")
    page = write_report(sources, "second", tmp_path)
    first_words = page.read_text()
    shop.publish_staged("second", "a new <season>", model_version="fake-2")
    published = collect_report(sources, "second")
    assert write_report(sources, "second", tmp_path) == page

    assert blocked.run.error and "color: too blue" in blocked.run.error
    assert (blocked.before.version, blocked.before.products) == (version, 6)
    assert "--publish-run second --reason" in first_words
    assert published.before == blocked.before
    assert published.attributes == blocked.attributes
    assert published.gallery == blocked.gallery
    assert "a new &lt;season&gt;" in page.read_text()
    assert "Stopped at first: " in page.read_text() and "Stopped at first" not in first_words
    assert "--publish-run second" not in page.read_text()


def test_a_run_that_publishes_again_after_another_found_what_that_one_had_left(shop: Shop) -> None:
    shop.refresh(run_id="monday")
    right, wrong = products(6), products(6).assign(title="a red shirt")
    shop.write(wrong)
    shop.refresh(run_id="wrong")
    left_by_it = shop.version("product_attributes")
    shop.write(right)
    shop.refresh(run_id="monday")
    before = collect_report(sources_of(shop), "monday").before
    assert (before.version, before.seen_again) == (left_by_it, 6)

    roll_back(shop.tables, "monday", "a mistake")
    taken_back = shop.version("product_attributes")
    shop.refresh(run_id="monday")
    assert collect_report(sources_of(shop), "monday").before.version == taken_back


def test_a_run_that_waits_after_another_found_what_that_one_had_left(shop: Shop) -> None:
    shop.refresh(run_id="monday")
    shop.write(products(6).assign(title="a red shirt"))
    shop.refresh(run_id="wrong")
    left_by_it = shop.version("product_attributes")
    shop.write(products(6).assign(title="a blue shirt"))
    shop.refresh(run_id="monday", publish=False)
    staged = collect_report(sources_of(shop), "monday").before
    drop_staged_run(shop.tables, "monday", "too blue")
    dropped = collect_report(sources_of(shop), "monday").before

    assert (staged.version, staged.seen_again) == (left_by_it, 6)
    assert dropped.version == left_by_it

    roll_back(shop.tables, "wrong", "a mistake")
    taken_back = shop.version("product_attributes")
    shop.refresh(run_id="monday", publish=False)
    assert collect_report(sources_of(shop), "monday").before.version == taken_back


def test_a_run_that_is_started_again_to_answer_more_has_a_page(shop: Shop) -> None:
    more = {**ATTRIBUTES, "style": ("casual", "formal")}
    shop.refresh(run_id="again")
    shop.refresh(spec=FakeEngineSpec("fake-2", more), run_id="again")

    report = collect_report(sources_of(shop, more), "again")

    style = next(attribute for attribute in report.attributes if attribute.name == "style")
    assert (sum(style.labels.values()), style.before) == (6, {})


def test_page_of_a_run_that_is_dropped_keeps_its_checks_and_names_what_they_were_held_against(
    shop: Shop,
) -> None:
    def fails_beside(rows: StagedRows) -> Verdict:
        failed = {**passes(rows).quality[0], "outcome": "fail"}
        return Verdict(baseline="of then", quality=(failed,), failures=("color: too blue",))

    with pytest.raises(ValidationFailed):
        shop.refresh(validate=fails_beside, run_id="bad")
    blocked = collect_report(sources_of(shop), "bad")
    drop_staged_run(shop.tables, "bad", "wrong host")
    dropped = collect_report(replace(sources_of(shop), expected=None), "bad")

    # The settings name the baseline "reviewed" by now.
    assert (blocked.baseline, blocked.attributes[0].baseline) == ("of then", {})
    assert (dropped.baseline, dropped.checks) == (blocked.baseline, blocked.checks)
    assert (blocked.run.keeps_answers, dropped.run.keeps_answers) == (True, False)
    assert blocked.gallery.unsure and not dropped.gallery.unsure


def test_page_of_a_run_whose_product_table_is_gone_goes_without_texts(
    shop: Shop, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    run_id = shop.refresh().run_id
    shop.file.unlink()

    page = write_report(sources_of(shop), run_id, tmp_path).read_text()

    assert "p1" in page and "shirt number" not in page
    assert "the page shows no texts and no pictures: no product table" in caplog.text


def test_an_unknown_run_has_no_page(shop: Shop, tmp_path: Path) -> None:
    shop.refresh()
    with pytest.raises(ConfigError, match=r"enrichment_runs has no run 'gone'"):
        write_report(sources_of(shop), "gone", tmp_path)
