"""Explanation of the answers to one product, as numbers.

Answers and pixels are the engine's own, so they are those of the job.
"""

import re
import unicodedata
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, replace
from typing import Any

import numpy as np
import torch
from jaxtyping import Float
from tokenizers import Tokenizer
from torch import Tensor, nn

from enrich.classifiers.cma_clip import SequenceWiseAttention
from enrich.classifiers.interface import Classifier, ModelInputs, joint_sequence
from enrich.engine.engine import Engine
from enrich.engine.prefetch import Prepared
from enrich.errors import CheckpointError, ConfigError
from enrich.records import EnrichedProduct, Modalities, Product
from enrich.text import normalise

# Not \w+, which would tear t-shirt, women's and the vowel signs of Indian scripts apart.
_CHUNK = re.compile(r"[^\s/|,;:&+()\[\]{}<>=\"]+")

PatchMap = Float[np.ndarray, "G G"]


@dataclass(frozen=True, slots=True)
class Word:
    """A word of a text, with the positions of its tokens, wherever the text has it."""

    text: str
    tokens: tuple[int, ...]


def read_words(tokenizer: Tokenizer, text: str) -> list[Word]:
    """Return the words that the classifier reads of a text, lower-cased and in order.

    Punctuation is left out, and so is text after the last token of the tokenizer.
    """
    encoded = tokenizer.encode(text)
    words = []
    for word, spans in _find_words(text).items():
        tokens = tuple(
            position
            for position, (start, end) in enumerate(encoded.offsets)
            if any(start < span_end and end > span_start for span_start, span_end in spans)
        )
        if tokens:
            words.append(Word(word, tokens))
    return words


def _find_words(text: str) -> dict[str, list[tuple[int, int]]]:
    """Return the places of each word of a text, by the word in lower case."""
    places: dict[str, list[tuple[int, int]]] = {}
    for chunk in _CHUNK.finditer(text):
        # Letters, numbers and marks, and all characters between the first and the last of them.
        inner = [i for i, c in enumerate(chunk.group()) if unicodedata.category(c)[0] in "LNM"]
        if inner:
            start, end = chunk.start() + inner[0], chunk.start() + inner[-1] + 1
            places.setdefault(text[start:end].casefold(), []).append((start, end))
    return places


def without(word: str, text: str) -> str:
    """Return the text without a word in lower case."""
    for start, end in reversed(_find_words(text).get(word, [])):
        text = text[:start] + text[end:]
    return " ".join(text.split())


@dataclass(frozen=True, slots=True)
class ReadWord:
    """A word of the product's text and its effect.

    `patches` is the word's attention over the patches of the picture and sums to 1; None without a
    picture. `adds` is, by attribute, how much the confidence falls without the word, in [-1, 1].
    """

    text: str
    patches: PatchMap | None
    adds: dict[str, float]

    @property
    def effect(self) -> tuple[str, float]:
        """The attribute that the word moves most, and its change."""
        return max(self.adds.items(), key=lambda added: abs(added[1]))


@dataclass(frozen=True, slots=True)
class Explanation:
    """The answers to one product and where they come from.

    `words` moved an answer most, the strongest first. `whole_image` and `whole_text` are the
    attention of I'_CLS and T'_CLS, of which answers are made; None where their modality or the
    picture is missing. `thresholds` are the confidences below which the answer to an attribute is
    abstained on for `target_precision`; inf means always.
    """

    product: Product
    answer: EnrichedProduct
    model_version: str
    target_precision: float
    thresholds: dict[str, float]
    pixels: np.ndarray | None
    words: tuple[ReadWord, ...]
    whole_image: PatchMap | None
    whole_text: PatchMap | None


def explain(engine: Engine, product: Product, most_words: int) -> Explanation:
    """Explain the answers to a product, with its `most_words` strongest words.

    Raises ConfigError if neither picture nor text of the product can be read, and CheckpointError
    if the classifier lacks attention over the joint sequence, or its image tower a grid of patches.
    """
    prepared = engine.prepare(product)
    if prepared.modalities is None:
        raise ConfigError(
            f"product '{product.product_id}' cannot be explained: found an empty text and a "
            f"picture that is {prepared.status} ({prepared.error}), expected one of the two"
        )
    attention = _Attention(engine, prepared)
    words = read_words(engine.encode_texts.tokenizer, prepared.text) if prepared.text else []
    adds = _leave_out_each(engine, prepared, words)
    read = [
        ReadWord(word.text, attention.over_patches(word.tokens), added)
        for word, added in zip(words, adds, strict=True)
    ]
    read.sort(key=lambda word: -abs(word.effect[1]))
    answer = next(engine.enrich([product]))
    thresholds = engine.answerer.thresholds_of(answer, prepared.wording)
    return Explanation(
        product=product,
        answer=answer,
        model_version=engine.spec.model_version,
        target_precision=engine.spec.target_precision,
        thresholds=thresholds,
        pixels=prepared.pixels,
        words=tuple(read[:most_words]),
        whole_image=attention.over_patches([attention.image_cls]),
        whole_text=attention.over_patches([attention.text_cls]) if prepared.text else None,
    )


class _Attention:
    """The attention of one product over its joint sequence, by place."""

    def __init__(self, engine: Engine, prepared: Prepared) -> None:
        inputs = engine.build_inputs([prepared]).to(engine.classifier.device)
        self._weights = joint_attention(engine.classifier, inputs)[0].cpu().numpy()
        self._grid = require_grid(engine.classifier)
        self._has_image = prepared.pixels is not None
        text = engine.classifier.text_tower(inputs.token_ids, inputs.token_mask)
        self.text_cls = int(text.pooled_at[0])
        # Text comes first, and an image tower with a grid starts with its CLS.
        self.image_cls = text.embeds.shape[1]

    def over_patches(self, tokens: Sequence[int]) -> PatchMap | None:
        """Return the mean attention of tokens over the patches; it sums to 1."""
        if not self._has_image:
            return None
        first = self.image_cls + 1
        over: np.ndarray = self._weights[list(tokens), first : first + self._grid**2].mean(0)
        return (over / over.sum()).reshape(self._grid, self._grid)


def _leave_out_each(
    engine: Engine, prepared: Prepared, words: Sequence[Word]
) -> list[dict[str, float]]:
    """Return by word and attribute what the word adds to the confidence."""
    if not words:
        return []
    batch = [prepared, *(_without(word.text, prepared) for word in words)]
    inputs = engine.build_inputs(batch).to(engine.classifier.device)
    modalities = [one.modalities or Modalities.TEXT for one in batch]
    with torch.inference_mode():
        packed = engine.classifier.encode(inputs).pack()
    # Answers are computed on the CPU, wherever the encoder is.
    output = engine.answerer.read(packed.cpu(), modalities)
    can_be_answered = torch.tensor([one.modalities is not None for one in batch])
    adds: list[dict[str, float]] = [{} for _ in words]
    named = engine.answerer.find_named([one.wording for one in batch])
    for attribute, probs in engine.answerer.probabilities(output, modalities, named).items():
        # Without its only word a text is empty, and there is nothing to answer from.
        confidence = probs[:, probs[0].argmax()] * can_be_answered
        for word, added in zip(adds, (confidence[0] - confidence[1:]).tolist(), strict=True):
            word[attribute] = added
    return adds


def _without(word: str, prepared: Prepared) -> Prepared:
    """Return a product whose text, title and description lack the word."""
    title, description = (without(word, normalise(part)) or None for part in prepared.wording)
    return replace(prepared, text=without(word, prepared.text), wording=(title, description))


def require_grid(classifier: Classifier) -> int:
    """Return the number of patches a side; raise CheckpointError without a grid."""
    if not (grid := classifier.image_tower.grid):
        raise CheckpointError(
            f"'{classifier.config.name}' cannot be explained: found an image tower without a grid "
            "of patches, expected one with a grid"
        )
    return grid


def joint_attention(classifier: Classifier, inputs: ModelInputs) -> Float[Tensor, "B N N"]:
    """Return the attention of each token of the joint sequence over all tokens.

    Attention rollout (Abnar and Zuidema, arXiv 2005.00928): heads are averaged, half of every layer
    is the residual path, and the layers are multiplied. A row sums to 1. Raises CheckpointError if
    the classifier lacks attention over the joint sequence.
    """
    sequence_wise = getattr(classifier, "sequence_wise", None)
    if not isinstance(sequence_wise, SequenceWiseAttention):
        raise CheckpointError(
            f"'{classifier.config.name}' cannot be explained: found {classifier.config.classifier} "
            "without attention over text and image together, expected a cma_clip checkpoint with "
            "sequence_wise"
        )
    weights: list[Tensor] = []
    transformer = sequence_wise.transformer
    with torch.inference_mode(), _recording(transformer, weights):
        embeds, mask = joint_sequence(classifier.towers(inputs), inputs.has_image, inputs.has_text)
        # Run as a whole: for answers, the last layer is computed only for the tokens that are read.
        transformer(embeds, src_key_padding_mask=~mask)
    rolled_out = torch.eye(weights[0].shape[-1], device=weights[0].device)
    for layer in weights:
        rolled_out = (layer @ rolled_out + rolled_out) / 2
    return rolled_out


@contextmanager
def _recording(transformer: nn.TransformerEncoder, weights: list[Tensor]) -> Iterator[None]:
    """Append the attention of each layer, averaged over its heads, to `weights`."""

    def ask(module: nn.Module, args: Any, given: dict[str, Any]) -> tuple[Any, dict[str, Any]]:
        return args, given | {"need_weights": True}

    def keep(module: nn.Module, args: Any, output: tuple[Tensor, Tensor]) -> None:
        weights.append(output[1].float())

    # The layers ask for no weights, and on their fused path do not call self_attn at all; a hook
    # on it makes torch take the plain path.
    attentions = [layer.get_submodule("self_attn") for layer in transformer.layers]
    hooks = [a.register_forward_pre_hook(ask, with_kwargs=True) for a in attentions]
    hooks += [a.register_forward_hook(keep) for a in attentions]
    try:
        yield
    finally:
        for hook in hooks:
            hook.remove()
