"""An opinion is heard on the labels that both trainings know, and only of the same pictures."""

from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from enrich.classifiers.registry import build_classifier
from enrich.errors import ConfigError
from enrich.training.batches import Batches
from enrich.training.loop import Trainer
from enrich.training.opinions import half_of, read_opinions, read_recipe, write_opinions

COLORS = ("red", "green", "blue", "white")


@pytest.fixture
def trainer(make: Callable[..., Trainer]) -> Trainer:
    return make("half-0", seed=7)


@pytest.fixture
def batches(trainer: Trainer) -> Batches:
    return trainer.batches


@pytest.fixture
def file(trainer: Trainer, batches: Batches, tmp_path: Path) -> Path:
    """What a classifier of four colors says of 20 of 40 products."""
    file, rows = tmp_path / "half-0.opinions.npz", np.arange(20)
    write_opinions(file, trainer.config, trainer.classifier, batches, rows)
    return file


def _change(file: Path, **arrays: Any) -> None:
    with np.load(file) as found:
        kept = dict(found)
    np.savez(file, **kept | arrays)


def _change_products(batches: Batches, **changed: Any) -> Batches:
    products = replace(batches.products, **changed)
    return Batches(products, batches.images, batches.encoder, batches.label_words)


def test_products_of_one_group_are_in_one_half_and_always_in_the_same() -> None:
    groups = np.arange(200) % 40
    halves = half_of(groups)
    assert (halves == np.tile(halves[:40], 5)).all() and set(halves) == {0, 1}
    assert (half_of(groups) == halves).all()


def test_an_opinion_is_of_the_picture_alone_whatever_the_text_says(
    trainer: Trainer, batches: Batches, file: Path, tmp_path: Path
) -> None:
    retold = _change_products(batches, texts=["a white shirt"] * 40)
    other, rows = tmp_path / "retold.npz", np.arange(20)
    write_opinions(other, trainer.config, trainer.classifier, retold, rows)
    attributes = {"color": COLORS}
    one = read_opinions([file], batches, attributes)["color"]
    assert (one == read_opinions([other], retold, attributes)["color"]).all()


def test_there_is_no_opinion_of_a_product_without_a_picture(
    trainer: Trainer, batches: Batches, tmp_path: Path
) -> None:
    batches.images = replace(batches.images, has_image=np.arange(40) >= 5)
    written, rows = tmp_path / "some.npz", np.arange(20)
    write_opinions(written, trainer.config, trainer.classifier, batches, rows)
    heard = read_opinions([written], batches, {"color": COLORS})["color"]
    assert heard.any(axis=1).nonzero()[0].tolist() == [*range(5, 20)]


def test_labels_are_matched_by_name_and_shared_out_among_those_that_both_know(
    file: Path, batches: Batches
) -> None:
    own = read_opinions([file], batches, {"color": COLORS})["color"].astype(float)
    assert own[:20].sum(1) == pytest.approx(np.ones(20), abs=2e-3) and not own[20:].any()
    heard = read_opinions([file], batches, {"color": ("white", "teal", "red", "blue")})["color"]
    assert heard.dtype == np.float16 and not heard[:, 1].any() and not heard[20:].any()
    shared = own[:20][:, [3, 0, 2]]
    wanted = shared / shared.sum(1, keepdims=True)
    assert heard[:20][:, [0, 2, 3]] == pytest.approx(wanted, abs=2e-3)


def test_a_row_of_which_mostly_labels_are_said_that_are_not_known_here_has_no_opinion(
    file: Path, batches: Batches
) -> None:
    said = np.zeros((40, 4), np.float16)
    said[0, 1], said[1, :2], said[2, :2] = 1, (0.6, 0.4), (0.4, 0.6)
    _change(file, color=said)
    heard = read_opinions([file], batches, {"color": ("red", "teal")})["color"]
    assert heard[1].tolist() == [1, 0] and not heard[[0, 2]].any()


@pytest.mark.parametrize("name", ["file", "products", "settings", "allow_pickle"])
def test_an_attribute_may_be_called_as_something_else_in_the_file_is(
    trainer: Trainer, batches: Batches, tmp_path: Path, name: str
) -> None:
    config = trainer.classifier.config.model_copy(update={"attributes": {name: COLORS}})
    words = batches.encoder.tokenizer.get_vocab_size()
    written, rows = tmp_path / "other.npz", np.arange(20)
    write_opinions(written, trainer.config, build_classifier(config, words), batches, rows)
    heard = read_opinions([written], batches, {name: COLORS})[name]
    assert heard[:20].any(axis=1).all() and not heard[20:].any()
    assert read_recipe(written)["name"] == "tiny"


def test_opinions_that_share_no_label_are_refused_with_what_to_do(
    file: Path, batches: Batches
) -> None:
    with pytest.raises(ConfigError) as error:
        read_opinions([file], batches, {"color": ("rot", "blau")})
    said = str(error.value)
    assert "shares no label of 'color'" in said and "'red', 'green'" in said and "'rot'" in said
    assert "half again with these labels" in said and "opinion_shares" in said


@pytest.mark.parametrize(
    "changed",
    [
        {"groups": np.arange(40)[::-1]},
        {"texts": ["a white shirt"] * 40},
        {"image_paths": ["1.jpg"] * 40},
    ],
    ids=["other groups", "other texts", "other paths"],
)
def test_opinions_of_other_products_are_refused(
    file: Path, batches: Batches, changed: dict[str, Any]
) -> None:
    with pytest.raises(ConfigError, match="are of other products or pictures"):
        read_opinions([file], _change_products(batches, **changed), {"color": COLORS})


def test_opinions_of_pictures_that_changed_are_refused_and_not_of_such_that_moved(
    file: Path, batches: Batches
) -> None:
    attributes, images = {"color": COLORS}, batches.images
    batches.images = replace(images, folder=file.parent / "elsewhere")
    assert read_opinions([file], batches, attributes)
    batches.images = replace(images, pictures="others")
    with pytest.raises(ConfigError, match="are of other products or pictures"):
        read_opinions([file], batches, attributes)


@pytest.mark.parametrize("left", [0, 3, 100, -40, -1])
def test_a_file_that_was_cut_short_is_a_message(file: Path, batches: Batches, left: int) -> None:
    file.write_bytes(file.read_bytes()[:left])
    for read in (
        lambda: read_opinions([file], batches, {"color": COLORS}),
        lambda: read_recipe(file),
    ):
        with pytest.raises(ConfigError, match=r"no opinions can be read in .*half-0"):
            read()


def test_a_file_with_damage_anywhere_is_read_or_a_message(file: Path, batches: Batches) -> None:
    whole, refused = file.read_bytes(), 0
    for at in range(0, len(whole), 29):
        file.write_bytes(whole[:at] + bytes([whole[at] ^ 0xFF]) + whole[at + 1 :])
        try:
            read_opinions([file], batches, {"color": COLORS})
        except ConfigError:
            refused += 1
    assert refused > 10


def test_the_same_opinions_twice_are_refused(file: Path, batches: Batches) -> None:
    with pytest.raises(ConfigError, match="give that of each half once"):
        read_opinions([file, file], batches, {"color": COLORS})
