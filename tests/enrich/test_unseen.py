"""Sources that look unlike training's are told by their pictures, and answered less."""

import numpy as np
import pytest

from enrich.calibration import Least, Transfer
from enrich.errors import CheckpointError
from enrich.lexicon import Evidence
from enrich.records import Modalities
from enrich.unseen import (
    FILE,
    AttributeProfile,
    Reference,
    SourceProfile,
    raise_thresholds,
    read_reference,
)

LEAST = Least({e: 0.8 if e is Evidence.SILENT else np.inf for e in Evidence}, (0.0, 0.7))
THRESHOLDS = {name: dict.fromkeys(Modalities, LEAST) for name in ("color", "style", "fit")}


def draw(rows, seed, around=0.0):
    """Return embeddings of a source whose pictures lie around a place of their own."""
    place = np.zeros(16)
    place[0], place[1] = 1, around
    return place + 0.2 * np.random.default_rng(seed).standard_normal((rows, 16))


@pytest.fixture
def reference():
    return Reference.of(draw(500, 0), draw(500, 1))


def test_products_like_those_of_training_are_near(reference):
    assert reference.share_far_away(draw(500, 2)) == pytest.approx(0.05, abs=0.03)


def test_products_of_another_kind_are_far_away(reference):
    assert reference.share_far_away(draw(500, 2, around=5)) > 0.9


def test_a_reference_is_read_as_it_was_written(reference, tmp_path):
    reference.save(tmp_path)
    read = read_reference(tmp_path)
    assert read is not None
    assert np.array_equal(read.image, reference.image)
    assert read.radius == pytest.approx(reference.radius)


def test_a_checkpoint_without_a_reference_tells_nothing(tmp_path):
    assert read_reference(tmp_path) is None


def test_a_damaged_reference_is_named(tmp_path):
    (tmp_path / FILE).write_bytes(b"no tensors")
    with pytest.raises(CheckpointError, match=FILE):
        read_reference(tmp_path)


def test_the_profile_counts_what_titles_name_and_contradict():
    probs = np.array([[0.9, 0.1], [0.2, 0.8], [0.6, 0.4], [0.7, 0.3]])
    named = np.array([[1, 0], [1, 0], [1, 1], [0, 0]], dtype=bool)
    found = AttributeProfile.of(probs, named, far_away=0.5)
    assert found.mean_confidence == pytest.approx(0.75)
    assert found.named == 0.5
    assert found.contradicted == 0.5
    assert found.expected_accuracy < found.mean_confidence


def test_thresholds_rise_with_the_share_that_is_far_away():
    home, near, far = (SourceProfile(100, share, {}) for share in (0.05, 0.2, 0.9))
    assert not home.is_unseen
    assert near.is_unseen
    assert home.rise == 0 < near.rise < far.rise


def test_an_unseen_source_is_answered_less_and_conventions_not_at_all():
    transfer = Transfer(conventions=("style", "fit"), fitted=("fit",))
    raised = raise_thresholds(THRESHOLDS, 1.0, transfer)
    color = raised["color"][Modalities.IMAGE]
    assert 0.9 < color.by_evidence[Evidence.SILENT] < 0.95
    assert color.by_evidence[Evidence.NAMED] == np.inf
    assert color.by_label == LEAST.by_label
    assert set(raised["style"][Modalities.TEXT].by_evidence.values()) == {np.inf}


def test_an_attribute_that_was_fitted_to_the_source_keeps_its_thresholds():
    transfer = Transfer(conventions=("fit",), fitted=("fit",))
    assert raise_thresholds(THRESHOLDS, 1.0, transfer)["fit"] == THRESHOLDS["fit"]
