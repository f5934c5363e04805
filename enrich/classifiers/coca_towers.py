"""The towers and the decoder of an open_clip CoCa, and the parts of one for other towers.

open_clip is imported when the first of them is built: whoever runs other classifiers does not need
it. Knows nothing of where published weights come from.
"""

from typing import Any

import torch
import torch.nn.functional as F
from jaxtyping import Bool, Float, Int
from torch import Tensor, nn

from enrich.classifiers.config import ClassifierConfig, CocaTowers
from enrich.classifiers.tower_interface import Encoded, ImageTower, TextTower
from enrich.classifiers.transformer import require_divisor
from enrich.errors import load_extra

# A module of open_clip: no type of it can be named before it is imported.
OpenClipModule = Any

# What the attentional pooler of small towers makes of their patches; published ones have 256.
QUERIES = 16


class CocaImageTower(ImageTower):
    """open_clip's vision transformer and attentional pooler; the first query is CLS."""

    def __init__(self, visual: OpenClipModule) -> None:
        super().__init__()
        self.width = int(visual.output_dim)
        self.visual: OpenClipModule = visual

    def features(self, pixels: Float[Tensor, "B 3 H W"]) -> Float[Tensor, "B M C"]:
        last = self.visual.forward_intermediates(
            pixels,
            indices=1,
            intermediates_only=True,
            output_fmt="NLC",
            output_extra_tokens=True,
        )
        return torch.cat(
            [last["image_intermediates_prefix"][0], last["image_intermediates"][0]], dim=1
        )

    def embed(self, features: Float[Tensor, "B M C"]) -> Encoded:
        pooled = self.visual.ln_post(self.visual.attn_pool(features))
        # Only what is contrasted is projected; the decoder looks at the other queries as they are.
        embeds = torch.cat([pooled[:, :1] @ self.visual.proj, pooled[:, 1:]], dim=1)
        return Encoded.cls_first(embeds)

    def pretrained(self) -> nn.Module:
        return self.visual


class CocaTextTower(TextTower):
    """open_clip's unimodal text half; its class token stands behind the text's own tokens."""

    def __init__(self, text: OpenClipModule) -> None:
        super().__init__()
        self.width = int(text.width)
        self.text: OpenClipModule = text

    def forward(self, token_ids: Int[Tensor, "B L"], token_mask: Bool[Tensor, "B L"]) -> Encoded:
        batch, length = token_ids.shape
        ids = token_ids.masked_fill(~token_mask, self.text.pad_id)
        # Always to the full length: that is where the class token's own position is.
        ids = F.pad(ids, (0, self.text.context_length - length), value=self.text.pad_id)
        pooled, tokens = self.text(ids)
        return Encoded(
            torch.cat([tokens[:, :length], pooled.unsqueeze(1)], dim=1),
            torch.cat([token_mask, torch.ones_like(token_mask[:, :1])], dim=1),
            torch.full((batch,), length, device=ids.device),
        )

    def pretrained(self) -> nn.Module:
        return self.text


def build_coca(
    towers: CocaTowers, size_px: int, text_length: int
) -> tuple[ImageTower, TextTower, OpenClipModule]:
    """Returns both towers and the multimodal decoder with random weights.

    Raises:
        ValueError: `size_px` or `text_length` is not what this CoCa was made for, or it is none.
        ConfigError: open_clip is not installed.
    """
    coca = new_coca(towers)
    longest, takes_px = coca.text.context_length, coca.visual.image_size[0]
    if takes_px != size_px:
        raise ValueError(f"this CoCa takes {takes_px} px, not {size_px}")
    if text_length > longest:
        raise ValueError(f"this CoCa takes texts of up to {longest} tokens, not {text_length}")
    return CocaImageTower(coca.visual), CocaTextTower(coca.text), without_word_scores(coca)


def new_coca(towers: CocaTowers) -> OpenClipModule:
    """Returns open_clip's own module with random weights.

    Raises:
        ValueError: open_clip builds none of this configuration, or not of its own modules alone.
        ConfigError: open_clip is not installed.
    """
    settings = {key: value for key, value in towers.coca.items() if key != "custom_text"}
    vision, text = settings.get("vision_cfg", {}), settings.get("text_cfg", {})
    # A text model of Hugging Face's would be fetched while the checkpoint loads.
    foreign = vision.get("timm_model_name") or text.get("hf_model_name")
    if foreign or vision.get("attentional_pool") is not True or not text.get("embed_cls"):
        raise ValueError(
            "of open_clip's models only CoCas of its own transformers with an attentional pooler "
            "and a class token are supported, such as coca_ViT-B-32"
        )
    try:
        coca = import_open_clip().CoCa(**settings)
    except (TypeError, AttributeError, AssertionError) as error:
        raise ValueError(f"open_clip builds no CoCa of this configuration: {error}") from error
    coca.text.output_tokens = True
    return coca


def build_coca_parts(width: int, config: ClassifierConfig) -> tuple[nn.Module, OpenClipModule]:
    """Returns a new attentional pooler and multimodal decoder for towers of one `width`.

    Raises:
        ConfigError: the width cannot be shared out among the heads, or open_clip is not installed.
    """
    require_divisor(width, config.joint_heads)
    modules = import_open_clip().transformer
    pooler = modules.AttentionalPooler(width, width, config.joint_heads, QUERIES)
    decoder = modules.MultimodalTransformer(
        width, config.joint_layers, config.joint_heads, config.text_length
    )
    decoder.text_projection = None
    return pooler, decoder


def without_word_scores(coca: OpenClipModule) -> OpenClipModule:
    """Returns the decoder without the map to scores of next words, 25 M weights in ViT-B/32.

    Only captions need it, and nothing here writes any.
    """
    coca.text_decoder.text_projection = None
    return coca.text_decoder


def import_open_clip() -> Any:
    """Returns the package.

    Raises:
        ConfigError: it is not installed.
    """
    return load_extra("open_clip", "coca")
