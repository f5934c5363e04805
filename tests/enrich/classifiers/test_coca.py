"""CoCa reads the text alone, then with the image in view, as open_clip's own does."""

import sys
from dataclasses import replace

import open_clip
import pytest
import torch
import torch.nn.functional as F
from model_outputs import answer

from enrich.classifiers.checkpoint import load_classifier, save_checkpoint
from enrich.classifiers.config import OpenClipTowers
from enrich.classifiers.manifest import read_manifest
from enrich.classifiers.towers import end_of_text, take
from enrich.errors import ConfigError
from enrich.training.pretrained import load_parts, open_clip_parts

BOTH_TOWERS = pytest.mark.parametrize("towers", ["small", "open_clip"])
CPU = torch.device("cpu")


@pytest.fixture
def make(build, coca_json):
    """Return a function that builds a CoCa on one kind of towers."""
    changes = {"small": {}, "open_clip": {"towers": OpenClipTowers(model=coca_json)}}
    return lambda towers: build("coca", **changes[towers])


def record_decoded(classifier):
    """Return a list that fills with what the decoder gives for every place."""
    decoded: list[torch.Tensor] = []
    classifier.decoder.ln_final.register_forward_hook(lambda _, __, out: decoded.append(out))
    return decoded


@BOTH_TOWERS
def test_the_unimodal_half_never_sees_the_image_nor_the_image_s_tower_the_text(
    make, products, towers
):
    classifier = make(towers)
    with torch.inference_mode():
        output = classifier(products)
        other_image = classifier(replace(products, pixel_values=255 - products.pixel_values))
        other_text = classifier(replace(products, token_ids=products.token_ids.clamp(min=9)))
    assert output.vectors.text.equal(other_image.vectors.text)
    assert output.vectors.image.equal(other_text.vectors.image)
    assert not torch.allclose(output.vectors.image, other_image.vectors.image)
    assert not torch.allclose(output.vectors.text, other_text.vectors.text)


@BOTH_TOWERS
def test_a_place_has_seen_the_image_and_the_words_before_it_but_none_behind_it(make, towers):
    classifier = make(towers)
    words, image, here = torch.randn(1, 6, 32), torch.randn(1, 4, 32), torch.tensor([True])
    changed = words.clone()
    changed[0, 3] = torch.randn(32)
    with torch.inference_mode():
        before = classifier._decode(words, image, here)
        after = classifier._decode(changed, image, here)
        other_image = classifier._decode(words, torch.randn(1, 4, 32), here)
    moved = (before - after).abs().amax(2)[0] > 1e-5
    assert moved.tolist() == [False] * 3 + [True] * 3
    assert ((before - other_image).abs().amax(2) > 1e-5).all()


@BOTH_TOWERS
def test_the_answer_is_read_at_the_text_s_end(make, products, towers):
    classifier = make(towers)
    decoded = record_decoded(classifier)
    with torch.inference_mode():
        logits = answer(classifier, products).logits
        read = take(decoded[0], end_of_text(products.token_mask))
        for attribute, head in classifier.heads.items():
            torch.testing.assert_close(logits[attribute], head(read))


@BOTH_TOWERS
def test_without_a_text_every_place_knows_the_image_alone(make, products, towers):
    classifier = make(towers)
    decoded = record_decoded(classifier)
    with torch.inference_mode():
        classifier(replace(products, has_text=torch.tensor([True, False, True])))
    torch.testing.assert_close(decoded[0][1], decoded[0][1, :1].expand_as(decoded[0][1]))
    assert not torch.allclose(decoded[0][0], decoded[0][0, :1], atol=1e-2)


@pytest.fixture
def published(coca_json):
    """open_clip's own CoCa; it leaves the map to word scores to whatever was in memory."""
    torch.manual_seed(8)
    settings = {key: value for key, value in coca_json.items() if key != "custom_text"}
    coca = open_clip.CoCa(**settings).eval()
    torch.nn.init.normal_(coca.text_decoder.text_projection)
    return coca


@torch.inference_mode()
def test_it_agrees_with_open_clip_on_both_embeddings_and_on_every_next_word(
    make, products, published
):
    classifier = make("open_clip")
    word_scores = published.text_decoder.text_projection.clone()
    pixels = classifier.normalise_pixels(products.pixel_values)
    length = products.token_ids.shape[1]
    ids = F.pad(products.token_ids, (0, published.context_length - length))
    theirs = published(pixels, ids, output_labels=False)

    load_parts(classifier, open_clip_parts(published))
    output = answer(classifier, products)
    for ours, wanted in (
        (output.vectors.image, theirs["image_features"]),
        (output.vectors.text, theirs["text_features"]),
    ):
        torch.testing.assert_close(F.normalize(ours, dim=1), wanted, rtol=1e-4, atol=1e-5)
    tokens = classifier.towers(products)
    decoded = classifier._decode(
        tokens.text.embeds[:, :length], tokens.image.embeds[:, 1:], products.has_image
    )
    torch.testing.assert_close(
        decoded @ word_scores, theirs["logits"][:, :length], rtol=1e-4, atol=1e-4
    )


def test_all_of_open_clip_s_is_pretrained_and_nothing_else(make):
    classifier = make("open_clip")
    pretrained = {p for part in classifier.pretrained() for p in part.parameters()}
    new = {name.split(".")[0] for name, p in classifier.named_parameters() if p not in pretrained}
    assert new == {"no_text", "heads"}
    small = make("small")
    assert small.pretrained() == [small.image_tower.backbone]


@pytest.mark.parametrize(
    ("wrong", "message"),
    [
        ({"vision_cfg": {"image_size": 96}}, "found 64 px, expected 96 px"),
        ({"text_cfg": {"context_length": 12}}, "found 16, expected at most 12"),
        ({"vision_cfg": {"attentional_pool": False}}, "own transformers with"),
        ({"text_cfg": {"hf_model_name": "roberta-base"}}, "roberta-base would be fetched"),
        ({"vision_cfg": {"timm_model_name": "vit"}}, "own transformers with"),
        ({"vision_cfg": {"timm_model_name": "hf-hub:a/b"}}, "hf-hub:a/b would be fetched"),
        ({"vision_cfg": {"hooks": "x"}}, "cannot build this configuration"),
        ({"vision_cfg": {"attn_pooler_heads": 7}}, "cannot build this configuration"),
    ],
)
def test_another_open_clip_model_is_refused(build, coca_json, wrong, message):
    changed = coca_json | {part: coca_json[part] | change for part, change in wrong.items()}
    with pytest.raises(ValueError, match=message):
        build("coca", towers=OpenClipTowers(model=changed))


def test_heads_that_do_not_divide_the_width_are_refused(build):
    with pytest.raises(ConfigError, match="attention heads do not fit"):
        build("coca", joint_heads=5)


@BOTH_TOWERS
def test_a_checkpoint_without_open_clip_names_the_extra(
    make, towers, tokenizer, calibration, tmp_path, monkeypatch
):
    save_checkpoint(tmp_path, make(towers), tokenizer, calibration, {}, "")
    monkeypatch.setitem(sys.modules, "open_clip", None)
    with pytest.raises(ConfigError, match=r"open_clip is not installed\. .* open-clip"):
        load_classifier(read_manifest(tmp_path), CPU)
