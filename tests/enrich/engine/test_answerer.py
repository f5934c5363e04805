"""Stored vectors are answered as the checkpoint's calibration says."""

import math
from collections.abc import Callable

import numpy as np
import pytest
from thresholds import alike
from torch import nn

from enrich.calibration import CalibratedModalities, Calibration, ScoreCorrection
from enrich.classifiers.checkpoint import build_classifier, save_checkpoint
from enrich.classifiers.manifest import read_manifest
from enrich.config import JobConfig
from enrich.engine.answerer import Answerer
from enrich.engine.columns import answer_fields
from enrich.engine.spec import build_spec
from enrich.errors import ConfigError
from enrich.lexicon import Evidence
from enrich.records import Modalities

WIDTH = 32
BOTH, IMAGE, TEXT = Modalities
Make = Callable[..., Answerer]


class _TextsFirst(nn.Module):
    """A head whose logits are the first numbers of the text's embedding."""

    def __init__(self, labels):
        super().__init__()
        self.labels = labels

    def forward(self, both):
        return both[:, WIDTH : WIDTH + self.labels]


ALWAYS = alike(0.0)["0.90"]


@pytest.fixture
def make(small_config, tokenizer, tmp_path):
    """Returns a function that makes an answerer of colors.

    Thresholds are those of image and text, of the image, and of the text.
    """

    def make(
        *,
        thresholds=(ALWAYS,) * 3,
        floors=None,
        labels=("red", "blue"),
        corrections=None,
        own=None,
        unread=0.0,
    ):
        calibrated = {
            modalities: CalibratedModalities(
                temperature=1,
                thresholds=alike(None) | {"0.90": threshold},
                floors={"0.90": floors} if floors else {},
                rows=9,
            )
            for modalities, threshold in zip(Modalities, thresholds, strict=True)
        }
        calibration = Calibration(
            attributes={"color": calibrated},
            corrections=corrections or {},
            unread_weights={"color": unread},
        )
        attributes = {"color": labels}
        settings = {"attributes": attributes, "classifier": "clip_mlp"}
        config = small_config.model_copy(update=settings)
        classifier = build_classifier(config, tokenizer.get_vocab_size())
        save_checkpoint(tmp_path, classifier, tokenizer, calibration, {}, "")
        manifest = read_manifest(tmp_path)
        settings = JobConfig(checkpoint=str(tmp_path), **(own or {}))
        answerer = Answerer(manifest, build_spec(settings, manifest, "."))
        answerer.classifier.get_submodule("heads")["color"] = _TextsFirst(len(labels))
        return answerer

    return make


def _store(logits, image=()):
    numbers = np.zeros(2 * WIDTH)
    numbers[: len(image)], numbers[WIDTH : WIDTH + len(logits)] = image, logits
    return numbers.astype("<f2").tobytes()


def _answer(answerer, *rows):
    vectors, modalities = zip(*rows, strict=True)
    return answerer.answer(vectors, modalities, [(None, None)] * len(rows)).to_pylist()


def test_a_fitted_checkpoint_reads_pictures_anew_where_there_is_one(make):
    # The second number of a picture's embedding says blue; the text's say nothing.
    look = [0.0] * (2 * WIDTH + 2)
    look[1] = 5.0
    sees_blue = ScoreCorrection(embeds_weight=((0.0,) * len(look), tuple(look)), bias=(0.0, 0.0))
    answerer = make(corrections={"color": sees_blue})
    scores = (2.0, 0.0)
    rows = _answer(
        answerer,
        (_store(scores, (9.0, 1.0)), BOTH),
        (_store(scores, (9.0, -1.0)), IMAGE),
        (_store(scores, (9.0, 1.0)), TEXT),
    )
    assert [row["color"] for row in rows] == ["blue", "red", "red"]


def test_an_answer_is_held_against_the_threshold_of_what_it_was_read_from(make):
    rows = _answer(
        make(thresholds=[alike(least)["0.90"] for least in (0.5, 0.9, 0.6)]),
        *((_store((1.0, 0.0)), one) for one in Modalities),
    )
    assert [row["color"] for row in rows] == ["red", None, "red"]
    assert [row["predictions"][0]["abstained"] for row in rows] == [False, True, False]
    assert [row["color_confidence"] for row in rows] == pytest.approx([0.7311] * 3, abs=1e-4)


def test_what_the_title_says_of_an_answer_chooses_its_threshold(make):
    asked = dict.fromkeys(Evidence, 0.9) | {Evidence.NAMED: 0.6, Evidence.CONTRADICTED: None}
    answerer = make(thresholds=(asked,) * 3)
    scores = (1.0, 0.0)  # red by 0.73
    titles = ["Red shirt", "shirt", None, "blue shirt", "red and blue shirt"]
    texts = [(title, title and "blue") for title in titles]
    answers = answerer.answer([_store(scores)] * 5, ["text"] * 5, texts).to_pylist()
    assert [row["color"] for row in answers] == ["red", None, None, None, None]
    assert {row["predictions"][0]["label"] for row in answers} == {"red"}
    surer = answerer.answer([_store((9.0, 0.0))] * 5, ["text"] * 5, texts).to_pylist()
    assert [row["color"] for row in surer] == ["red", "red", "red", None, "red"]


def test_a_word_of_another_language_moves_the_answer(make):
    answerer = make(own={"languages": ["de"]}, unread=3.0)
    titles = ["Blaues Hemd", "Blue shirt", "Hemd", "Rotes Hemd"]
    texts = [(title, None) for title in titles]
    rows = answerer.answer([_store((1.0, 0.0))] * 4, ["text"] * 4, texts).to_pylist()
    assert [row["color"] for row in rows] == ["blue", "red", "red", "red"]
    assert [row["predictions"][0]["named"] for row in rows] == ["blue", "blue", None, "red"]
    confidences = [row["color_confidence"] for row in rows]
    assert confidences == pytest.approx([0.8808, 0.7311, 0.7311, 0.9820], abs=1e-4)


@pytest.mark.parametrize(("floor", "wanted"), [(0.7, "red"), (0.8, None), (None, None)])
def test_a_label_may_ask_for_more_confidence_than_the_others(make, floor, wanted):
    answerer = make(floors=(floor, 0.0))
    red, blue = _answer(answerer, (_store((1.0, 0.0)), TEXT), (_store((0.0, 1.0)), TEXT))
    assert (red["color"], blue["color"]) == (wanted, "blue")


def test_a_confidence_that_is_no_number_is_no_answer(make):
    (row,) = _answer(make(), (_store((np.nan, 0.0)), TEXT))
    assert row["color"] is None and row["predictions"][0]["abstained"]


def test_the_next_three_labels_stand_beside_an_answer_the_likeliest_first(make):
    answerer = make(labels=("red", "blue", "green", "pink", "white"))
    (row,) = _answer(answerer, (_store((0.0, 4.0, 1.0, 3.0, 2.0)), TEXT))
    (prediction,) = row["predictions"]
    assert prediction["label"] == row["color"] == "blue"
    assert [one["label"] for one in prediction["alternatives"]] == ["pink", "white", "green"]


def test_rows_of_many_chunks_keep_their_order(make, monkeypatch):
    answerer = make()
    rows = [(_store((float(at % 3), 1.0)), (BOTH, IMAGE, TEXT)[at % 3]) for at in range(11)]
    whole = _answer(answerer, *rows)
    monkeypatch.setattr("enrich.engine.answerer._ROWS_AT_ONCE", 3)
    assert _answer(answerer, *rows) == whole
    assert [row["color"] for row in whole[:3]] == ["blue", "red", "red"]


def test_a_source_has_its_own_names_and_leaves_labels_out(make):
    labels = ("red", "blue", "grey", "navy")
    own = {"grey": "gray", "navy": "blue", "red": None}
    answerer = make(
        labels=labels, own={"labels": {"color": own}}, thresholds=(alike(0.5)["0.90"],) * 3
    )
    # Red is the likeliest; blue and navy together are more likely than grey.
    scores = (math.log(0.5), math.log(0.15), math.log(0.2), math.log(0.15))
    texts = [(None, None), ("navy shirt", None), ("Gray shirt", None), ("grey shirt", None)]
    rows = answerer.answer([_store(scores)] * 4, ["text"] * 4, texts).to_pylist()
    assert [row["color"] for row in rows] == ["blue"] * 4
    assert rows[0]["color_confidence"] == pytest.approx(0.3 / 0.5, abs=1e-3)
    said = [row["predictions"][0] for row in rows]
    assert [one["label"] for one in said[0]["alternatives"]] == ["gray"]
    assert [one["named"] for one in said] == [None, "blue", "gray", "gray"]


def test_a_label_that_another_becomes_is_a_word_that_was_learnt(make):
    labels = ("red", "blue", "navy")
    texts = [("blue shirt", None), ("navy shirt", None), ("shirt", None)]
    rows = [_store((1.0, 0.0, 0.0))] * 3

    def confidences(**given):
        answers = make(labels=labels, unread=3.0, **given).answer(rows, ["text"] * 3, texts)
        return [row["color_confidence"] for row in answers.to_pylist()]

    assert len({*confidences()}) == 1
    assert len({*confidences(own={"labels": {"color": {"navy": "blue"}}})}) == 1


@pytest.mark.parametrize(
    ("own", "said"),
    [
        ({"size": {"s": "m"}}, "expected one of color"),
        ({"color": {"mauve": "red"}}, "expected one of red, blue"),
        ({"color": {"red": "other"}}, "cannot be called so"),
        ({"color": {"red": None}}, "fewer than two labels"),
    ],
)
def test_own_labels_that_mean_nothing_are_refused(make, own, said):
    with pytest.raises(ConfigError, match=said):
        make(own={"labels": own})


def test_an_attribute_is_answered_where_it_applies(make):
    own = {"applies_to": {"color": ("shirts",)}, "columns": {"category": "kind"}}
    answerer = make(own=own)
    rows = [_store((2.0, 0.0))] * 3
    found = answerer.answer(rows, ["text"] * 3, [(None, None)] * 3, ["shirts", "perfumes", None])
    said = [(row["color"], row["predictions"][0]["abstention"]) for row in found.to_pylist()]
    assert said == [("red", None), (None, "not_applicable"), ("red", None)]


def test_an_attribute_may_apply_to_no_category(make):
    answerer = make(own={"applies_to": {"color": ()}, "columns": {"category": "kind"}})
    found = answerer.answer([_store((2.0, 0.0))] * 2, ["text"] * 2, [(None, None)] * 2, ["a", None])
    assert found["color"].to_pylist() == [None, "red"]


def test_no_rows_have_the_same_columns(make):
    answers = make().answer([], [], [])
    assert answers.num_rows == 0 and list(answers.schema) == answer_fields(["color"])
