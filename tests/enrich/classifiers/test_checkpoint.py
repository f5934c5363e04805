"""A checkpoint folder is whole, says what it is, and runs no code of its own."""

import dataclasses
import json
import pickle
import shutil
import socket
import tempfile
from pathlib import Path

import pytest
import torch
from safetensors.torch import load_file, save_file

from enrich.classifiers.checkpoint import build_classifier, load_classifier, save_checkpoint
from enrich.classifiers.hugging_face_towers import build_encoder
from enrich.classifiers.manifest import BUNDLED, fetch_manifest, read_manifest
from enrich.classifiers.towers import TextEncoder
from enrich.config import JobConfig
from enrich.engine.spec import build_spec
from enrich.errors import CheckpointError, ConfigError, NoAnswer
from schemas.labels import ATTRIBUTE_LABELS

CPU = torch.device("cpu")
FILES = ("config.json", "calibration.json", "tokenizer.json", "model.safetensors")


@pytest.fixture
def folder(tiny_checkpoint, tmp_path):
    """A copy to be damaged."""
    return Path(shutil.copytree(tiny_checkpoint, tmp_path / "copy"))


def _change(file, change):
    content = json.loads(file.read_text())
    change(content)
    file.write_text(json.dumps(content))


def _load(folder):
    load_classifier(read_manifest(folder), CPU)


def test_a_checkpoint_holds_all_that_it_was_saved_with(
    tmp_path, small_config, tokenizer, calibration
):
    saved = build_classifier(small_config, tokenizer.get_vocab_size()).eval()
    save_checkpoint(tmp_path / "made", saved, tokenizer, calibration, {"a": 1}, "# card\n")
    manifest = read_manifest(tmp_path / "made")
    vectors = dict.fromkeys(("image_cls", "text_cls", "image_pooled", "text_pooled"), (32,))
    assert manifest.config == small_config.model_copy(update={"vectors": vectors})
    assert manifest.calibration == calibration
    _, encoder = load_classifier(manifest, CPU)
    texts = ["a red striped shirt", "blue shoes"]
    wanted = TextEncoder(tokenizer, small_config.text_length)(texts)
    assert all(map(torch.equal, encoder(texts), wanted))
    assert (tmp_path / "made" / "MODEL_CARD.md").read_text() == "# card\n"
    metrics = json.loads((tmp_path / "made" / "metrics.json").read_text())
    assert metrics == {"content": manifest.digests.model, "a": 1}


def test_a_checkpoint_is_written_whole_or_not_at_all(
    tmp_path, folder, small_config, tokenizer, calibration
):
    classifier = build_classifier(small_config, tokenizer.get_vocab_size())
    before = read_manifest(folder).digests.model
    for output in (folder, tmp_path / "new"):
        with pytest.raises(TypeError):
            save_checkpoint(output, classifier, tokenizer, calibration, {"a": object()}, "")
    assert read_manifest(folder).digests.model == before and not (tmp_path / "new").exists()
    save_checkpoint(folder, classifier, tokenizer, calibration, {}, "")
    assert read_manifest(folder).digests.model != before
    assert {file.name for file in tmp_path.iterdir() if ".copy" in file.name} == set()


@pytest.mark.parametrize("name", FILES)
def test_a_missing_file_is_named(folder, name):
    (folder / name).unlink()
    with pytest.raises(CheckpointError, match=f"lacks {name}") as error:
        read_manifest(folder)
    assert str(folder) in str(error.value)


def test_a_folder_that_is_not_there_is_named(tmp_path):
    with pytest.raises(CheckpointError, match=str(tmp_path / "nowhere")):
        read_manifest(tmp_path / "nowhere")


@pytest.mark.parametrize(
    ("name", "how"),
    [
        *((name, "cut") for name in FILES),
        *((name, "other content") for name in FILES[:-2]),
        (FILES[0], "empty"),
        (FILES[0], "not text"),
    ],
)
def test_a_damaged_file_is_named(folder, name, how):
    data = (folder / name).read_bytes()
    broken = {
        "cut": data[: len(data) // 2],
        "empty": b"",
        "not text": b"\xff\xfe" + data,
        "other content": b'{"unknown": 1}',
    }
    (folder / name).write_bytes(broken[how])
    with pytest.raises(CheckpointError) as error:
        _load(folder)
    assert f"{folder}/{name}" in str(error.value)


def test_cut_weights_are_seen_before_anything_is_loaded(folder):
    weights = folder / "model.safetensors"
    weights.write_bytes(weights.read_bytes()[:-1])
    with pytest.raises(CheckpointError, match=f"{weights} is damaged: .*Copy it again"):
        read_manifest(folder)


def test_a_calibration_of_other_attributes_is_refused(folder):
    _change(folder / "calibration.json", lambda c: c["attributes"].pop("style"))
    with pytest.raises(CheckpointError, match="of another checkpoint") as error:
        read_manifest(folder)
    assert f"{folder}/calibration.json" in str(error.value)


@pytest.mark.parametrize("name", ["status", "error", "product_id", "replaces", "color_confidence"])
def test_an_attribute_with_the_name_of_a_column_is_refused_in_one_line(folder, name):
    for file in ("config.json", "calibration.json"):
        _change(folder / file, lambda c: c["attributes"].update({name: c["attributes"]["color"]}))
    with pytest.raises(CheckpointError, match=f"attribute {name} has a reserved name") as error:
        read_manifest(folder)
    assert "\n" not in str(error.value) and str(folder) in str(error.value)


def test_an_unknown_key_is_refused(folder):
    _change(folder / "config.json", lambda c: c.update(remote_code="run_me"))
    with pytest.raises(CheckpointError, match="remote_code"):
        read_manifest(folder)


def test_weights_of_another_configuration_are_refused(folder):
    _change(folder / "config.json", lambda c: c["attributes"]["color"].append("black"))
    with pytest.raises(
        CheckpointError, match=r"model\.safetensors .*another configuration"
    ) as error:
        _load(folder)
    said = str(error.value)
    # Of a worker's error Spark hands on one line.
    assert "size mismatch" in said and "\n" not in said
    assert said.endswith("Copy the whole folder again")


def _change_weight(folder, name):
    weights = load_file(folder / "model.safetensors")
    weights[name] = weights[name] + 1
    save_file(weights, folder / "model.safetensors")


# What is done to a checkpoint, and whether its vectors and its answers are others then.
@pytest.mark.parametrize(
    ("change", "encoder", "model"),
    [
        (lambda f: (f / "MODEL_CARD.md").write_text("# another\n"), False, False),
        (lambda f: _change(f / "config.json", lambda c: c.update(name="other")), False, False),
        (lambda f: _change(f / "calibration.json", _set_threshold), False, True),
        (
            lambda f: _change(f / "config.json", lambda c: c["attributes"]["style"].reverse()),
            False,
            True,
        ),
        (lambda f: _change_weight(f, "heads.style.3.bias"), False, True),
        (lambda f: _change_weight(f, "modality_wise.style.trust"), False, True),
        (lambda f: _change(f / "tokenizer.json", lambda c: c.update(normalizer=None)), True, True),
        (lambda f: _change(f / "config.json", lambda c: c.update(int8=True)), True, True),
        (lambda f: _change(f / "config.json", lambda c: c["image"].update(fit="crop")), True, True),
        (lambda f: _change_weight(f, "sequence_wise.transformer.norm.bias"), True, True),
        (lambda f: _change_weight(f, "image_tower.project.bias"), True, True),
    ],
)
def test_each_digest_changes_with_what_it_stands_for_and_with_nothing_else(
    folder, change, encoder, model
):
    before = read_manifest(folder).digests
    change(folder)
    after = read_manifest(folder).digests
    assert len(after.encoder) == len(after.model) == 12
    assert (after.encoder != before.encoder, after.model != before.model) == (encoder, model)


def test_another_revision_of_the_encoder_is_another_encoder(folder, monkeypatch):
    before = read_manifest(folder).digests
    monkeypatch.setattr("enrich.classifiers.manifest.ENCODER_REVISION", 99)
    after = read_manifest(folder).digests
    assert after.encoder != before.encoder and after.model != before.model


def _set_threshold(calibration):
    _at(calibration, "attributes", "color", "text", "thresholds", "0.90").update(silent=0.123)


def _at(content, *keys):
    for key in keys:
        content = content[key]
    return content


class _Attack:
    """Unpickling it makes a folder."""

    def __init__(self, mark):
        self.mark = mark

    def __reduce__(self):
        return Path.mkdir, (self.mark,)


@pytest.mark.parametrize(
    ("name", "how"), [*((name, "pickle") for name in FILES), ("model.safetensors", "torch")]
)
def test_no_pickle_is_loaded(folder, tmp_path, name, how):
    mark = tmp_path / "attacked"
    if how == "pickle":
        (folder / name).write_bytes(pickle.dumps(_Attack(mark)))
    else:
        torch.save({"weights": _Attack(mark)}, folder / name)
    with pytest.raises(CheckpointError):
        _load(folder)
    assert not mark.exists()
    pickle.loads(pickle.dumps(_Attack(mark)))
    assert mark.exists(), "the attack itself must work"


def test_a_checkpoint_swapped_after_the_driver_read_it_may_be_tried_again(folder):
    spec = build_spec(JobConfig(checkpoint=str(folder)), read_manifest(folder), str(folder))
    assert spec.build(CPU)
    weights = bytearray((folder / "model.safetensors").read_bytes())
    weights[-1] ^= 1
    (folder / "model.safetensors").write_bytes(weights)
    with pytest.raises(NoAnswer, match="was replaced: found"):
        spec.build(CPU)


def _append(file):
    file.write_text(file.read_text() + " ")


@pytest.mark.parametrize(
    "exchange",
    [
        lambda folder: _append(folder / "calibration.json"),
        lambda folder: (folder / "calibration.json").unlink(),
        lambda folder: (folder / "model.safetensors").unlink(),
        lambda folder: (folder / "tokenizer.json").write_bytes(b""),
    ],
    ids=["another", "none for now", "no weights for now", "half of it"],
)
def test_a_checkpoint_exchanged_since_its_manifest_was_read_is_refused(folder, exchange):
    manifest = read_manifest(folder)
    load_classifier(manifest, CPU)
    exchange(folder)
    with pytest.raises(NoAnswer, match=f"{folder} was replaced while it was read"):
        load_classifier(manifest, CPU)


def test_a_checkpoint_exchanged_while_its_manifest_is_read_is_refused(folder, monkeypatch):
    read = Path.read_bytes

    def read_before_it_is_exchanged(file):
        content = read(file)
        if file.name == "calibration.json":
            _append(file)
        return content

    monkeypatch.setattr(Path, "read_bytes", read_before_it_is_exchanged)
    with pytest.raises(NoAnswer, match="was replaced while it was read"):
        _load(folder)


def test_a_checkpoint_behind_a_uri_is_copied_here(tiny_checkpoint):
    copied = fetch_manifest(f"file://{tiny_checkpoint}")
    assert copied.folder != tiny_checkpoint
    assert copied.digests.model == read_manifest(tiny_checkpoint).digests.model
    assert fetch_manifest(f"file:{tiny_checkpoint}").digests.model == copied.digests.model
    assert fetch_manifest(str(tiny_checkpoint)).folder == tiny_checkpoint
    assert fetch_manifest(None).folder == BUNDLED


def test_a_worker_leaves_no_copy_of_a_checkpoint_behind(tiny_checkpoint, tmp_path, monkeypatch):
    monkeypatch.setattr(tempfile, "tempdir", str(tmp_path))
    manifest = read_manifest(tiny_checkpoint)
    remote = JobConfig(checkpoint=f"file://{tiny_checkpoint}")
    engine = build_spec(remote, manifest, str(tmp_path)).build(CPU)
    assert engine.classifier is not None
    assert list(tmp_path.iterdir()) == []
    with pytest.raises(NoAnswer, match="was replaced: found"):
        dataclasses.replace(engine.spec, model_version="another").build(CPU)
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize("slash", ["", "/"])
def test_what_is_wrong_in_a_copy_is_said_of_where_it_was_copied_from(
    folder, tmp_path, monkeypatch, slash
):
    spec = build_spec(
        JobConfig(checkpoint=f"file://{folder}{slash}"), read_manifest(folder), str(tmp_path)
    )
    (tmp_path / "copies").mkdir()
    monkeypatch.setattr(tempfile, "tempdir", str(tmp_path / "copies"))
    for damage in (lambda file: file.write_bytes(b"cut"), Path.unlink):
        damage(folder / "model.safetensors")
        for fail in (lambda: fetch_manifest(spec.checkpoint), lambda: spec.build(CPU)):
            with pytest.raises(CheckpointError) as error:
                fail()
            assert f"file://{folder}" in str(error.value)
            assert "checkpoint-" not in str(error.value)
    assert list((tmp_path / "copies").iterdir()) == []


def test_a_store_that_is_out_of_reach_may_be_back_on_the_next_try(monkeypatch):
    for name in ("AWS_ACCESS_KEY_ID", "AWS_SECRET_ACCESS_KEY"):
        monkeypatch.setenv(name, "somebody")
    store = "endpoint_override=127.0.0.1:1&scheme=http&region=here"
    with pytest.raises(NoAnswer, match=r"checkpoint s3://shop/cma-clip.* cannot be read"):
        fetch_manifest(f"s3://shop/cma-clip?{store}")


@pytest.mark.parametrize("location", ["file:///no/such/folder", "gopher://x/y", "http://[bad"])
def test_a_uri_that_cannot_be_read_is_named(location):
    with pytest.raises(CheckpointError) as error:
        fetch_manifest(location)
    assert location in str(error.value)


def test_the_bundled_checkpoint_loads_is_small_and_knows_the_label_sets():
    manifest = read_manifest(BUNDLED)
    _load(BUNDLED)
    assert manifest.config.name == "cma-clip-small"
    assert manifest.config.attributes == ATTRIBUTE_LABELS
    assert sum(file.stat().st_size for file in BUNDLED.iterdir()) < 25_000_000
    card = (BUNDLED / "MODEL_CARD.md").read_text()
    assert card.startswith("# cma-clip-small") and "limits" in card


@pytest.mark.parametrize("change", [{"joint_heads": 0}, {"joint_heads": 5}, {"text_length": 3}])
def test_a_configuration_that_fits_nothing_is_a_message(folder, change):
    _change(folder / "config.json", lambda c: c.update(change))
    with pytest.raises(ConfigError):
        _load(folder)


@pytest.mark.parametrize("std", [[0, 1, 1], [1, 1, float("nan")]])
def test_pixels_that_would_become_no_numbers_are_refused(folder, std):
    _change(folder / "config.json", lambda c: c["image"].update(std=std))
    with pytest.raises(CheckpointError, match="std"):
        read_manifest(folder)


@pytest.mark.parametrize(
    "vision",
    [
        {"model_type": "timm_wrapper", "architecture": "hf-hub:evil/model"},
        {"model_type": "timm_wrapper", "architecture": "local-dir:/elsewhere"},
        {"model_type": "dpt", "backbone": "evil/model"},
    ],
)
def test_a_tower_whose_parts_are_elsewhere_is_refused_and_nobody_is_asked(vision, monkeypatch):
    monkeypatch.setattr(socket.socket, "connect", lambda *_: pytest.fail("asked the network"))
    with pytest.raises(ValueError, match="from elsewhere"):
        build_encoder(vision)
