"""The two towers of a Hugging Face CLIP, every token projected to CLIP's joint width."""

from jaxtyping import Bool, Float, Int
from torch import Tensor, nn
from transformers import CLIPConfig, CLIPModel

from enrich.classifiers.config import ClipTowers
from enrich.classifiers.tower_interface import Encoded, ImageTower, TextTower, end_of_text


class ClipImageTower(ImageTower):
    """CLIP's vision transformer; CLS is its own first token."""

    def __init__(self, clip: CLIPModel) -> None:
        super().__init__()
        self.width = clip.config.projection_dim
        vision = clip.config.vision_config
        self.grid = vision.image_size // vision.patch_size
        self.vision = clip.vision_model
        self.projection = clip.visual_projection

    def features(self, pixels: Float[Tensor, "B 3 H W"]) -> Float[Tensor, "B M C"]:
        hidden: Tensor = self.vision(pixel_values=pixels).last_hidden_state
        return hidden

    def embed(self, features: Float[Tensor, "B M C"]) -> Encoded:
        # transformers returns the sequence before the last norm, which CLIP applies to CLS only.
        return Encoded.cls_first(self.projection(self.vision.post_layernorm(features)))

    def pretrained(self) -> nn.Module:
        return self


class ClipTextTower(TextTower):
    """CLIP's text transformer; its last hidden state is after the final norm already."""

    def __init__(self, clip: CLIPModel) -> None:
        super().__init__()
        self.width = clip.config.projection_dim
        self.text = clip.text_model
        self.projection = clip.text_projection

    def forward(self, token_ids: Int[Tensor, "B L"], token_mask: Bool[Tensor, "B L"]) -> Encoded:
        hidden = self.text(input_ids=token_ids, attention_mask=token_mask.long())
        return Encoded(
            self.projection(hidden.last_hidden_state), token_mask, end_of_text(token_mask)
        )

    def pretrained(self) -> nn.Module:
        return self


def build_clip_towers(
    towers: ClipTowers, size_px: int, text_length: int
) -> tuple[ImageTower, TextTower]:
    """Returns both towers with random weights.

    Raises:
        ValueError: `size_px` or `text_length` is not what this CLIP was made for.
    """
    config = CLIPConfig.from_dict(towers.clip)
    if config.vision_config.image_size != size_px:
        raise ValueError(f"this CLIP takes {config.vision_config.image_size} px, not {size_px}")
    if text_length > config.text_config.max_position_embeddings:
        longest = config.text_config.max_position_embeddings
        raise ValueError(f"this CLIP takes texts of up to {longest} tokens, not {text_length}")
    clip = CLIPModel(config)
    return ClipImageTower(clip), ClipTextTower(clip)
