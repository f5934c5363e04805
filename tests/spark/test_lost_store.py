"""An image store that does not answer: nothing of it lasts."""

import pytest
from fake_shop import Shop, fails, passes, products
from faulty_engines import LostStoreSpec
from long_tests import in_full

from enrich.errors import TooManyFailures
from enrich.spark.records import InputRows, StagedRows
from schemas.verdict import Verdict

pytestmark = [
    pytest.mark.spark,
    in_full,
]


@pytest.fixture
def pictured(shop: Shop) -> Shop:
    """A shop of 300 products with image paths, whose store is down."""
    table = products(300)
    table["image_path"] = "shirt.jpg"
    shop.write(table)
    (shop.folder / "shirt.jpg").write_bytes(b"a shirt")
    (shop.folder / "down").touch()
    return shop


def test_a_catalog_without_its_images_is_not_published_from_texts_alone(pictured: Shop) -> None:
    spec = LostStoreSpec("lost-1", down=pictured.folder / "down")

    with pytest.raises(TooManyFailures, match=r"of 300 products .* 100\.0% of the images"):
        pictured.refresh(spec=spec)

    assert pictured.table("product_attributes").empty


def test_products_without_an_image_path_are_no_failures(shop: Shop) -> None:
    shop.write(products(300))

    assert shop.refresh().counts["published"] == 300


def test_a_product_whose_store_was_down_is_tried_again_by_the_next_run(pictured: Shop) -> None:
    spec = LostStoreSpec("lost-2", down=pictured.folder / "down")
    pictured.refresh(spec=spec, config={"max_failed_images_share": 1.0})
    assert set(pictured.table("product_attributes")["status"]) == {"image_unreadable"}
    (pictured.folder / "down").unlink()

    counts = pictured.refresh(spec=spec, run_id="the-next").counts

    assert counts["published"] == 300
    assert set(pictured.table("product_attributes")["status"]) == {"ok"}


def test_a_run_that_the_lost_store_had_stopped_asks_again_when_it_is_repeated(
    pictured: Shop,
) -> None:
    spec = LostStoreSpec("lost-3", down=pictured.folder / "down")
    with pytest.raises(TooManyFailures):
        pictured.refresh(spec=spec)
    (pictured.folder / "down").unlink()

    again = pictured.refresh(spec=spec)

    assert (again.outcome, again.counts["published"]) == ("published", 300)
    assert set(pictured.table("product_attributes")["status"]) == {"ok"}


def test_images_that_stay_out_of_reach_do_not_stop_what_is_new(pictured: Shop) -> None:
    spec = LostStoreSpec("lost-4", down=pictured.folder / "down")
    pictured.refresh(spec=spec, config={"max_failed_images_share": 1.0})
    grown = products(550)
    grown.loc[:299, "image_path"] = "shirt.jpg"
    pictured.write(grown)
    sampled, judged = [], []

    def validate_input(rows: InputRows) -> Verdict:
        sampled.append(rows.products.where("is_new").count())
        return Verdict()

    def validate(staged: StagedRows) -> Verdict:
        judged.append((staged.expected, staged.rows.count(), staged.published.count()))
        return passes(staged)

    counts = pictured.refresh(
        validate, spec=spec, validate_input=validate_input, run_id="the-next"
    ).counts

    # The answers that rest on texts alone, for want of an image, are nothing to agree with. Nor are
    # they judged again: enough of them would stop every night.
    assert (sampled, judged) == ([250], [(250, 250, 0)])
    assert (counts["pending"], counts["published"], counts["unchanged"]) == (550, 250, 300)


def test_a_night_that_asks_for_lost_images_alone_has_nothing_to_judge(pictured: Shop) -> None:
    spec = LostStoreSpec("lost-7", down=pictured.folder / "down")
    pictured.refresh(spec=spec, config={"max_failed_images_share": 1.0})

    version = pictured.tables.version("product_attributes")
    counts = pictured.refresh(fails, spec=spec, run_id="the-next").counts
    pictured.refresh(fails, spec=spec, run_id="staged", publish=False)
    later = pictured.publish_staged("staged", model_version="lost-7").counts

    for found in (counts, later):
        assert (found["pending"], found["published"], found["unchanged"]) == (300, 0, 300)
        assert found["withheld"] == 0
    assert pictured.tables.version("product_attributes") == version


def test_a_run_that_asks_again_keeps_what_it_had_published_for_a_rollback(shop: Shop) -> None:
    table = products()
    table.loc[0, "image_path"] = "shirt.jpg"
    shop.write(table)
    (shop.folder / "shirt.jpg").write_bytes(b"a shirt")
    (shop.folder / "down").touch()
    spec = LostStoreSpec("lost-5", down=shop.folder / "down")
    shop.refresh(spec=spec, run_id="nightly")
    (shop.folder / "down").unlink()

    again = shop.refresh(spec=spec, run_id="nightly")

    assert (again.counts["published"], again.counts["unchanged"]) == (6, 0)
    assert len(shop.table("staged_attributes")) == 6
    assert set(shop.table("product_attributes")["run_id"]) == {"nightly"}


def test_a_repeated_run_does_not_bring_back_an_answer_without_its_image(shop: Shop) -> None:
    morning, noon = products(2), products(2)
    for table in (morning, noon):
        table.loc[0, "image_path"] = "shirt.jpg"
    noon.loc[1, "title"] = "renamed"
    (shop.folder / "shirt.jpg").write_bytes(b"a shirt")
    (shop.folder / "down").touch()
    spec = LostStoreSpec("lost-6", down=shop.folder / "down")
    shop.write(morning)
    first = shop.refresh(spec=spec)
    (shop.folder / "down").unlink()
    shop.write(noon)
    shop.refresh(spec=spec)
    shop.write(morning)

    again = shop.refresh(spec=spec)

    assert again.run_id == first.run_id
    counts = {name: again.counts[name] for name in ("published", "unchanged", "quarantined")}
    assert counts == {"published": 1, "unchanged": 1, "quarantined": 0}
    assert "image_unreadable" not in set(shop.table("product_attributes")["status"])
