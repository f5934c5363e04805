"""What a classifier costs: parameters, FLOPs a product, products a second, bytes on disk."""

import copy
import platform
import statistics
import time
from collections.abc import Sequence
from pathlib import Path

import torch
from torch.utils.flop_counter import FlopCounterMode

from enrich.classifiers.interface import Classifier, ModelInputs
from enrich.forward import Forward
from enrich.precision import choose_dtype

_REPETITIONS = 7


def count_parameters(classifier: Classifier) -> tuple[int, int]:
    """Returns all parameters, and how many of them started from published weights."""
    pretrained = {p for module in classifier.pretrained() for p in module.parameters()}
    total = sum(parameter.numel() for parameter in classifier.parameters())
    return total, sum(parameter.numel() for parameter in pretrained)


def count_flops(classifier: Classifier) -> int:
    """Returns the operations that one more product in a batch takes, picture and full-length text.

    A multiplication with its addition counts as two. Counted are convolutions, matrix products and
    attention; norms, activations, pooling and look-ups are not, nor what is done once a batch, as
    for the prompts of `clip_zero_shot`.
    """
    one, two = (_count_batch_flops(classifier, products) for products in (1, 2))
    return two - one


def _count_batch_flops(classifier: Classifier, products: int) -> int:
    config = classifier.config
    size_px, present = config.image.size_px, torch.ones(products, dtype=torch.bool)
    batch = ModelInputs(
        token_ids=torch.ones(products, config.text_length, dtype=torch.long),
        token_mask=torch.ones(products, config.text_length, dtype=torch.bool),
        has_image=present,
        has_text=present,
        pixel_values=torch.zeros(products, 3, size_px, size_px, dtype=torch.uint8),
    )
    # The fused transformer layer of inference is one operation that the counter does not know.
    fused = torch.backends.mha.get_fastpath_enabled()
    torch.backends.mha.set_fastpath_enabled(False)
    try:
        # With gradients: without, a view of a parameter, as Perceiver's latents are, breaks it.
        with FlopCounterMode(display=False) as counter:
            classifier(batch.to(classifier.device))
    finally:
        torch.backends.mha.set_fastpath_enabled(fused)
    return int(counter.get_total_flops())


def measure_speeds(
    runs: Sequence[tuple[Classifier, ModelInputs]], device: torch.device
) -> list[float]:
    """Returns the products a second of each classifier's forward pass, its median repetition.

    What is timed are copies, made quick as the job makes its own classifier. They take turns, so
    that whatever else the machine does slows all of them alike.
    """
    on_device = [(Forward(copy.deepcopy(one), device), inputs.to(device)) for one, inputs in runs]
    seconds: list[list[float]] = [[] for _ in runs]
    for repetition in range(1 + _REPETITIONS):
        for taken, (forward, inputs) in zip(seconds, on_device, strict=True):
            begin = time.perf_counter()
            forward(inputs)
            if repetition > 0:  # the first one warms up
                taken.append(time.perf_counter() - begin)
    return [
        len(inputs.has_text) / statistics.median(taken)
        for taken, (_, inputs) in zip(seconds, on_device, strict=True)
    ]


def describe_machine(device: torch.device) -> str:
    """Returns the device, the threads and the number format that a speed was measured with."""
    number_format = str(choose_dtype(device)).removeprefix("torch.")
    if device.type == "cuda":
        return f"{torch.cuda.get_device_name(device)}, {number_format}"
    instructions = torch.backends.cpu.get_cpu_capability()
    threads = torch.get_num_threads()
    plural = "" if threads == 1 else "s"
    return f"{platform.machine()} CPU ({instructions}), {threads} thread{plural}, {number_format}"


def measure_size(checkpoint: Path) -> int:
    """Returns the bytes of the checkpoint's files."""
    return sum(file.stat().st_size for file in checkpoint.iterdir() if file.is_file())
