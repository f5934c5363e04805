"""One transformer that reads words and pieces of an image: what MMBT and ImageBERT have in common.

Knows nothing of how a classifier arranges its sequence.
"""

from dataclasses import dataclass

import torch
from jaxtyping import Bool, Float, Int
from torch import Tensor, nn

from enrich.classifiers.config import ClassifierConfig, PairTowers
from enrich.classifiers.heads import build_heads
from enrich.classifiers.interface import (
    IMAGE,
    JOINT,
    TEXT,
    Classifier,
    ModelInputs,
    ModelOutput,
    Tokens,
    Vectors,
)
from enrich.classifiers.tokenizer import TextEncoder
from enrich.classifiers.tower_interface import Encoded, TextTower, end_of_text
from enrich.classifiers.towers import build_towers
from enrich.classifiers.transformer import build_transformer, padding_in


@dataclass(frozen=True, slots=True)
class Segment:
    """One stretch of the sequence; its positions are the same in every row."""

    embeds: Float[Tensor, "B N W"]
    mask: Bool[Tensor, "B N"]
    positions: Int[Tensor, " N"]


class Stream(nn.Module):
    """What is added to a text encoder so that it reads pieces of an image between its words.

    The layers are the text tower's own, run over the whole sequence. `joint_layers` new ones follow
    them, except behind a published BERT, which is the whole encoder. A tower whose layers read only
    words (CLIP's is causal) gives its outputs as words, and all layers over the sequence are new.
    """

    def __init__(self, image_width: int, text_tower: TextTower, config: ClassifierConfig) -> None:
        super().__init__()
        width = text_tower.word_width
        self.from_image = nn.Linear(image_width, width)
        # [CLS] and [SEP]: not the row's own tokens, because a row may lack its text.
        self.marks = nn.Parameter(torch.randn(2, width) * 0.02)
        # Zero, so that a published encoder starts from the words that it knows.
        self.segments = nn.Parameter(torch.zeros(2, width))
        self.joint: nn.Module | None = None
        if not isinstance(config.towers, PairTowers):
            self.joint = build_transformer(
                text_tower.width, config.joint_layers, config.joint_heads, config.dropout
            )

    def forward(
        self, text_tower: TextTower, first: Segment, second: Segment
    ) -> Float[Tensor, "B D"]:
        """Returns what stands at the sequence's first place, [CLS], after all layers."""
        embeds = [first.embeds + self.segments[0], second.embeds + self.segments[1]]
        mask = torch.cat([first.mask, second.mask], dim=1)
        positions = torch.cat([first.positions, second.positions])
        read = text_tower.attend(torch.cat(embeds, dim=1), mask, positions)
        if self.joint is not None:
            read = self.joint(read, src_key_padding_mask=padding_in(mask))
        return read[:, 0]

    def mark(self, number: int, rows: int) -> Float[Tensor, "B 1 W"]:
        """Returns [CLS] (0) or [SEP] (1) for every row."""
        return self.marks[number].expand(rows, 1, -1)

    @torch.no_grad()
    def start_marks(self, text_tower: TextTower, encode_texts: TextEncoder) -> None:
        """Starts [CLS] and [SEP] as the tokens that the tokenizer puts around every text."""
        words = text_tower.words(*encode_texts([""]))[0]
        self.marks.copy_(words[[0, -1]])


class StreamClassifier(Classifier):
    """A classifier that answers from [CLS] of a stream; subclasses arrange the sequence."""

    contrasts_towers = False
    reads_text_features = False

    def build_encoder(self, config: ClassifierConfig, vocabulary: int) -> None:
        self.image_tower, self.text_tower = build_towers(config, vocabulary)
        self.stream = Stream(self.image_tower.width, self.text_tower, config)

    def build_answering(self, config: ClassifierConfig) -> None:
        self.heads = build_heads(config.width_of(JOINT), config)

    def vector_shapes(self, config: ClassifierConfig) -> dict[str, tuple[int, ...]]:
        word = (self.text_tower.word_width,)
        return {JOINT: (self.text_tower.width,), IMAGE: word, TEXT: word}

    def read_tokenizer(self, encode_texts: TextEncoder) -> None:
        self.stream.start_marks(self.text_tower, encode_texts)

    def towers(self, inputs: ModelInputs) -> Tokens:
        words = self.text_tower.words(inputs.token_ids, inputs.token_mask)
        text = Encoded(words, inputs.token_mask, end_of_text(inputs.token_mask))
        return Tokens(self.encode_image(inputs), text, inputs.token_mask)

    def to_vectors(
        self,
        read: Float[Tensor, "B D"],
        pieces: Float[Tensor, "B N W"],
        tokens: Tokens,
        has_image: Bool[Tensor, " B"],
        has_text: Bool[Tensor, " B"],
    ) -> Vectors:
        """Returns what stands at [CLS], and the means of the image's pieces and of the words."""
        words = mean_word(tokens.text.embeds, tokens.token_mask)
        named = {
            JOINT: read,
            IMAGE: pieces.mean(1).masked_fill(~has_image.unsqueeze(1), 0),
            TEXT: words.masked_fill(~has_text.unsqueeze(1), 0),
        }
        return Vectors(named, has_image, has_text)

    def _answer(self, vectors: Vectors) -> ModelOutput:
        return ModelOutput(self.heads(vectors.named[JOINT]), vectors)


def mean_word(words: Float[Tensor, "B L W"], mask: Bool[Tensor, "B L"]) -> Float[Tensor, "B W"]:
    """Returns the mean of a text's words, which contrast compares with the image's pieces.

    There is no text tower that could be pooled, and a second pass for the text alone would double
    the cost of every answer. So contrast brings pieces of an image near to the words they go with.
    """
    weights = mask.unsqueeze(2).to(words.dtype)
    return (words * weights).sum(1) / weights.sum(1).clamp(min=1)
