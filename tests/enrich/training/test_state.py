"""What a run's weights depend on makes it another run; what they do not depend on does not."""

from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np

from enrich.training.config import TrainingConfig
from enrich.training.labelled import LabelledProducts
from enrich.training.state import name_inputs

ROWS = np.arange(2)
PRODUCTS = LabelledProducts(
    texts=["a", "b"],
    image_paths=["a.jpg", None],
    image_roots=["shop", "shop"],
    catalog=np.zeros(2, dtype=np.int64),
    targets=np.zeros((2, 3), dtype=np.int64),
    groups=ROWS,
    split=np.zeros(2, dtype=np.int64),
)


def _name(products: LabelledProducts = PRODUCTS, **settings: Any) -> str:
    config = TrainingConfig.model_validate({"name": "tiny", "phases": []} | settings)
    return name_inputs(config, products, ROWS)


def test_pictures_of_another_folder_are_another_run() -> None:
    assert _name(replace(PRODUCTS, image_roots=["shop", "other"])) != _name() == _name()


def test_an_image_tower_counts_by_its_weights_and_not_by_its_place(tmp_path: Path) -> None:
    for name, weights in (("one", b"1"), ("same", b"1"), ("other", b"2")):
        (tmp_path / name).mkdir()
        (tmp_path / name / "model.safetensors").write_bytes(weights)
    one, same, other = (_name(image_tower=tmp_path / name) for name in ("one", "same", "other"))
    assert len({_name(), one, other}) == 3 and one == same


def test_opinions_count_by_what_they_say(tmp_path: Path) -> None:
    opinions = tmp_path / "half-0.opinions.npz"
    said = []
    for content in (b"1", b"2"):
        opinions.write_bytes(content)
        said.append(_name(opinions=[opinions], image_alone=1.0))
    opinions.rename(tmp_path / "moved.npz")
    assert len({_name(image_alone=1.0), *said}) == 3
    assert _name(opinions=[tmp_path / "moved.npz"], image_alone=1.0) == said[1]


def test_an_image_tower_that_is_not_there_is_nobody_s_to_read() -> None:
    assert _name(image_tower="gone", classifier="text_only") == _name(classifier="text_only")


def test_where_a_run_keeps_its_files_changes_nothing(tmp_path: Path) -> None:
    assert _name(cache=tmp_path, save_every_s=1) == _name()
