"""Two towers of any Hugging Face vision model and any BERT-like text encoder.

Both are built from the content of their `config.json`, with the classes that transformers itself
ships: nothing is fetched and no code of a checkpoint runs. Each is projected to a shared width by
a new linear layer.
"""

from typing import Any

import torch
from jaxtyping import Bool, Float, Int
from torch import Tensor, nn
from transformers import AutoConfig, AutoModel, PreTrainedModel

from enrich.classifiers.config import PairTowers
from enrich.classifiers.tower_interface import Encoded, ImageTower, TextTower


class VisionTower(ImageTower):
    """A vision model's last hidden states; without a CLS token of its own, their mean is CLS."""

    def __init__(self, vision: PreTrainedModel, width: int) -> None:
        super().__init__()
        self.width = width
        self.vision = vision
        self.projection = nn.Linear(_hidden_size(vision), width)
        names = dict(vision.named_parameters())
        self.has_cls = any(name.endswith(("cls_token", "class_embedding")) for name in names)

    def features(self, pixels: Float[Tensor, "B 3 H W"]) -> Float[Tensor, "B M C"]:
        hidden: Tensor = self.vision(pixel_values=pixels).last_hidden_state
        # Convolutional models return a map, (B, C, h, w).
        return hidden.flatten(2).transpose(1, 2) if hidden.ndim == 4 else hidden

    def embed(self, features: Float[Tensor, "B M C"]) -> Encoded:
        if not self.has_cls:
            features = torch.cat([features.mean(1, keepdim=True), features], dim=1)
        return Encoded.cls_first(self.projection(features))

    def pretrained(self) -> nn.Module:
        return self.vision


class EncoderTextTower(TextTower):
    """A BERT-like encoder, pooled at CLS, which is its first token."""

    def __init__(self, text: PreTrainedModel, width: int) -> None:
        super().__init__()
        self.width = width
        self.text = text
        self.projection = nn.Linear(_hidden_size(text), width)

    def forward(self, token_ids: Int[Tensor, "B L"], token_mask: Bool[Tensor, "B L"]) -> Encoded:
        hidden = self.text(input_ids=token_ids, attention_mask=token_mask.long())
        first = torch.zeros(len(token_ids), dtype=torch.long, device=token_ids.device)
        return Encoded(self.projection(hidden.last_hidden_state), token_mask, first)

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

    def pretrained(self) -> nn.Module:
        return self.text


def build_pair_towers(towers: PairTowers, text_length: int) -> tuple[ImageTower, TextTower]:
    """Returns both towers with random weights.

    Raises:
        ValueError: transformers ships no such model, or the text encoder reads shorter texts.
    """
    vision, text = build_encoder(towers.vision), build_encoder(towers.text)
    longest = getattr(text.config, "max_position_embeddings", None)
    longest = text_length if longest is None else longest - _first_position(text)
    if text_length > longest:
        raise ValueError(f"this encoder takes texts of up to {longest} tokens, not {text_length}")
    return VisionTower(vision, towers.width), EncoderTextTower(text, towers.width)


def _first_position(text: PreTrainedModel) -> int:
    # RoBERTa and its kin count from behind the place of their padding.
    return int(getattr(getattr(text, "embeddings", None), "padding_idx", -1)) + 1


def build_encoder(config: dict[str, Any]) -> PreTrainedModel:
    """Returns the model of a `config.json`, with random weights and without a pooler.

    Raises:
        ValueError: transformers ships no such model.
    """
    if "model_type" not in config:
        raise ValueError("the towers' config.json names no model_type")
    _refuse_foreign_parts(config)
    model = AutoModel.from_config(AutoConfig.for_model(**config), trust_remote_code=False)
    return without_pooler(model)


def _refuse_foreign_parts(config: dict[str, Any]) -> None:
    """Raises ValueError where a part's architecture would be asked of a hub or another folder."""
    for key, value in config.items():
        if isinstance(value, dict):
            _refuse_foreign_parts(value)
        elif isinstance(value, str) and (
            key == "backbone" or (key == "architecture" and ":" in value)
        ):
            raise ValueError(f"the towers' config.json takes its {key} from elsewhere: {value!r}")


def without_pooler(model: PreTrainedModel) -> PreTrainedModel:
    """Takes a pooler with weights off: towers are read by their tokens, it would stay untrained."""
    pooler = getattr(model, "pooler", None)
    # A ResNet's has none, and its forward pass calls it.
    if pooler is not None and any(True for _ in pooler.parameters()):
        model.pooler = None
    return model


def _hidden_size(model: PreTrainedModel) -> int:
    # Convolutional models have one width a stage.
    size = getattr(model.config, "hidden_size", None) or model.config.hidden_sizes[-1]
    return int(size)
