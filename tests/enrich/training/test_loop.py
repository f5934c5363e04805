"""Training is the same twice, goes on where it was killed, and keeps its best epoch."""

import json
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest
import torch
from tokenizers import Tokenizer
from torch import Tensor
from transformers import CLIPConfig, CLIPModel, PreTrainedTokenizerFast

from enrich.classifiers.config import ClassifierConfig
from enrich.classifiers.interface import Classifier
from enrich.classifiers.manifest import BUNDLED, read_manifest
from enrich.classifiers.registry import build_classifier
from enrich.command_line import load_yaml
from enrich.demo.catalog import write_demo_catalog
from enrich.errors import ConfigError
from enrich.images import ImageLimits
from enrich.records import Product, Status
from enrich.spec import EngineSpec, name_model_version
from enrich.tokenizer import TextEncoder
from enrich.training.batches import Batches, LabelWords
from enrich.training.cache import CachedImages
from enrich.training.config import Phase, TrainingConfig
from enrich.training.labelled import LabelledProducts
from enrich.training.loop import Trainer
from enrich.training.pretrained import load_efficientnet_weights
from enrich.training.run import train_checkpoint
from enrich.training.tokenizers import train_tokenizer

COUNT = 40
COLORS = ("red", "green", "blue", "white")
HEADS = Phase(loss="multitask", epochs=3, learning_rate=3e-3)
WARM_UP = Phase(loss="contrastive", epochs=1, learning_rate=1e-3)
WHOLE = Phase(loss="multitask", epochs=2, learning_rate=1e-3, tower_learning_rate=1e-3)
JOBS = Path(__file__).parents[3] / "jobs"


@pytest.fixture(scope="module", autouse=True)
def _offline() -> Iterator[None]:
    """No test may ask a hub for weights."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr("huggingface_hub.constants.HF_HUB_OFFLINE", True)
        yield


Make = Callable[..., Trainer]


@pytest.fixture
def make(small_config: ClassifierConfig, tokenizer: Tokenizer, tmp_path: Path) -> Make:
    """Returns a function that builds a trainer of colored squares, always from the same start."""
    labels = np.arange(COUNT) % len(COLORS)
    shades = np.array([(220, 20, 20), (20, 220, 20), (20, 20, 220), (240, 240, 240)])
    noise = np.random.default_rng(0).integers(-15, 15, (COUNT, 3, 64, 64))
    pixels = np.clip(shades[labels][:, :, None, None] + noise, 0, 255).astype(np.uint8)
    targets = np.stack([labels, labels % 3, labels % 2], axis=1)
    products = LabelledProducts(
        texts=[f"a {COLORS[label]} shirt" for label in labels],
        image_paths=[None] * COUNT,
        image_roots=[""] * COUNT,
        targets=targets,
        groups=np.arange(COUNT),
        split=np.zeros(COUNT, dtype=np.int64),
    )
    words = LabelWords({"color": COLORS}, {})

    def make(folder: str, *phases: Phase, seed: int = 0) -> Trainer:
        (tmp_path / folder).mkdir(exist_ok=True)
        images = CachedImages(pixels, np.ones(COUNT, dtype=bool), tmp_path / folder)
        batches = Batches(products, images, TextEncoder(tokenizer, 16), words)
        config = TrainingConfig(name="tiny", seed=seed, batch_size=8, phases=phases)
        torch.manual_seed(7)
        classifier = build_classifier(small_config, tokenizer.get_vocab_size())
        rows = np.arange(COUNT)
        return Trainer(classifier, batches, config, rows[:32], rows[32:], tmp_path / folder)

    return make


def _weights(classifier: torch.nn.Module) -> dict[str, Tensor]:
    return {name: t.detach().clone() for name, t in classifier.state_dict().items()}


def _same(left: dict[str, Tensor], right: dict[str, Tensor]) -> bool:
    return left.keys() == right.keys() and all(t.equal(right[name]) for name, t in left.items())


def _train(trainer: Trainer) -> dict[str, Tensor]:
    trainer.train()
    return _weights(trainer.classifier)


def test_same_seed_gives_the_same_weights_and_another_seed_others(make: Make) -> None:
    first = _train(make("a", WARM_UP, HEADS))
    assert _same(first, _train(make("b", WARM_UP, HEADS)))
    assert not _same(first, _train(make("c", WARM_UP, HEADS, seed=1)))


def _last_state(trainer: Trainer) -> dict[str, Any]:
    """Returns the state after the last epoch, not only the best one that is kept."""
    return torch.load(trainer.folder / "training_state.pt", weights_only=True)


def test_a_killed_run_goes_on_to_what_the_unbroken_one_reaches(
    make: Make, monkeypatch: pytest.MonkeyPatch
) -> None:
    phases = (WARM_UP, HEADS, WHOLE)
    whole_epoch, epochs, kill_at = Trainer._train_epoch, [], None

    def count_and_kill(trainer: Trainer, number: int, *given: Any) -> float:
        if len(epochs) == kill_at:
            raise KeyboardInterrupt
        epochs.append((number, given[1]))
        return whole_epoch(trainer, number, *given)

    # The best epoch lies before two of the kills: a resumed run must remember it.
    scores = {(1, 0): 0.5, (1, 1): 0.9, (1, 2): 0.4, (2, 0): 0.3, (2, 1): 0.2}
    monkeypatch.setattr("enrich.training.loop.selection_score", lambda *_: scores[epochs[-1]])
    monkeypatch.setattr(Trainer, "_train_epoch", count_and_kill)
    unbroken = make("unbroken", *phases)
    unbroken.train()
    every_epoch, wanted = list(epochs), _last_state(unbroken)
    assert every_epoch == [(0, 0), (1, 0), (1, 1), (1, 2), (2, 0), (2, 1)]
    # Between two phases, within a frozen one, within an unfrozen one.
    for kill_at in (1, 3, 5):
        epochs.clear()
        with pytest.raises(KeyboardInterrupt):
            make(f"killed after {kill_at}", *phases).train()
        epochs.clear()
        killed_at, kill_at = kill_at, None
        resumed = make(f"killed after {killed_at}", *phases)
        resumed.train()
        assert epochs == every_epoch[killed_at:]
        found = _last_state(resumed)
        assert _same(found["classifier"], wanted["classifier"])
        assert _same(found["best"], wanted["best"])
        assert found["best_score"] == wanted["best_score"]


def test_a_finished_run_is_not_trained_again(make: Make, monkeypatch: pytest.MonkeyPatch) -> None:
    weights = _train(make("a", HEADS))
    monkeypatch.setattr(Trainer, "_train_epoch", None)
    assert _same(weights, _train(make("a", HEADS)))


def test_a_state_of_another_configuration_is_not_gone_on_with(make: Make) -> None:
    fresh = _train(make("a", HEADS, seed=1))
    _train(make("b", HEADS))
    assert _same(fresh, _train(make("b", HEADS, seed=1)))


def test_frozen_phases_leave_the_backbone_as_it_was(make: Make) -> None:
    trainer = make("a", WARM_UP, HEADS)
    backbone = trainer.classifier.image_tower.pretrained()
    before, others = _weights(backbone), _weights(trainer.classifier.text_tower)
    trainer.train()
    assert list(trainer.folder.glob("features-*.npy")), "its features are computed once"
    assert _same(before, _weights(backbone))
    assert not _same(others, _weights(trainer.classifier.text_tower))


def test_an_unfrozen_phase_trains_the_backbone_but_not_its_statistics(make: Make) -> None:
    trainer = make("a", HEADS, WHOLE)
    backbone = trainer.classifier.image_tower.pretrained()
    before = _weights(backbone)
    trainer._train_phase(0, HEADS, None)
    trainer.progressed.epoch = 0
    trainer._train_phase(1, WHOLE, None)
    after = _weights(backbone)
    changed = {name for name, tensor in before.items() if not tensor.equal(after[name])}
    assert changed and not any("running" in name for name in changed)


def test_the_best_epoch_is_kept_and_not_the_last(
    make: Make, monkeypatch: pytest.MonkeyPatch
) -> None:
    scores, states = iter([0.2, 0.9, 0.4]), []

    def score(classifier: Classifier, *given: Any) -> float:
        states.append(_weights(classifier))
        return next(scores)

    monkeypatch.setattr("enrich.training.loop.selection_score", score)
    kept = _train(make("a", HEADS))
    assert _same(kept, states[1]) and not _same(kept, states[2])


def test_training_learns_what_is_plain_to_see(make: Make) -> None:
    trainer = make("a", Phase(loss="multitask", epochs=8, learning_rate=1e-2))
    trainer.train()
    assert trainer.progressed.best_score > 0.9


def test_published_weights_fill_the_whole_backbone(make: Make) -> None:
    backbone = make("a", HEADS).classifier.image_tower.pretrained()
    before = _weights(backbone)
    load_efficientnet_weights(backbone)
    kept = {name for name, t in _weights(backbone).items() if t.equal(before[name])}
    assert kept <= {name for name in before if name.endswith("num_batches_tracked")}


@pytest.fixture(scope="module")
def catalog(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("shop") / "catalog"
    write_demo_catalog(folder, products=40, seed=1, flaws=False)
    return folder


@pytest.fixture(scope="module")
def clip_folder(
    tmp_path_factory: pytest.TempPathFactory, catalog: Path, clip_json: dict[str, Any]
) -> Path:
    """A Hugging Face CLIP as one finds it on a hub, with random weights."""
    folder = tmp_path_factory.mktemp("hub") / "clip"
    tokenizer = train_tokenizer(pd.read_parquet(catalog / "products.parquet")["title"], 300)
    special = {"bos_token": "<start>", "eos_token": "<end>", "pad_token": "<pad>"}
    PreTrainedTokenizerFast(tokenizer_object=tokenizer, **special).save_pretrained(folder)
    clip_json["text_config"] = clip_json["text_config"] | {"vocab_size": 300}
    torch.manual_seed(0)
    CLIPModel(CLIPConfig.from_dict(clip_json)).save_pretrained(folder)
    return folder


def _clip_config(clip_folder: Path, *phases: Phase, batch_size: int = 8) -> TrainingConfig:
    return TrainingConfig(
        name="clip-tiny",
        towers=str(clip_folder),
        text_length=16,
        joint_layers=1,
        joint_heads=2,
        batch_size=batch_size,
        phases=phases,
    )


def test_a_hugging_face_clip_is_trained_into_a_checkpoint_that_the_engine_runs(
    tmp_path: Path, catalog: Path, clip_folder: Path
) -> None:
    heads = HEADS.model_copy(update={"epochs": 1})
    whole = WHOLE.model_copy(update={"epochs": 1})
    config = _clip_config(clip_folder, heads, whole)
    metrics = train_checkpoint(config, [catalog], tmp_path / "made", strange_shops=[catalog])
    assert set(metrics) == {"products", "test_groups_catalog", "strange_shop_catalog"}
    assert sum(metrics["products"].values()) == 40
    assert json.loads((tmp_path / "made" / "metrics.json").read_text()) == metrics
    assert "# clip-tiny" in (tmp_path / "made" / "MODEL_CARD.md").read_text()

    manifest = read_manifest(tmp_path / "made")
    assert manifest.config.towers.kind == "hugging_face_clip"
    assert (manifest.config.image.size_px, manifest.config.image.fit) == (64, "crop")
    spec = EngineSpec(
        checkpoint=str(tmp_path / "made"),
        model_version=name_model_version(manifest, 0.90),
        attributes=manifest.config.attributes,
        image_root=str(catalog),
        allowed_roots=(),
        limits=ImageLimits(),
        target_precision=0.90,
        batch_size=4,
        read_threads=1,
    )
    rows = pd.read_parquet(catalog / "products.parquet").head(6)
    answers = list(spec.build(torch.device("cpu")).enrich(Product(*row) for row in rows.to_numpy()))
    assert [answer.product_id for answer in answers] == rows.product_id.tolist()
    assert {answer.status for answer in answers} == {Status.OK}
    assert {len(answer.predictions) for answer in answers} == {3}


def test_a_contrastive_phase_over_a_frozen_clip_is_refused(tmp_path: Path) -> None:
    file = tmp_path / "clip.yaml"
    text = (
        "name: a\ntowers: openai/clip\nphases: [{loss: contrastive, epochs: 1, learning_rate: 1}]"
    )
    file.write_text(text)
    with pytest.raises(ConfigError, match="tower_learning_rate above 0"):
        load_yaml(file, TrainingConfig)
    file.write_text(text.replace("learning_rate", "tower_learning_rate: 1, learning_rate"))
    assert load_yaml(file, TrainingConfig).phases[0].tower_learning_rate == 1


def test_towers_that_are_not_there_are_a_config_error(tmp_path: Path, catalog: Path) -> None:
    config = _clip_config(tmp_path / "no-clip", HEADS)
    with pytest.raises(ConfigError, match="no CLIP checkpoint at"):
        train_checkpoint(config, [catalog], tmp_path / "made")


def test_products_too_few_for_one_batch_are_refused_and_not_left_untrained(
    tmp_path: Path, catalog: Path, clip_folder: Path
) -> None:
    config = _clip_config(clip_folder, HEADS, batch_size=64)
    with pytest.raises(ConfigError, match="lower batch_size"):
        train_checkpoint(config, [catalog], tmp_path / "made")


def test_products_too_few_to_validate_are_refused(tmp_path: Path, clip_folder: Path) -> None:
    write_demo_catalog(tmp_path / "few", products=3, flaws=False)
    config = _clip_config(clip_folder, HEADS, batch_size=2)
    with pytest.raises(ConfigError, match="give more products"):
        train_checkpoint(config, [tmp_path / "few"], tmp_path / "made")


def test_the_shipped_training_file_describes_the_bundled_checkpoint() -> None:
    training = load_yaml(JOBS / "conf" / "training_small.yaml", TrainingConfig)
    bundled = read_manifest(BUNDLED).config
    assert training.name == bundled.name and training.attributes == bundled.attributes
    assert training.small_towers == bundled.towers
    assert training.image_size_px == bundled.image.size_px
    for shared in ("text_length", "joint_layers", "joint_heads", "dropout", "scoring"):
        assert getattr(training, shared) == getattr(bundled, shared)
