"""What a run's weights depend on makes it another run; what they do not depend on does not."""

from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any
from unittest.mock import Mock

import numpy as np
import pytest
import torch
from labelled import labelled_products

from enrich.tokenizer import TextEncoder
from enrich.training.batches import Batches
from enrich.training.config import TrainingConfig
from enrich.training.labelled import TEST, LabelledProducts
from enrich.training.loop import Trainer
from enrich.training.pixel_cache import CachedImages
from enrich.training.state import load_state, name_inputs, save_state
from enrich.training.tokenizers import train_tokenizer

ROWS = np.arange(2)
PRODUCTS = labelled_products(
    ["a", "b"], "shop", image_paths=["a.jpg", None], targets=np.zeros((2, 3), dtype=np.int64)
)
PIXELS = np.zeros((2, 3, 8, 8), dtype=np.uint8)
IMAGES = CachedImages(PIXELS, np.array([True, False]), Path("cache/images-1"), "pictures")
Name = Callable[..., str]


@pytest.fixture
def trainer(make: Callable[..., Trainer]) -> Trainer:
    return make("a")


@pytest.fixture
def name(trainer: Trainer) -> Name:
    """Returns a function that names the inputs of one small run, with what is given changed."""

    def name(
        products: LabelledProducts = PRODUCTS,
        images: CachedImages = IMAGES,
        encoder: TextEncoder = trainer.batches.encoder,
        **settings: Any,
    ) -> str:
        config = TrainingConfig.model_validate({"name": "tiny", "phases": []} | settings)
        batches = Batches(products, images, encoder, trainer.batches.label_words)
        return name_inputs(config, trainer.classifier, batches, ROWS)

    return name


def test_pictures_of_another_folder_are_another_run(name: Name) -> None:
    assert name(replace(PRODUCTS, image_roots=["shop", "other"])) != name() == name()


def test_pictures_that_changed_are_another_run_and_their_cache_may_lie_anywhere(name: Name) -> None:
    assert name(images=replace(IMAGES, folder=Path("cache/images-2"))) != name()
    assert name(images=replace(IMAGES, folder=Path("moved/images-1"))) == name()


def test_pictures_that_can_be_read_by_now_are_another_run(name: Name) -> None:
    assert name(images=replace(IMAGES, has_image=np.array([True, True]))) != name()


def test_another_split_is_another_run(name: Name) -> None:
    assert name(replace(PRODUCTS, split=np.array([0, TEST]))) != name()


def test_towers_count_by_their_weights_and_not_by_their_place(name: Name, trainer: Trainer) -> None:
    before = name()
    assert name(image_tower="somewhere") == before
    tower = trainer.classifier.image_tower.pretrained()
    for one in (next(tower.parameters()), next(tower.buffers())):
        named = name()
        with torch.no_grad():
            one.add_(1)
        assert name() not in (before, named)


def test_weights_that_the_seed_gives_are_no_input(name: Name, trainer: Trainer) -> None:
    before = name()
    with torch.no_grad():
        next(trainer.classifier.text_tower.parameters()).add_(1)
    assert name() == before


def test_towers_that_compute_otherwise_with_the_same_weights_are_another_run(
    name: Name, trainer: Trainer
) -> None:
    before = name()
    towers = trainer.classifier.config.towers.model_copy(update={"heads": 4})
    trainer.classifier.config = trainer.classifier.config.model_copy(update={"towers": towers})
    assert name() != before


def test_another_tokenizer_is_another_run(name: Name) -> None:
    other = TextEncoder(train_tokenizer(["entirely other words"] * 4, vocabulary=270), 16)
    assert name(encoder=other) != name()


def test_half_towers_count_by_their_weights(name: Name, tmp_path: Path) -> None:
    halves, seen = [tmp_path / "half-0", tmp_path / "half-1"], []
    for half in halves:
        half.mkdir()
        (half / "model.safetensors").write_bytes(b"0")
    for content in (b"1", b"2"):
        (halves[1] / "model.safetensors").write_bytes(content)
        seen.append(name(half_towers=halves))
    moved = halves[1].rename(tmp_path / "moved")
    assert len({name(), *seen}) == 3
    assert name(half_towers=[halves[0], moved]) == seen[1]


def test_where_a_run_keeps_its_files_changes_nothing(name: Name, tmp_path: Path) -> None:
    assert name(cache=tmp_path, save_every_s=1) == name()


def test_a_machine_without_memory_is_no_damage(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    save_state(tmp_path / "training_state.pt", {})
    monkeypatch.setattr(torch, "load", lambda *_, **__: torch.empty(2**60, dtype=torch.uint8))
    with pytest.raises(RuntimeError, match="can't allocate memory"):
        load_state(tmp_path / "training_state.pt")


def test_a_damaged_state_is_none(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    file = tmp_path / "training_state.pt"
    save_state(file, {"weights": torch.zeros(1_000)})
    whole = file.read_bytes()
    for content in (whole[:1_000], b"", b"no state"):
        file.write_bytes(content)
        assert load_state(file) is None
        assert "is damaged, and training starts anew" in capsys.readouterr().err.replace("\n", " ")


def test_a_state_with_a_flipped_bit_anywhere_is_none_or_what_it_was(tmp_path: Path) -> None:
    file, best = tmp_path / "training_state.pt", torch.arange(50.0)
    save_state(file, {"inputs": "a", "best": best, "progressed": {"epoch": 3}})
    whole, refused = file.read_bytes(), 0
    for at in range(0, len(whole), 7):
        file.write_bytes(whole[:at] + bytes([whole[at] ^ 0x55]) + whole[at + 1 :])
        found = load_state(file)
        refused += found is None
        assert found is None or (found["inputs"] == "a" and found["best"].equal(best))
    assert refused > 50


def test_a_state_that_cannot_be_read_now_is_no_damage(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    save_state(tmp_path / "training_state.pt", {"inputs": "a"})
    monkeypatch.setattr(torch, "load", Mock(side_effect=OSError("stale file handle")))
    with pytest.raises(OSError, match="stale"):
        load_state(tmp_path / "training_state.pt")
