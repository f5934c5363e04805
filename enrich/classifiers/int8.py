"""Linear layers that compute in int8 on a CPU.

They are for checkpoints whose config.json says `int8`. Weights are stored in half precision and
rounded when they are loaded; a GPU computes with them as stored.
"""

import copy
import warnings

import torch
from jaxtyping import Float
from torch import Tensor, nn

from enrich.errors import CheckpointError

# Of torch's engines the quickest: a layer of ViT-B/32 takes 8.1 ms, 8.8 with fbgemm, and 18 in
# bfloat16 (one core with AVX-512 VNNI and BF16).
_ENGINE = "onednn"
_LARGEST = 127


class Int8Linear(nn.Module):
    """A linear layer with a scale for each output, and one for all inputs of a pass."""

    def __init__(self, linear: nn.Linear) -> None:
        super().__init__()
        weight = linear.weight.detach().float()
        scales = weight.abs().amax(dim=1).clamp(min=torch.finfo(torch.float32).tiny) / _LARGEST
        # Without VNNI two products of eight bits overflow their sum: there inputs have seven.
        self._in_seven_bits = not torch.cpu._is_vnni_supported()
        with warnings.catch_warnings():
            # torch would have torchao do this, which is no faster than bfloat16 without a compiler.
            warnings.filterwarnings("ignore", "torch.quantize_per_tensor", UserWarning)
            rounded = torch.quantize_per_channel(
                weight, scales.double(), torch.zeros(len(scales), dtype=torch.long), 0, torch.qint8
            )
        bias = None if linear.bias is None else linear.bias.detach().float()
        self._packed = torch.ops.quantized.linear_prepack(rounded, bias)
        # open_clip's text towers ask a layer's weight for its type, and for nothing else.
        self.register_buffer("weight", torch.empty(0), persistent=False)

    def forward(self, inputs: Float[Tensor, "*B I"]) -> Float[Tensor, "*B O"]:
        """Return the layer's outputs in float32."""
        return torch.ops.quantized.linear_dynamic(inputs.float(), self._packed, self._in_seven_bits)

    def __deepcopy__(self, memo: dict[int, object]) -> "Int8Linear":
        # torch would pack a copy's weights for another engine. Nothing writes to them.
        return copy.copy(self)

    def rounded(self) -> list[Tensor]:
        """Return weights and bias as it computes with them; they are no parameters of it."""
        weight, bias = torch.ops.quantized.linear_unpack(self._packed)
        return [weight.dequantize()] if bias is None else [weight.dequantize(), bias]


def use_int8(tower: nn.Module) -> None:
    """Replace the tower's linear layers in place, except those that torch fuses.

    Raises CheckpointError if this torch or this CPU lacks int8 layers.
    """
    # torch has announced that it will drop these layers some day.
    is_there = hasattr(torch, "quantize_per_channel")
    if not is_there or _ENGINE not in torch.backends.quantized.supported_engines:
        raise CheckpointError(
            f"the checkpoint needs int8, which torch {torch.__version__} lacks on this CPU. Use "
            "the checkpoint that it was exported from"
        )
    before = torch.backends.quantized.engine
    torch.backends.quantized.engine = _ENGINE
    try:
        _replace_linears(tower)
    finally:
        torch.backends.quantized.engine = before


def _replace_linears(module: nn.Module) -> None:
    for name, part in module.named_children():
        # Not its subclasses: an attention reads the weights of its own.
        if type(part) is nn.Linear:
            setattr(module, name, Int8Linear(part))
        elif not isinstance(part, nn.TransformerEncoderLayer):
            _replace_linears(part)
