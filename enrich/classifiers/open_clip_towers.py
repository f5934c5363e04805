"""Towers of open_clip, also on models of timm, and the parts of a CoCa.

open_clip is imported when the first tower is built, so that other classifiers do not need it.
Models are built from their configuration with the classes of the installed library. Nothing is
fetched.
"""

from typing import Any

import torch
import torch.nn.functional as F
from jaxtyping import Bool, Float, Int
from torch import Tensor, nn

from enrich.classifiers.config import ClassifierConfig, OpenClipTowers
from enrich.classifiers.towers import (
    Encoded,
    ImageTower,
    TextTower,
    end_of_text,
    fill_up,
    require_divisor,
    require_length,
)
from enrich.errors import load_extra

# A module of open_clip: no type of it can be named before it is imported.
OpenClipModule = Any

# What the attentional pooler of small towers makes of their patches; published ones have 256.
QUERIES = 16


class OpenClipImageTower(ImageTower):
    """open_clip's image tower, with its pooled embedding before the patches.

    The layer that projects the pooled embedding projects the patches too. If a pooling head gives
    another width than the patches have, a new layer brings them to it.
    """

    def __init__(self, visual: OpenClipModule, width: int, size_px: int) -> None:
        super().__init__()
        self.width = width
        self.visual: OpenClipModule = visual
        patch_width, reduction = width, 0
        if (trunk := getattr(visual, "trunk", None)) is not None:
            self._read = self._read_timm
            reduction = trunk.feature_info[-1]["reduction"]
            if not self._projects_patches():
                patch_width = trunk.num_features
        elif hasattr(visual, "transformer"):
            self._read = self._read_vit
            visual.output_tokens = True
            if visual.attn_pool is None:
                reduction = visual.patch_size[0]
        else:
            self._read = self._read_resnet
            patch_width, reduction = visual.attnpool.c_proj.in_features, 32
        self.grid = size_px // reduction if reduction else 0
        self.widen = None if patch_width == width else nn.Linear(patch_width, width)

    def features(self, pixels: Float[Tensor, "B 3 H W"]) -> Float[Tensor, "B M C"]:
        pooled, patches = self._read(pixels)
        if self.widen is None:
            return torch.cat([pooled.unsqueeze(1), patches], dim=1)
        both = (pooled.unsqueeze(1), patches)
        widest = max(one.shape[2] for one in both)
        return torch.cat([F.pad(one, (0, widest - one.shape[2])) for one in both], dim=1)

    def embed(self, features: Float[Tensor, "B M C"]) -> Encoded:
        if self.widen is not None:
            patches = self.widen(features[:, 1:, : self.widen.in_features])
            features = torch.cat([features[:, :1, : self.width], patches], dim=1)
        return Encoded.cls_first(features)

    def pretrained(self) -> nn.Module:
        return self.visual

    def _read_vit(self, pixels: Tensor) -> tuple[Tensor, Tensor]:
        pooled, patches = self.visual(pixels)
        # What CoCa's queries give is not projected: its decoder looks at it as it is.
        if self.visual.attn_pool is None and self.visual.proj is not None:
            patches = patches @ self.visual.proj
        return pooled, patches

    def _read_resnet(self, pixels: Tensor) -> tuple[Tensor, Tensor]:
        read = self.visual.forward_intermediates(pixels, indices=1)
        return read["image_features"], _as_sequence(read["image_intermediates"][-1])

    def _read_timm(self, pixels: Tensor) -> tuple[Tensor, Tensor]:
        trunk, head = self.visual.trunk, self.visual.head
        hidden = trunk.forward_features(pixels)
        pooled = head(trunk.forward_head(hidden))
        patches = _as_sequence(hidden)[:, getattr(trunk, "num_prefix_tokens", 0) :]
        if self._projects_patches():
            norm = getattr(trunk, "fc_norm", None) or nn.Identity()
            patches = head(trunk.get_classifier()(norm(patches)))
        return pooled, patches

    def _projects_patches(self) -> bool:
        """True if all layers behind the pooling are linear, and so read any token."""
        attends = getattr(self.visual.trunk, "attn_pool", None) is not None
        return not attends and "pool" not in dict(self.visual.head.named_children())


class OpenClipTextTower(TextTower):
    """open_clip's text tower, with its pooled embedding behind the tokens.

    In a causal tower the end of a text has seen all of it, and is the pooled token.
    """

    def __init__(self, text: OpenClipModule, width: int, pad_id: int) -> None:
        super().__init__()
        text.output_tokens = True
        self.text: OpenClipModule = text
        self._has_class_token = text.cls_emb is not None
        # A CoCa's tokens are as wide as its decoder.
        self.width = int(text.width) if self._has_class_token else width
        self._is_causal = (
            text.attn_mask is not None and not self._has_class_token and text.pool_type == "argmax"
        )
        self._pad_id = pad_id

    def forward(self, token_ids: Int[Tensor, "B L"], token_mask: Bool[Tensor, "B L"]) -> Encoded:
        length = token_ids.shape[1]
        if self._is_causal:
            # At their own length, which open_clip's own pass does not take.
            words = self.text.token_embedding(token_ids) + self.text.positional_embedding[:length]
            mask = self.text.attn_mask[:length, :length]
            hidden = self.text.ln_final(self.text.transformer(words, attn_mask=mask))
            return Encoded(self._project(hidden), token_mask, end_of_text(token_mask))
        # Padding is seen by all others, which were trained on texts of full length.
        full = fill_up(token_ids, token_mask, self._pad_id, self.text.context_length)
        pooled, tokens = self.text(full)
        return Encoded.class_token_last(self._project(tokens[:, :length]), token_mask, pooled)

    def vocabulary(self) -> Float[Tensor, "V D"]:
        return self._project(self.text.token_embedding.weight)

    def _project(self, tokens: Tensor) -> Tensor:
        projection = self.text.text_projection
        if self._has_class_token or projection is None:
            return tokens
        projected: Tensor = (
            projection(tokens) if isinstance(projection, nn.Module) else tokens @ projection
        )
        return projected

    def pretrained(self) -> nn.Module:
        return self.text


def build_open_clip(
    towers: OpenClipTowers, size_px: int, text_length: int
) -> tuple[ImageTower, TextTower, OpenClipModule]:
    """Return both towers with random weights, and a CoCa's multimodal decoder.

    For other models the decoder is None. Raises ValueError if open_clip does not build the model,
    or it was not made for `size_px` or `text_length`, and ConfigError if open_clip is not
    installed.
    """
    model = new_open_clip(towers)
    longest = model.text.context_length
    takes_px = {towers.model["vision_cfg"].get("image_size", size_px)}
    if isinstance(sides := towers.model["vision_cfg"].get("image_size"), list):
        takes_px = set(sides)
    if takes_px != {size_px}:
        sides = " x ".join(map(str, takes_px))
        raise ValueError(f"picture size does not fit: found {size_px} px, expected {sides} px")
    require_length(text_length, longest)
    width = int(towers.model["embed_dim"])
    return (
        OpenClipImageTower(model.visual, width, size_px),
        OpenClipTextTower(model.text, width, towers.pad_id),
        without_word_scores(model) if towers.is_coca else None,
    )


def new_open_clip(towers: OpenClipTowers) -> OpenClipModule:
    """Return open_clip's own CoCa or CLIP with random weights.

    Raises ValueError if open_clip does not build a model of this configuration, or would fetch a
    part, and ConfigError if open_clip is not installed.
    """
    settings = {key: value for key, value in towers.model.items() if key != "custom_text"}
    vision, text = settings.get("vision_cfg", {}), settings.get("text_cfg", {})
    if name := text.get("hf_model_name"):
        raise ValueError(
            f"the text model {name} would be fetched while the checkpoint loads. Give its vision "
            "model and its text encoder as a pair: towers: {vision: NAME, text: NAME}"
        )
    if ":" in (name := vision.get("timm_model_name") or ""):
        raise ValueError(f"the vision model {name} would be fetched while the checkpoint loads")
    if towers.is_coca and (
        name or vision.get("attentional_pool") is not True or not text.get("embed_cls")
    ):
        raise ValueError(
            "this CoCa is not supported: expected open_clip's own transformers with an attentional "
            "pooler and a class token, such as coca_ViT-B-32"
        )
    open_clip = import_open_clip()
    # Else the weights that timm has for the trunk would be fetched.
    settings["vision_cfg"] = vision | {"timm_model_pretrained": False}
    try:
        return (open_clip.CoCa if towers.is_coca else open_clip.CustomTextCLIP)(**settings)
    except (TypeError, AttributeError, AssertionError, RuntimeError, KeyError) as error:
        raise ValueError(f"open_clip cannot build this configuration: {error}") from error


def build_coca_parts(width: int, config: ClassifierConfig) -> tuple[nn.Module, OpenClipModule]:
    """Return a new attentional pooler and decoder for towers of one `width`."""
    require_divisor(width, config.joint_heads)
    modules = import_open_clip().transformer
    pooler = modules.AttentionalPooler(width, width, config.joint_heads, QUERIES)
    decoder = modules.MultimodalTransformer(
        width, config.joint_layers, config.joint_heads, config.text_length
    )
    decoder.text_projection = None
    return pooler, decoder


def without_word_scores(coca: OpenClipModule) -> OpenClipModule:
    """Return the decoder without its map to scores of next words.

    Only captions need the map, 25 M weights in ViT-B/32.
    """
    coca.text_decoder.text_projection = None
    return coca.text_decoder


def import_open_clip() -> Any:
    """Import open_clip; raise ConfigError if it is not installed."""
    return load_extra("open_clip", "open-clip")


def _as_sequence(hidden: Tensor) -> Tensor:
    """Return the cells of a map (B, C, h, w) row by row; a sequence stays as it is."""
    return hidden.flatten(2).transpose(1, 2) if hidden.ndim == 4 else hidden
