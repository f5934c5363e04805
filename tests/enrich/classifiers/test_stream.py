"""A text encoder reads a sequence shared with an image by its own layers and weights."""

from dataclasses import replace
from typing import Any

import pytest
import torch
from model_outputs import answer

from enrich.classifiers.config import PairTowers
from enrich.classifiers.hugging_face_towers import EncoderTextTower, build_encoder
from enrich.classifiers.stream import CELLS, Segment
from enrich.training.pretrained import load_parts

STREAMS = ("mmbt", "single_stream")
# The same four sizes by the names that each family has for them.
BERT_SIZES = {
    "hidden_size": 32,
    "intermediate_size": 64,
    "num_hidden_layers": 1,
    "num_attention_heads": 2,
}
DISTILBERT_SIZES = {"dim": 32, "hidden_dim": 64, "n_layers": 1, "n_heads": 2}
ENCODERS = {
    "bert": BERT_SIZES,
    "distilbert": DISTILBERT_SIZES,
    "roberta": BERT_SIZES | {"pad_token_id": 1},
    "modernbert": BERT_SIZES | {"pad_token_id": 0, "cls_token_id": 1, "sep_token_id": 2},
}


def _assert_halves_make_the_whole(tower, products):
    ids, mask = products.token_ids, products.token_mask
    positions = torch.arange(ids.shape[1])
    with torch.inference_mode():
        whole = tower(ids, mask).embeds
        halves = tower.attend(tower.words(ids, mask), mask, positions)
    torch.testing.assert_close(halves[mask], whole[mask], rtol=1e-4, atol=1e-5)


@pytest.mark.parametrize("kind", ENCODERS)
def test_words_through_an_encoder_s_layers_are_its_own_tokens(kind, products, tokenizer):
    torch.manual_seed(1)
    sizes = {"vocab_size": tokenizer.get_vocab_size(), "max_position_embeddings": 24}
    text = build_encoder({"model_type": kind, **sizes, **ENCODERS[kind]})
    # RoBERTa tells padding from text by its id, which is 1 there.
    ids = products.token_ids.clamp(min=5).masked_fill(~products.token_mask, 1)
    products = replace(products, token_ids=ids)
    _assert_halves_make_the_whole(
        EncoderTextTower(text, PairTowers(vision={"model_type": "vit"}, text={}, width=48)).eval(),
        products,
    )


def test_words_through_the_small_tower_s_layers_are_what_it_makes_of_the_text(build, products):
    _assert_halves_make_the_whole(build("cma_clip").text_tower, products)


@pytest.mark.parametrize("name", STREAMS)
def test_a_published_encoder_is_the_whole_stream_and_starts_on_its_weights(name, build, pair_json):
    classifier = build(name, towers=PairTowers(**pair_json))
    published = build_encoder(pair_json["text"])
    load_parts(classifier, {"text_tower.text": published})
    for key, tensor in published.state_dict().items():
        assert classifier.text_tower.text.state_dict()[key].equal(tensor), key
    assert classifier.joint is None
    assert classifier.pretrained() == [classifier.image_tower.vision, classifier.text_tower.text]


@pytest.mark.parametrize("name", STREAMS)
def test_contrast_compares_the_image_s_pieces_with_the_mean_word(name, build, products):
    classifier = build(name)
    pieces: list[torch.Tensor] = []
    classifier.from_image.register_forward_hook(lambda _, __, out: pieces.append(out))
    with torch.inference_mode():
        output = answer(classifier, products)
        words = classifier.text_tower.tokens(products.token_ids[1, products.token_mask[1]])
    torch.testing.assert_close(output.vectors.text[1], words.mean(0))
    torch.testing.assert_close(output.vectors.image, pieces[0].mean(1))


@pytest.fixture
def classifier(build):
    return build("mmbt")


def _segments(classifier, inputs):
    """Return what the classifier's layers read."""
    given: list[tuple[Segment, Segment]] = []
    attend = classifier.attend

    def note(*segments):
        given.append(segments)
        return attend(*segments)

    with pytest.MonkeyPatch.context() as patch, torch.inference_mode():
        patch.setattr(classifier, "attend", note)
        classifier(inputs)
    return given[0]


def test_the_sequence_is_cls_three_cells_sep_and_the_text(classifier, products):
    image, text = _segments(classifier, products)
    rows, length = products.token_ids.shape
    assert CELLS == 3 and image.embeds.shape == (rows, 5, 32)
    cls, sep = classifier.marks
    assert (image.embeds[:, 0] == cls).all() and (image.embeds[:, 4] == sep).all()
    with torch.inference_mode():
        words = classifier.text_tower.tokens(products.token_ids[:, 1:])
    assert text.embeds.equal(words)
    assert image.positions.tolist() == [0, 1, 2, 3, 4]
    assert text.positions.tolist() == list(range(length - 1))


def test_cells_are_the_mapped_means_of_the_image_s_patches_from_top_to_bottom(classifier, products):
    image, _ = _segments(classifier, products)
    with torch.inference_mode():
        patches = classifier.encode_image(products).embeds[:, 1:]
        assert patches.shape[1] == 4
        # Four patches in three cells overlap by one.
        means = torch.stack([patches[:, at : at + 2].mean(1) for at in range(3)], dim=1)
        wanted = classifier.from_image(means)
    torch.testing.assert_close(image.embeds[:, 1:4], wanted)


def test_only_the_marks_are_left_of_what_a_row_lacks(classifier, products):
    lacking = replace(
        products,
        has_image=torch.tensor([True, False, True]),
        has_text=torch.tensor([True, True, False]),
    )
    image, text = _segments(classifier, lacking)
    assert image.mask.tolist() == [[True] * 5, [True, False, False, False, True], [True] * 5]
    wanted = products.token_mask[:, 1:].clone()
    wanted[2] = False
    assert text.mask.equal(wanted)


def test_words_and_patches_enter_the_first_layer_together(build, products):
    classifier = build("single_stream")
    entered: list[tuple[Any, ...]] = []
    classifier.text_tower.transformer.register_forward_pre_hook(
        lambda _, given: entered.append(given)
    )
    with torch.inference_mode():
        classifier.segments.copy_(torch.tensor([[1.0], [-1.0]]).expand(2, 32))
        classifier(products)
        words = classifier.text_tower.tokens(products.token_ids)
        patches = classifier.from_image(classifier.encode_image(products).embeds[:, 1:])
        tower = classifier.text_tower
        length, last = words.shape[1], classifier.config.text_length - 1
        words[:, 0] = classifier.marks[0]
        wanted = [words + 1 + tower.positions[:length], patches - 1 + tower.positions[last]]
    # Once, for both: no layer reads the text alone.
    (given,) = entered
    torch.testing.assert_close(given[0], torch.cat(wanted, dim=1))
