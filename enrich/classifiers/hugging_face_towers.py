"""Towers of transformers, a CLIP or SigLIP or a pair of two models.

They are built from the content of a `config.json` with the classes of the installed library.
Nothing is fetched, and code of a checkpoint is not run.
"""

from typing import Any

import torch
from jaxtyping import Bool, Float, Int
from torch import Tensor, nn
from transformers import AutoConfig, AutoModel, PreTrainedModel

from enrich.classifiers.config import HuggingFaceTowers, PairTowers, SmallTowers
from enrich.classifiers.small_towers import EfficientNetTower
from enrich.classifiers.towers import (
    Encoded,
    ImageTower,
    TextTower,
    end_of_text,
    fill_up,
    require_length,
)

# Models of both modalities whose halves the towers below read. To transformers a SigLIP 2 is a
# siglip, but for its NaFlex variants, which take pictures of any shape.
BOTH_HALVES = ("clip", "siglip")


class ImageHalf(ImageTower):
    """The vision model of a CLIP, SigLIP or SigLIP 2, with its own pooling.

    CLIP's tokens are all projected to its joint width. SigLIP's tokens have it already, and a head
    attends to them for the pooled embedding.
    """

    def __init__(self, model: PreTrainedModel) -> None:
        super().__init__()
        sizes = model.config.vision_config
        self.vision = model.vision_model
        self.projection: nn.Module | None = getattr(model, "visual_projection", None)
        self.width = sizes.hidden_size if self.projection is None else model.config.projection_dim
        self.size_px = sizes.image_size
        self.grid = sizes.image_size // sizes.patch_size

    def features(self, pixels: Float[Tensor, "B 3 H W"]) -> Float[Tensor, "B M C"]:
        read = self.vision(pixel_values=pixels)
        hidden: Tensor = read.last_hidden_state
        if self.projection is None:
            return torch.cat([read.pooler_output.unsqueeze(1), hidden], dim=1)
        # transformers returns the sequence before the last norm, which CLIP applies to CLS only.
        projected: Tensor = self.projection(self.vision.post_layernorm(hidden))
        return projected


class TextHalf(TextTower):
    """The text model of a CLIP, SigLIP or SigLIP 2, with its own pooling."""

    def __init__(self, model: PreTrainedModel, pad_id: int) -> None:
        super().__init__()
        sizes = model.config.text_config
        self.text = model.text_model
        self.projection: nn.Module | None = getattr(model, "text_projection", None)
        self.width = int(
            sizes.projection_size if self.projection is None else model.config.projection_dim
        )
        self.longest = int(sizes.max_position_embeddings)
        self._pad_id = pad_id

    def forward(self, token_ids: Int[Tensor, "B L"], token_mask: Bool[Tensor, "B L"]) -> Encoded:
        if self.projection is not None:
            read = self.text(input_ids=token_ids, attention_mask=token_mask.long())
            embeds = self.projection(read.last_hidden_state)
            return Encoded(embeds, token_mask, end_of_text(token_mask))
        # SigLIP was trained on texts of full length, padding seen, and is read at the last place.
        read = self.text(input_ids=fill_up(token_ids, token_mask, self._pad_id, self.longest))
        tokens = self.text.head(read.last_hidden_state[:, : token_ids.shape[1]])
        return Encoded.class_token_last(tokens, token_mask, read.pooler_output)

    def vocabulary(self) -> Float[Tensor, "V D"]:
        words = self.text.get_input_embeddings().weight
        embeds: Tensor = (self.text.head if self.projection is None else self.projection)(words)
        return embeds


class VisionTower(ImageTower):
    """A vision model's last hidden states, each projected to the pair's width.

    CLS is the model's own first token, the output of SigLIP's head, or else the mean of all.
    """

    def __init__(self, vision: PreTrainedModel, width: int) -> None:
        super().__init__()
        self.width = width
        self.vision = vision
        self.projection = nn.Linear(_hidden_size(vision), width)
        names = dict(vision.named_parameters())
        self._pools = bool(getattr(vision, "use_head", False))
        self.has_cls = self._pools or any(
            name.endswith(("cls_token", "class_embedding")) for name in names
        )

    def features(self, pixels: Float[Tensor, "B 3 H W"]) -> Float[Tensor, "B M C"]:
        read = self.vision(pixel_values=pixels)
        hidden: Tensor = read.last_hidden_state
        if self._pools:
            return torch.cat([read.pooler_output.unsqueeze(1), hidden], dim=1)
        # Convolutional models return a map, (B, C, h, w).
        return hidden.flatten(2).transpose(1, 2) if hidden.ndim == 4 else hidden

    def embed(self, features: Float[Tensor, "B M C"]) -> Encoded:
        if not self.has_cls:
            features = torch.cat([features.mean(1, keepdim=True), features], dim=1)
        return Encoded.cls_first(self.projection(features))

    def pretrained(self) -> nn.Module:
        return self.vision


class EncoderTextTower(TextTower):
    """A BERT-like encoder, pooled at its first token or by the mean of all."""

    def __init__(self, text: PreTrainedModel, towers: PairTowers) -> None:
        super().__init__()
        self.width = towers.width
        self.text = text
        self.projection = nn.Linear(_hidden_size(text), towers.width)
        self._takes_mean = towers.pooling == "mean"

    def forward(self, token_ids: Int[Tensor, "B L"], token_mask: Bool[Tensor, "B L"]) -> Encoded:
        hidden = self.text(input_ids=token_ids, attention_mask=token_mask.long())
        embeds = self.projection(hidden.last_hidden_state)
        if self._takes_mean:
            shares = token_mask / token_mask.sum(1, keepdim=True).clamp(min=1)
            mean = (shares.unsqueeze(2).to(embeds.dtype) * embeds).sum(1)
            return Encoded.class_token_last(embeds, token_mask, mean)
        first = torch.zeros(len(token_ids), dtype=torch.long, device=token_ids.device)
        return Encoded(embeds, token_mask, first)

    @property
    def word_width(self) -> int:
        # Narrower than the layers in ALBERT and the small ELECTRA.
        return int(self.text.get_input_embeddings().embedding_dim)

    def words(
        self, token_ids: Int[Tensor, "B L"], token_mask: Bool[Tensor, "B L"]
    ) -> Float[Tensor, "B L W"]:
        embeds: Tensor = self.text.get_input_embeddings()(token_ids)
        return embeds

    def attend(
        self,
        embeds: Float[Tensor, "B N W"],
        mask: Bool[Tensor, "B N"],
        positions: Int[Tensor, " N"],
    ) -> Float[Tensor, "B N D"]:
        first = _first_position(self.text)
        hidden = self.text(
            inputs_embeds=embeds,
            attention_mask=mask.long(),
            position_ids=(first + positions).expand(len(embeds), -1),
        )
        read: Tensor = self.projection(hidden.last_hidden_state)
        return read

    def vocabulary(self) -> Float[Tensor, "V D"]:
        words = self.text.get_input_embeddings().weight
        narrower = self.projection.in_features - words.shape[1]
        embeds: Tensor = self.projection(nn.functional.pad(words, (0, narrower)))
        return embeds

    def pretrained(self) -> nn.Module:
        return self.text


def build_halves(
    towers: HuggingFaceTowers, size_px: int, text_length: int
) -> tuple[ImageHalf, TextHalf]:
    """Return both halves of a CLIP or SigLIP with random weights.

    Raises ValueError if transformers ships no such model, or it was not made for `size_px` or
    `text_length`.
    """
    if towers.model.get("model_type", "clip") not in BOTH_HALVES:
        raise ValueError(
            f"the towers' config.json has an unknown model_type: found "
            f"{towers.model['model_type']}, expected {', '.join(BOTH_HALVES)}"
        )
    model = build_encoder({"model_type": "clip"} | towers.model)
    image, text = ImageHalf(model), TextHalf(model, towers.pad_id)
    if image.size_px != size_px:
        raise ValueError(
            f"picture size does not fit: found {size_px} px, expected {image.size_px} px"
        )
    require_length(text_length, text.longest)
    return image, text


def build_pair(
    towers: PairTowers, size_px: int, text_length: int
) -> tuple[ImageTower, EncoderTextTower]:
    """Return a vision model and a text encoder with random weights.

    Raises ValueError if transformers ships no such model, or the encoder reads shorter texts.
    """
    vision = None if isinstance(towers.vision, SmallTowers) else build_encoder(towers.vision)
    text = build_encoder(towers.text)
    longest = getattr(text.config, "max_position_embeddings", None)
    longest = text_length if longest is None else longest - _first_position(text)
    require_length(text_length, longest)
    if isinstance(towers.vision, SmallTowers):
        return EfficientNetTower(towers.vision, size_px), EncoderTextTower(text, towers)
    return VisionTower(vision, towers.width), EncoderTextTower(text, towers)


def _first_position(text: PreTrainedModel) -> int:
    # RoBERTa and its kin count from behind the place of their padding.
    return int(getattr(getattr(text, "embeddings", None), "padding_idx", -1)) + 1


def build_encoder(config: dict[str, Any]) -> PreTrainedModel:
    """Return the model of a `config.json`, with random weights and without a pooler."""
    if "model_type" not in config:
        raise ValueError("the towers' config.json lacks model_type")
    _refuse_foreign_parts(config)
    model = AutoModel.from_config(AutoConfig.for_model(**config), trust_remote_code=False)
    return without_pooler(model)


def _refuse_foreign_parts(config: dict[str, Any]) -> None:
    """Refuse a part whose architecture is in a hub or in another folder."""
    for key, value in config.items():
        if isinstance(value, dict):
            _refuse_foreign_parts(value)
        elif isinstance(value, str) and (
            key == "backbone" or (key == "architecture" and ":" in value)
        ):
            raise ValueError(f"the towers' config.json takes its {key} from elsewhere: {value!r}")


def without_pooler(model: PreTrainedModel) -> PreTrainedModel:
    """Remove a pooler with weights, which would stay untrained."""
    pooler = getattr(model, "pooler", None)
    # A ResNet's has none, and its forward pass calls it.
    if pooler is not None and any(True for _ in pooler.parameters()):
        model.pooler = None
    return model


def _hidden_size(model: PreTrainedModel) -> int:
    # Convolutional models have one width a stage.
    size = getattr(model.config, "hidden_size", None) or model.config.hidden_sizes[-1]
    return int(size)
