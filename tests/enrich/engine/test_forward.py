"""The forward pass fits its batches into memory; weights that are cast once change no answer."""

import dataclasses
from collections.abc import Callable
from unittest.mock import Mock

import pytest
import torch

from enrich.classifiers.checkpoint import build_classifier
from enrich.classifiers.interface import ModelInputs
from enrich.engine.device import autocast
from enrich.engine.forward import Forward

CPU = torch.device("cpu")
ROWS = 21


@pytest.fixture
def bfloat16(monkeypatch):
    monkeypatch.setattr("enrich.engine.device.choose_dtype", lambda device: torch.bfloat16)


@pytest.fixture
def inputs():
    random = torch.Generator().manual_seed(0)
    return ModelInputs(
        token_ids=torch.randint(3, 300, (ROWS, 9), generator=random),
        token_mask=torch.arange(9) < torch.randint(1, 9, (ROWS, 1), generator=random),
        has_image=torch.arange(ROWS) % 5 > 0,
        has_text=torch.arange(ROWS) % 5 < 4,
        pixel_values=torch.randint(0, 256, (ROWS, 3, 64, 64), generator=random, dtype=torch.uint8),
    )


def _build(config, tokenizer):
    torch.manual_seed(0)
    return build_classifier(config, tokenizer.get_vocab_size()).eval()


class Crowded:
    """A classifier on a device with memory for so many rows."""

    def __init__(self, classifier, fits, error=torch.OutOfMemoryError("CUDA out of memory")):
        self.classifier, self.fits, self.asked = classifier, fits, list[int]()
        self.error = error

    def towers(self, inputs):
        rows = len(inputs.has_text)
        self.asked.append(rows)
        if rows > self.fits:
            raise self.error
        return self.classifier.towers(inputs)

    def join(self, *given):
        return self.classifier.join(*given)

    def encoder_modules(self):
        return []

    def modules(self):
        return []

    def requires_grad_(self, wanted):
        self.classifier.requires_grad_(wanted)


Crowd = Callable[..., Crowded]


@pytest.fixture
def exact(monkeypatch):
    monkeypatch.setattr("enrich.engine.device.choose_dtype", lambda device: torch.float32)


@pytest.fixture
def crowd(exact, small_config, tokenizer):
    """Returns a function that builds a crowded classifier, always with the same weights."""

    def crowd(fits, kind=Crowded, **settings):
        return kind(_build(small_config, tokenizer), fits, **settings)

    return crowd


def test_a_batch_that_does_not_fit_is_halved_until_it_does_and_all_rows_are_answered(crowd, inputs):
    crowded = crowd(fits=6)
    forward = Forward(crowded, CPU)
    with torch.inference_mode():
        wanted = crowded.classifier.encode(inputs).pack()
    found = forward(inputs)
    assert crowded.asked == [21, 10, 5, 5, 5, 5, 1]
    torch.testing.assert_close(found, wanted, rtol=1e-2, atol=1e-3)
    crowded.asked.clear()
    forward(inputs)
    assert max(crowded.asked) == 5, "it tries what does not fit again"


@pytest.mark.parametrize(
    "said",
    [
        "CUDA error: CUBLAS_STATUS_ALLOC_FAILED when calling `cublasCreate(handle)`",
        "cuDNN error: CUDNN_STATUS_INTERNAL_ERROR_DEVICE_ALLOCATION_FAILED",
        "CUDA error: out of memory",
        # cuDNN finds no memory for a convolution's workspace, or for itself.
        "GET was unable to find an engine to execute this computation",
        "FIND was unable to find an engine to execute this computation",
        "Unable to find a valid cuDNN algorithm to run convolution",
        "cuDNN error: CUDNN_STATUS_NOT_INITIALIZED",
        "CUDA error: CUBLAS_STATUS_NOT_INITIALIZED when calling `cublasCreate(handle)`",
        # A CPU's oneDNN.
        "could not create a primitive",
        "could not execute a primitive",
    ],
)
def test_libraries_of_the_device_that_find_no_memory_halve_the_batch_too(crowd, inputs, said):
    crowded = crowd(fits=11, error=RuntimeError(said))
    Forward(crowded, CPU)(inputs)
    assert crowded.asked == [21, 10, 10, 1]


def test_another_error_is_no_lack_of_memory(crowd, inputs):
    crowded = crowd(fits=11, error=RuntimeError("a bug"))
    with pytest.raises(RuntimeError, match="a bug"):
        Forward(crowded, CPU)(inputs)
    assert crowded.asked == [21]


def test_one_row_that_does_not_fit_is_an_error(crowd, inputs):
    forward = Forward(crowd(fits=0), CPU)
    with pytest.raises(torch.OutOfMemoryError):
        forward(inputs)


def test_weights_cast_once_give_what_weights_cast_for_every_batch_give(
    bfloat16, clip_config, tokenizer, inputs
):
    # A small tower merges layers as well, which is more exact.
    classifier = _build(clip_config, tokenizer)
    with torch.inference_mode(), autocast(CPU):
        wanted = classifier.encode(inputs).pack()
    found = Forward(classifier, CPU)(inputs)
    linear = next(m for m in classifier.image_tower.modules() if isinstance(m, torch.nn.Linear))
    assert linear.weight.dtype is torch.bfloat16
    assert {weights.dtype for weights in classifier.heads.parameters()} == {torch.float32}
    assert found.equal(wanted)


def test_in_float32_norms_are_folded_and_the_answers_stay(exact, small_config, tokenizer, inputs):
    classifier = _build(small_config, tokenizer)
    backbone = classifier.image_tower.pretrained()
    norms = [m for m in backbone.modules() if isinstance(m, torch.nn.BatchNorm2d)]
    for norm in norms:
        torch.nn.init.uniform_(norm.weight, 0.5, 1.5)
        torch.nn.init.normal_(norm.bias, 0, 0.1)
    with torch.inference_mode():
        wanted = classifier.encode(inputs).pack()
    found = Forward(classifier, CPU)(inputs)
    assert norms and not [m for m in backbone.modules() if isinstance(m, torch.nn.BatchNorm2d)]
    torch.testing.assert_close(found, wanted, rtol=1e-2, atol=1e-3)


def test_rows_read_from_each_modality_alone_are_those_that_lack_the_other(
    exact, small_config, tokenizer, inputs
):
    forward = Forward(classifier := _build(small_config, tokenizer), CPU)
    seen = Mock(wraps=classifier.image_tower.features)
    classifier.image_tower.features = seen
    apart = forward.apart(inputs)
    assert seen.call_count == 1
    nobody = torch.zeros(ROWS, dtype=torch.bool)
    for place, lacking in enumerate(({}, {"has_text": nobody}, {"has_image": nobody})):
        alone = dataclasses.replace(inputs, **lacking)
        rows = alone.has_image | alone.has_text
        wanted = forward(alone)
        torch.testing.assert_close(apart[rows, place], wanted[rows], rtol=1e-2, atol=1e-3)


def test_a_frozen_norm_keeps_its_precision(bfloat16, small_config, tokenizer):
    classifier = _build(small_config, tokenizer)
    Forward(classifier, CPU)
    assert classifier.get_submodule("image_tower.norm").weight.dtype is torch.float32


def test_no_thread_is_handed_weights_that_another_has_cast(small_config, tokenizer):
    classifier = _build(small_config, tokenizer)
    Forward(classifier, CPU)
    # autocast keeps casts of what wants gradients, and of nothing else.
    assert not any(weights.requires_grad for weights in classifier.parameters())
