"""Checkpoints, sources and figures of a comparison."""

import json
import shutil
from dataclasses import replace

import numpy as np
import pandas as pd
import pytest
import torch
from labelled import load_labelled

from enrich.adaptation.widening import write_widened
from enrich.analysis.compare import (
    LabelledSource,
    build_sources,
    find_shared,
    load_checkpoints,
    score_checkpoint,
)
from enrich.classifiers.manifest import read_manifest
from enrich.errors import CheckpointError, ConfigError
from enrich.training.batches import Condition
from enrich.training.evaluation import evaluate
from enrich.training.labelled import TEST
from schemas.labels import ATTRIBUTE_LABELS


def test_a_catalog_is_evaluated_on_test_groups_and_an_unseen_source_whole(source_folder):
    known, unseen = build_sources([source_folder], [source_folder], limit=None)
    assert (known.title, unseen.title) == ("colored, test groups", "colored, all products")
    everything = load_labelled([source_folder], ATTRIBUTE_LABELS)
    assert unseen.load(ATTRIBUTE_LABELS).texts == everything.texts
    held_back = known.load(ATTRIBUTE_LABELS)
    rows = np.flatnonzero(everything.split == TEST)
    assert 0 < len(held_back) < 20 and (held_back.split == TEST).all()
    assert held_back.texts == [everything.texts[row] for row in rows]
    assert held_back.image_paths == [everything.image_paths[row] for row in rows]
    assert (held_back.targets == everything.targets[rows]).all()
    # Groups are numbered without a gap.
    same = everything.groups[rows][:, None] == everything.groups[rows]
    assert ((held_back.groups[:, None] == held_back.groups) == same).all()
    assert set(held_back.groups) == set(range(held_back.groups.max() + 1))


def test_a_limit_takes_products_spread_over_the_whole_catalog(source_folder):
    everything = load_labelled([source_folder], ATTRIBUTE_LABELS)
    some = LabelledSource(source_folder, trained_on=False, limit=5).load(ATTRIBUTE_LABELS)
    assert some.texts == [everything.texts[row] for row in (0, 14, 29, 44, 59)]
    more = LabelledSource(source_folder, trained_on=False, limit=1000).load(ATTRIBUTE_LABELS)
    assert len(more) == len(everything)


def test_labels_that_a_checkpoint_does_not_know_are_counted(source_folder, capsys):
    solid = {"pattern": ("solid", "pied")}
    LabelledSource(source_folder, trained_on=False).load(solid)
    said = " ".join(capsys.readouterr().err.split())
    assert "products of colored have a label that is not listed" in said
    LabelledSource(source_folder, trained_on=False).load(ATTRIBUTE_LABELS)
    assert "not listed" not in capsys.readouterr().err


def test_what_gives_no_figure_is_refused_with_a_reason(source_folder, tmp_path):
    with pytest.raises(ConfigError, match="--unseen-source"):
        build_sources([], [], limit=None)
    with pytest.raises(ConfigError, match="colored, test groups: rename"):
        build_sources([source_folder, source_folder], [], limit=None)
    with pytest.raises(ConfigError, match="0 labels of sleeve"):
        LabelledSource(source_folder, trained_on=False).load({"sleeve": ("long", "short")})
    for table in ("products", "labels"):
        pd.read_parquet(source_folder / f"{table}.parquet").head(1).to_parquet(
            tmp_path / f"{table}.parquet"
        )
    with pytest.raises(ConfigError, match="0 test groups"):
        LabelledSource(tmp_path, trained_on=True).load(ATTRIBUTE_LABELS)


CPU = torch.device("cpu")


def _copy(checkpoint, folder, **changes):
    """Return a copy of a checkpoint with another configuration."""
    copy = folder / "changed"
    shutil.copytree(checkpoint, copy)
    config = json.loads((copy / "config.json").read_text())
    (copy / "config.json").write_text(json.dumps(config | changes))
    return copy


def test_checkpoints_are_loaded_in_order_and_named_after_their_folders(
    two_checkpoints, monkeypatch
):
    monkeypatch.chdir(two_checkpoints["other"])
    checkpoints = load_checkpoints([".", f"{two_checkpoints['tiny']}/"], CPU)
    assert [checkpoint.name for checkpoint in checkpoints] == ["other", "tiny"]


def test_a_broken_checkpoint_and_two_of_one_name_are_refused(two_checkpoints, tmp_path):
    sound, twin = two_checkpoints["tiny"], tmp_path / "tiny"
    shutil.copytree(sound, twin)
    with pytest.raises(ConfigError, match="called tiny"):
        load_checkpoints([str(sound), str(twin)], CPU)
    (twin.rename(tmp_path / "broken") / "model.safetensors").write_bytes(b"no weights")
    with pytest.raises(CheckpointError, match="broken"):
        load_checkpoints([str(sound), str(tmp_path / "broken")], CPU)


def test_all_checkpoints_are_asked_about_the_same_masked_texts(two_checkpoints, tmp_path):
    attributes = read_manifest(two_checkpoints["other"]).config.attributes
    kinds = [f"kind{number}" for number in range(len(attributes["pattern"]))]
    other = _copy(two_checkpoints["other"], tmp_path, attributes=attributes | {"pattern": kinds})
    checkpoints = load_checkpoints([str(two_checkpoints["tiny"]), str(other)], CPU)
    for checkpoint in checkpoints:
        assert checkpoint.label_words.remove("a red striped kind1 shirt") == "a shirt"


def test_a_checkpoint_says_to_which_sources_it_was_fitted(two_checkpoints, tmp_path):
    fitted = shutil.copytree(two_checkpoints["tiny"], tmp_path / "fitted")
    earlier = {"shop": "one source", "from": "tiny", "attributes": {}}
    adaptation = earlier | {"shop": "another", "earlier": earlier}
    (fitted / "metrics.json").write_text(json.dumps({"adaptation": adaptation}))
    both = load_checkpoints([str(two_checkpoints["tiny"]), str(fitted)], CPU)
    assert [checkpoint.fitted_to for checkpoint in both] == [[], ["another", "one source"]]


@pytest.fixture(scope="module")
def checkpoints(two_checkpoints):
    return load_checkpoints([str(folder) for folder in two_checkpoints.values()], CPU)


def test_answers_are_judged_as_training_measures_them(checkpoints, source_folder, tmp_path):
    first, (source,) = checkpoints[0], build_sources([], [source_folder], None)
    scored = score_checkpoint(first, [*first.answers], [source], tmp_path)
    batches = first.batches(source.load(first.answers), tmp_path)
    # Else its layers would be computed one by one here, which is less exact in half precision.
    batches.cache_features(first.classifier)
    rows = np.arange(len(batches.products))
    wanted, _ = evaluate(first.classifier, batches, rows, first.manifest.calibration)
    assert len(scored) == len(Condition) * len(first.answers)
    for (title, condition, attribute), found in scored.items():
        assert title == "colored, all products"
        figures = wanted[condition][attribute]
        assert len(found.right) == figures["rows"]
        assert found.right.float().mean().item() == pytest.approx(figures["accuracy"], abs=1e-4)
        given = found.given.float().mean().item()
        assert given == pytest.approx(figures["answered_at_90_threshold"], abs=1e-4)


def test_a_source_without_readable_labelled_products_is_refused(checkpoints, tmp_path):
    folder = tmp_path / "unread"
    folder.mkdir()
    titles = pd.DataFrame({"product_id": ["1", "2"], "title": ["", "a shirt"]})
    titles.assign(description=None, image_path=None).to_parquet(folder / "products.parquet")
    labels = pd.DataFrame({"product_id": ["1", "2"], "group_id": ["1", "2"]})
    labels.assign(color=["red", None]).to_parquet(folder / "labels.parquet")
    with pytest.raises(ConfigError, match=r"unread cannot be evaluated"):
        score_checkpoint(
            checkpoints[0], ["color"], build_sources([], [folder], None), tmp_path / "cache"
        )


def test_attributes_are_compared_if_their_labels_are_the_same_in_any_order(checkpoints):
    first, other = checkpoints
    labels = {name: labels[::-1] for name, labels in other.manifest.config.attributes.items()}
    labels["color"] = ("green", "red", "white", "mauve")
    config = other.manifest.config.model_copy(update={"attributes": labels})
    other = replace(other, manifest=replace(other.manifest, config=config))
    assert find_shared([first, other]) == ["pattern", "style"]
    only = {"color": labels["color"]}
    config = other.manifest.config.model_copy(update={"attributes": only})
    other = replace(other, manifest=replace(other.manifest, config=config))
    with pytest.raises(ConfigError, match=r"0 attributes with the same labels.*green, red, white"):
        find_shared([first, other])


def test_labels_and_attributes_added_after_training_are_measured_too(
    two_checkpoints, source_folder, tmp_path
):
    manifest = read_manifest(two_checkpoints["tiny"])
    sets = {"color": (*manifest.config.answers["color"], "mauve"), "finish": ("solid", "striped")}
    shares = {a: [1 / len(labels)] * len(labels) for a, labels in sets.items()}
    write_widened(manifest, manifest.config.answers | sets, "wide", tmp_path / "wide", shares)
    (wide,) = load_checkpoints([str(tmp_path / "wide")], CPU)
    labels = pd.read_parquet(source_folder / "labels.parquet")
    shop = shutil.copytree(source_folder, tmp_path / "shop")
    labels.assign(finish=labels["pattern"]).to_parquet(shop / "labels.parquet")
    sources = build_sources([], [shop], None)
    scored = score_checkpoint(wide, ["color", "finish"], sources, tmp_path / "cache")
    assert {key[2] for key in scored} == {"color", "finish"}
    before = score_checkpoint(
        *(load_checkpoints([str(two_checkpoints["tiny"])], CPU)), ["color"], sources, tmp_path / "c"
    )
    for key, found in before.items():
        assert scored[key].right.equal(found.right)
