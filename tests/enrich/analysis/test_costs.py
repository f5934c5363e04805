"""Parameters and operations of systems, counted."""

import pytest
import torch
from torch import nn

from bench.parameters import count_flops, count_parameters
from enrich.classifiers.checkpoint import build_classifier
from enrich.classifiers.interface import TEXT, Classifier, ModelOutput, Vectors
from enrich.classifiers.towers import build_transformer

WIDTH, LABELS = 32, 4


@pytest.fixture(scope="module")
def classifier(small_config, tokenizer):
    config = small_config.model_copy(update={"attributes": {"color": ("a", "b", "c", "d")}})
    return build_classifier(config, tokenizer.get_vocab_size()).eval()


def test_pretrained_parameters_are_those_of_the_backbone(classifier):
    total, pretrained = count_parameters(classifier)
    backbone = sum(p.numel() for p in classifier.image_tower.pretrained().parameters())
    assert pretrained == backbone and 1_000_000 < backbone < total
    assert total == sum(p.numel() for p in classifier.parameters())


class Counted(Classifier):
    """A convolution, a transformer layer and a head, small enough to count by hand."""

    def build_encoder(self, config, vocabulary):
        self.convolution = nn.Conv2d(3, 8, kernel_size=16, stride=16)
        self.tokens = nn.Embedding(vocabulary, WIDTH)
        self.transformer = build_transformer(WIDTH, layers=1, heads=2, dropout=0.1)

    def build_answering(self, config):
        self.head = nn.Linear(WIDTH, LABELS)

    def vector_shapes(self, config):
        return {TEXT: (WIDTH,)}

    def encode(self, inputs):
        self.convolution(self.normalise_pixels(inputs.pixel_values))
        hidden = self.transformer(
            self.tokens(inputs.token_ids), src_key_padding_mask=~inputs.token_mask
        )
        return Vectors({TEXT: hidden[:, 0]}, inputs.has_image, inputs.has_text)

    def _answer(self, vectors):
        return ModelOutput({"color": self.head(vectors.text)}, vectors)


def test_flops_count_every_multiplication_with_its_addition_twice(small_config):
    cells, tokens = (64 // 16) ** 2, small_config.text_length
    convolution = 2 * cells * 8 * (3 * 16 * 16)
    # Queries, keys, values and output, then a feed-forward of four widths.
    projections = 2 * tokens * WIDTH * (3 * WIDTH + WIDTH + 4 * WIDTH + 4 * WIDTH)
    attention = 2 * 2 * tokens * tokens * WIDTH
    head = 2 * WIDTH * LABELS
    assert torch.backends.mha.get_fastpath_enabled()
    counted = count_flops(Counted(small_config, vocabulary=40).eval())
    assert counted == convolution + projections + attention + head
    assert torch.backends.mha.get_fastpath_enabled(), "inference is left as fast as it was"


@pytest.mark.parametrize("name", ["cma_clip", "mmbt", "perceiver_io"])
def test_operations_of_every_joint_layer_can_be_counted(small_config, tokenizer, name):
    config = small_config.model_copy(update={"classifier": name})
    classifier = build_classifier(config, tokenizer.get_vocab_size()).eval()
    assert count_flops(classifier) > 10_000
