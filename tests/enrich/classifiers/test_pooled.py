"""Zero-shot CLIP answers with the nearest prompt's label; EmbraceNet draws while it trains."""

import copy
from dataclasses import replace

import pytest
import torch
import torch.nn.functional as F
from model_outputs import answer
from tokenizers import Tokenizer

from enrich.classifiers.checkpoint import build_classifier
from enrich.classifiers.interface import ModelInputs, ModelOutput
from enrich.classifiers.pooled import SCALE, ClipZeroShot, embrace
from enrich.classifiers.towers import TextEncoder
from enrich.training.batches import count_labelled
from enrich.training.optimiser import label_loss

LABELS = ["red", "green", "blue", "white", "solid", "striped", "printed", "casual", "formal"]


@pytest.fixture(scope="module")
def zero_shot(small_config, tokenizer):
    torch.manual_seed(1)
    config = small_config.model_copy(
        update={"classifier": "clip_zero_shot", "prompt": "a {label} shirt"}
    )
    made = ClipZeroShot(config, tokenizer.get_vocab_size()).eval()
    made.read_tokenizer(TextEncoder(tokenizer, config.text_length))
    return made


@torch.inference_mode()
def _answer(
    zero_shot: ClipZeroShot,
    tokenizer: Tokenizer,
    texts: list[str],
    has_image: bool,
    has_text: bool = True,
) -> tuple[ModelInputs, ModelOutput]:
    ids, mask = TextEncoder(tokenizer, 16)(texts)
    rows = len(texts)
    inputs = ModelInputs(
        ids,
        mask,
        torch.full((rows,), has_image),
        torch.full((rows,), has_text),
        pixel_values=torch.randint(0, 256, (rows, 3, 64, 64), dtype=torch.uint8),
    )
    return inputs, zero_shot.answer(zero_shot.encode(inputs))


def test_a_text_that_is_a_label_s_prompt_is_of_that_label(zero_shot, tokenizer):
    _, output = _answer(zero_shot, tokenizer, [f"a {label} shirt" for label in LABELS], False)
    logits = torch.cat(list(output.logits.values()), dim=1)
    # Every prompt is the nearest to itself, at a cosine of 1.
    assert logits.argmax(1).tolist() == list(range(len(LABELS)))
    torch.testing.assert_close(logits.diagonal(), torch.full((len(LABELS),), SCALE))
    assert output.image_weight == {}


@pytest.mark.parametrize("has_image, has_text", [(True, True), (True, False), (False, True)])
def test_a_product_is_the_sum_of_what_it_has_at_unit_length(
    zero_shot, tokenizer, has_image, has_text
):
    inputs, output = _answer(zero_shot, tokenizer, ["blue shoes", "a shirt"], has_image, has_text)
    with torch.inference_mode():
        tokens = zero_shot.towers(inputs)
        ids, mask = TextEncoder(tokenizer, 16)([f"a {label} shirt" for label in LABELS])
        prompts = zero_shot.text_tower(ids, mask).pooled
    product = has_image * _unit(tokens.image) + has_text * _unit(tokens.text)
    wanted = SCALE * F.cosine_similarity(product.unsqueeze(1), prompts.unsqueeze(0), dim=2)
    torch.testing.assert_close(torch.cat(list(output.logits.values()), dim=1), wanted)


def _unit(encoded):
    return F.normalize(encoded.pooled, dim=1)


def test_several_prompts_of_an_attribute_count_by_their_mean(zero_shot, small_config, tokenizer):
    templates = ("{label} shoes", "a shirt in {label}", "the color {label}")
    config = zero_shot.config.model_copy(update={"prompts": {"color": templates}})
    several = ClipZeroShot(config, tokenizer.get_vocab_size()).eval()
    weights = zero_shot.state_dict()
    del weights["prompts"]
    several.load_state_dict(weights, strict=False)
    several.read_tokenizer(TextEncoder(tokenizer, config.text_length))
    with torch.inference_mode():
        ids, mask = TextEncoder(tokenizer, 16)([one.format(label="green") for one in templates])
        mean = F.normalize(zero_shot.text_tower(ids, mask).pooled, dim=1).mean(0)
    at = LABELS.index("green")
    torch.testing.assert_close(several.prompts[at], F.normalize(mean, dim=0))
    # Attributes without prompts of their own keep the common one.
    torch.testing.assert_close(several.prompts[4:], zero_shot.prompts[4:])


def test_prompts_travel_with_the_weights(zero_shot, tokenizer):
    other = ClipZeroShot(zero_shot.config, tokenizer.get_vocab_size()).eval()
    _, before = _answer(other, tokenizer, ["a red shirt"], False)
    other.load_state_dict(zero_shot.state_dict())
    _, after = _answer(other, tokenizer, ["a red shirt"], False)
    _, wanted = _answer(zero_shot, tokenizer, ["a red shirt"], False)
    assert before.logits["color"].isfinite().all()
    assert not before.logits["color"].allclose(wanted.logits["color"])
    torch.testing.assert_close(after.logits["color"], wanted.logits["color"])


def test_close_prompts_are_told_apart_in_reduced_precision(zero_shot, tokenizer):
    one = copy.deepcopy(zero_shot)
    one.prompts.copy_(torch.randn(1, 32) + 1e-3 * torch.randn(len(LABELS), 32))
    with torch.autocast("cpu", dtype=torch.bfloat16):
        _, output = _answer(one, tokenizer, ["a red shirt"], False)
    logits = torch.cat(list(output.logits.values()), dim=1)
    assert len(logits.unique()) == len(LABELS)


def test_prompts_follow_the_text_tower_once_it_is_trained(zero_shot, tokenizer):
    one = copy.deepcopy(zero_shot).train()
    with torch.no_grad():
        for parameter in one.parameters():
            parameter.mul_(1 + 0.1 * torch.rand_like(parameter))
    before = one.prompts.clone()
    one.refresh()
    assert one.training and not one.prompts.equal(before)
    one.eval()
    _, output = _answer(one, tokenizer, [f"a {label} shirt" for label in LABELS], False)
    logits = torch.cat(list(output.logits.values()), dim=1)
    assert logits.argmax(1).tolist() == list(range(len(LABELS)))


IMAGE, TEXT = 1.0, 3.0
EQUAL = (0.5, 0.5)
AVAILABLE = torch.tensor([[True, True], [True, False], [False, True], [False, False]])


def _docked(components):
    """Every image component is one number and every text component another."""
    return torch.tensor([IMAGE, TEXT]).view(1, 2, 1).expand(len(AVAILABLE), 2, components)


def test_each_component_is_drawn_from_one_modality_with_equal_probability():
    torch.manual_seed(0)
    components = 40_000
    both = embrace(_docked(components), AVAILABLE, EQUAL, draw=True)[0]
    from_image = both == IMAGE
    assert (from_image | (both == TEXT)).all()
    # Five standard deviations of a fair coin.
    assert abs(from_image.sum() - components / 2) < 5 * (components**0.5) / 2
    # Neighbours are drawn independently: half of them agree.
    agree = (from_image[1:] == from_image[:-1]).sum()
    assert abs(agree - components / 2) < 5 * (components**0.5) / 2


def test_probabilities_choose_how_much_of_what_is_available_counts():
    wanted = torch.tensor([0.25 * IMAGE + 0.75 * TEXT, IMAGE, TEXT, 0.0])
    # Relative to each other: they need not add up to 1.
    for chances in ((0.25, 0.75), (0.2, 0.6)):
        embraced = embrace(_docked(1), AVAILABLE, chances, draw=False)
        torch.testing.assert_close(embraced.squeeze(1), wanted)
    torch.manual_seed(0)
    drawn = embrace(_docked(40_000), AVAILABLE, (0.25, 0.75), draw=True)
    share = (drawn[0] == IMAGE).float().mean().item()
    assert abs(share - 0.25) < 0.011  # five standard deviations
    assert (drawn[1] == IMAGE).all() and (drawn[2] == TEXT).all() and (drawn[3] == 0).all()


def test_the_same_product_gets_the_same_answer_and_a_training_one_does_not(build, products):
    classifier = build("embracenet")
    with torch.inference_mode():
        first, second = classifier(products), classifier(products)
        assert all(t.equal(second.logits[a]) for a, t in first.logits.items())
        # The batch norm's statistics are not what is tested here.
        classifier.train().image_tower.eval()
        first, second = classifier(products), classifier(products)
    assert not any(t.equal(second.logits[a]) for a, t in first.logits.items())


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
