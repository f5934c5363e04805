"""A published model's pictures are prepared as its preprocessor_config.json says."""

import json
from pathlib import Path
from typing import Any
from unittest.mock import Mock

import pytest
from transformers.image_processing_base import ImageProcessingMixin

from enrich.errors import ConfigError
from enrich.preprocess import ImageShape
from enrich.training.published import preprocessors
from enrich.training.published.preprocessors import HALVES, OPENAI, Normalisation, open_image_shape

MEAN, STD = (0.1, 0.2, 0.3), (0.4, 0.5, 0.6)
NORMAL = {"image_mean": list(MEAN), "image_std": list(STD)}


def _open(folder: Path, content: dict[str, Any] | None, default: Normalisation) -> ImageShape:
    if content is not None:
        (folder / "preprocessor_config.json").write_text(json.dumps(content))
    return open_image_shape(str(folder), default, 224)


@pytest.mark.parametrize(
    "size, size_px",
    [
        ({"size": 64}, 64),
        ({"size": {"height": 64, "width": 64}}, 64),
        ({"size": {"shortest_edge": 64}}, 64),
        ({"size": {"shortest_edge": 73}, "crop_size": {"height": 64, "width": 64}}, 73),
        ({}, 224),
        # Not square: the model's own configuration says what it takes.
        ({"size": {"height": 64, "width": 96}}, 224),
    ],
)
def test_a_whole_picture_is_padded_to_the_size_that_the_model_sees(
    tmp_path: Path, size: dict[str, Any], size_px: int
) -> None:
    shape = _open(tmp_path, NORMAL | size, OPENAI)
    assert shape == ImageShape(size_px=size_px, fit="pad", mean=MEAN, std=STD)


@pytest.mark.parametrize("crop_size", [64, {"height": 64, "width": 64}])
def test_a_centre_crop_is_cut_at_the_size_of_the_crop(tmp_path: Path, crop_size: Any) -> None:
    content = NORMAL | {"do_center_crop": True, "size": 73, "crop_size": crop_size}
    shape = _open(tmp_path, content, HALVES)
    assert shape == ImageShape(size_px=64, fit="crop", mean=MEAN, std=STD)


@pytest.mark.parametrize("default", [OPENAI, HALVES])
def test_without_the_file_the_default_holds(tmp_path: Path, default: Normalisation) -> None:
    fit, mean, std = default
    assert _open(tmp_path, None, default) == ImageShape(size_px=224, fit=fit, mean=mean, std=std)


def test_pixels_that_are_not_normalised_stay_from_0_to_1(tmp_path: Path) -> None:
    shape = _open(tmp_path, NORMAL | {"do_normalize": False}, OPENAI)
    assert (shape.mean, shape.std) == ((0.0, 0.0, 0.0), (1.0, 1.0, 1.0))


@pytest.mark.parametrize("content", [{"rescale_factor": 1 / 127.5}, {"do_rescale": False}])
def test_pixels_of_another_range_are_refused(tmp_path: Path, content: dict[str, Any]) -> None:
    with pytest.raises(ConfigError, match="only 1/255 is supported"):
        _open(tmp_path, content, OPENAI)


@pytest.mark.parametrize("content", [{"image_mean": [0.5]}, {"size": "large"}])
def test_a_file_of_another_kind_is_named(tmp_path: Path, content: dict[str, Any]) -> None:
    with pytest.raises(ConfigError, match=str(tmp_path)):
        _open(tmp_path, content, OPENAI)


def test_a_hub_out_of_reach_is_no_model_without_the_file(monkeypatch: pytest.MonkeyPatch) -> None:
    read = Mock(side_effect=OSError("cannot be found on the hub"))
    monkeypatch.setattr(ImageProcessingMixin, "get_image_processor_dict", read)
    monkeypatch.setattr(preprocessors, "file_exists", Mock(side_effect=ConnectionError("no route")))
    with pytest.raises(ConfigError, match=r"cannot be found out \(no route\)"):
        open_image_shape("owner/model", OPENAI, 224)

    monkeypatch.setattr(preprocessors, "file_exists", Mock(return_value=False))
    assert open_image_shape("owner/model", OPENAI, 224).mean == OPENAI.mean

    monkeypatch.setattr(preprocessors, "file_exists", Mock(return_value=True))
    with pytest.raises(ConfigError, match="cannot be read: cannot be found on the hub"):
        open_image_shape("owner/model", OPENAI, 224)
