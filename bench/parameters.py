"""Parameters and FLOPs of every system at the sizes of published towers.

    python -m bench.parameters

Systems are built without data or weights: their tensors have shapes and no numbers. The table is
that of docs/parameters.md.
"""

import contextlib
from dataclasses import dataclass, field
from typing import Any

import torch
import typer
from torch import nn
from torch._subclasses.fake_tensor import FakeTensor, FakeTensorMode
from torch.fx.experimental.symbolic_shapes import ShapeEnv
from torch.utils.flop_counter import FlopCounterMode

from enrich.classifiers.checkpoint import build_classifier
from enrich.classifiers.config import (
    ClassifierConfig,
    ClassifierName,
    HuggingFaceTowers,
    OpenClipTowers,
    PairTowers,
)
from enrich.classifiers.interface import Classifier, ModelInputs
from enrich.classifiers.open_clip_towers import import_open_clip
from enrich.cli import run_command
from enrich.images.settings import ImageShape
from enrich.terminal import Table, to_markdown
from schemas.labels import ATTRIBUTE_LABELS

_CLIP_WORDS, _BERT_WORDS = 49_408, 30_522
_HEADS, _TEXT_LENGTH, _SIZE_PX = 8, 77, 224
# transformers' defaults are the sizes of CLIP ViT-B/32, of ViT-B and of BERT-base.
_CLIP = {"model_type": "clip"}
_VIT = {"model_type": "vit", "patch_size": 32}
_BERT = {"model_type": "bert", "vocab_size": _BERT_WORDS}


@dataclass(frozen=True, slots=True)
class System:
    """A classifier, and what its towers are here."""

    name: str
    classifier: ClassifierName
    towers: str
    settings: dict[str, Any] = field(default_factory=dict)


_ON_CLIP, _ON_BERT, _ON_COCA = "CLIP ViT-B/32", "ViT-B/32, BERT-base", "CoCa ViT-B/32"
SYSTEMS = (
    System("cma_clip", "cma_clip", _ON_CLIP),
    System("without-modality-wise", "cma_clip", _ON_CLIP, {"modality_wise": False}),
    System("without-both", "cma_clip", _ON_CLIP, {"modality_wise": False, "sequence_wise": False}),
    System("clip_zero_shot", "clip_zero_shot", _ON_CLIP),
    System("clip_mlp", "clip_mlp", _ON_CLIP),
    System("clip_sum", "clip_sum", _ON_CLIP),
    System("clip_transformer", "clip_transformer", _ON_CLIP),
    System("mmbt", "mmbt", _ON_BERT),
    System("single_stream", "single_stream", _ON_BERT),
    System("embracenet", "embracenet", _ON_CLIP),
    System("perceiver_io", "perceiver_io", _ON_CLIP),
    System("coca", "coca", _ON_COCA),
    System("image_only", "image_only", _ON_BERT),
    System("text_only", "text_only", _ON_BERT),
)


def build_system(system: System) -> Classifier:
    """Return a system with tensors that hold no numbers."""
    if system.towers == _ON_CLIP:
        towers: Any = HuggingFaceTowers(model=_CLIP)
    elif system.towers == _ON_BERT:
        towers = PairTowers(vision=_VIT, text=_BERT, width=768)
    else:
        towers = OpenClipTowers(model=import_open_clip().get_model_config("coca_ViT-B-32"))
    half = (0.5, 0.5, 0.5)
    config = ClassifierConfig(
        name="sizes",
        classifier=system.classifier,
        towers=towers,
        image=ImageShape(size_px=_SIZE_PX, fit="crop", mean=half, std=half),
        # CoCa's own texts are a token shorter: the last place is its class token's.
        text_length=_TEXT_LENGTH - (system.towers == _ON_COCA),
        attributes=ATTRIBUTE_LABELS,
        joint_heads=_HEADS,
        **system.settings,
    )
    with torch.device("meta"):
        classifier = build_classifier(config, _CLIP_WORDS).eval()
    # Like on a GPU, where code does not read the numbers that it would read on a CPU.
    mode, gpu = FakeTensorMode(shape_env=ShapeEnv()), torch.device("cuda", 0)
    for part in classifier.modules():
        for name, buffer in part.named_buffers(recurse=False):
            part._buffers[name] = FakeTensor(mode, buffer, gpu)
        for name, parameter in part.named_parameters(recurse=False):
            part._parameters[name] = nn.Parameter(FakeTensor(mode, parameter.detach(), gpu))
    return classifier


def count_parameters(classifier: Classifier) -> tuple[int, int]:
    """Count all parameters, and those that started from published weights."""
    pretrained = {p for module in classifier.pretrained() for p in module.parameters()}
    total = sum(parameter.numel() for parameter in classifier.parameters())
    return total, sum(parameter.numel() for parameter in pretrained)


def count_flops(classifier: Classifier) -> int:
    """Count the operations that one more product in a batch takes.

    The product has a picture and a text of full length. A multiplication with its addition counts
    as two. Convolutions, matrix products and attention count; norms, activations, pooling,
    look-ups, and work done once a batch do not.
    """
    one, two = (_count_batch_flops(classifier, products) for products in (1, 2))
    return two - one


def _count_batch_flops(classifier: Classifier, products: int) -> int:
    config, device = classifier.config, classifier.device
    size_px, length = config.image.size_px, config.text_length
    # The fused transformer layer of inference is one operation that the counter does not know.
    fused = torch.backends.mha.get_fastpath_enabled()
    torch.backends.mha.set_fastpath_enabled(False)
    try:
        # With gradients: without, a view of a parameter, as Perceiver's latents are, breaks it.
        with _mode_of(classifier), FlopCounterMode(display=False) as counter:
            present = torch.ones(products, dtype=torch.bool, device=device)
            classifier(
                ModelInputs(
                    token_ids=torch.ones(products, length, dtype=torch.long, device=device),
                    token_mask=torch.ones(products, length, dtype=torch.bool, device=device),
                    has_image=present,
                    has_text=present,
                    pixel_values=torch.zeros(
                        products, 3, size_px, size_px, dtype=torch.uint8, device=device
                    ),
                )
            )
    finally:
        torch.backends.mha.set_fastpath_enabled(fused)
    return int(counter.get_total_flops())


def _mode_of(classifier: Classifier) -> contextlib.AbstractContextManager[object]:
    """Return the context for tensors without numbers, if any is among the tensors."""
    mean = classifier.pixel_mean
    return mean.fake_mode if isinstance(mean, FakeTensor) else contextlib.nullcontext()


def tabulate_systems() -> Table:
    """Return a table of parameters and FLOPs, one row a system."""
    rows = []
    for system in SYSTEMS:
        classifier = build_system(system)
        total, pretrained = count_parameters(classifier)
        rows.append(
            [
                system.name,
                system.towers,
                f"{total / 1e6:.1f} M",
                f"{(total - pretrained) / 1e6:.1f} M",
                f"{count_flops(classifier) / 1e9:.1f} G",
            ]
        )
    columns = ("system", "towers", "parameters", "of these new", "FLOPs a product")
    return Table("Parameters and FLOPs of each system", columns, [rows])


def main() -> None:
    """Print parameters and FLOPs of every system."""
    typer.echo(to_markdown(tabulate_systems()))


if __name__ == "__main__":
    run_command(main)
