"""Label sets widened by names: what is guessed before anybody has labelled a product."""

import numpy as np
import torch
from adaptations import make_effect
from thresholds import alike
from torch.nn.functional import cosine_similarity

from enrich.adaptation.checkpoint import write_adapted
from enrich.adaptation.trial import Gain
from enrich.adaptation.widening import widened, write_widened
from enrich.calibration import TARGET_PRECISIONS, CalibratedModalities
from enrich.classifiers.checkpoint import load_classifier
from enrich.classifiers.interface import Vectors
from enrich.classifiers.manifest import list_changes, read_manifest
from enrich.engine.spec import open_engine
from enrich.records import Modalities, Product

_FABRICS = ("cotton", "denim", "silk", "wool", "leather")


def test_aligned_towers_guess_the_names_most_similar_to_the_picture(
    make_checkpoint, clip_config, shop, tmp_path
):
    manifest = read_manifest(make_checkpoint(clip_config))
    sets = manifest.config.answers | {"fabric": _FABRICS}
    write_widened(manifest, sets, "named", tmp_path / "named")
    engine = open_engine(read_manifest(tmp_path / "named"), str(shop))
    pictured = Product("pictured", image_path="red.jpg")

    (encoded,) = engine.encode([pictured])
    similar = _rank(manifest.folder, _read_image(encoded, manifest.config))
    told = Product("told", f"a shirt of {similar[-1]}", image_path="red.jpg")
    by_picture, by_text = (answer.predictions[-1] for answer in engine.enrich([pictured, told]))
    best = [by_picture.label, *(one.label for one in by_picture.alternatives)]
    assert len(best) > 1 and best == similar[: len(best)]
    assert by_text.label == by_text.named == similar[-1]
    assert by_picture.abstained and by_text.abstained

    (change,) = list_changes(read_manifest(tmp_path / "named"))
    assert change == (f"{manifest.config.name}-{manifest.digests.model}", ())

    # Labels of another attribute leave the guesses as they are.
    sets |= {"sleeve": ("long", "short")}
    named = read_manifest(tmp_path / "named")
    write_widened(named, sets, "both", tmp_path / "both", {"sleeve": (0.5, 0.5)})
    both = read_manifest(tmp_path / "both").calibration
    assert both.corrections["fabric"] == named.calibration.corrections["fabric"]


def test_a_picture_is_not_compared_with_names_where_the_towers_are_mixed(
    make_checkpoint, clip_config, tmp_path
):
    config = clip_config.model_copy(update={"classifier": "single_stream"})
    manifest = read_manifest(make_checkpoint(config))
    sets = manifest.config.answers | {"fabric": _FABRICS}
    write_widened(manifest, sets, "named", tmp_path / "named")
    correction = read_manifest(tmp_path / "named").calibration.corrections["fabric"]
    assert correction.embeds_weight is None


def test_a_name_that_is_added_to_a_fitted_attribute_is_never_answered(tiny_checkpoint, tmp_path):
    manifest = read_manifest(tiny_checkpoint)
    proved = CalibratedModalities(temperature=1, thresholds=alike(0.5, 0.6), rows=60)
    figures = {"rows": 60, "accuracy": 0.9, "answered_at_90_threshold": 0.5}
    figures["precision_at_90_threshold"] = 0.95
    effect = make_effect(figures, Gain(0.2, 0.1, 100), dict.fromkeys(Modalities, proved))
    with widened(manifest, manifest.config.answers | {"sleeve": ("long", "short")}) as wide:
        write_adapted(wide, {"sleeve": effect}, "fitted", "a shop", tmp_path / "fitted")
    fitted = read_manifest(tmp_path / "fitted")
    sets = fitted.config.answers | {"sleeve": ("long", "short", "puffed")}
    write_widened(fitted, sets, "named", tmp_path / "named")

    for precision in TARGET_PRECISIONS:
        found = read_manifest(tmp_path / "named").calibration.thresholds(precision, sets)
        for one in found["sleeve"].values():
            assert one.by_label == (0.0, 0.0, np.inf)


def _read_image(encoded, config):
    assert encoded.vectors is not None and config.vectors is not None
    packed = torch.from_numpy(np.frombuffer(encoded.vectors, "<f2").copy()).unsqueeze(0)
    has, lacks = torch.tensor([True]), torch.tensor([False])
    return Vectors.unpack(packed, config.vectors, has, lacks).image


def _rank(checkpoint, image):
    """Return the fabrics by the cosine of the picture with their prompts, best first."""
    classifier, encode_texts = load_classifier(read_manifest(checkpoint), torch.device("cpu"))
    prompts = [f"a photo of a {fabric} product" for fabric in _FABRICS]
    with torch.no_grad():
        embeds = classifier.text_tower(*encode_texts(prompts)).pooled
    return [_FABRICS[i] for i in cosine_similarity(image, embeds).argsort(descending=True)]
