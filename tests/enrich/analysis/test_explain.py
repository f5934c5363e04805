"""Words, attention and what each word adds to an answer."""

import dataclasses

import numpy as np
import pytest
import torch

from enrich.analysis.explain import ReadWord, explain, joint_attention, read_words, without
from enrich.classifiers.checkpoint import build_classifier
from enrich.classifiers.towers import build_towers
from enrich.errors import CheckpointError, ConfigError
from enrich.records import Modalities, Product


def _tokens_as_text(tokenizer, text, tokens):
    ids = tokenizer.encode(text).ids
    return tokenizer.decode([ids[position] for position in tokens]).strip()


def test_every_piece_of_a_word_belongs_to_it(tokenizer):
    text = "Quixotic zebra shirt"
    tokenizer.no_truncation()
    words = read_words(tokenizer, text)
    assert [word.text for word in words] == ["quixotic", "zebra", "shirt"]
    assert len(words[0].tokens) > 1
    for word in words:
        assert _tokens_as_text(tokenizer, text, word.tokens) == word.text


@pytest.mark.parametrize(
    ("text", "words"),
    [
        ("women's t-shirt, red/white.", ["women's", "t-shirt", "red", "white"]),
        ('- 16"x18" (renewed) …', ["16", "x18", "renewed"]),
        ("rouge «clair»", ["rouge", "clair"]),
        ("काली कमीज", ["काली", "कमीज"]),
        ("תיק שחור", ["תיק", "שחור"]),
        ("$x^2$", ["x^2"]),
        ("!?", []),
    ],
)
def test_punctuation_parts_words_only_where_a_reader_would(tokenizer, text, words):
    tokenizer.no_truncation()
    assert [word.text for word in read_words(tokenizer, text)] == words


def test_a_word_that_stands_twice_is_one_word_with_the_tokens_of_both(tokenizer):
    (shirt, red) = read_words(tokenizer, "shirt Red red")
    assert len(red.tokens) == 2 * len(read_words(tokenizer, "red")[0].tokens)
    assert (shirt.text, without(red.text, "shirt Red red")) == ("shirt", "shirt")


def test_a_word_behind_the_cut_is_not_read(tokenizer):
    tokenizer.enable_truncation(4)
    try:
        assert [word.text for word in read_words(tokenizer, "a red striped shirt")] == ["a", "red"]
    finally:
        tokenizer.no_truncation()


def test_a_word_left_out_takes_no_other_with_it():
    text = "a redder red, a red-ish red"
    assert without("red", text) == "a redder , a red-ish"


def _inputs(engine, *products):
    return engine.build_inputs([engine.prepare(product) for product in products])


def test_weights_sum_to_one_and_leave_out_what_is_not_there(engine, product):
    inputs = _inputs(engine, product, Product("p2", "red shirt"))
    weights = joint_attention(engine.classifier, inputs)
    tokens = inputs.token_ids.shape[1] + 1 + 2 * 2
    assert weights.shape == (2, tokens, tokens)
    torch.testing.assert_close(weights.sum(2), torch.ones(2, tokens))
    # No token looks at a missing picture or at padding.
    words = int(inputs.token_mask[1].sum())
    assert weights[1, :words, words:].abs().max() == 0 < weights[1, :words, :words].min()


def _attention_in(layer, given):
    """Return what a layer's attention computes, as the mean over its heads."""
    attention = layer.get_submodule("self_attn")
    normed = layer.get_submodule("norm1")(given)
    query, key, _ = (
        torch.nn.functional.linear(normed, attention.in_proj_weight, attention.in_proj_bias)
        .unflatten(2, (3, attention.num_heads, attention.head_dim))
        .permute(2, 0, 3, 1, 4)
    )
    return (query @ key.mT / attention.head_dim**0.5).softmax(3).mean(1)


def test_attention_rollout_is_half_residual_and_half_attention(engine, product):
    layers = list(engine.classifier.get_submodule("sequence_wise.transformer.layers"))
    seen: list[torch.Tensor] = []
    hooks = [
        layer.register_forward_pre_hook(lambda _, given: seen.append(given[0].clone()))
        for layer in layers
    ]
    weights = joint_attention(engine.classifier, _inputs(engine, product))
    for hook in hooks:
        hook.remove()
    with torch.inference_mode():
        first, last = (
            (computed + torch.eye(computed.shape[1])) / 2
            for computed in map(_attention_in, layers, seen)
        )
    torch.testing.assert_close(weights, last @ first)


def test_reading_the_attention_changes_no_answer_and_leaves_no_hook(engine, product):
    inputs = _inputs(engine, product)
    with torch.inference_mode():
        before = engine.classifier(inputs)
    joint_attention(engine.classifier, inputs)
    with torch.inference_mode():
        after = engine.classifier(inputs)
    for attribute, logits in before.logits.items():
        assert after.logits[attribute].equal(logits)
    assert not any(m._forward_hooks or m._forward_pre_hooks for m in engine.classifier.modules())


def test_a_classifier_without_that_attention_is_refused(engine, product, small_config, tokenizer):
    config = small_config.model_copy(update={"sequence_wise": False})
    other = build_classifier(config, tokenizer.get_vocab_size()).eval()
    with pytest.raises(CheckpointError, match="without attention over text and image"):
        joint_attention(other, _inputs(engine, product))


def test_answers_and_pixels_are_the_engines_own(engine, product):
    found = explain(engine, product, 12)
    assert found.answer == next(engine.enrich([product]))
    assert found.pixels is not None
    assert (found.pixels == engine.prepare(product).pixels).all()


@pytest.mark.parametrize(
    ("product", "style"),
    [
        (Product("p1", "shirt", None, "red.jpg"), 0.52),
        (Product("p1", image_path="red.jpg"), 0.53),
        (Product("p1", "shirt"), 0.51),
    ],
    ids=["both", "image", "text"],
)
def test_thresholds_are_those_of_what_the_product_was_read_from(engine, product, style):
    found = explain(engine, product, 12)
    assert found.thresholds == {"color": 0.0, "pattern": float("inf"), "style": style}


def test_each_map_is_a_grid_of_patches_and_sums_to_one(engine, product):
    found = explain(engine, product, 12)
    maps = [found.whole_image, found.whole_text, *(word.patches for word in found.words)]
    assert len(maps) > 4
    for patches in maps:
        assert patches is not None and patches.shape == (2, 2)
        assert patches.sum() == pytest.approx(1) and patches.min() >= 0


def _each_on_one_patch(classifier, inputs):
    """Of 2 x 2 patches a picture's tokens look at the upper right, a text's at the lower left."""
    text_length = inputs.token_ids.shape[1]
    weights = torch.zeros(1, text_length + 5, text_length + 5)
    # CLS, then the patches row by row: upper left, upper right, lower left, lower right.
    weights[:, text_length:, text_length + 1 + 1] = 1
    weights[:, :text_length, text_length + 1 + 2] = 1
    return weights


def test_a_patch_lies_in_the_map_where_it_lies_in_the_picture(engine, product, monkeypatch):
    monkeypatch.setattr("enrich.analysis.explain.joint_attention", _each_on_one_patch)
    found = explain(engine, product, 12)
    assert found.whole_image is not None and found.whole_image.tolist() == [[0, 1], [0, 0]]
    for patches in (found.whole_text, found.words[0].patches):
        assert patches is not None and patches.tolist() == [[0, 0], [1, 0]]


def test_what_a_word_adds_is_the_confidence_less_that_without_it(engine, product):
    found = explain(engine, product, 12)
    striped = next(word for word in found.words if word.text == "striped")
    left = dataclasses.replace(product, title="Red T-shirt", description="a shirt for the office")
    for before, after in zip(
        found.answer.predictions, next(engine.enrich([left])).predictions, strict=True
    ):
        candidates = {c.label: c.confidence for c in (*after.alternatives, after)}
        wanted = before.confidence - candidates[before.label]
        # The engine may compute in half precision.
        assert striped.adds[before.attribute] == pytest.approx(wanted, abs=0.01)


def test_a_label_in_the_description_is_not_one_in_the_title(engine, monkeypatch):
    looked_in = []
    find = engine.answerer.find_named
    monkeypatch.setattr(
        engine.answerer, "find_named", lambda texts: looked_in.extend(texts) or find(texts)
    )
    explain(engine, Product("p1", "Red shirt", "red", "red.jpg"), 12)
    assert ("Red shirt", "red") in looked_in and ("shirt", None) in looked_in


def test_the_words_that_move_an_answer_most_come_first(engine, product):
    effects = [abs(word.effect[1]) for word in explain(engine, product, 12).words]
    assert effects == sorted(effects, reverse=True)
    first = explain(engine, product, 3).words
    assert [abs(word.effect[1]) for word in first] == effects[:3]
    assert first[0].effect[1] in first[0].adds.values()


def test_a_word_s_effect_is_on_the_attribute_that_it_moved_most_either_way():
    word = ReadWord("red", None, {"color": -0.6, "pattern": 0.1, "style": 0.4})
    assert word.effect == ("color", -0.6)


def test_a_product_without_text_or_image_shows_what_there_is(engine):
    pictured = explain(engine, Product("p1", image_path="red.jpg"), 12)
    assert pictured.answer.modalities is Modalities.IMAGE
    assert (pictured.words, pictured.whole_text) == ((), None)
    assert pictured.whole_image is not None
    told = explain(engine, Product("p1", "red shirt", image_path="gone.jpg"), 12)
    assert told.answer.modalities is Modalities.TEXT
    assert (told.pixels, told.whole_image, told.whole_text) == (None, None, None)
    assert {word.text: word.patches for word in told.words} == {"red": None, "shirt": None}


def test_a_single_word_that_is_all_there_is_carries_the_whole_answer(engine):
    found = explain(engine, Product("p1", "shirt"), 12)
    adds = found.words[0].adds
    assert all(np.isfinite(list(adds.values())))
    for prediction in found.answer.predictions:
        assert adds[prediction.attribute] == pytest.approx(prediction.confidence, abs=0.01)


def test_a_product_of_which_nothing_can_be_read_is_refused(engine):
    with pytest.raises(ConfigError, match=r"'p1' cannot be explained.*image_missing"):
        explain(engine, Product("p1", image_path="gone.jpg"), 12)


def test_an_image_tower_without_a_grid_is_refused(engine, product, monkeypatch):
    monkeypatch.setattr("enrich.analysis.explain.joint_attention", _each_on_one_patch)
    monkeypatch.setattr(engine.classifier.image_tower, "grid", 0)
    with pytest.raises(CheckpointError, match="without a grid of patches"):
        explain(engine, product, 12)


@pytest.mark.parametrize("config", ["small_config", "clip_config"])
def test_an_image_tower_says_the_grid_that_follows_its_cls(config, request):
    tower = build_towers(request.getfixturevalue(config), vocabulary=320)[0].eval()
    with torch.inference_mode():
        embeds = tower.embed(tower.features(torch.zeros(1, 3, 64, 64))).embeds
    assert tower.grid == 2 and embeds.shape[1] >= 1 + 2 * 2
