"""Classifiers that answer from pooled embeddings, of both towers or of one.

CLIP with a head or without one: Radford et al., "Learning Transferable Visual Models From Natural
Language Supervision", arXiv 2103.00020; zero-shot is its section 3.1. EmbraceNet: Choi and Lee,
"EmbraceNet: A robust deep learning architecture for multimodal classification", arXiv 1904.09078.
"""

from collections.abc import Sequence
from dataclasses import replace

import torch
import torch.nn.functional as F
from jaxtyping import Bool, Float, Int
from torch import Tensor, nn

from enrich.classifiers.config import ClassifierConfig
from enrich.classifiers.interface import (
    IMAGE,
    TEXT,
    Classifier,
    ModelOutput,
    Tokens,
    Vectors,
    build_heads,
)
from enrich.classifiers.towers import Encoded, ImageTower, TextEncoder, TextTower


class PooledPair(Classifier):
    """Two towers whose pooled embeddings subclasses answer from."""

    def vector_shapes(self, config: ClassifierConfig) -> dict[str, tuple[int, ...]]:
        return {IMAGE: (self.image_tower.width,), TEXT: (self.text_tower.width,)}

    def join(
        self, tokens: Tokens, has_image: Bool[Tensor, " B"], has_text: Bool[Tensor, " B"]
    ) -> Vectors:
        named = {
            IMAGE: tokens.image.pooled_where(has_image),
            TEXT: tokens.text.pooled_where(has_text),
        }
        return Vectors(named, has_image, has_text)

    def contrasted(
        self, tokens: Tokens, has_image: Bool[Tensor, " B"], has_text: Bool[Tensor, " B"]
    ) -> Vectors:
        # Without the subclass's joint attention, which contrast does not read.
        return PooledPair.join(self, tokens, has_image, has_text)


class ClipSum(PooledPair):
    """The sum of both towers' pooled embeddings, then one MLP an attribute.

    A missing modality adds nothing.
    """

    paper = "CLIP: Radford et al. 2021, arXiv 2103.00020"

    def build_answering(self, config: ClassifierConfig) -> None:
        self.heads = build_heads(config.width_of(IMAGE), config)

    def _answer(self, vectors: Vectors) -> ModelOutput:
        return ModelOutput(self.heads(vectors.image + vectors.text), vectors)


class ClipMlp(PooledPair):
    """Both towers' pooled embeddings side by side, then one MLP an attribute.

    A missing modality is zeros.
    """

    paper = "CLIP: Radford et al. 2021, arXiv 2103.00020"

    def build_answering(self, config: ClassifierConfig) -> None:
        self.heads = build_heads(2 * config.width_of(IMAGE), config)

    def _answer(self, vectors: Vectors) -> ModelOutput:
        both = torch.cat([vectors.image, vectors.text], dim=1)
        return ModelOutput(self.heads(both), vectors)


# Where CLIP's own training begins. A scale that is too high or too low is put right by the
# calibration's temperature, so there is no need to learn it or to take that of published towers.
SCALE = 1 / 0.07


class ClipZeroShot(PooledPair):
    """The cosine of a product with each label's prompts, without heads and labels.

    A product is its image's embedding, its text's, or the sum of both at unit length. Several
    prompts of a label count by their mean at unit length, as in the paper's ensembles. The prompts'
    embeddings travel with the weights, as a head would. A contrastive phase fine-tunes the towers,
    and the prompts follow.
    """

    paper = "CLIP: Radford et al. 2021, arXiv 2103.00020"
    trained_by = frozenset({"contrastive"})
    prompt_ids: Tensor
    prompt_mask: Tensor
    prompts: Tensor

    def build_encoder(self, config: ClassifierConfig, vocabulary: int) -> None:
        super().build_encoder(config, vocabulary)
        prompts = sum(len(templates) * count for templates, count in _sizes(config))
        mask = torch.zeros(prompts, config.text_length, dtype=torch.bool)
        # Until the tokenizer is known every prompt is one token: attention to none would be NaN.
        mask[:, 0] = True
        # Read again for every training; a checkpoint holds what the text tower makes of them.
        self.register_buffer("prompt_ids", torch.zeros(mask.shape, dtype=torch.long), False)
        self.register_buffer("prompt_mask", mask, False)

    def build_answering(self, config: ClassifierConfig) -> None:
        labels = sum(count for _, count in _sizes(config))
        self.register_buffer("prompts", torch.zeros(labels, config.width_of(TEXT)))

    def read_tokenizer(self, encode_texts: TextEncoder) -> None:
        ids, mask = encode_texts(
            [
                template.replace("{label}", label)
                for attribute, labels in self.config.attributes.items()
                for label in labels
                for template in self.config.templates(attribute)
            ]
        )
        self.prompt_ids.zero_()[:, : ids.shape[1]] = ids
        self.prompt_mask.zero_()[:, : ids.shape[1]] = mask
        self.refresh()

    @torch.no_grad()
    def refresh(self) -> None:
        is_training = self.training
        self.eval()
        used = self.prompt_mask.any(0)
        prompts = self.text_tower(self.prompt_ids[:, used], self.prompt_mask[:, used])
        sizes = [(len(templates), count) for templates, count in _sizes(self.config)]
        of_attributes = _unit(prompts.pooled).split([several * count for several, count in sizes])
        means = [
            one.unflatten(0, (count, several)).mean(1)
            for one, (several, count) in zip(of_attributes, sizes, strict=True)
        ]
        self.prompts.copy_(_unit(torch.cat(means)))
        self.train(is_training)

    def _answer(self, vectors: Vectors) -> ModelOutput:
        product = _unit(vectors.image) + _unit(vectors.text)
        # Once more to unit length: they were rounded to be stored.
        cosines = _unit(product) @ _unit(self.prompts).T
        sizes = [len(labels) for labels in self.config.attributes.values()]
        logits = (SCALE * cosines).split(sizes, dim=1)
        return ModelOutput(dict(zip(self.config.attributes, logits, strict=True)), vectors)


@torch.no_grad()
def embed_prompts(
    tower: TextTower, encode_texts: TextEncoder, templates: Sequence[str], labels: Sequence[str]
) -> tuple[Float[Tensor, "C D"], float]:
    """Return each label's mean prompt at unit length, and the prompts' mean length."""
    texts = [template.replace("{label}", label) for label in labels for template in templates]
    prompts = tower(*encode_texts(texts)).pooled.float()
    means = _unit(prompts).unflatten(0, (len(labels), len(templates))).mean(1)
    return _unit(means), prompts.norm(dim=1).mean().item()


def _sizes(config: ClassifierConfig) -> list[tuple[tuple[str, ...], int]]:
    """Return the templates of each attribute, and the number of its labels."""
    return [(config.templates(a), len(labels)) for a, labels in config.attributes.items()]


def _unit(embeds: Float[Tensor, "B D"]) -> Float[Tensor, "B D"]:
    return F.normalize(embeds.float(), dim=1)


# The paper's c, the components that every modality is brought to.
COMPONENTS = 512


class EmbraceNet(PooledPair):
    """Image and text docked to one width, each component drawn from one of them.

    A docking layer is ReLU(Linear) over a tower's pooled embedding. Present modalities are drawn by
    `selection_probabilities`. No image weight is reported, because it is the same for all products.
    """

    paper = "EmbraceNet: Choi and Lee 2019, arXiv 1904.09078"

    def build_answering(self, config: ClassifierConfig) -> None:
        self.dock_image = _build_docking(config.width_of(IMAGE))
        self.dock_text = _build_docking(config.width_of(TEXT))
        self.heads = build_heads(COMPONENTS, config)

    def _answer(self, vectors: Vectors) -> ModelOutput:
        docked = torch.stack([self.dock_image(vectors.image), self.dock_text(vectors.text)], dim=1)
        available = torch.stack([vectors.has_image, vectors.has_text], dim=1)
        probabilities = self.config.selection_probabilities
        embraced = embrace(docked, available, probabilities, draw=self.training)
        return ModelOutput(self.heads(embraced), vectors)


def embrace(
    docked: Float[Tensor, "B M C"],
    available: Bool[Tensor, "B M"],
    probabilities: Sequence[float],
    *,
    draw: bool,
) -> Float[Tensor, "B C"]:
    """Return for each row one vector of its available modalities, else zeros.

    `docked` are the docked embeddings of the modalities, whose weights in `probabilities` are above
    0. With `draw` each component is drawn from one of the modalities. Without it the row is the
    expectation, so that the same product gets the same answer every time.
    """
    chances = available * torch.tensor(probabilities, device=available.device)
    # Of a row without any modality the shares are 0.
    shares = chances / chances.sum(1, keepdim=True).clamp(min=min(probabilities))
    docked = docked.masked_fill(~available.unsqueeze(2), 0)
    if not draw:
        return (shares.unsqueeze(2).to(docked.dtype) * docked).sum(1)
    # No lot can be drawn over zeros. A row without any modality holds only zeros to draw from.
    shares = shares.masked_fill(~available.any(1, keepdim=True), 1)
    drawn = torch.multinomial(shares, docked.shape[2], replacement=True)
    return docked.gather(1, drawn.unsqueeze(1)).squeeze(1)


def _build_docking(width: int) -> nn.Module:
    return nn.Sequential(nn.Linear(width, COMPONENTS), nn.ReLU())


class NoImageTower(ImageTower):
    """The place of an image tower in a text classifier, one empty token."""

    absent = True

    def __init__(self, width: int) -> None:
        super().__init__()
        self.width = width

    def features(self, pixels: Float[Tensor, "B 3 H W"]) -> Float[Tensor, "B M C"]:
        return pixels.new_zeros(len(pixels), 1, 1)

    def embed(self, features: Float[Tensor, "B M C"]) -> Encoded:
        return _empty(features, self.width)

    def lower(self, pixels: Float[Tensor, "B 3 H W"]) -> Float[Tensor, "B N"]:
        return pixels.new_zeros(len(pixels), 1)

    def upper(self, lower: Float[Tensor, "B N"]) -> Float[Tensor, "B M C"]:
        return lower.new_zeros(len(lower), 1, 1)

    def upper_parameters(self) -> list[nn.Parameter]:
        return []


class NoTextTower(TextTower):
    """The place of a text tower in an image classifier, one empty token."""

    absent = True

    def __init__(self, width: int) -> None:
        super().__init__()
        self.width = width

    def forward(self, token_ids: Int[Tensor, "B L"], token_mask: Bool[Tensor, "B L"]) -> Encoded:
        return _empty(token_ids, self.width)

    def pretrained(self) -> None:
        return None


def _empty(like: Tensor, width: int) -> Encoded:
    embeds = torch.zeros(len(like), 1, width, device=like.device)
    mask = torch.zeros(len(like), 1, dtype=torch.bool, device=like.device)
    return Encoded(embeds, mask, torch.zeros(len(like), dtype=torch.long, device=like.device))


# Names in the weights of the embedding that stands for what is missing.
_MISSING = {IMAGE: "no_image", TEXT: "no_text"}


class OneModality(Classifier):
    """A tower's pooled embedding, then one MLP an attribute.

    A learnt embedding replaces a missing modality; from it the heads give about the labels' shares
    in training. The image's weight is 1 where the picture is read, else 0.
    """

    trained_by = frozenset({"multitask"})

    def build_encoder(self, config: ClassifierConfig, vocabulary: int) -> None:
        super().build_encoder(config, vocabulary)
        if self.answers_from == IMAGE:
            self.text_tower = NoTextTower(self.image_tower.width)
        else:
            self.image_tower = NoImageTower(self.text_tower.width)
        missing = nn.Parameter(torch.zeros(self.image_tower.width))
        self.register_parameter(_MISSING[self.answers_from], missing)

    def vector_shapes(self, config: ClassifierConfig) -> dict[str, tuple[int, ...]]:
        return {self.answers_from: (self.image_tower.width,)}

    def join(
        self, tokens: Tokens, has_image: Bool[Tensor, " B"], has_text: Bool[Tensor, " B"]
    ) -> Vectors:
        is_image = self.answers_from == IMAGE
        encoded, has = (tokens.image, has_image) if is_image else (tokens.text, has_text)
        missing = self.get_parameter(_MISSING[self.answers_from])
        read = torch.where(has.unsqueeze(1), encoded.pooled, missing)
        return Vectors({self.answers_from: read}, has_image, has_text)

    def _answer(self, vectors: Vectors) -> ModelOutput:
        output = super()._answer(vectors)
        has_image = vectors.has_image.float()
        weight = has_image if self.answers_from == IMAGE else torch.zeros_like(has_image)
        return replace(output, image_weight=dict.fromkeys(output.logits, weight))


class ImageOnly(OneModality):
    """The image tower's pooled embedding, then one MLP an attribute."""

    answers_from = IMAGE
    paper = "ViT: Dosovitskiy et al. 2020, arXiv 2010.11929"


class TextOnly(OneModality):
    """The text tower's pooled embedding, then one MLP an attribute."""

    answers_from = TEXT
    paper = "BERT: Devlin et al. 2018, arXiv 1810.04805"
