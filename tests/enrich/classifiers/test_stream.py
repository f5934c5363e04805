"""A text encoder reads a sequence shared with an image by its own layers and weights."""

from collections.abc import Callable
from dataclasses import replace
from typing import Any

import pytest
import torch
from model_outputs import answer
from tokenizers import Tokenizer

from enrich.classifiers.config import ClassifierConfig, HuggingFaceTowers, PairTowers
from enrich.classifiers.hugging_face_towers import EncoderTextTower, build_encoder
from enrich.classifiers.interface import Classifier, ModelInputs
from enrich.classifiers.small_towers import SmallTextTower
from enrich.classifiers.tokenizer import TextEncoder
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


def _assert_halves_make_the_whole(
    tower: EncoderTextTower | SmallTextTower, products: ModelInputs
) -> None:
    ids, mask = products.token_ids, products.token_mask
    positions = torch.arange(ids.shape[1])
    with torch.inference_mode():
        whole = tower(ids, mask).embeds
        halves = tower.attend(tower.words(ids, mask), mask, positions)
    torch.testing.assert_close(halves[mask], whole[mask], rtol=1e-4, atol=1e-5)


@pytest.mark.parametrize("kind", ENCODERS)
def test_words_through_an_encoder_s_layers_are_what_the_encoder_makes_of_the_text(
    kind: str, products: ModelInputs, tokenizer: Tokenizer
) -> None:
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


def test_words_through_the_small_tower_s_layers_are_what_it_makes_of_the_text(
    build: Callable[..., Classifier], products: ModelInputs
) -> None:
    _assert_halves_make_the_whole(build("cma_clip").text_tower, products)


@pytest.mark.parametrize("name", STREAMS)
def test_a_published_encoder_is_the_whole_stream_and_starts_on_its_weights(
    name: str, build: Callable[..., Classifier], pair_json: dict[str, Any]
) -> None:
    classifier = build(name, towers=PairTowers(**pair_json))
    published = build_encoder(pair_json["text"])
    load_parts(classifier, {"text_tower.text": published})
    for key, tensor in published.state_dict().items():
        assert classifier.text_tower.text.state_dict()[key].equal(tensor), key
    assert classifier.stream.joint is None
    assert classifier.pretrained() == [classifier.image_tower.vision, classifier.text_tower.text]


@pytest.mark.parametrize("name", STREAMS)
def test_small_towers_and_clip_get_new_layers_on_top(
    name: str, build: Callable[..., Classifier], clip_json: dict[str, Any]
) -> None:
    for changes in ({}, {"towers": HuggingFaceTowers(model=clip_json)}):
        classifier = build(name, joint_layers=3, **changes)
        assert len(classifier.stream.joint.layers) == 3


@pytest.mark.parametrize("name", STREAMS)
def test_its_marks_start_as_the_tokens_around_every_text(
    name: str,
    build: Callable[..., Classifier],
    pair_json: dict[str, Any],
    tokenizer: Tokenizer,
    small_config: ClassifierConfig,
) -> None:
    classifier = build(name, towers=PairTowers(**pair_json))
    classifier.read_tokenizer(TextEncoder(tokenizer, small_config.text_length))
    start, end = (tokenizer.token_to_id(mark) for mark in ("<start>", "<end>"))
    words = classifier.text_tower.text.get_input_embeddings().weight
    assert classifier.stream.marks.equal(words[[start, end]])


@pytest.mark.parametrize("name", STREAMS)
def test_contrast_compares_the_image_s_pieces_with_the_mean_word(
    name: str, build: Callable[..., Classifier], products: ModelInputs
) -> None:
    classifier = build(name)
    pieces: list[torch.Tensor] = []
    classifier.stream.from_image.register_forward_hook(lambda _, __, out: pieces.append(out))
    with torch.inference_mode():
        output = answer(classifier, products)
        words = classifier.text_tower.tokens(products.token_ids[1, products.token_mask[1]])
    torch.testing.assert_close(output.vectors.text[1], words.mean(0))
    torch.testing.assert_close(output.vectors.image, pieces[0].mean(1))


@pytest.mark.parametrize("name", STREAMS)
def test_the_answer_is_read_at_cls(
    name: str, build: Callable[..., Classifier], products: ModelInputs
) -> None:
    classifier = build(name)
    read: list[torch.Tensor] = []
    classifier.stream.joint.register_forward_hook(lambda _, __, out: read.append(out))
    with torch.inference_mode():
        logits = answer(classifier, products).logits
        for attribute, head in classifier.heads.items():
            torch.testing.assert_close(logits[attribute], head(read[0][:, 0]))
