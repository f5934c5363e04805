"""A classifier of one modality carries nothing of the other, and says what its answer rests on."""

from dataclasses import replace

import pytest
import torch
from model_outputs import answer

from enrich.classifiers.checkpoint import build_classifier
from enrich.classifiers.interface import ModelInputs
from enrich.training.batches import count_labelled
from enrich.training.optimiser import label_loss

HAS_IMAGE = torch.tensor([True, False, True])
HAS_TEXT = torch.tensor([True, True, False])


def _build(config, tokenizer, name):
    torch.manual_seed(2)
    return build_classifier(
        config.model_copy(update={"classifier": name}), tokenizer.get_vocab_size()
    ).eval()


def _inputs(seed):
    generator = torch.Generator().manual_seed(seed)
    return ModelInputs(
        torch.randint(3, 200, (3, 5), generator=generator),
        torch.ones(3, 5, dtype=torch.bool),
        HAS_IMAGE,
        HAS_TEXT,
        pixel_values=torch.randint(0, 256, (3, 3, 64, 64), generator=generator).byte(),
    )


@pytest.mark.parametrize(
    "name, weight", [("image_only", [1.0, 0.0, 1.0]), ("text_only", [0.0, 0.0, 0.0])]
)
def test_the_image_weight_is_what_the_answer_rests_on(small_config, tokenizer, name, weight):
    output = answer(_build(small_config, tokenizer, name), _inputs(0))
    assert [found.tolist() for found in output.image_weight.values()] == [weight] * 3


@pytest.mark.parametrize("name, unread", [("image_only", "text"), ("text_only", "image")])
def test_no_weight_of_the_other_modality_is_carried(small_config, tokenizer, name, unread):
    names = _build(small_config, tokenizer, name).state_dict()
    assert names and not any(key.startswith(f"{unread}_tower") for key in names)


@pytest.mark.parametrize("name, blind", [("image_only", 1), ("text_only", 2)])
def test_products_that_lack_what_is_read_get_the_labels_shares_in_training(
    small_config, tokenizer, name, blind
):
    classifier = _build(small_config, tokenizer, name)
    one, other = (answer(classifier, _inputs(seed)) for seed in (0, 1))
    for attribute, logits in one.logits.items():
        assert logits[blind].equal(other.logits[attribute][blind])
    optimiser = torch.optim.Adam(classifier.parameters(), lr=0.01)
    hidden = torch.zeros(3, dtype=torch.bool)
    given = _inputs(0)
    with torch.no_grad():
        features = classifier.image_tower.features(classifier.normalise_pixels(given.pixel_values))
    inputs = replace(
        given, pixel_values=None, image_features=features, has_image=hidden, has_text=hidden
    )
    # Of three rows two are of label 0.
    targets = torch.tensor([0, 0, 1]).unsqueeze(1).expand(-1, 3)
    labelled = count_labelled(targets)
    for _ in range(60):
        optimiser.zero_grad()
        label_loss(classifier(inputs).logits, targets, 0.0, labelled).backward()
        optimiser.step()
    probs = answer(classifier, _inputs(0)).logits["color"][blind].softmax(0)
    torch.testing.assert_close(probs[:2], torch.tensor([2 / 3, 1 / 3]), rtol=0.05, atol=0.02)
