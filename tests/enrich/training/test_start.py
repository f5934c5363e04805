"""Every classifier is trained by the same run and used by the same engine."""

import pandas as pd
import pytest
import torch
from pydantic import ValidationError
from safetensors.torch import load_file

from enrich.classifiers.checkpoint import CLASSIFIERS, build_classifier
from enrich.classifiers.manifest import BUNDLED, read_manifest
from enrich.engine.spec import open_engine
from enrich.errors import ConfigError
from enrich.records import Modalities, Product
from enrich.training.config import Phase, TrainingConfig
from enrich.training.preparation import keep_usable_phases, start_classifier
from enrich.training.run import train_checkpoint
from schemas.labels import ATTRIBUTE_LABELS

CONTRAST = Phase(loss="contrastive", epochs=1, learning_rate=1e-3)
LABELS = Phase(loss="multitask", epochs=1, learning_rate=1e-3)


@pytest.fixture(scope="module")
def cache(tmp_path_factory):
    """Pictures that all runs share."""
    return tmp_path_factory.mktemp("cache")


def _config(cache, **settings):
    small = {"width": 32, "heads": 2, "text_layers": 1}
    given = {
        "name": "tiny",
        "small_towers": small,
        "image_size_px": 64,
        "text_length": 16,
        "vocabulary": 300,
        "joint_layers": 1,
        "joint_heads": 2,
        "batch_size": 8,
        "phases": [CONTRAST, LABELS],
        "cache": cache,
    }
    return TrainingConfig.model_validate(given | settings)


def _enrich(checkpoint, catalog):
    """Return what the job's engine says of a whole product, and of one without text or image."""
    row = pd.read_parquet(catalog / "products.parquet").iloc[0]
    products = [
        Product("both", row.title, row.description, row.image_path),
        Product("image", None, None, row.image_path),
        Product("text", row.title, row.description, None),
    ]
    return list(open_engine(read_manifest(checkpoint), str(catalog)).enrich(products))


@pytest.mark.parametrize("name", CLASSIFIERS)
def test_every_classifier_is_trained_and_run_by_the_same_job(
    tmp_path, catalog, cache, name, capsys
):
    metrics = train_checkpoint(_config(cache, classifier=name), [catalog], tmp_path / "made")
    assert set(metrics["test_groups_catalog"]["as is"]) == set(ATTRIBUTE_LABELS)
    card = (tmp_path / "made" / "MODEL_CARD.md").read_text()
    assert f"`{name}`" in card and CLASSIFIERS[name].paper in card
    assert ("Starting weights" in card) == (name != "text_only")
    told = capsys.readouterr().err
    assert ("will not recognise an unseen source" in told) == (name != "text_only")

    answers = _enrich(tmp_path / "made", catalog)
    both, image, text = Modalities.IMAGE_AND_TEXT, Modalities.IMAGE, Modalities.TEXT
    read = {"image_only": [image, image, None], "text_only": [text, None, text]}
    assert [answer.modalities for answer in answers] == read.get(name, [both, image, text])
    for answer in answers:
        if answer.modalities is None:
            continue
        assert [prediction.attribute for prediction in answer.predictions] == list(ATTRIBUTE_LABELS)
        assert all(0 < prediction.confidence <= 1 for prediction in answer.predictions)


@pytest.mark.parametrize("name, starts", [("image_only", True), ("text_only", False)])
def test_a_checkpoint_s_image_tower_goes_where_there_is_one(tmp_path, cache, name, starts):
    config = _config(cache, classifier=name, image_tower=BUNDLED)
    classifier, _ = start_classifier(config, ["a red shirt"] * 9, tmp_path)
    kept = load_file(BUNDLED / "model.safetensors")
    own = classifier.state_dict()
    shared = [key for key in own if key.startswith("image_tower.backbone.")]
    assert bool(shared) == starts
    assert all(own[key].equal(kept[key].to(own[key].dtype)) for key in shared)


def test_a_text_tower_that_is_not_there_is_named(tmp_path, cache):
    config = _config(cache, text_tower=tmp_path / "nowhere")
    with pytest.raises(ConfigError, match="nowhere has no readable small text tower"):
        start_classifier(config, ["a red shirt"] * 9, tmp_path)


@pytest.mark.parametrize(
    ("settings", "told"),
    [
        ({"classifier": "mmbt", "modality_wise": False}, "modality_wise"),
        ({"classifier": "text_only", "prompt": "{label}"}, "clip_zero_shot alone reads it"),
        ({"classifier": "mmbt", "matching": True}, None),
        ({"classifier": "cma_clip", "modality_wise": False}, None),
    ],
)
def test_a_switch_that_a_classifier_does_not_have_is_told(tmp_path, cache, capsys, settings, told):
    start_classifier(_config(cache, **settings), ["a red shirt"] * 9, tmp_path)
    said = capsys.readouterr().err
    assert told is None or told in said
    assert ("without effect" in said) is (told is not None)


def test_a_tokenizer_is_kept_for_its_texts_and_vocabulary(tmp_path, cache):
    def tokens(text, vocabulary):
        config = _config(cache, classifier="text_only", vocabulary=vocabulary)
        _, tokenizer = start_classifier(config, [text] * 9, tmp_path)
        return tokenizer.encode("shirt hemd", add_special_tokens=False).tokens

    english, german = tokens("shirt", 300), tokens("hemd", 300)
    assert english[0] == "\u0120shirt" and german[-1] == "\u0120hemd"
    assert tokens("shirt", 260) != english == tokens("shirt", 300)
    assert len(list(tmp_path.iterdir())) == 3


def test_zero_shot_answers_from_published_weights_without_any_epoch(
    tmp_path, catalog, cache, clip_folder
):
    config = _config(cache, classifier="clip_zero_shot", towers=str(clip_folder), phases=[])
    train_checkpoint(config, [catalog], tmp_path / "made")
    calibration = read_manifest(tmp_path / "made").calibration
    fitted = calibration.attributes["color"][Modalities.IMAGE_AND_TEXT]
    assert fitted.rows > 0 and fitted.temperature != 1
    answers = _enrich(tmp_path / "made", catalog)
    assert len({answer.predictions[0].confidence for answer in answers}) == 3


def _kept(config, small_config):
    chosen = small_config.model_copy(update={"classifier": config.classifier})
    return keep_usable_phases(config, build_classifier(chosen, 300)).phases


@pytest.mark.parametrize(
    "name, kept",
    [
        ("cma_clip", (CONTRAST, LABELS)),
        ("clip_zero_shot", (CONTRAST,)),
        ("image_only", (LABELS,)),
        ("text_only", (LABELS,)),
    ],
)
def test_phases_that_cannot_train_a_classifier_are_left_out(cache, small_config, name, kept):
    assert _kept(_config(cache, classifier=name), small_config) == kept


@pytest.mark.parametrize("name", ["cma_clip", "image_only"])
def test_heads_that_no_phase_would_train_are_refused(cache, small_config, name):
    with pytest.raises(ConfigError, match="found 0 multitask phases"):
        _kept(_config(cache, classifier=name, phases=[CONTRAST]), small_config)


def test_towers_that_never_compared_images_with_texts_are_refused(cache, small_config):
    for phases in ([], [LABELS]):
        config = _config(cache, classifier="clip_zero_shot", phases=phases)
        with pytest.raises(ConfigError, match="a CLIP or a contrastive phase"):
            _kept(config, small_config)


def test_upper_stages_of_other_towers_are_refused(cache):
    phase = LABELS.model_copy(update={"tower_learning_rate": 1e-5, "upper_stages_only": True})
    with pytest.raises(ValueError, match="upper_stages_only does not fit"):
        _config(cache, towers="openai/clip-vit-base-patch32", phases=(phase,))


@pytest.mark.parametrize(
    ("settings", "message"),
    [
        ({"conventions": ["stile"]}, "unknown attribute: found stile"),
        ({"lora": {"rank": 2}, "phases": [LABELS.model_dump()]}, "lora has no effect"),
        ({"towers": "some/clip", "image_tower": BUNDLED}, "image_tower does not fit"),
    ],
)
def test_settings_that_fit_nothing_are_refused_before_anything_is_read(cache, settings, message):
    with pytest.raises(ValidationError, match=message):
        _config(cache, **settings)


def test_sizes_that_make_no_classifier_are_a_message(tmp_path, cache):
    config = _config(cache, small_towers={"width": 32, "heads": 2}, joint_heads=5)
    with pytest.raises(ConfigError, match="joint_heads"):
        start_classifier(config, ["a red shirt"] * 9, tmp_path)


def test_an_attribute_may_be_called_as_a_method_of_modules_is(tmp_path, cache):
    config = _config(cache, attributes={"type": ["shirt", "shoe"], "half": ["a", "b"]})
    classifier, _ = start_classifier(config, ["a red shirt"] * 9, tmp_path)
    assert {"heads.type.0.weight", "modality_wise.half.score"} <= classifier.state_dict().keys()
    assert isinstance(classifier.type(torch.float32), type(classifier))
