"""What holds of every classifier that is registered, on every kind of towers."""

import copy
from collections.abc import Callable
from contextlib import contextmanager
from dataclasses import replace
from pathlib import Path
from typing import get_args

import pytest
import torch
from model_outputs import answer, assert_same
from torch._subclasses.fake_tensor import FakeTensor, FakeTensorMode
from torch.fx.experimental.symbolic_shapes import ShapeEnv

from enrich.classifiers.checkpoint import (
    CLASSIFIERS,
    build_classifier,
    load_classifier,
    save_checkpoint,
    summarise,
)
from enrich.classifiers.config import (
    ANSWERING_MODULES,
    ClassifierName,
    HuggingFaceTowers,
    OpenClipTowers,
    PairTowers,
)
from enrich.classifiers.int8 import use_int8
from enrich.classifiers.interface import Classifier, ModelInputs, Vectors
from enrich.classifiers.manifest import read_manifest
from enrich.classifiers.towers import TextEncoder
from enrich.engine.device import cast_weights
from enrich.training.batches import count_labelled
from enrich.training.optimiser import contrastive_loss, label_loss

TEXTS = ["a red striped shirt for the office", "blue shoes", "", "white cotton shirt"]
ROWS = len(TEXTS)
HAS_IMAGE = torch.tensor([True, False, True, True])
HAS_TEXT = torch.tensor([True, True, False, True])
STREAMS = {"mmbt", "single_stream"}
CLASS_TOKENS = {"image_tower.visual.proj"} | {
    f"text_tower.text.{n}"
    for n in ("cls_emb", "ln_final.weight", "ln_final.bias", "text_projection")
}
READS_IMAGE = sorted(CLASSIFIERS.keys() - {"text_only"})
READS_TEXT = sorted(CLASSIFIERS.keys() - {"image_only"})

Build = Callable[..., Classifier]


def test_every_name_has_its_classifier():
    assert {*get_args(ClassifierName)} == {*CLASSIFIERS}


# Other tests try our own towers and those of one library.
on_all_towers = pytest.mark.parametrize(
    "build", ["small", "hugging_face", "hugging_face_pair", "open_clip"], indirect=True
)


@pytest.fixture(scope="module", params=["small", "open_clip"])
def build(request, small_config, clip_json, pair_json, coca_json, tokenizer):
    """Return a function that builds a classifier by name, always the same one."""
    towers = {
        "small": small_config.towers,
        "hugging_face": HuggingFaceTowers(model=clip_json),
        "hugging_face_pair": PairTowers(**pair_json),
        "open_clip": OpenClipTowers(model=coca_json),
    }[request.param]
    built: dict[str, Classifier] = {}

    def build(name):
        if name not in built:
            torch.manual_seed(3)
            config = small_config.model_copy(update={"towers": towers, "classifier": name})
            built[name] = build_classifier(config, tokenizer.get_vocab_size())
            built[name].read_tokenizer(TextEncoder(tokenizer, config.text_length))
        built[name].zero_grad()
        return built[name].eval()

    return build


@pytest.fixture(scope="module")
def inputs(tokenizer, small_config):
    """Rows with image and text, without the one, and without the other."""
    ids, mask = TextEncoder(tokenizer, small_config.text_length)(TEXTS)
    generator = torch.Generator().manual_seed(4)
    pixels = torch.randint(0, 256, (ROWS, 3, 64, 64), generator=generator, dtype=torch.uint8)
    return ModelInputs(ids, mask, HAS_IMAGE, HAS_TEXT, pixel_values=pixels)


def _changed_rows(left, right):
    changes = [(t - right.logits[a]).abs().amax(1) > 1e-5 for a, t in left.logits.items()]
    changed = torch.stack(changes)
    assert torch.equal(changed.any(0), changed.all(0)), "all attributes of a row, or none"
    return changed.any(0).tolist()


@pytest.mark.parametrize("name", CLASSIFIERS)
def test_every_attribute_is_answered_whatever_a_row_lacks(build, inputs, name):
    classifier = build(name)
    output = answer(classifier, inputs)
    sizes = {attribute: len(labels) for attribute, labels in classifier.config.attributes.items()}
    assert {a: tuple(t.shape) for a, t in output.logits.items()} == {
        a: (ROWS, size) for a, size in sizes.items()
    }
    assert all(t.dtype == torch.float32 and t.isfinite().all() for t in output.logits.values())
    vectors = output.vectors
    shapes = {vector: tuple(one.shape[1:]) for vector, one in vectors.named.items()}
    assert shapes == classifier.config.vectors and list(shapes) == list(classifier.config.vectors)
    assert vectors.image.shape == vectors.text.shape
    assert all(one.isfinite().all() for one in vectors.named.values())
    assert not output.image_weight or output.image_weight.keys() == sizes.keys()
    for weight in output.image_weight.values():
        assert weight.shape == (ROWS,)
        assert ((weight >= 0) & (weight <= 1)).all() and weight[1] == 0


@on_all_towers
@pytest.mark.parametrize("name", CLASSIFIERS)
def test_an_answer_does_not_depend_on_who_else_is_in_the_batch(build, inputs, name):
    classifier = build(name)
    together = answer(classifier, inputs)
    for row in range(ROWS):
        alone = inputs.rows(row, row + 1)
        length = int(alone.token_mask.sum())
        alone = replace(
            alone, token_ids=alone.token_ids[:, :length], token_mask=alone.token_mask[:, :length]
        )
        wanted = replace(
            together,
            logits={a: logits[[row]] for a, logits in together.logits.items()},
            image_weight={a: weight[[row]] for a, weight in together.image_weight.items()},
        )
        assert_same(answer(classifier, alone), wanted)


@pytest.mark.parametrize("name", CLASSIFIERS)
def test_what_stands_where_something_is_missing_does_not_matter(build, inputs, name):
    pixels = inputs.pixel_values.clone()
    pixels[~HAS_IMAGE] = 255 - pixels[~HAS_IMAGE]
    # The ids of padding, and all words of the row that has no text.
    ids = torch.where(inputs.token_mask & HAS_TEXT.unsqueeze(1), inputs.token_ids, 9)
    mask = inputs.token_mask.clone()
    mask[~HAS_TEXT, :5] = True
    other = replace(inputs, token_ids=ids, token_mask=mask, pixel_values=pixels)
    assert_same(answer(build(name), inputs), answer(build(name), other))


@pytest.mark.parametrize("name", CLASSIFIERS)
@pytest.mark.parametrize("hidden", ["has_image", "has_text"])
def test_tokens_are_joined_without_a_modality_as_if_the_rows_lacked_it(build, inputs, name, hidden):
    classifier = build(name)
    lacking = {hidden: torch.zeros(ROWS, dtype=torch.bool)}
    shown = {"has_image": HAS_IMAGE, "has_text": HAS_TEXT} | lacking
    # Rows that are left with nothing mean nothing.
    rows = shown["has_image"] | shown["has_text"]
    with torch.inference_mode():
        found = classifier.join(classifier.towers(inputs), **shown).take(rows)
        wanted = classifier.encode(replace(inputs, **lacking)).take(rows)
    torch.testing.assert_close(found.named, wanted.named, rtol=1e-4, atol=1e-5)


@pytest.mark.parametrize("name", CLASSIFIERS)
def test_stored_vectors_are_answered_without_the_encoder(build, inputs, name):
    classifier = build(name)
    answering = CLASSIFIERS[name](classifier.config, None)
    mine = answering.state_dict().keys()
    modules = {module for module, _, _ in (one.partition(".") for one in mine)}
    assert modules <= ANSWERING_MODULES
    assert {n for n in classifier.state_dict() if n.partition(".")[0] in ANSWERING_MODULES} == mine
    answering.load_state_dict({n: classifier.state_dict()[n] for n in mine})
    with torch.inference_mode():
        wanted, packed = classifier(inputs), classifier.encode(inputs).pack()
        shapes = classifier.config.vectors
        stored = Vectors.unpack(packed, shapes, HAS_IMAGE, HAS_TEXT)
        assert packed.dtype == torch.float16
        assert_same(answering.eval().answer(stored), wanted)


@pytest.mark.parametrize("shown", [HAS_IMAGE, torch.zeros(ROWS, dtype=torch.bool)])
def test_no_tower_looks_at_pictures_that_are_not_there(build, inputs, shown):
    classifier = build("cma_clip")
    seen = []
    features = classifier.image_tower.features
    with pytest.MonkeyPatch.context() as patch:
        watched = lambda pixels: seen.append(len(pixels)) or features(pixels)  # noqa: E731
        patch.setattr(classifier.image_tower, "features", watched)
        answer(classifier, replace(inputs, has_image=shown, has_text=torch.ones_like(shown)))
    assert seen == [max(1, int(shown.sum()))]


@pytest.mark.parametrize("name", CLASSIFIERS)
def test_int8_gives_nearly_the_same_answer(build, inputs, name):
    exact = answer(build(name), inputs)
    rounded = copy.deepcopy(build(name))
    use_int8(rounded.image_tower)
    use_int8(rounded.text_tower)
    for attribute, logits in answer(rounded, inputs).logits.items():
        wanted = exact.logits[attribute]
        assert (logits - wanted).abs().max() < 0.2 * wanted.std()


@pytest.mark.parametrize("name", READS_IMAGE)
def test_pictures_alone_are_answered_as_the_same_rows_without_their_texts(build, inputs, name):
    classifier, nobody = build(name), torch.zeros(ROWS, dtype=torch.bool)
    wanted = answer(classifier, replace(inputs, has_image=~nobody, has_text=nobody))
    with torch.inference_mode():
        tokens = classifier.towers(inputs).images_alone(HAS_IMAGE)
        shown = HAS_IMAGE[HAS_IMAGE]
        found = classifier.answer(classifier.join(tokens, shown, ~shown))
    for attribute, logits in found.logits.items():
        torch.testing.assert_close(
            logits, wanted.logits[attribute][HAS_IMAGE], rtol=1e-4, atol=1e-5
        )


@pytest.mark.parametrize("name", READS_IMAGE)
def test_another_picture_changes_the_answer_of_those_that_have_one(build, inputs, name):
    other = replace(inputs, pixel_values=255 - inputs.pixel_values)
    changed = _changed_rows(answer(build(name), inputs), answer(build(name), other))
    assert changed == HAS_IMAGE.tolist()


@pytest.mark.parametrize("name", READS_TEXT)
def test_other_words_change_the_answer_of_those_that_have_some(build, inputs, tokenizer, name):
    encoder = TextEncoder(tokenizer, 16)
    ids, mask = encoder([text and f"green dress {text[:4]}" for text in TEXTS])
    other = replace(inputs, token_ids=ids, token_mask=mask)
    changed = _changed_rows(answer(build(name), inputs), answer(build(name), other))
    assert changed == HAS_TEXT.tolist()


@pytest.mark.parametrize("name", CLASSIFIERS)
def test_cached_features_stand_in_for_pixels(build, inputs, name):
    classifier = build(name)
    with torch.inference_mode():
        pixels = classifier.normalise_pixels(inputs.pixel_values)
        features = classifier.image_tower.features(pixels)
    cached = replace(inputs, pixel_values=None, image_features=features)
    assert_same(answer(classifier, inputs), answer(classifier, cached))


@on_all_towers
@pytest.mark.parametrize("name", CLASSIFIERS)
def test_a_loaded_checkpoint_answers_as_the_saved_one_did(
    build, inputs, tokenizer, calibration, tmp_path, name
):
    classifier = build(name)
    save_checkpoint(tmp_path, classifier, tokenizer, calibration, {}, "")
    loaded, _ = load_classifier(read_manifest(tmp_path), torch.device("cpu"))
    # Weights are kept in half precision; comparing with the halved ones is exact.
    halved = {n: t.half().float() if t.is_floating_point() else t for n, t in _state(classifier)}
    kept = dict(_state(loaded))
    assert kept.keys() == halved.keys() and all(kept[n].equal(t) for n, t in halved.items())
    classifier.load_state_dict(halved)
    assert_same(answer(classifier, inputs), answer(loaded, inputs))


def _state(classifier):
    return list(classifier.state_dict().items())


@on_all_towers
@pytest.mark.parametrize("name", CLASSIFIERS)
def test_its_losses_reach_every_parameter(build, inputs, name):
    classifier = build(name).train()
    output = classifier(inputs)
    assert classifier.trained_by
    if "multitask" in classifier.trained_by:
        targets = torch.ones(ROWS, 3).long()
        loss = label_loss(output.logits, targets, 0.0, count_labelled(targets))
        loss.backward(retain_graph=True)
    if "contrastive" in classifier.trained_by:
        both = HAS_IMAGE & HAS_TEXT
        contrastive_loss(
            output.vectors.image[both], output.vectors.text[both], torch.arange(2)
        ).backward()
    lacking = {n for n, p in classifier.named_parameters() if p.grad is None}
    if name in STREAMS and classifier.config.towers.kind == "open_clip":
        # A stream reads CoCa's words and patches, not its two class tokens.
        lacking -= CLASS_TOKENS
    assert not lacking
    assert all(p.grad is None or p.grad.isfinite().all() for p in classifier.parameters())


def test_the_documentation_names_every_classifier_and_where_it_is_from():
    page = (Path(__file__).parents[3] / "docs" / "training.md").read_text()
    for name, classifier in CLASSIFIERS.items():
        assert f"| `{name}` | {summarise(classifier)} | {classifier.paper} |" in page


@pytest.mark.parametrize("dtype", [torch.bfloat16, torch.float16])
@pytest.mark.parametrize("name", CLASSIFIERS)
def test_all_tensors_follow_to_a_gpu_and_its_number_format(build, inputs, name, dtype, monkeypatch):
    # Tensors that say where they are and hold no numbers, for machines without a GPU.
    mode, gpu = FakeTensorMode(shape_env=ShapeEnv()), torch.device("cuda", 0)

    def move(tensor):
        shape = torch.empty_like(tensor, device="meta")
        return FakeTensor(mode, shape, gpu)

    classifier = copy.deepcopy(build(name))
    monkeypatch.setattr("enrich.engine.device.choose_dtype", lambda device: dtype)
    for part in classifier.encoder_modules():
        cast_weights(part, gpu)
    for part in classifier.modules():
        part._buffers |= {n: move(b) for n, b in part._buffers.items() if b is not None}
        for parameter, weights in list(part.named_parameters(recurse=False)):
            part._parameters[parameter] = torch.nn.Parameter(move(weights.detach()))
    moved = inputs._map(move)
    with mode, _autocast_of_a_gpu(dtype):
        output = classifier(moved)
    answered = (*output.logits.values(), *output.vectors.named.values())
    assert {tensor.device for tensor in answered} == {gpu}
    assert {logits.dtype for logits in output.logits.values()} == {torch.float32}


@contextmanager
def _autocast_of_a_gpu(dtype):
    # torch.autocast itself wants a real one.
    torch.set_autocast_enabled("cuda", True)
    torch.set_autocast_dtype("cuda", dtype)
    try:
        yield
    finally:
        torch.set_autocast_enabled("cuda", False)


@pytest.mark.parametrize("name", CLASSIFIERS)
def test_bfloat16_gives_nearly_the_same_answer(build, inputs, name):
    exact = answer(build(name), inputs)
    with torch.autocast("cpu", dtype=torch.bfloat16):
        rounded = answer(build(name), inputs)
    for attribute, logits in exact.logits.items():
        change = (rounded.logits[attribute] - logits).abs().max()
        assert change < logits.std() / 2, attribute
