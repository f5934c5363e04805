"""The encoder's forward pass on one device: half precision, within its memory.

Copies to the device overlap other batches' layers. The module knows neither products nor callers.
"""

import contextlib
import logging
from collections.abc import Iterator

import torch
from jaxtyping import Float
from torch import Tensor, nn

from enrich.classifiers.interface import Classifier, ModelInputs
from enrich.classifiers.towers import ImageTower
from enrich.engine.device import autocast, cast_weights, is_full_precision
from enrich.records import Modalities

log = logging.getLogger(__name__)

# Errors that torch has no class of its own for: those of the GPU's libraries, which do not allocate
# through torch or do not say why they end, and a CPU's. Some of them mean other things too: those
# come again with one row, and are raised.
_OUT_OF_MEMORY = (
    *("_STATUS_ALLOC_FAILED", "ALLOCATION_FAILED", "CUDA error: out of memory"),
    # cuBLAS and cuDNN as they start.
    "_STATUS_NOT_INITIALIZED",
    # A convolution whose ways all want more memory: torch drops what each of them has said.
    *("unable to find an engine to execute this", "Unable to find a valid cuDNN algorithm"),
    "DefaultCPUAllocator: can't allocate memory",
    # oneDNN, on a CPU.
    *("could not create a primitive", "could not execute a primitive"),
)


class Forward:
    """The encoder's forward pass, safe to call from several threads at once."""

    def __init__(self, classifier: Classifier, device: torch.device) -> None:
        """Prepare a classifier that is on `device`, in place: fuse and cast."""
        for part in classifier.modules():
            if isinstance(part, ImageTower):
                part.fuse()
        if is_full_precision(device):
            _unfuse(classifier)
        for part in classifier.encoder_modules():
            cast_weights(part, device)
        # autocast keeps its casts of weights that want gradients, for all threads: one stream would
        # read what another has not written yet.
        classifier.requires_grad_(False)
        self._classifier = classifier
        self._device = device
        self._most_rows: int | None = None
        # Memory that was freed on a stream is kept for it: few streams, however many threads come.
        self._idle_streams: list[torch.cuda.Stream] = []
        if device.type == "cuda":
            torch.cuda.synchronize(device)  # the weights are there before another stream needs them
            self._free_cached()  # of the weights before they were cast: no other stream gets it

    def __call__(self, inputs: ModelInputs) -> Float[Tensor, "B N"]:
        """Return the rows' packed vectors on the CPU.

        A batch that does not fit the device's memory is halved, and so are the later ones. Raises
        torch.OutOfMemoryError or RuntimeError if not even one row fits.
        """
        return self._in_parts(inputs, (Modalities.IMAGE_AND_TEXT,)).squeeze(1)

    def apart(self, inputs: ModelInputs) -> Float[Tensor, "B M N"]:
        """Return each row's packed vectors computed from each of `Modalities` alone.

        The towers run once. Vectors of modalities that a row lacks mean nothing.
        """
        return self._in_parts(inputs, tuple(Modalities))

    def _in_parts(
        self, inputs: ModelInputs, shown: tuple[Modalities, ...]
    ) -> Float[Tensor, "B M N"]:
        packed: list[Tensor] = []
        done, rows = 0, len(inputs.has_text)
        while done < rows:
            part = inputs.rows(done, done + min(rows, self._most_rows or rows))
            vectors = self._run_if_it_fits(part, shown)
            if vectors is not None:
                packed.append(vectors)
                done += len(part.has_text)
        return torch.cat(packed)

    def _run_if_it_fits(
        self, inputs: ModelInputs, shown: tuple[Modalities, ...]
    ) -> Float[Tensor, "B M N"] | None:
        try:
            return self._run(inputs, shown)
        except RuntimeError as error:
            if not is_out_of_memory(error) or len(inputs.has_text) == 1:
                raise
        # Not in the handler: until that ends, the error holds on to the tensors of the attempt.
        half = len(inputs.has_text) // 2
        self._most_rows = min(half, self._most_rows or half)
        log.warning(
            "out of memory on %s with %s products at once: from now on %s",
            *(self._device, len(inputs.has_text), self._most_rows),
        )
        if self._device.type == "cuda":
            self._free_cached()
        return None

    def _free_cached(self) -> None:
        # Else it would open a context on the first GPU too.
        with torch.cuda.device(self._device):
            torch.cuda.empty_cache()

    def _run(self, inputs: ModelInputs, shown: tuple[Modalities, ...]) -> Float[Tensor, "B M N"]:
        with self._stream(), torch.inference_mode():
            inputs = inputs.to(self._device)
            with autocast(self._device):
                tokens = self._classifier.towers(inputs)
                packed = [
                    self._classifier.join(
                        tokens,
                        inputs.has_image & (one is not Modalities.TEXT),
                        inputs.has_text & (one is not Modalities.IMAGE),
                    ).pack()
                    for one in shown
                ]
            # Outside of autocast, which knows no float16 on a CPU.
            return torch.stack(packed, dim=1).to("cpu")

    @contextlib.contextmanager
    def _stream(self) -> Iterator[None]:
        """Lend the thread a CUDA stream, so that copies overlap other layers."""
        if self._device.type != "cuda":
            yield
            return
        # Else a thread would open a context, of some hundred megabytes, on the first GPU too.
        with torch.cuda.device(self._device):
            try:
                stream = self._idle_streams.pop()
            except IndexError:
                stream = torch.cuda.Stream(self._device)
            try:
                with torch.cuda.stream(stream):
                    yield
            finally:
                self._idle_streams.append(stream)


def _unfuse(classifier: Classifier) -> None:
    """Keep torch from fusing transformer layers in float32 on a CPU.

    A fused layer computes the softmax number by number. Measured with the bundled checkpoint on
    two cores with AVX2: 170 products/s with fused layers, 175 without. torch's own switch holds
    for the whole process.
    """
    for part in classifier.modules():
        if isinstance(part, nn.TransformerEncoderLayer):
            part.activation_relu_or_gelu = 0  # what it sets where it cannot fuse


def is_out_of_memory(error: RuntimeError) -> bool:
    """Return True if an error may mean that a device had too little memory."""
    return isinstance(error, torch.OutOfMemoryError) or any(
        said in str(error) for said in _OUT_OF_MEMORY
    )
