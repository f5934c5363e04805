"""Parameters and FLOPs of classifiers."""

import contextlib

import torch
from torch._subclasses.fake_tensor import FakeTensor
from torch.utils.flop_counter import FlopCounterMode

from enrich.classifiers.interface import Classifier, ModelInputs


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
