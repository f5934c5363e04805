"""open_clip's published models: read as they are, or refused."""

import json
import shutil
from pathlib import Path

import open_clip
import pytest
import torch
from open_clip.push_to_hf_hub import save_for_hf
from safetensors.torch import load_file, save_file
from torch.nn import functional as F
from transformers import PreTrainedTokenizerFast

from enrich.classifiers.towers import TextEncoder
from enrich.errors import ConfigError
from enrich.training import pretrained as our_open_clip
from enrich.training.config import Phase, TrainingConfig
from enrich.training.preparation import start_classifier
from enrich.training.pretrained import CONFIG, WEIGHTS, open_open_clip

MEAN, STD = (0.1, 0.2, 0.3), (0.4, 0.5, 0.6)
LABELLED = Phase(loss="multitask", epochs=1, learning_rate=1e-3)


@pytest.fixture(scope="module")
def settings(coca_json):
    """The `model_cfg` of a CoCa of 300 words."""
    words = {"vocab_size": 300}
    return coca_json | {p: coca_json[p] | words for p in ("text_cfg", "multimodal_cfg")}


@pytest.fixture(scope="module")
def published(settings):
    torch.manual_seed(2)
    coca = open_clip.CoCa(**{key: value for key, value in settings.items() if key != "custom_text"})
    # open_clip leaves it to whatever was in memory.
    torch.nn.init.normal_(coca.text_decoder.text_projection)
    coca.visual.image_mean, coca.visual.image_std = MEAN, STD
    return coca


@pytest.fixture(scope="module")
def coca_folder(tmp_path_factory, published_tokenizer, settings, published):
    """The folder that open_clip's own function writes for a hub."""
    folder = tmp_path_factory.mktemp("hub") / "coca"
    save_for_hf(published, published_tokenizer, settings, str(folder), safe_serialization=True)
    return folder


@pytest.fixture
def folder(coca_folder, tmp_path):
    """A copy to be damaged."""
    return Path(shutil.copytree(coca_folder, tmp_path / "copy"))


def _config(folder, **changes):
    settings = {"classifier": "coca", "text_length": 16, "batch_size": 8, "phases": (LABELLED,)}
    return TrainingConfig(name="coca-tiny", towers=f"open_clip:{folder}", **settings | changes)


def test_a_classifier_starts_on_all_of_the_published_weights(coca_folder, published, tmp_path):
    classifier, tokenizer = start_classifier(_config(coca_folder), [], tmp_path / "unused")
    ours = {
        "visual": classifier.image_tower.visual,
        "text": classifier.text_tower.text,
        "text_decoder": classifier.decoder,
    }
    found = {f"{a}.{b}": t for a, part in ours.items() for b, t in part.state_dict().items()}
    wanted = published.state_dict()
    # What only contrast in open_clip's own training and captions need.
    assert found.keys() == wanted.keys() - {"logit_scale", "text_decoder.text_projection"}
    assert all(tensor.equal(wanted[name]) for name, tensor in found.items())
    assert tokenizer.get_vocab_size() == 300
    image = classifier.config.image
    assert (image.size_px, image.fit, image.mean, image.std) == (64, "crop", MEAN, STD)


@pytest.mark.parametrize("missing", ["open_clip_config.json", WEIGHTS])
def test_a_folder_without_configuration_or_safetensors_is_refused(folder, missing):
    (folder / missing).unlink()
    # open_clip itself would go on to this one.
    torch.save({}, folder / "open_clip_pytorch_model.bin")
    with pytest.raises(ConfigError, match=f"lacks {missing}"):
        open_open_clip(str(folder))


@pytest.mark.parametrize("how", ["cut", "other sizes", "no CoCa", "no JSON"])
def test_what_open_clip_cannot_read_is_a_config_error(folder, how):
    config, weights = folder / "open_clip_config.json", folder / WEIGHTS
    settings = json.loads(config.read_text())
    if how == "cut":
        weights.write_bytes(weights.read_bytes()[:1000])
    elif how == "other sizes":
        settings["model_cfg"]["text_cfg"]["layers"] = 2
    elif how == "no CoCa":
        del settings["model_cfg"]["text_cfg"]["embed_cls"]
    config.write_text("{" if how == "no JSON" else json.dumps(settings))
    with pytest.raises(ConfigError, match=f"'{folder}' cannot be opened"):
        open_open_clip(str(folder))


def test_a_tokenizer_of_more_words_than_the_model_knows_is_refused(folder):
    # open_clip's own stands in, which is of another vocabulary than this small model.
    (folder / "tokenizer.json").unlink()
    with pytest.raises(ConfigError, match="found 49408 tokens, expected at most 300"):
        open_open_clip(str(folder))
    (folder / "tokenizer.json").write_text("{}")
    with pytest.raises(ConfigError, match="cannot be opened as tokenizer"):
        open_open_clip(str(folder))


def test_open_clip_s_own_tokenizer_is_converted_token_for_token(tmp_path):
    tokenizer, _ = our_open_clip.read_open_clip_tokenizer(tmp_path, {})
    theirs = open_clip.SimpleTokenizer()
    texts = [
        "",
        "A red Cotton T-shirt, 100% & café's 12 pcs!!",
        "Cannes  Crew\nneck",
        "½ ™ 漢字 😀",
        "Levi\u2019s® \u201c501\u201d jeans, \u2018slim\u2019 \u02bc\u201a\u201b\u201e\u201f",
    ]
    for text in texts:
        ids = tokenizer.encode(text).ids
        assert theirs([text])[0].tolist() == ids + [0] * (77 - len(ids))
    assert tokenizer.get_vocab_size() == 49408


def test_a_tokenizer_beside_the_weights_reads_quotes_as_plain_ones(coca_folder):
    tokenizer = open_open_clip(str(coca_folder)).tokenizer
    assert (
        tokenizer.encode("men\u2019s \u201cslim\u201d").ids == tokenizer.encode('men\'s "slim"').ids
    )


def test_a_name_is_fetched_from_the_hub_without_its_pickles(coca_folder, monkeypatch):
    calls: list[tuple[str, list[str]]] = []

    def fetch(hub_name, *, allow_patterns):
        calls.append((hub_name, allow_patterns))
        return str(coca_folder)

    monkeypatch.setattr(our_open_clip, "snapshot_download", fetch)
    assert open_open_clip("somebody/their-coca").towers.model["embed_dim"] == 32
    ((hub_name, files),) = calls
    assert hub_name == "somebody/their-coca" and all(
        file.endswith((".json", ".safetensors")) for file in files
    )


@pytest.mark.parametrize("kind", ["clip", "coca"])
def test_the_temperature_that_it_ended_at_travels_in_the_towers(
    folder, coca_folder, tmp_path, kind
):
    if kind == "clip":
        folder = _save(open_clip.CLIP(**CLIP), CLIP, coca_folder, tmp_path / "clip")
    weights = load_file(folder / WEIGHTS)
    save_file(weights | {"logit_scale": torch.tensor(4.0)}, folder / WEIGHTS)
    towers = open_open_clip(str(folder)).towers
    assert towers.logit_scale == 4.0


@pytest.mark.parametrize("name", ["somebody/their-coca", "/no/such/folder"])
def test_a_name_that_leads_nowhere_is_told(name):
    with pytest.raises(ConfigError, match=f"'{name}' cannot be opened"):
        open_open_clip(name)


CLIP = {
    "embed_dim": 32,
    "vision_cfg": {"image_size": 64, "layers": 2, "width": 48, "patch_size": 32, "head_width": 16},
    "text_cfg": {"context_length": 16, "vocab_size": 300, "width": 40, "heads": 2, "layers": 2},
}


@pytest.fixture(params=["plain", "quick_gelu", "custom_text"])
def clip(request):
    """A CLIP with random weights, and its `model_cfg`."""
    torch.manual_seed(3)
    settings = CLIP if request.param == "plain" else CLIP | {request.param: True}
    build = open_clip.CustomTextCLIP if request.param == "custom_text" else open_clip.CLIP
    return build(**{k: v for k, v in settings.items() if k != "custom_text"}).eval(), settings


def _save(clip, settings, coca_folder, folder):
    clip.visual.image_mean, clip.visual.image_std = MEAN, STD
    tokenizer = PreTrainedTokenizerFast(tokenizer_file=str(coca_folder / "tokenizer.json"))
    save_for_hf(clip, tokenizer, settings, str(folder), safe_serialization=True)
    shutil.copy(coca_folder / "tokenizer.json", folder)
    return folder


def test_a_clip_of_open_clip_s_reads_pictures_and_texts_as_before(clip, coca_folder, tmp_path):
    published, settings = clip
    folder = _save(published, settings, coca_folder, tmp_path / "clip")
    config = _config(folder, classifier="clip_zero_shot")
    classifier, tokenizer = start_classifier(config, [], tmp_path / "unused")
    classifier.eval()
    pixels = torch.randn(2, 3, 64, 64)
    ids, mask = TextEncoder(tokenizer, 16)(["red shirt", "blue"])
    tower = classifier.image_tower
    # open_clip looks for a text's end by the highest id, and pads to the full length.
    ids = ids.index_put((torch.arange(2), mask.sum(1) - 1), torch.tensor(299))
    padded = F.pad(ids.masked_fill(~mask, 0), (0, 16 - ids.shape[1]))
    with torch.inference_mode():
        seen = tower.embed(tower.features(pixels)).pooled
        read = classifier.text_tower(ids, mask).pooled
        torch.testing.assert_close(seen, published.encode_image(pixels), rtol=1e-4, atol=1e-5)
        torch.testing.assert_close(read, published.encode_text(padded), rtol=1e-4, atol=1e-5)
    image = classifier.config.image
    assert (image.size_px, image.fit, image.mean, image.std) == (64, "crop", MEAN, STD)


def test_another_tokenizer_than_open_clip_s_must_lie_beside_the_weights(coca_folder, tmp_path):
    folder = _save(open_clip.CLIP(**CLIP), CLIP, coca_folder, tmp_path / "clip")
    settings = json.loads((folder / CONFIG).read_text())
    settings["model_cfg"]["text_cfg"] |= {"hf_tokenizer_name": "bert-base-uncased"}
    (folder / CONFIG).write_text(json.dumps(settings))
    open_open_clip(str(folder))
    (folder / "tokenizer.json").unlink()
    with pytest.raises(ConfigError, match="tokenizer of 'bert-base-uncased'"):
        open_open_clip(str(folder))
