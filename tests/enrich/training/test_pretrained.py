"""Published weights: read as they are, or refused with the way out."""

import json
import os
import shutil
from collections.abc import Callable

import pytest
import torch
from tokenizers import Tokenizer, models, pre_tokenizers, processors
from transformers import (
    AutoConfig,
    AutoModel,
    BertConfig,
    BertForMaskedLM,
    BertModel,
    CLIPModel,
    PreTrainedModel,
    PreTrainedTokenizerFast,
    ViTConfig,
    ViTForImageClassification,
    ViTModel,
)

from enrich.classifiers.checkpoint import build_classifier
from enrich.classifiers.config import ClassifierConfig, PairTowers, SmallTowers
from enrich.classifiers.interface import ModelInputs
from enrich.classifiers.towers import TextEncoder
from enrich.errors import ConfigError
from enrich.images.settings import ImageShape
from enrich.training import pretrained
from enrich.training.config import PublishedPair, TrainingConfig
from enrich.training.preparation import start_classifier
from enrich.training.pretrained import load_parts, open_hugging_face, open_image_shape, open_pair

LAYER = {
    "hidden_size": 32,
    "intermediate_size": 64,
    "num_hidden_layers": 1,
    "num_attention_heads": 2,
}
WORDS = ["[PAD]", "[CLS]", "[SEP]", "[UNK]", "red", "blue", "shirt", "shoes"]
PREPROCESSOR = {
    "image_processor_type": "ViTImageProcessor",
    "do_resize": True,
    "size": {"height": 64, "width": 64},
    "do_rescale": True,
    "rescale_factor": 1 / 255,
    "do_normalize": True,
    "image_mean": [0.1, 0.2, 0.3],
    "image_std": [0.4, 0.5, 0.6],
}


@pytest.fixture(scope="module")
def vision_folder(tmp_path_factory):
    """A ViT with the head that it was published with, in half precision."""
    folder = tmp_path_factory.mktemp("hub") / "vit"
    torch.manual_seed(0)
    vit = ViTForImageClassification(ViTConfig(**LAYER, image_size=64, patch_size=32, num_labels=3))
    vit.half().save_pretrained(folder)
    (folder / "preprocessor_config.json").write_text(json.dumps(PREPROCESSOR))
    return folder


@pytest.fixture(scope="module")
def text_folder(tmp_path_factory):
    """A BERT with the head that it was published with, and its tokenizer."""
    folder = tmp_path_factory.mktemp("hub") / "bert"
    torch.manual_seed(1)
    settings = BertConfig(**LAYER, vocab_size=len(WORDS), max_position_embeddings=24)
    BertForMaskedLM(settings).save_pretrained(folder)
    tokenizer = Tokenizer(models.WordLevel({w: i for i, w in enumerate(WORDS)}, unk_token="[UNK]"))
    tokenizer.pre_tokenizer = pre_tokenizers.Whitespace()
    tokenizer.post_processor = processors.BertProcessing(("[SEP]", 2), ("[CLS]", 1))
    PreTrainedTokenizerFast(
        tokenizer_object=tokenizer,
        pad_token="[PAD]",
        cls_token="[CLS]",
        sep_token="[SEP]",
        unk_token="[UNK]",
    ).save_pretrained(folder)
    return folder


@pytest.fixture(scope="module")
def pair(vision_folder, text_folder):
    return PublishedPair(vision=str(vision_folder), text=str(text_folder), width=48)


@pytest.fixture(scope="module")
def published(pair):
    return _open_pair(pair)


def _open_pair(pair):
    return open_pair(pair, SmallTowers(), 64)


def _build(published, config, name="cma_clip"):
    """Return a classifier on the towers, without the published weights."""
    config = config.model_copy(
        update={"towers": published.towers, "image": published.image, "classifier": name}
    )
    # As a checkpoint would have it, and with it the towers' own check of what it says.
    config = ClassifierConfig.model_validate_json(config.model_dump_json())
    return build_classifier(config, published.tokenizer.get_vocab_size()).eval()


def test_a_pair_answers_as_its_two_models_do(published, small_config, vision_folder, text_folder):
    classifier = _build(published, small_config)
    load_parts(classifier, published.parts)
    pixels = torch.randn(2, 3, 64, 64)
    ids, mask = TextEncoder(published.tokenizer, 16)(["red shirt", "blue"])
    vit = ViTModel.from_pretrained(vision_folder, dtype=torch.float32).eval()
    bert = BertModel.from_pretrained(text_folder).eval()
    with torch.inference_mode():
        patches = vit(pixel_values=pixels).last_hidden_state
        torch.testing.assert_close(classifier.image_tower.features(pixels), patches)
        words = bert(input_ids=ids, attention_mask=mask.long()).last_hidden_state
        encoded = classifier.text_tower(ids, mask)
        projected = classifier.text_tower.projection(words)
    torch.testing.assert_close(encoded.embeds[mask], projected[mask])
    # BERT's text is read at [CLS], its first token.
    torch.testing.assert_close(encoded.pooled, projected[:, 0])
    assert {p.dtype for p in classifier.parameters()} == {torch.float32}


def test_the_pooling_of_a_text_encoder_is_not_guessed_offline(monkeypatch, tmp_path):
    monkeypatch.setattr("huggingface_hub.constants.HF_HUB_CACHE", str(tmp_path))
    with pytest.raises(ConfigError, match="unknown offline"):
        pretrained._pooling("some/minilm")


def test_a_pair_s_pictures_are_prepared_as_the_vision_model_had_them(published):
    assert published.image.model_dump() == {
        "size_px": 64,
        "fit": "pad",
        "mean": (0.1, 0.2, 0.3),
        "std": (0.4, 0.5, 0.6),
    }


def test_nothing_but_the_architecture_is_kept_of_a_published_configuration(
    published, vision_folder
):
    kept = json.dumps(published.towers.model_dump())
    assert str(vision_folder) not in kept
    for machinery in ("auto_map", "dtype", "attn_implementation", "label2id", "_name_or_path"):
        assert machinery not in kept
    with_code = PairTowers(
        vision={"model_type": "vit", "auto_map": {"AutoModel": "evil--code.Model"}},
        text={"model_type": "bert", "nested": {"_attn_implementation": "evil/kernel"}},
        width=8,
    )
    assert with_code.vision == {"model_type": "vit"}
    assert with_code.text == {"model_type": "bert", "nested": {}}


def test_only_the_models_themselves_are_pretrained_in_a_pair(published, small_config):
    classifier = _build(published, small_config)
    parts = classifier.pretrained()
    assert parts == [classifier.image_tower.vision, classifier.text_tower.text]
    assert not any("pooler" in name for name, _ in classifier.named_parameters())


@pytest.mark.parametrize("name", ["cma_clip", "image_only", "text_only"])
def test_a_classifier_starts_from_a_pair_s_weights(pair, published, tmp_path, name):
    config = TrainingConfig(
        name="tiny",
        classifier=name,
        towers=pair,
        text_length=12,
        joint_layers=1,
        joint_heads=2,
        phases=[{"loss": "multitask", "epochs": 1, "learning_rate": 1}],
    )
    classifier, tokenizer = start_classifier(config, [], tmp_path)
    assert tokenizer.get_vocab_size() == len(WORDS)
    own = classifier.state_dict()
    loaded = 0
    for part, module in published.parts.items():
        for key, tensor in module.state_dict().items():
            if f"{part}.{key}" in own:
                assert own[f"{part}.{key}"].equal(tensor)
                loaded += 1
    assert loaded
    read = {"image_only": {"image_tower.vision"}, "text_only": {"text_tower.text"}}
    for part in read.get(name, published.parts.keys()):
        assert {f"{part}.{key}" for key in published.parts[part].state_dict()} <= own.keys()


def test_towers_that_a_classifier_has_no_place_for_are_refused(published, small_config):
    classifier = _build(published, small_config, "text_only")
    parts = {"image_tower.vision": published.parts["image_tower.vision"]}
    with pytest.raises(ConfigError, match="text_only cannot start from these towers"):
        load_parts(classifier, parts)


Save = Callable[[PreTrainedModel], str]


@pytest.fixture
def save(tmp_path):
    """Return a function that saves a model and returns its folder."""

    def save(model):
        model.save_pretrained(tmp_path / "saved")
        (tmp_path / "saved" / "preprocessor_config.json").write_text(json.dumps(PREPROCESSOR))
        return str(tmp_path / "saved")

    return save


@pytest.mark.parametrize(
    "model_type, sizes",
    [
        ("dinov2", {"patch_size": 32}),
        ("swin", {"embed_dim": 16, "depths": [1], "num_heads": [2], "window_size": 2}),
        ("resnet", {"hidden_sizes": [16, 32], "depths": [1, 1], "embedding_size": 8}),
        ("convnext", {"hidden_sizes": [16, 32], "depths": [1, 1], "num_stages": 2}),
    ],
)
def test_other_vision_models_than_vit_are_read_too(
    save, text_folder, small_config, model_type, sizes
):
    settings = (LAYER if model_type == "dinov2" else {}) | sizes | {"image_size": 64}
    vision = save(AutoModel.from_config(AutoConfig.for_model(model_type, **settings)))
    published = _open_pair(PublishedPair(vision=vision, text=str(text_folder), width=48))
    classifier = _build(published, small_config)
    load_parts(classifier, published.parts)
    tower = classifier.image_tower
    with torch.inference_mode():
        encoded = tower.embed(tower.features(torch.randn(2, 3, 64, 64)))
    assert encoded.embeds.shape[2] == 48 and encoded.embeds.isfinite().all()
    patches = encoded.embeds[:, 1:]
    # A model without CLS is summed up by the mean of its patches.
    is_mean = encoded.pooled.allclose(patches.mean(1), atol=1e-5)
    assert is_mean == (model_type != "dinov2")


@pytest.mark.parametrize("name", ["cma_clip", "mmbt", "single_stream"])
@pytest.mark.parametrize("model_type", ["roberta", "albert", "distilbert"])
def test_other_text_encoders_than_bert_are_read_too(published, small_config, model_type, name):
    sizes = {"vocab_size": 300, "max_position_embeddings": 24}
    if model_type == "distilbert":
        sizes |= {"dim": 32, "hidden_dim": 64, "n_layers": 1, "n_heads": 2}
    else:
        sizes |= LAYER
    if model_type == "albert":
        sizes["embedding_size"] = 16  # its words are narrower than its layers
    text = {"model_type": model_type} | sizes
    config = small_config.model_copy(
        update={
            "towers": published.towers.model_copy(update={"text": text}),
            "image": published.image,
            "classifier": name,
        }
    )
    torch.manual_seed(0)
    classifier = build_classifier(config, 300).eval()
    ids = torch.randint(3, 300, (2, 12))
    mask = torch.arange(12) < torch.tensor([[12], [5]])
    both = torch.ones(2, dtype=torch.bool)
    pixels = torch.randint(0, 256, (2, 3, 64, 64)).byte()
    with torch.inference_mode():
        output = classifier(ModelInputs(ids, mask, both, both, pixel_values=pixels))
        # What stands in the padding does not matter, whatever id this model pads with.
        ids = torch.where(mask, ids, 1)
        padded = classifier(ModelInputs(ids, mask, both, both, pixel_values=pixels))
    torch.testing.assert_close(output.logits, padded.logits, rtol=1e-4, atol=1e-5)


@pytest.mark.parametrize(
    ("model_type", "text_length", "is_read"),
    [("bert", 24, True), ("bert", 25, False), ("roberta", 22, True), ("roberta", 23, False)],
)
def test_texts_are_as_long_as_an_encoder_has_places_for(
    published, small_config, model_type, text_length, is_read
):
    text = {
        "model_type": model_type,
        "vocab_size": 300,
        "max_position_embeddings": 24,
        "pad_token_id": 1,
        **LAYER,
    }
    towers = published.towers.model_copy(update={"text": text})
    config = small_config.model_copy(
        update={"towers": towers, "image": published.image, "text_length": text_length}
    )
    if not is_read:
        with pytest.raises(ValueError, match=f"expected at most {text_length - 1}"):
            build_classifier(config, 300)
        return
    ids, both = torch.full((1, text_length), 5), torch.ones(1, dtype=torch.bool)
    build_classifier(config, 300).text_tower(ids, both.expand(1, text_length))


def test_a_model_that_sees_texts_as_well_is_no_vision_model(clip_folder, text_folder):
    wrong = PublishedPair(vision=str(clip_folder), text=str(text_folder))
    with pytest.raises(ConfigError, match="found type clip"):
        _open_pair(wrong)


def test_a_text_model_that_is_not_read_at_its_first_token_is_refused(save, vision_folder):
    settings = {"n_embd": 32, "n_layer": 1, "n_head": 2, "vocab_size": 9, "n_positions": 16}
    gpt = save(AutoModel.from_config(AutoConfig.for_model("gpt2", **settings)))
    with pytest.raises(ConfigError, match="found type gpt2"):
        _open_pair(PublishedPair(vision=str(vision_folder), text=gpt))


def test_weights_that_lack_a_layer_are_refused_and_not_filled_at_random(
    save, text_folder, tmp_path
):
    vision = save(ViTModel(ViTConfig(**LAYER, image_size=64, patch_size=32)))
    file = tmp_path / "saved" / "config.json"
    file.write_text(json.dumps(json.loads(file.read_text()) | {"num_hidden_layers": 2}))
    with pytest.raises(ConfigError, match=r"\d+ tensors of the vision model"):
        _open_pair(PublishedPair(vision=vision, text=str(text_folder)))


@pytest.mark.parametrize("model_type", [None, "of-nobody"])
def test_a_checkpoint_of_a_model_that_is_not_shipped_is_refused(
    published, small_config, model_type
):
    strange = {k: v for k, v in published.towers.vision.items() if k != "model_type"}
    if model_type:
        strange["model_type"] = model_type
    config = small_config.model_copy(
        update={"towers": published.towers.model_copy(update={"vision": strange})}
    )
    with pytest.raises(ValueError, match=model_type or "lacks model_type"):
        build_classifier(config, 8)


@pytest.fixture
def siglip(save):
    tower = LAYER | {"image_size": 64, "patch_size": 32, "vocab_size": 9}
    config = AutoConfig.for_model("siglip", text_config=tower, vision_config=tower)
    return save(AutoModel.from_config(config))


def test_the_vision_half_of_a_siglip_makes_a_pair(siglip, text_folder, small_config):
    published = _open_pair(PublishedPair(vision=siglip, text=str(text_folder), width=48))
    assert published.towers.vision["model_type"] == "siglip_vision_model"
    classifier = _build(published, small_config)
    load_parts(classifier, published.parts)
    pixels = torch.randn(2, 3, 64, 64)
    theirs = AutoModel.from_pretrained(siglip).vision_model.eval()
    with torch.inference_mode():
        wanted = theirs(pixel_values=pixels)
        found = classifier.image_tower.features(pixels)
    # What its own head pools stands first.
    torch.testing.assert_close(found[:, 0], wanted.pooler_output)
    torch.testing.assert_close(found[:, 1:], wanted.last_hidden_state)


def test_a_clip_without_its_tokenizer_is_refused(clip_folder, tmp_path):
    CLIPModel.from_pretrained(clip_folder).save_pretrained(tmp_path / "clip")
    with pytest.raises(ConfigError, match="told apart"):
        open_hugging_face(str(tmp_path / "clip"))


def test_a_tokenizer_of_more_tokens_than_its_model_is_refused(clip_folder, tmp_path):
    clip = CLIPModel.from_pretrained(clip_folder)
    tokenizer = PreTrainedTokenizerFast.from_pretrained(clip_folder)
    size = clip.config.text_config.vocab_size
    tokenizer.add_tokens([f"word{number}" for number in range(size)])
    for part in (clip, tokenizer):
        part.save_pretrained(tmp_path / "clip")
    with pytest.raises(ConfigError, match=rf"found \d+ tokens, expected at most {size}"):
        open_hugging_face(str(tmp_path / "clip"))


def test_a_clip_reads_typographic_quotes_as_plain_ones(clip_folder, tmp_path):
    tokenizer = open_hugging_face(str(clip_folder)).tokenizer
    tokenizer.save(str(tmp_path / "tokenizer.json"))
    for kept in (tokenizer, Tokenizer.from_file(str(tmp_path / "tokenizer.json"))):
        assert (
            kept.encode("men\u2019s \u201cslim\u201d shirt").ids
            == kept.encode('men\'s "slim" shirt').ids
        )


def test_the_temperature_that_a_clip_ended_at_travels_in_its_towers(copied_clip):
    clip = CLIPModel.from_pretrained(copied_clip)
    clip.logit_scale.data.fill_(4.0)
    clip.save_pretrained(copied_clip)
    towers = open_hugging_face(str(copied_clip)).towers
    assert towers.logit_scale == 4.0


MEAN, STD = (0.1, 0.2, 0.3), (0.4, 0.5, 0.6)
NORMAL = {"image_mean": list(MEAN), "image_std": list(STD)}


def _open(folder, content):
    content = {"image_processor_type": "ViTImageProcessor"} | content
    (folder / "preprocessor_config.json").write_text(json.dumps(content))
    return open_image_shape(str(folder), 224)


@pytest.mark.parametrize(
    "size, size_px",
    [
        ({"size": 64}, 64),
        ({"size": {"height": 64, "width": 64}}, 64),
        ({"size": {"shortest_edge": 64}}, 64),
        ({"size": {"shortest_edge": 73}, "crop_size": {"height": 64, "width": 64}}, 73),
        ({}, 224),
        # Not square: the model's own configuration says what it takes.
        ({"size": {"height": 64, "width": 96}}, 224),
    ],
)
def test_a_whole_picture_is_padded_to_the_size_that_the_model_sees(tmp_path, size, size_px):
    shape = _open(tmp_path, NORMAL | size)
    assert shape == ImageShape(size_px=size_px, fit="pad", mean=MEAN, std=STD)


@pytest.mark.parametrize("crop_size", [64, {"height": 64, "width": 64}])
def test_a_centre_crop_is_cut_at_the_size_of_the_crop(tmp_path, crop_size):
    content = NORMAL | {"do_center_crop": True, "size": 73, "crop_size": crop_size}
    shape = _open(tmp_path, content)
    assert shape == ImageShape(size_px=64, fit="crop", mean=MEAN, std=STD)


def test_pixels_that_are_not_normalised_stay_from_0_to_1(tmp_path):
    shape = _open(tmp_path, NORMAL | {"do_normalize": False})
    assert (shape.mean, shape.std) == ((0.0, 0.0, 0.0), (1.0, 1.0, 1.0))


@pytest.mark.parametrize("content", [{"rescale_factor": 1 / 127.5}, {"do_rescale": False}])
def test_pixels_of_another_range_are_refused(tmp_path, content):
    with pytest.raises(ConfigError, match="expected 1/255"):
        _open(tmp_path, content)


@pytest.mark.parametrize("content", [{"image_mean": [0.5]}, {"size": "large"}])
def test_a_file_of_another_kind_is_named(tmp_path, content):
    with pytest.raises(ConfigError, match=str(tmp_path)):
        _open(tmp_path, content)


def _pickle(folder):
    """Leave the weights as older checkpoints have them."""
    torch.save(CLIPModel.from_pretrained(folder).state_dict(), folder / "pytorch_model.bin")
    (folder / "model.safetensors").unlink()


def _ask_for_code(folder):
    config = json.loads((folder / "config.json").read_text())
    config |= {"model_type": "their-clip", "auto_map": {"AutoConfig": "their_clip.Config"}}
    (folder / "config.json").write_text(json.dumps(config))
    (folder / "their_clip.py").write_text("raise SystemExit")


@pytest.mark.parametrize(
    "damage",
    [
        shutil.rmtree,
        _pickle,
        lambda folder: os.truncate(folder / "model.safetensors", 1000),
        lambda folder: (folder / "model.safetensors").write_text("version https://git-lfs"),
        _ask_for_code,
        lambda folder: (folder / "config.json").unlink(),
        lambda folder: (folder / "preprocessor_config.json").unlink(),
        lambda folder: (folder / "preprocessor_config.json").write_text("{"),
    ],
)
def test_folders_that_cannot_be_read_are_named_with_the_page_that_helps(copied_clip, damage):
    damage(copied_clip)
    with pytest.raises(ConfigError, match=rf"'{copied_clip}' cannot be .*docs/training\.md"):
        open_hugging_face(str(copied_clip))


@pytest.mark.parametrize("how", ["heads", "kind of value", "merges"])
def test_what_the_libraries_refuse_is_a_message(copied_clip, how):
    file = copied_clip / "config.json"
    config = json.loads(file.read_text())
    if how == "merges":
        tokenizer = json.loads((copied_clip / "tokenizer.json").read_text())
        tokenizer["model"]["merges"] = [["zzq", "qqz"]]
        (copied_clip / "tokenizer.json").write_text(json.dumps(tokenizer))
    elif how == "heads":
        config["vision_config"]["num_attention_heads"] = 7
    else:
        config["vision_config"]["hidden_size"] = "32"
    file.write_text(json.dumps(config))
    with pytest.raises(ConfigError, match=f"'{copied_clip}' cannot be opened"):
        open_hugging_face(str(copied_clip))
