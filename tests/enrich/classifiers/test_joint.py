"""Perceiver IO reads padded tokens into a few latents and asks them once for each attribute."""

import pytest
import torch
from model_outputs import answer

from enrich.classifiers.joint import LATENTS, MODALITY_CHANNELS


@pytest.fixture
def classifier(build):
    return build("perceiver_io")


def test_each_attribute_has_a_query_of_its_own(classifier, products):
    queries = classifier.perceiver.decoder.output_position_encodings.position_embeddings
    assert queries.shape == (len(classifier.config.attributes), 32)
    with torch.inference_mode():
        before = answer(classifier, products).logits
        for at, asked in enumerate(before):
            kept = queries[at].clone()
            queries[at] += 1
            after = answer(classifier, products).logits
            queries[at] = kept
            assert {a for a, t in after.items() if not t.equal(before[a])} == {asked}


def test_the_latents_look_at_all_that_a_row_has_and_at_nothing_else(classifier, products):
    padded = torch.randn(2, 7, 32 + MODALITY_CHANNELS)
    mask = torch.tensor([[1, 1, 1, 1, 1, 1, 1], [1, 1, 0, 0, 1, 0, 0]])
    with torch.inference_mode():
        read = classifier.perceiver(inputs=padded, attention_mask=mask, output_attentions=True)
    attention = read.cross_attentions[0]
    assert attention.shape == (2, 2, LATENTS, 7)
    seen = (attention > 0).all(dim=2).all(dim=1)
    assert seen.equal(mask.bool()) and (attention[1][:, :, ~mask[1].bool()] == 0).all()
