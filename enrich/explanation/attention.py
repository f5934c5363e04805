"""Reads the attention out of a classifier's sequence-wise transformer.

Knows nothing of words, pictures or products.
"""

from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import torch
from jaxtyping import Float
from torch import Tensor, nn

from enrich.classifiers.attention import SequenceWiseAttention
from enrich.classifiers.interface import Classifier, ModelInputs
from enrich.classifiers.transformer import joint_sequence
from enrich.errors import CheckpointError


def joint_attention(classifier: Classifier, inputs: ModelInputs) -> Float[Tensor, "B N N"]:
    """Returns how much each token of the joint sequence draws on each other one.

    Attention rollout (Abnar and Zuidema, arXiv 2005.00928): heads are averaged, half of every
    layer is the residual path, and the layers are multiplied. A row sums to 1.

    Raises:
        CheckpointError: the classifier has no attention over the joint sequence.
    """
    sequence_wise = getattr(classifier, "sequence_wise", None)
    if not isinstance(sequence_wise, SequenceWiseAttention):
        raise CheckpointError(
            f"'{classifier.config.name}' ({classifier.config.classifier}) has no attention "
            "over text and image together, which is what the picture shows; wanted: a cma_clip "
            "checkpoint with sequence_wise"
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
    """Appends each layer's attention, averaged over the heads, while the context is open."""

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
