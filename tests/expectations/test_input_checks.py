"""Product tables that must not cost hours of inference."""

import re
from dataclasses import replace
from typing import Any

import pytest

from expectations.figures import InputFigures
from expectations.input_checks import check_input
from expectations.settings import ValidationSettings
from schemas.images import ImageSample


def blocking(
    settings: ValidationSettings = ValidationSettings(),
    *,
    images: ImageSample = ImageSample(100, 100, None, 100, 10),
    **figures: int,
) -> set[str]:
    sound = {
        "rows": 1_000,
        "without_id": 0,
        "repeated_id": 0,
        "new": 1_000,
        "without_text": 0,
    }
    checks = check_input(InputFigures(**sound | figures, images=images), settings)
    return {check.expectation for check in checks if check.blocks}


@pytest.mark.parametrize(
    "figures",
    [
        {},
        {"rows": 0, "images": ImageSample(0, 0)},
        {"without_id": 5, "repeated_id": 5, "without_text": 100, "images": ImageSample(100, 90)},
        {"rows": 3, "without_id": 1, "images": ImageSample(3, 2)},
        {"images": ImageSample(0, 0)},
        {"without_id": 50, "repeated_id": 50, "without_text": 500, "images": ImageSample(100, 80)},
        # The sizes of one product, each with a copy of its picture.
        {"images": ImageSample(40, 40, None, 40, 40)},
        {"images": ImageSample(100, 100, None, 100, 80)},
    ],
)
def test_sound_table_and_one_with_usual_flaws_pass(figures: dict[str, Any]) -> None:
    assert blocking(**figures) == set()


@pytest.mark.parametrize(
    ("figures", "expectation"),
    [
        ({"without_id": 200}, "expect_product_ids_present"),
        ({"repeated_id": 200}, "expect_product_ids_unique"),
        ({"without_text": 900}, "expect_text_present"),
        ({"images": ImageSample(100, 0)}, "expect_images_reachable"),
        ({"images": ImageSample(10, 0)}, "expect_images_reachable"),
        ({"images": ImageSample(100, 100, None, 60, 60)}, "expect_images_to_differ"),
        # Just more than the settings allow, and what chance adds to that.
        ({"without_id": 85}, "expect_product_ids_present"),
        ({"repeated_id": 85}, "expect_product_ids_unique"),
        ({"without_text": 570}, "expect_text_present"),
        ({"images": ImageSample(100, 60)}, "expect_images_reachable"),
        ({"images": ImageSample(100, 100, None, 100, 95)}, "expect_images_to_differ"),
        # What changed in a large table has lost its texts.
        ({"rows": 1_000_000, "without_text": 900}, "expect_text_present"),
    ],
)
def test_broken_table_blocks(figures: dict[str, Any], expectation: str) -> None:
    assert blocking(**figures) == {expectation}


@pytest.mark.parametrize(
    ("setting", "figures"),
    [
        ("max_unusable_id_share", {"without_id": 1_000}),
        ("max_unusable_id_share", {"repeated_id": 1_000}),
        ("max_empty_text_share", {"without_text": 1_000}),
        ("max_unread_image_share", {"images": ImageSample(100, 0)}),
        ("max_same_image_share", {"images": ImageSample(100, 100, None, 100, 100)}),
    ],
)
def test_whoever_allows_all_of_a_flaw_is_not_blocked_by_it(
    setting: str, figures: dict[str, Any]
) -> None:
    assert blocking(**figures)
    assert not blocking(ValidationSettings.model_validate({setting: 1}), **figures)


def test_the_first_image_that_cannot_be_read_is_named() -> None:
    problem = "image_missing: No such file or directory: '/shop/1.jpg'"
    figures = InputFigures(9, 0, 0, 9, 0, ImageSample(9, 0, problem))
    (found,) = [one for one in check_input(figures, ValidationSettings()) if one.blocks]
    assert found.finding.endswith(f"(validation.max_unread_image_share); the first: {problem}")


def test_figures_that_differ_by_little_are_told_apart() -> None:
    rows = 1_000_000
    sound = InputFigures(rows, 0, 0, rows, 0, ImageSample(0, 0))
    allowed = check_input(sound, ValidationSettings())[0].threshold
    broken = replace(sound, without_id=int(allowed * rows) + 1)
    (found,) = [one for one in check_input(broken, ValidationSettings()) if one.blocks]
    observed, most = re.findall(r"([\d.]+)%", found.finding)
    assert observed > most
