"""What a classifier answers to a batch, and whether two of its answers are the same."""

import torch

from enrich.classifiers.interface import Classifier, ModelInputs, ModelOutput


@torch.inference_mode()
def answer(classifier: Classifier, inputs: ModelInputs) -> ModelOutput:
    """Returns the output from vectors that were not rounded to be stored."""
    return classifier.answer(classifier.encode(inputs))


def assert_same(left: ModelOutput, right: ModelOutput) -> None:
    """Compares logits and weights of the image, which may differ by rounding alone."""
    torch.testing.assert_close(left.logits, right.logits, rtol=1e-4, atol=1e-5)
    torch.testing.assert_close(left.image_weight, right.image_weight, rtol=1e-4, atol=1e-5)
