"""An image store that does not answer: nothing of it lasts."""

import pytest
from fake_shop import Shop, products
from faulty_engines import LostStoreSpec

from enrich.errors import TooManyFailures

pytestmark = pytest.mark.spark


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
