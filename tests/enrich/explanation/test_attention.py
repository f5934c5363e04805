"""The attention is read out of the classifier as it computes it."""

import pytest
import torch
from tokenizers import Tokenizer

from enrich.classifiers.config import ClassifierConfig
from enrich.classifiers.interface import ModelInputs
from enrich.classifiers.registry import build_classifier
from enrich.engine import Engine
from enrich.errors import CheckpointError
from enrich.explanation.attention import joint_attention
from enrich.records import Product


def _inputs(engine: Engine, *products: Product) -> ModelInputs:
    return engine.build_inputs([engine.prepare(product) for product in products])


def test_the_weights_of_every_token_sum_to_one(engine: Engine, product: Product) -> None:
    inputs = _inputs(engine, product, Product("p2", "red shirt"))
    weights = joint_attention(engine.classifier, inputs)
    tokens = inputs.token_ids.shape[1] + 1 + 2 * 2
    assert weights.shape == (2, tokens, tokens)
    torch.testing.assert_close(weights.sum(2), torch.ones(2, tokens))


def test_a_missing_modality_and_padding_are_looked_at_by_no_other_token(
    engine: Engine, product: Product
) -> None:
    inputs = _inputs(engine, product, Product("p2", "red shirt"))
    weights = joint_attention(engine.classifier, inputs)[1]
    words = int(inputs.token_mask[1].sum())
    assert weights[:words, words:].abs().max() == 0 < weights[:words, :words].min()


def _attention_in(layer: torch.nn.Module, given: torch.Tensor) -> torch.Tensor:
    """Returns what a layer's attention computes, as the mean over its heads."""
    attention = layer.get_submodule("self_attn")
    normed = layer.get_submodule("norm1")(given)
    query, key, _ = (
        torch.nn.functional.linear(normed, attention.in_proj_weight, attention.in_proj_bias)
        .unflatten(2, (3, attention.num_heads, attention.head_dim))
        .permute(2, 0, 3, 1, 4)
    )
    return (query @ key.mT / attention.head_dim**0.5).softmax(3).mean(1)


def test_each_layer_is_half_the_residual_and_half_what_attention_computes_of_the_one_below(
    engine: Engine, product: Product
) -> None:
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


def test_reading_the_attention_changes_no_answer_and_leaves_no_hook(
    engine: Engine, product: Product
) -> None:
    inputs = _inputs(engine, product)
    with torch.inference_mode():
        before = engine.classifier(inputs)
    joint_attention(engine.classifier, inputs)
    with torch.inference_mode():
        after = engine.classifier(inputs)
    for attribute, logits in before.logits.items():
        assert after.logits[attribute].equal(logits)
    assert not any(m._forward_hooks or m._forward_pre_hooks for m in engine.classifier.modules())


def test_a_classifier_without_that_attention_is_refused(
    engine: Engine, product: Product, small_config: ClassifierConfig, tokenizer: Tokenizer
) -> None:
    config = small_config.model_copy(update={"sequence_wise": False})
    other = build_classifier(config, tokenizer.get_vocab_size()).eval()
    with pytest.raises(CheckpointError, match="has no attention over text and image together"):
        joint_attention(other, _inputs(engine, product))
