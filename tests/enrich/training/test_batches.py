"""Training hides things at random and never everything; evaluation hides the same every time."""

from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch
from labelled import labelled_products
from tokenizers import Tokenizer

from enrich.classifiers.config import ClassifierConfig
from enrich.classifiers.interface import ModelInputs
from enrich.classifiers.tokenizer import TextEncoder
from enrich.lexicon import Lexicon
from enrich.text import build_text
from enrich.training.augmentation import LabelWords
from enrich.training.batches import Batches, Condition, Hiding, shuffled
from enrich.training.config import TrainingConfig
from enrich.training.pixel_cache import CachedImages, cache_pixels
from schemas.labels import ATTRIBUTE_LABELS, LABEL_WORDS

COUNT = 300
WORDS = LabelWords({"color": ("red", "blue")}, Lexicon.of_labels({"color": {"blue": ("navy",)}}))


@pytest.fixture(scope="module")
def batches(tokenizer: Tokenizer, tmp_path_factory: pytest.TempPathFactory) -> Batches:
    """A third of the rows has both modalities, a third the text alone, a third the image alone."""
    kinds = np.arange(COUNT) % 3
    pixels = np.random.default_rng(0).integers(0, 256, (COUNT, 3, 16, 16), dtype=np.uint8)
    texts = ["" if kind == 2 else f"red shirt {row}" for row, kind in enumerate(kinds)]
    images = CachedImages(pixels, kinds != 1, tmp_path_factory.mktemp("cache"), "noise")
    return Batches(labelled_products(texts), images, TextEncoder(tokenizer, 16), WORDS)


ALL = np.arange(COUNT)
BOTH, TEXT_ONLY, IMAGE_ONLY = ALL[0::3], ALL[1::3], ALL[2::3]


def _show(batches: Batches, rows: np.ndarray, condition: Condition) -> ModelInputs:
    (inputs,) = batches.evaluation(rows, condition, size=len(rows))
    return inputs


def test_label_words_are_looked_for_in_the_titles_that_a_condition_leaves(batches: Batches) -> None:
    own = [f"red shirt {row}" for row in range(2)] + [""]
    rows = ALL[:3]  # both, the text alone, the image alone
    assert batches.titles(rows, Condition.AS_IS) == own
    assert batches.titles(rows, Condition.NO_IMAGE) == own
    assert batches.titles(rows, Condition.NO_TEXT) == [None, own[1], None]
    assert batches.titles(rows, Condition.WORDS_MASKED) == [None] * 3
    exchanged = batches.titles(ALL, Condition.OTHER_TEXT)
    assert sorted(exchanged[::3]) == sorted(own[0][:-1] + str(row) for row in BOTH)
    assert all(title != f"red shirt {row}" for row, title in zip(BOTH, exchanged[::3], strict=True))
    assert exchanged[1::3] == [f"red shirt {row}" for row in TEXT_ONLY]


@pytest.mark.parametrize(
    "hiding",
    [Hiding(0.5, 0.5, 0.0), Hiding(0.9, 0.9, 0.0), Hiding(0.99, 0.0, 0.0), Hiding(0.0, 0.99, 1.0)],
)
def test_no_row_loses_both_modalities(batches: Batches, hiding: Hiding) -> None:
    for seed in range(5):
        inputs = batches.training(ALL, hiding, np.random.default_rng(seed)).inputs
        assert (inputs.has_image | inputs.has_text).all()
        assert inputs.has_text[TEXT_ONLY].all() and inputs.has_image[IMAGE_ONLY].all()
        assert not inputs.has_image[TEXT_ONLY].any() and not inputs.has_text[IMAGE_ONLY].any()


def test_modalities_are_hidden_as_often_as_said(batches: Batches) -> None:
    rng = np.random.default_rng(0)
    seen = [batches.training(ALL, Hiding(0.2, 0.3, 0.0), rng).inputs for _ in range(20)]
    texts = torch.stack([inputs.has_text[BOTH] for inputs in seen]).double().mean()
    images = torch.stack([inputs.has_image[BOTH] for inputs in seen]).double().mean()
    assert texts.item() == pytest.approx(0.8, abs=0.04)
    assert images.item() == pytest.approx(0.7, abs=0.04)


def test_hidden_text_leaves_no_token_behind(batches: Batches) -> None:
    inputs = batches.training(ALL, Hiding(0.9, 0.0, 0.0), np.random.default_rng(0)).inputs
    empty = batches.encoder([""])[1].sum()
    assert (inputs.token_mask[~inputs.has_text].sum(1) == empty).all()
    assert (inputs.token_mask[inputs.has_text].sum(1) > empty).all()


def test_conditions_take_away_what_they_say_unless_it_is_all_there_is(batches: Batches) -> None:
    def seen(condition: Condition) -> tuple[torch.Tensor, torch.Tensor]:
        inputs = _show(batches, ALL, condition)
        return inputs.has_text, inputs.has_image

    has_text, has_image = seen(Condition.AS_IS)
    assert has_text[BOTH].all() and has_image[BOTH].all()
    has_text, has_image = seen(Condition.NO_TEXT)
    assert not has_text[BOTH].any() and has_image[BOTH].all() and has_text[TEXT_ONLY].all()
    has_text, has_image = seen(Condition.NO_IMAGE)
    assert has_text[BOTH].all() and not has_image[BOTH].any() and has_image[IMAGE_ONLY].all()


def _texts(batches: Batches, ids: torch.Tensor) -> list[str]:
    return batches.encoder.tokenizer.decode_batch(ids.tolist())


def test_evaluation_shows_the_same_every_time_and_training_does_not(batches: Batches) -> None:
    rng = np.random.default_rng(0)
    first, second = (_show(batches, ALL, Condition.AS_IS) for _ in range(2))
    assert first.pixel_values.equal(second.pixel_values)
    assert first.pixel_values.equal(torch.from_numpy(batches.images.pixels))
    drawn = batches.training(ALL, Hiding(0.0, 0.0, 0.0), rng).inputs
    assert not drawn.pixel_values.equal(first.pixel_values)


def test_rows_are_shown_in_order_whatever_the_batch_size(batches: Batches) -> None:
    whole = _show(batches, ALL, Condition.OTHER_TEXT)
    parts = list(batches.evaluation(ALL, Condition.OTHER_TEXT, size=128))
    assert [len(part.has_text) for part in parts] == [128, 128, 44]
    assert torch.cat([part.pixel_values for part in parts]).equal(whole.pixel_values)
    texts = [text for part in parts for text in _texts(batches, part.token_ids)]
    assert texts == _texts(batches, whole.token_ids)


def test_text_of_another_product_replaces_texts_beside_a_picture_only(batches: Batches) -> None:
    as_is = _show(batches, ALL, Condition.AS_IS)
    other = _show(batches, ALL, Condition.OTHER_TEXT)
    assert other.has_text.equal(as_is.has_text) and other.has_image.equal(as_is.has_image)
    before, after = _texts(batches, as_is.token_ids), _texts(batches, other.token_ids)
    assert all(before[row] != after[row] for row in BOTH)
    assert sorted(before[row] for row in BOTH) == sorted(after[row] for row in BOTH)
    assert all(before[row] == after[row] for row in (*TEXT_ONLY, *IMAGE_ONLY))
    again = _show(batches, ALL, Condition.OTHER_TEXT)
    assert again.token_ids.equal(other.token_ids)


def test_product_without_a_partner_of_another_group_loses_its_text(batches: Batches) -> None:
    inputs = _show(batches, BOTH[:1], Condition.OTHER_TEXT)
    assert not inputs.has_text.any() and inputs.has_image.all()


def test_label_words_vanish_from_masked_texts(batches: Batches) -> None:
    plain = _show(batches, BOTH, Condition.AS_IS)
    masked = _show(batches, BOTH, Condition.WORDS_MASKED)
    always = batches.training(BOTH, Hiding(0.0, 0.0, 1.0), np.random.default_rng(0)).inputs
    assert all("red" in text for text in _texts(batches, plain.token_ids))
    for inputs in (masked, always):
        texts = _texts(batches, inputs.token_ids)
        assert all("red" not in text and "shirt" in text for text in texts)


def test_reworded_texts_keep_their_label_words(
    batches: Batches,
) -> None:
    rewording = Hiding(0.0, 0.0, 0.0, reword=1.0)
    inputs = batches.training(BOTH, rewording, np.random.default_rng(0)).inputs
    before = _texts(batches, _show(batches, BOTH, Condition.AS_IS).token_ids)
    after = _texts(batches, inputs.token_ids)
    assert all(text.count("red") == 1 for text in after)
    words, known = ({word for text in texts for word in text.split()} for texts in (after, before))
    assert words - known and words & known - {"red"}
    assert {"".join(sorted(word)) for word in words} >= {"".join(sorted("shirt")), "der"}
    changed = sum(one != other for one, other in zip(before, after, strict=True))
    assert len(BOTH) > changed > len(BOTH) / 2, "some more, some less"
    never = batches.training(BOTH, Hiding(0.0, 0.0, 0.0), np.random.default_rng(0)).inputs
    assert _texts(batches, never.token_ids) == before


@pytest.fixture
def of_two_colors(batches: Batches) -> Batches:
    """Half of the products are red and the others blue; the texts say so."""
    targets = (np.arange(COUNT) % 2).reshape(-1, 1)
    names = ("red shirt", "Navy shirt")
    rows = zip(batches.products.texts, targets, strict=True)
    texts = [text and names[target] for text, (target,) in rows]
    told = replace(batches.products, texts=texts, targets=targets)
    return Batches(told, batches.images, batches.encoder, WORDS)


def test_relabelled_texts_name_other_labels_which_are_right_then(of_two_colors: Batches) -> None:
    drawn = of_two_colors.training(
        ALL, Hiding(0.0, 0.0, 0.0, relabel=1.0), np.random.default_rng(0)
    )
    changed = drawn.targets != of_two_colors.products.targets
    assert len(ALL) / 4 < changed.sum() < len(ALL) / 2, "half of the texts, to what half does say"
    assert not changed[IMAGE_ONLY].any()
    said = {0: {"", "red shirt"}, 1: {"", "navy shirt", "blue shirt"}}
    texts = _texts(of_two_colors, drawn.inputs.token_ids)
    for text, (target,) in zip(texts, drawn.targets, strict=True):
        assert text.strip() in said[target]


@pytest.mark.parametrize("hiding", [Hiding(0.0, 0.0, 1.0), Hiding(1.0, 0.0, 0.0)])
def test_where_a_text_does_not_tell_the_labels_stay_those_of_the_picture(
    of_two_colors: Batches, hiding: Hiding
) -> None:
    relabelling = replace(hiding, relabel=1.0)
    drawn = of_two_colors.training(BOTH, relabelling, np.random.default_rng(0))
    assert (drawn.targets == of_two_colors.products.targets[BOTH]).all()


def test_another_products_text_is_neither_reworded_nor_relabelled(of_two_colors: Batches) -> None:
    changing = Hiding(0.0, 0.0, 0.0, swap=0.5, reword=1.0, relabel=1.0)
    drawn = of_two_colors.training(BOTH, changing, np.random.default_rng(0))
    swapped = ~drawn.own_text
    texts = np.array(_texts(of_two_colors, drawn.inputs.token_ids))
    assert 0 < swapped.sum() < len(BOTH)
    assert {text.strip() for text in texts[swapped]} == {"red shirt", "navy shirt"}
    assert (drawn.targets == of_two_colors.products.targets[BOTH])[swapped].all()


# Pictures are hidden too where they may be.
SWAPPING = Hiding(0.0, 0.5, 0.0, swap=1.0)


def test_a_text_is_swapped_for_another_one_beside_a_picture_that_stays(
    batches: Batches,
) -> None:
    drawn = batches.training(ALL, SWAPPING, np.random.default_rng(0))
    swapped = ALL[~drawn.own_text]
    assert len(BOTH) / 2 < len(swapped) and set(swapped) <= set(BOTH)
    assert (drawn.inputs.has_text & drawn.inputs.has_image)[swapped].all()


def test_texts_are_swapped_between_groups_alone(batches: Batches) -> None:
    of_one_group = replace(batches.products, groups=np.zeros(COUNT, dtype=np.int64))
    alike = Batches(of_one_group, batches.images, batches.encoder, WORDS)
    assert alike.training(BOTH, SWAPPING, np.random.default_rng(0)).own_text.all()


def test_contrast_is_shown_pictures_with_texts_of_their_own() -> None:
    config = TrainingConfig(
        name="a",
        phases=(),
        drop_text=0.1,
        drop_image=0.2,
        mask_label_words=0.3,
        swap_text=0.4,
        reword_text=0.5,
        relabel_text=0.6,
    )
    assert Hiding.of(config, "contrastive") == Hiding(text=0.0, image=0.0, label_words=0.3)
    assert Hiding.of(config, "multitask") == Hiding(0.1, 0.2, 0.3, 0.4, 0.5, 0.6)


@pytest.mark.parametrize(
    ("text", "label", "renamed"),
    [
        ("Navy shirt, blue collar.", 1, "red shirt, red collar."),
        ("a bluebell", 1, "a bluebell"),
        ("red shirt", 1, "red shirt"),
        ("red", 0, "blue"),
    ],
)
def test_words_of_a_label_give_way_to_another_labels_name(
    text: str, label: int, renamed: str
) -> None:
    assert WORDS.rename(text, "color", label, 1 - label) == renamed


def test_a_longer_label_word_is_not_cut_in_two() -> None:
    words = LabelWords(
        {"color": ("white", "beige", "red")},
        Lexicon.of_labels({"color": {"beige": ("off white",)}}),
    )
    text = "Off White shirt, white collar"
    assert words.rename(text, "color", 0, 2) == "Off White shirt, red collar"
    assert words.rename(text, "color", 1, 2) == "red shirt, white collar"


def test_a_word_that_tells_of_two_attributes_stays_and_is_right_for_both() -> None:
    words = LabelWords({"color": ("red", "blue"), "shade": ("Red", "navy")}, Lexicon({}))
    assert words.rename("red or blue", "color", 0, 1) == "red or blue"
    # Nor does a text come to tell of an attribute that is not asked about.
    assert words.rename("navy or blue", "color", 1, 0) == "navy or blue"
    assert words.rename("red or navy", "shade", 1, 0) == "red or navy"


@pytest.mark.parametrize(
    ("text", "changed"),
    [
        ("Red shirt, navy-blue collar.", "Red SHIRT, navy-blue COLLAR."),
        ("tired of red", "TIRED OF red"),
        ("red", "red"),
        ("", ""),
    ],
)
def test_only_words_that_are_no_label_words_are_changed(text: str, changed: str) -> None:
    assert WORDS.change_others(text, str.upper) == changed
    others = [
        word for word in changed.replace(",", " ").replace(".", " ").split() if word.isupper()
    ]
    assert [word.upper() for word in WORDS.find_others(text)] == others


def test_a_text_of_label_words_stays_without_a_picture_only(
    batches: Batches,
) -> None:
    texts = ["red blue" if text else "" for text in batches.products.texts]
    told = replace(batches.products, texts=texts)
    batches = Batches(told, batches.images, batches.encoder, WORDS)
    masking = Hiding(0.0, 0.0, 1.0)
    for rows in (BOTH, TEXT_ONLY):
        for inputs in (
            _show(batches, rows, Condition.WORDS_MASKED),
            batches.training(rows, masking, np.random.default_rng(0)).inputs,
        ):
            assert bool(inputs.has_text.any()) == (rows is TEXT_ONLY)
            assert (inputs.has_text | inputs.has_image).all()


@pytest.mark.parametrize(
    ("text", "left"),
    [
        ("Red shirt", "shirt"),
        ("shirt in SEA GREEN, slim", "shirt in, slim"),
        ("Nike Men Black, Off White and Navy-Blue Striped Shirt", "Nike Men Shirt"),
        ("a shirt. Red", "a shirt."),
        ("a smart casual shirt", "a shirt"),
        ("tired hundred redder", "tired hundred redder"),
        ("navy-blue", ""),
        ("pinstripes and Off White", "pinstripes and"),
    ],
)
def test_only_whole_label_words_of_any_attribute_are_removed(text: str, left: str) -> None:
    assert LabelWords(ATTRIBUTE_LABELS, Lexicon.of_labels(LABEL_WORDS)).remove(text) == left


@pytest.mark.parametrize(
    ("label", "text", "left"),
    [
        ("红色", "红色连衣裙", "连衣裙"),
        ("赤", "赤いドレス", "いドレス"),
        ("สีแดง", "เสื้อสีแดงสวย", "เสื้อสวย"),
        ("rot", "brot rot", "brot"),
        ("red红", "tired红 red红包", "tired红 包"),
        ("c++", "c++ book", "book"),
        ("100%", "100% cotton 1100%", "cotton 1100%"),
    ],
)
def test_label_words_are_found_where_blanks_or_letters_do_not_end_them(
    label: str, text: str, left: str
) -> None:
    assert LabelWords({"kind": (label,)}, Lexicon({})).remove(text) == left


@pytest.mark.parametrize(
    "label", ["½ zip", "GORE-TEX™", "black &amp; white", "off  white", " Red ", "gru\u0308n"]
)
def test_a_label_is_found_as_texts_write_it(label: str) -> None:
    words = LabelWords({"kind": (label, "blue")}, Lexicon({}))
    assert words.remove(build_text(f"shirt {label} cotton", None)) == "shirt cotton"
    assert words.rename("a blue shirt", "kind", 1, 0) == build_text(f"a {label} shirt", None)
    assert words.rename(build_text(f"a {label} shirt", None), "kind", 0, 1) == "a blue shirt"


def test_an_empty_label_is_no_word() -> None:
    assert LabelWords({"kind": ("", "red")}, Lexicon({})).remove("a red hat") == "a hat"


def test_the_longer_of_two_label_words_goes_first() -> None:
    words = LabelWords({"color": ("rose", "rose gold")}, Lexicon({}))
    assert words.remove("rose gold ring") == "ring"


def test_an_epoch_sees_every_row_once_in_full_sorted_batches() -> None:
    rows = np.arange(100, 150)
    drawn = list(shuffled(rows, 8, np.random.default_rng(0)))
    assert [len(batch) for batch in drawn] == [8] * 6
    assert all((np.diff(batch) > 0).all() for batch in drawn)
    flat = np.concatenate(drawn)
    assert len(set(flat)) == 48 and set(flat) <= set(rows)
    again = np.concatenate(list(shuffled(rows, 8, np.random.default_rng(1))))
    assert flat.tolist() != again.tolist()


def test_words_of_an_attribute_that_is_not_asked_for_stay() -> None:
    words = LabelWords(
        {"dish": ("apple pie",)}, Lexicon.of_labels({"color": {"brown": ("chocolate",)}})
    )
    assert words.remove("Chocolate mousse, apple pie") == "Chocolate mousse,"


def test_pixels_are_decoded_once_and_an_unreadable_picture_is_no_picture(
    tmp_path: Path, write_jpeg: Callable[..., Path], small_config: ClassifierConfig
) -> None:
    write_jpeg(tmp_path / "red.jpg", (220, 20, 20))
    (tmp_path / "bad.jpg").write_bytes(b"no picture")
    paths = ["red.jpg", "bad.jpg", None]
    products = labelled_products(["a"] * 3, str(tmp_path), image_paths=paths)
    first = cache_pixels(products, small_config.image, tmp_path / "cache")
    assert first.has_image.tolist() == [True, False, False]
    assert first.pixels.shape == (3, 3, 64, 64)
    assert first.pixels[0, 0].mean() > 190 and first.pixels[0, 1:].mean() < 60
    decoded = first.folder.stat().st_mtime_ns
    again = cache_pixels(products, small_config.image, tmp_path / "cache")
    assert (again.pixels == first.pixels).all() and again.has_image.tolist() == [True, False, False]
    assert first.folder.stat().st_mtime_ns == decoded
    (tmp_path / "red.jpg").unlink()
    smaller = small_config.image.model_copy(update={"size_px": 32})
    (tmp_path / "bad.jpg").unlink()
    write_jpeg(tmp_path / "bad.jpg", (20, 20, 220))
    again = cache_pixels(products, smaller, tmp_path / "cache")
    assert again.has_image.tolist() == [False, True, False]
