"""CMA-CLIP answers each row from what the row has, whatever stands beside it."""

from dataclasses import replace

import pytest
import torch
from model_outputs import answer
from transformers import CLIPConfig, CLIPModel

from enrich.classifiers.checkpoint import build_classifier
from enrich.classifiers.cma_clip import CmaClip, SequenceWiseAttention, cls_of, jensen_shannon
from enrich.classifiers.config import ClassifierConfig
from enrich.classifiers.hugging_face_towers import ImageHalf, TextHalf
from enrich.classifiers.interface import ModelInputs
from enrich.training.pretrained import load_parts

ROWS, LENGTH, END = 4, 7, 2


@pytest.fixture(scope="module", params=["small_config", "clip_config"])
def config(request):
    found: ClassifierConfig = request.getfixturevalue(request.param)
    return found


@pytest.fixture(scope="module")
def classifier(config, tokenizer):
    torch.manual_seed(3)
    return build_classifier(config, tokenizer.get_vocab_size()).eval()


@pytest.fixture(scope="module")
def inputs(tokenizer):
    """Four rows with image and text, of different lengths of text."""
    generator = torch.Generator().manual_seed(4)
    ids = torch.randint(3, tokenizer.get_vocab_size(), (ROWS, LENGTH), generator=generator)
    mask = torch.zeros(ROWS, LENGTH, dtype=torch.bool)
    for row, length in enumerate((LENGTH, 5, 3, 2)):
        mask[row, :length] = True
        ids[row, length - 1] = END
    everything = torch.ones(ROWS, dtype=torch.bool)
    pixels = torch.randint(0, 256, (ROWS, 3, 64, 64), generator=generator, dtype=torch.uint8)
    return ModelInputs(ids * mask, mask, everything, everything.clone(), pixel_values=pixels)


def test_both_modalities_share_a_weight_of_one(classifier, inputs, monkeypatch):
    for weight in answer(classifier, inputs).image_weight.values():
        assert (weight > 0).all() and (weight < 1).all()
    for attention in classifier.modality_wise.values():
        image, text = torch.ones(1, 32), torch.full((1, 32), 3.0)
        here = torch.tensor([True])
        mixed, image_weight = attention(image, text, here, here)
        wanted = image_weight.unsqueeze(1) * image + (1 - image_weight).unsqueeze(1) * text
        torch.testing.assert_close(mixed, wanted)


def test_an_answer_is_less_sure_where_its_picture_contradicts_its_text(classifier, inputs):
    assert isinstance(classifier, CmaClip)
    partly = replace(inputs, has_image=torch.tensor([True, True, True, False]))
    before = answer(classifier, partly)
    classifier.set_disagreement_penalty("color", 8.0)
    after = answer(classifier, partly)
    classifier.set_disagreement_penalty("color", 0.0)

    with torch.inference_mode():
        alone = [classifier.heads["color"](read).softmax(1) for read in cls_of(before.vectors)]
    apart = jensen_shannon(*alone) * partly.has_image
    sure = (-8.0 * (1 - before.image_weight["color"]) * apart).exp()
    assert (sure[:3] < 1).all() and sure[3] == 1
    torch.testing.assert_close(after.logits["color"], before.logits["color"] * sure.unsqueeze(1))
    torch.testing.assert_close(after.logits["pattern"], before.logits["pattern"])


def test_training_ignores_the_disagreement_penalty(config, tokenizer, inputs):
    classifier = CmaClip(config, tokenizer.get_vocab_size()).train()
    logits = []
    for penalty in (0.0, 8.0):
        classifier.set_disagreement_penalty("color", penalty)
        torch.manual_seed(0)
        logits.append(answer(classifier, inputs).logits["color"])
    assert logits[0].equal(logits[1])


def test_the_modality_bias_shifts_by_as_much_as_was_tried(config, tokenizer, inputs):
    classifier = CmaClip(config, tokenizer.get_vocab_size()).eval()
    classifier.shift_modality_bias("color", 1.5)
    with torch.inference_mode():
        _, tried = classifier.answer_attribute("color", classifier.encode(inputs), -0.5)
    classifier.shift_modality_bias("color", -0.5)
    torch.testing.assert_close(answer(classifier, inputs).image_weight["color"], tried)


def test_answers_that_share_nothing_are_one_bit_apart():
    one = torch.tensor([[1.0, 0.0, 0.0], [0.5, 0.5, 0.0], [1.0, 0.0, 0.0]])
    other = torch.tensor([[0.0, 0.0, 1.0], [0.5, 0.5, 0.0], [0.5, 0.5, 0.0]])
    torch.testing.assert_close(
        jensen_shannon(one, other), torch.tensor([1.0, 0.0, 0.3113]), rtol=0, atol=1e-4
    )


def test_text_stands_first_and_each_modality_is_read_where_it_is_pooled(
    classifier, inputs, monkeypatch
):
    joint_mask, seen = [], []

    def number_positions(embeds, mask, read_at):
        joint_mask.append(mask)
        return read_at.unsqueeze(2).expand(-1, -1, embeds.shape[2]).to(embeds.dtype)

    def watch(module, given):
        seen.append((given[0][:, 0].tolist(), given[1][:, 0].tolist()))

    monkeypatch.setattr(classifier.sequence_wise, "forward", number_positions)
    attention = next(iter(classifier.modality_wise.values()))
    hook = attention.register_forward_pre_hook(watch)
    answer(classifier, replace(inputs, has_image=torch.tensor([True, True, True, False])))
    hook.remove()
    # T'_CLS is the end-of-text token, I'_CLS the first one behind the longest text; of a missing
    # image there is none.
    assert seen == [([LENGTH] * 3 + [0], [LENGTH - 1, 4, 2, 1])]
    assert joint_mask[0][:, :LENGTH].equal(inputs.token_mask)
    assert joint_mask[0][:3, LENGTH:].all() and not joint_mask[0][3, LENGTH:].any()


def test_two_tokens_after_attention_are_those_of_the_whole_sequence():
    attention = SequenceWiseAttention(width=24, layers=2, heads=3, dropout=0.0).eval()
    embeds, mask = torch.randn(4, 9, 24), torch.rand(4, 9) > 0.3
    read_at = torch.tensor([[8, 0], [5, 3], [0, 8], [7, 7]])
    rows = torch.arange(4).unsqueeze(1)
    mask[rows, read_at] = True
    with torch.inference_mode():
        whole = attention.transformer(embeds, src_key_padding_mask=~mask)
        torch.testing.assert_close(attention(embeds, mask, read_at), whole[rows, read_at])


def test_pooled_text_is_what_the_tower_says_at_the_end_of_text(classifier, inputs):
    with torch.inference_mode():
        encoded = classifier.text_tower(inputs.token_ids, inputs.token_mask)
    assert inputs.token_ids[range(ROWS), encoded.pooled_at].tolist() == [END] * ROWS
    assert encoded.pooled.equal(encoded.embeds[range(ROWS), encoded.pooled_at])


def _ablated(config, tokenizer, **switches):
    torch.manual_seed(3)
    made = build_classifier(config.model_copy(update=switches), tokenizer.get_vocab_size()).eval()
    return made, {name.partition(".")[0] for name in made.state_dict()}


def test_without_modality_wise_attention_present_modalities_count_alike(
    classifier, config, tokenizer, inputs
):
    ablated, parts = _ablated(config, tokenizer, modality_wise=False)
    assert "modality_wise" not in parts and "sequence_wise" in parts
    own = ablated.state_dict().keys()
    ablated.load_state_dict({n: t for n, t in classifier.state_dict().items() if n in own})
    # Scores of zero weigh both modalities alike.
    even, _ = _ablated(config, tokenizer)
    even.load_state_dict(classifier.state_dict())
    for attention in even.modality_wise.values():
        attention.score.data.zero_()
    mixed = replace(
        inputs,
        has_image=torch.tensor([True, False, True, True]),
        has_text=torch.tensor([True, True, False, True]),
    )
    output, wanted = answer(ablated, mixed), answer(even, mixed)
    assert output.image_weight == {}
    for attribute, logits in output.logits.items():
        torch.testing.assert_close(logits, wanted.logits[attribute], rtol=1e-4, atol=1e-5)


def test_without_both_attentions_only_towers_and_heads_are_left(config, tokenizer, inputs):
    ablated, parts = _ablated(config, tokenizer, sequence_wise=False, modality_wise=False)
    assert parts == {"image_tower", "text_tower", "heads"}
    blind = replace(inputs, has_image=torch.tensor([True, True, False, True]))
    output = answer(ablated, blind)
    read = (output.vectors.image + output.vectors.text) / 2
    read[2] = output.vectors.text[2]
    with torch.inference_mode():
        for attribute, head in ablated.heads.items():
            torch.testing.assert_close(output.logits[attribute], head(read))


def test_a_batch_without_pixels_or_what_was_made_of_them_is_refused(classifier, inputs):
    with pytest.raises(ValueError, match="a batch needs pixel_values"):
        answer(classifier, replace(inputs, pixel_values=None))


def test_pixels_are_normalised_by_the_checkpoint_s_mean_and_std(config, tokenizer):
    image = config.image.model_copy(update={"mean": (0.0, 0.5, 1.0), "std": (1.0, 0.5, 0.25)})
    classifier = build_classifier(
        config.model_copy(update={"image": image}), tokenizer.get_vocab_size()
    )
    pixels = torch.full((1, 3, 2, 2), 255, dtype=torch.uint8)
    assert classifier.normalise_pixels(pixels)[0, :, 0, 0].tolist() == [1.0, 1.0, 0.0]


def test_clip_agrees_with_hugging_face_on_both_embeddings(
    clip_config, clip_json, tokenizer, inputs
):
    classifier = build_classifier(clip_config, tokenizer.get_vocab_size()).eval()
    clip = CLIPModel(CLIPConfig.from_dict(clip_json)).eval()
    load_parts(classifier, {"image_tower": ImageHalf(clip), "text_tower": TextHalf(clip, 0)})
    # Hugging Face pools at the highest id, which in CLIP's own vocabulary is the end of text.
    highest = tokenizer.get_vocab_size() - 1
    ids = inputs.token_ids.clamp(max=highest - 1)
    inputs = replace(inputs, token_ids=torch.where(ids == END, highest, ids))
    with torch.inference_mode():
        ours = classifier.answer(classifier.encode(inputs))
        theirs = clip(
            input_ids=inputs.token_ids,
            attention_mask=inputs.token_mask.long(),
            pixel_values=classifier.normalise_pixels(inputs.pixel_values),
        )
    for embeds, wanted in (
        (ours.vectors.image, theirs.image_embeds),
        (ours.vectors.text, theirs.text_embeds),
    ):
        normal = torch.nn.functional.normalize(embeds, dim=1)
        torch.testing.assert_close(normal, wanted, rtol=1e-4, atol=1e-5)


@pytest.mark.parametrize("wrong", [{"text_length": 17}, {"size_px": 96}])
def test_a_clip_of_another_size_is_refused(clip_config, tokenizer, wrong):
    image = clip_config.image.model_copy(update={"size_px": wrong.get("size_px", 64)})
    text_length = wrong.get("text_length", 16)
    config = clip_config.model_copy(update={"text_length": text_length, "image": image})
    with pytest.raises(ValueError, match="does not fit"):
        build_classifier(config, tokenizer.get_vocab_size())
