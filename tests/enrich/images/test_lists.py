"""Of a product's images the first that can be read counts, from the place that is set."""

import json

import pytest

from enrich.images.settings import MOST_IMAGES, ImageLists, ImageProblem
from enrich.images.store import ImageStore
from enrich.records import Status

THREE = ["a.jpg", "b, c.jpg", "d.jpg"]


@pytest.mark.parametrize(
    ("choice", "order"),
    [
        (1, [0, 1, 2]),
        (2, [1, 0, 2]),
        (3, [2, 0, 1]),
        (4, [0, 1, 2]),
        (-1, [2, 0, 1]),
        (-2, [1, 0, 2]),
    ],
)
@pytest.mark.parametrize("separator", [None, "|"])
def test_the_image_of_the_set_place_is_tried_first(choice, order, separator):
    lists = ImageLists(choice=choice, separator=separator)
    text = json.dumps(THREE) if separator is None else " | ".join(THREE)
    assert lists.images_of(text) == [THREE[place] for place in order]


@pytest.mark.parametrize(
    ("text", "images"),
    [
        ("a.jpg", ["a.jpg"]),
        ("a, b.jpg", ["a, b.jpg"]),
        ("[front] a.jpg", ["[front] a.jpg"]),
        ('["a.jpg', ['["a.jpg']),
        ("[" * 16_000, ["[" * 16_000]),
        ("[]", ["[]"]),
        ("[1, 2]", ["[1, 2]"]),
        ('["a.jpg", null, " ", "a.jpg", "b.jpg"]', ["a.jpg", "b.jpg"]),
        (" ", [" "]),
    ],
)
def test_only_a_list_of_texts_is_a_list(text, images):
    assert ImageLists().images_of(text) == images


def test_only_so_many_images_of_a_product_are_tried():
    many = [str(number) for number in range(100)]
    assert len(ImageLists().images_of(json.dumps(many))) == MOST_IMAGES
    assert ImageLists(choice=-1).images_of(json.dumps(many))[:2] == ["99", "0"]


def test_there_is_no_image_before_the_first():
    with pytest.raises(ValueError, match="expected 1 for the first"):
        ImageLists(choice=0)


def test_the_first_image_that_can_be_read_is_read(tmp_path):
    for name in ("b", "c"):
        (tmp_path / name).write_bytes(name.encode())
    paths = json.dumps(["a", "../x", "https://cdn.example.com/a", "b", "c"])
    assert ImageStore(str(tmp_path)).read(paths) == b"b"
    assert ImageStore(str(tmp_path), lists=ImageLists(choice=-1)).read(paths) == b"c"
    assert ImageStore(str(tmp_path)).find_local(paths) == str(tmp_path.resolve() / "a")


def test_where_none_can_be_read_one_that_may_come_back_counts(tmp_path):
    shop = ImageStore(str(tmp_path))

    def read(image):
        if image == "busy":
            raise ImageProblem(Status.IMAGE_UNREADABLE, "the store says nothing")
        return shop.read(image)

    for names, status in (
        (["gone", "../x"], Status.IMAGE_MISSING),
        (["../x", "gone"], Status.IMAGE_FORBIDDEN),
        (["gone", "busy"], Status.IMAGE_UNREADABLE),
    ):
        with pytest.raises(ImageProblem) as raised:
            shop.try_each(json.dumps(names), read)
        assert raised.value.status is status
