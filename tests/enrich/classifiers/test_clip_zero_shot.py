"""Zero-shot CLIP answers with the label whose prompt lies nearest."""

import copy

import pytest
import torch
import torch.nn.functional as F
from tokenizers import Tokenizer
from torch import Tensor

from enrich.classifiers.clip_zero_shot import SCALE, ClipZeroShot
from enrich.classifiers.config import ClassifierConfig
from enrich.classifiers.interface import ModelInputs, ModelOutput
from enrich.classifiers.tokenizer import TextEncoder
from enrich.classifiers.tower_interface import Encoded

LABELS = ["red", "green", "blue", "white", "solid", "striped", "printed", "casual", "formal"]


@pytest.fixture(scope="module")
def classifier(small_config: ClassifierConfig, tokenizer: Tokenizer) -> ClipZeroShot:
    torch.manual_seed(1)
    config = small_config.model_copy(
        update={"classifier": "clip_zero_shot", "prompt": "a {label} shirt"}
    )
    made = ClipZeroShot(config, tokenizer.get_vocab_size()).eval()
    made.read_tokenizer(TextEncoder(tokenizer, config.text_length))
    return made


@torch.inference_mode()
def _answer(
    classifier: ClipZeroShot,
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
    return inputs, classifier.answer(classifier.encode(inputs))


def test_a_text_that_is_a_label_s_prompt_is_of_that_label(
    classifier: ClipZeroShot, tokenizer: Tokenizer
) -> None:
    _, output = _answer(classifier, tokenizer, [f"a {label} shirt" for label in LABELS], False)
    logits = torch.cat(list(output.logits.values()), dim=1)
    # Every prompt is the nearest to itself, at a cosine of 1.
    assert logits.argmax(1).tolist() == list(range(len(LABELS)))
    torch.testing.assert_close(logits.diagonal(), torch.full((len(LABELS),), SCALE))
    assert output.image_weight == {}


@pytest.mark.parametrize("has_image, has_text", [(True, True), (True, False), (False, True)])
def test_a_product_is_the_sum_of_what_it_has_at_unit_length(
    classifier: ClipZeroShot, tokenizer: Tokenizer, has_image: bool, has_text: bool
) -> None:
    inputs, output = _answer(classifier, tokenizer, ["blue shoes", "a shirt"], has_image, has_text)
    with torch.inference_mode():
        tokens = classifier.towers(inputs)
        ids, mask = TextEncoder(tokenizer, 16)([f"a {label} shirt" for label in LABELS])
        prompts = classifier.text_tower(ids, mask).pooled
    product = has_image * _unit(tokens.image) + has_text * _unit(tokens.text)
    wanted = SCALE * F.cosine_similarity(product.unsqueeze(1), prompts.unsqueeze(0), dim=2)
    torch.testing.assert_close(torch.cat(list(output.logits.values()), dim=1), wanted)


def _unit(encoded: Encoded) -> Tensor:
    return F.normalize(encoded.pooled, dim=1)


def test_prompts_travel_with_the_weights(classifier: ClipZeroShot, tokenizer: Tokenizer) -> None:
    other = ClipZeroShot(classifier.config, tokenizer.get_vocab_size()).eval()
    _, before = _answer(other, tokenizer, ["a red shirt"], False)
    other.load_state_dict(classifier.state_dict())
    _, after = _answer(other, tokenizer, ["a red shirt"], False)
    _, wanted = _answer(classifier, tokenizer, ["a red shirt"], False)
    assert before.logits["color"].isfinite().all()
    assert not before.logits["color"].allclose(wanted.logits["color"])
    torch.testing.assert_close(after.logits["color"], wanted.logits["color"])


def test_close_prompts_are_told_apart_in_reduced_precision(
    classifier: ClipZeroShot, tokenizer: Tokenizer
) -> None:
    one = copy.deepcopy(classifier)
    one.prompts.copy_(torch.randn(1, 32) + 1e-3 * torch.randn(len(LABELS), 32))
    with torch.autocast("cpu", dtype=torch.bfloat16):
        _, output = _answer(one, tokenizer, ["a red shirt"], False)
    logits = torch.cat(list(output.logits.values()), dim=1)
    assert len(logits.unique()) == len(LABELS)


def test_prompts_follow_the_text_tower_once_it_is_trained(
    classifier: ClipZeroShot, tokenizer: Tokenizer
) -> None:
    one = copy.deepcopy(classifier).train()
    with torch.no_grad():
        for parameter in one.parameters():
            parameter.mul_(1 + 0.1 * torch.rand_like(parameter))
    before = one.prompts.clone()
    one.settle()
    assert one.training and not one.prompts.equal(before)
    one.eval()
    _, output = _answer(one, tokenizer, [f"a {label} shirt" for label in LABELS], False)
    logits = torch.cat(list(output.logits.values()), dim=1)
    assert logits.argmax(1).tolist() == list(range(len(LABELS)))
