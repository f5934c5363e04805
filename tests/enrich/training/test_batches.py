"""Training hides things at random and never everything; evaluation hides the same every time."""

from dataclasses import replace

import numpy as np
import pytest
import torch
from labelled import labelled_products

from enrich.classifiers.towers import TextEncoder
from enrich.lexicon import Lexicon
from enrich.training.augmentation import LabelWords
from enrich.training.batches import Batches, Condition, in_phase, shuffled
from enrich.training.caches import CachedImages
from enrich.training.config import TrainingConfig

COUNT = 300
ALL = np.arange(COUNT)
BOTH, TEXT_ONLY, IMAGE_ONLY = ALL[0::3], ALL[1::3], ALL[2::3]
WORDS = LabelWords({"color": ("red", "blue")}, Lexicon.of_labels({"color": {"blue": ("navy",)}}))


@pytest.fixture(scope="module")
def batches(tokenizer, tmp_path_factory):
    """A third of the rows has both modalities, a third the text alone, a third the image alone."""
    kinds = ALL % 3
    pixels = np.random.default_rng(0).integers(0, 256, (COUNT, 3, 16, 16), dtype=np.uint8)
    texts = ["" if kind == 2 else f"red shirt {row}" for row, kind in enumerate(kinds)]
    images = CachedImages(pixels, kinds != 1, tmp_path_factory.mktemp("cache"))
    return Batches(labelled_products(texts), images, TextEncoder(tokenizer, 16), WORDS)


@pytest.fixture(scope="module")
def of_two_colors(batches):
    """Half of the products are red and the others blue; the texts say so."""
    targets = (ALL % 2).reshape(-1, 1)
    rows = zip(batches.products.texts, targets[:, 0], strict=True)
    texts = [text and ("red shirt", "Navy shirt")[target] for text, target in rows]
    told = replace(batches.products, texts=texts, targets=targets)
    return Batches(told, batches.images, batches.encoder, WORDS)


def _show(batches, condition, rows=ALL):
    (inputs,) = batches.evaluation(rows, condition, size=len(rows))
    return inputs


def _draw(batches, rows, *shares, seed=0, **more):
    named = zip(("drop_text", "drop_image", "mask_label_words"), shares or (0.0,) * 3, strict=True)
    config = TrainingConfig.model_construct(**dict(named), **more)
    return batches.training(rows, config, np.random.default_rng(seed))


def _texts(batches, inputs):
    return batches.encoder.tokenizer.decode_batch(inputs.token_ids.tolist())


@pytest.mark.parametrize(
    "shares", [(0.5, 0.5, 0.0), (0.9, 0.9, 0.0), (0.99, 0.0, 0.0), (0.0, 0.99, 1.0)]
)
def test_no_row_loses_both_modalities(batches, shares):
    for seed in range(5):
        inputs = _draw(batches, ALL, *shares, seed=seed).inputs
        assert (inputs.has_image | inputs.has_text).all()
        assert inputs.has_text[TEXT_ONLY].all() and inputs.has_image[IMAGE_ONLY].all()
        assert not inputs.has_image[TEXT_ONLY].any() and not inputs.has_text[IMAGE_ONLY].any()


def test_modalities_are_hidden_as_often_as_said(batches):
    seen = [_draw(batches, BOTH, 0.2, 0.3, 0.0, seed=seed).inputs for seed in range(20)]
    texts = torch.stack([inputs.has_text for inputs in seen]).double().mean()
    images = torch.stack([inputs.has_image for inputs in seen]).double().mean()
    assert [texts.item(), images.item()] == pytest.approx([0.8, 0.7], abs=0.04)


def test_hidden_text_leaves_no_token_behind(batches):
    inputs = _draw(batches, ALL, 0.9, 0.0, 0.0).inputs
    empty = batches.encoder([""])[1].sum()
    assert (inputs.token_mask[~inputs.has_text].sum(1) == empty).all()
    assert (inputs.token_mask[inputs.has_text].sum(1) > empty).all()


@pytest.mark.parametrize(
    ("condition", "has_text", "has_image"),
    [
        # Of rows of both, of a text alone, of an image alone.
        (Condition.AS_IS, [1, 1, 0], [1, 0, 1]),
        (Condition.NO_TEXT, [0, 1, 0], [1, 0, 1]),
        (Condition.NO_IMAGE, [1, 1, 0], [0, 0, 1]),
        (Condition.OTHER_TEXT, [1, 1, 0], [1, 0, 1]),
        (Condition.WORDS_MASKED, [1, 1, 0], [1, 0, 1]),
    ],
)
def test_conditions_take_away_what_they_say_unless_it_is_all_there_is(
    batches, condition, has_text, has_image
):
    inputs = _show(batches, condition)
    assert (inputs.has_text.view(-1, 3) == torch.tensor(has_text)).all()
    assert (inputs.has_image.view(-1, 3) == torch.tensor(has_image)).all()


def test_evaluation_shows_the_same_every_time_and_training_does_not(batches):
    first, second = (_show(batches, Condition.AS_IS).pixel_values for _ in range(2))
    assert first.equal(second) and first.equal(torch.from_numpy(batches.images.pixels))
    assert not _draw(batches, ALL).inputs.pixel_values.equal(first)


def test_rows_are_shown_in_order_whatever_the_batch_size(batches):
    whole = _show(batches, Condition.OTHER_TEXT)
    parts = list(batches.evaluation(ALL, Condition.OTHER_TEXT, size=128))
    assert [len(part.has_text) for part in parts] == [128, 128, 44]
    assert torch.cat([part.pixel_values for part in parts]).equal(whole.pixel_values)
    assert [text for part in parts for text in _texts(batches, part)] == _texts(batches, whole)


def test_text_of_another_product_replaces_texts_beside_a_picture_only(batches):
    shown = (_show(batches, condition) for condition in (Condition.AS_IS, Condition.OTHER_TEXT))
    before, after = (np.array(_texts(batches, inputs)) for inputs in shown)
    assert (before[BOTH] != after[BOTH]).all() and sorted(before[BOTH]) == sorted(after[BOTH])
    assert (before == after)[[*TEXT_ONLY, *IMAGE_ONLY]].all()
    assert _texts(batches, _show(batches, Condition.OTHER_TEXT)) == after.tolist()


def test_product_without_a_partner_of_another_group_loses_its_text(batches):
    inputs = _show(batches, Condition.OTHER_TEXT, BOTH[:1])
    assert not inputs.has_text.any() and inputs.has_image.all()
    assert batches.under(BOTH[:1], Condition.OTHER_TEXT).wordings == [(None, None)]


def test_label_words_are_looked_for_in_the_titles_that_a_condition_leaves(batches):
    own, rows = ["red shirt 0", "red shirt 1", None], ALL[:3]
    for condition, titles in (
        (Condition.AS_IS, own),
        (Condition.NO_IMAGE, own),
        (Condition.NO_TEXT, [None, own[1], None]),
        (Condition.WORDS_MASKED, [None] * 3),
    ):
        assert [title for title, _ in batches.under(rows, condition).wordings] == titles
    exchanged = [title for title, _ in batches.under(ALL, Condition.OTHER_TEXT).wordings]
    beside = [f"red shirt {row}" for row in BOTH]
    assert sorted(exchanged[::3]) == sorted(beside)
    assert all(one != other for one, other in zip(exchanged[::3], beside, strict=True))
    assert exchanged[1::3] == [f"red shirt {row}" for row in TEXT_ONLY]


def test_label_words_vanish_from_masked_texts(batches):
    plain = _texts(batches, _show(batches, Condition.AS_IS, BOTH))
    assert all("red" in text for text in plain)
    always = _draw(batches, BOTH, 0.0, 0.0, 1.0).inputs
    for inputs in (_show(batches, Condition.WORDS_MASKED, BOTH), always):
        texts = _texts(batches, inputs)
        assert all("red" not in text and "shirt" in text for text in texts)


def test_reworded_texts_keep_their_label_words(batches):
    before = _texts(batches, _show(batches, Condition.AS_IS, BOTH))
    after = _texts(batches, _draw(batches, BOTH, reword_text=1.0).inputs)
    assert all(text.count("red") == 1 for text in after)
    words, known = ({word for text in texts for word in text.split()} for texts in (after, before))
    assert words - known and words & known - {"red"}
    assert {"".join(sorted(word)) for word in words} >= {"".join(sorted("shirt")), "der"}
    changed = sum(one != other for one, other in zip(before, after, strict=True))
    assert len(BOTH) > changed > len(BOTH) / 2, "some more, some less"
    assert _texts(batches, _draw(batches, BOTH).inputs) == before


def test_relabelled_texts_name_other_labels_which_are_right_then(of_two_colors):
    drawn = _draw(of_two_colors, ALL, relabel_text=1.0)
    changed = drawn.targets != of_two_colors.products.targets
    assert len(ALL) / 4 < changed.sum() < len(ALL) / 2, "half of the texts, to what half does say"
    assert not changed[IMAGE_ONLY].any()
    said = {0: {"", "red shirt"}, 1: {"", "navy shirt", "blue shirt"}}
    for text, (target,) in zip(_texts(of_two_colors, drawn.inputs), drawn.targets, strict=True):
        assert text.strip() in said[target]


@pytest.mark.parametrize("hidden", [(0.0, 0.0, 1.0), (1.0, 0.0, 0.0)])
def test_where_a_text_does_not_tell_the_labels_stay_those_of_the_picture(of_two_colors, hidden):
    drawn = _draw(of_two_colors, BOTH, *hidden, relabel_text=1.0)
    assert (drawn.targets == of_two_colors.products.targets[BOTH]).all()


def test_another_products_text_is_neither_reworded_nor_relabelled(of_two_colors):
    drawn = _draw(of_two_colors, BOTH, swap_text=0.5, reword_text=1.0, relabel_text=1.0)
    swapped = ~drawn.own_text
    texts = np.array(_texts(of_two_colors, drawn.inputs))
    assert 0 < swapped.sum() < len(BOTH)
    assert {text.strip() for text in texts[swapped]} == {"red shirt", "navy shirt"}
    assert (drawn.targets == of_two_colors.products.targets[BOTH])[swapped].all()


def test_texts_are_swapped_between_groups_beside_pictures_that_stay(batches):
    # Pictures are hidden too where they may be.
    drawn = _draw(batches, ALL, 0.0, 0.5, 0.0, swap_text=1.0)
    swapped = ALL[~drawn.own_text]
    assert len(BOTH) / 2 < len(swapped) and set(swapped) <= set(BOTH)
    assert (drawn.inputs.has_text & drawn.inputs.has_image)[swapped].all()
    of_one_group = replace(batches.products, groups=np.zeros(COUNT, dtype=np.int64))
    alike = Batches(of_one_group, batches.images, batches.encoder, WORDS)
    assert _draw(alike, BOTH, 0.0, 0.5, 0.0, swap_text=1.0).own_text.all()


def test_contrast_is_shown_pictures_with_texts_of_their_own():
    names = ("drop_text", "drop_image", "swap_text", "reword_text", "relabel_text")
    shares = dict(zip(names, (0.1, 0.2, 0.4, 0.5, 0.6), strict=True))
    config = TrainingConfig(name="a", phases=(), mask_label_words=0.3, **shares)
    assert in_phase(config, "multitask") == config
    shown = in_phase(config, "contrastive")
    assert [getattr(shown, name) for name in names] == [0.0] * 5 and shown.mask_label_words == 0.3


def test_an_epoch_sees_every_row_once_in_full_sorted_batches():
    rows = np.arange(100, 150)
    drawn = list(shuffled(rows, 8, np.random.default_rng(0)))
    assert [len(batch) for batch in drawn] == [8] * 6
    assert all((np.diff(batch) > 0).all() for batch in drawn)
    flat = np.concatenate(drawn)
    assert len(set(flat)) == 48 and set(flat) <= set(rows)
    again = np.concatenate(list(shuffled(rows, 8, np.random.default_rng(1))))
    assert flat.tolist() != again.tolist()
