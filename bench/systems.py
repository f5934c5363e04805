"""Systems trained alike, and their answers to products that nothing has seen.

A run is one system with one seed. What a run answers is one file, and a file that is there is not
made again. The small towers were trained on one half of the groups and stay frozen, so that their
outputs are computed once; joint layers and heads are trained on the other half. So no head learns
from a picture or a text that a tower knows by heart. A recipe with other towers may train them.
"""

import hashlib
import shutil
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import torch
import torch.nn.functional as F
from jaxtyping import Float, Int
from safetensors import safe_open
from safetensors.torch import save_file
from torch import Tensor

from enrich.analysis.bootstrap import Key, ScoredAnswers
from enrich.analysis.compare import LEXICON, Words
from enrich.classifiers.checkpoint import round_as_stored
from enrich.classifiers.interface import Classifier, Vectors
from enrich.classifiers.towers import TextEncoder
from enrich.engine.device import autocast
from enrich.errors import ConfigError
from enrich.lexicon import Lexicon
from enrich.places import atomic_write
from enrich.records import Modalities
from enrich.terminal import say
from enrich.training.answers import Answers
from enrich.training.augmentation import LabelWords
from enrich.training.batches import Batches, Condition, open_batches, shown_in_training
from enrich.training.config import SMALL, TrainingConfig
from enrich.training.evaluation import apply_calibration, find_named, to_answers
from enrich.training.fitting import (
    BIAS_FITTED_UNDER,
    calibrate_answers,
    calibrated_under,
    only_shown,
)
from enrich.training.labelled import (
    TEST,
    UNLABELLED,
    LabelledProducts,
    divide,
    join_catalogs,
    name_catalog,
    read_catalogs,
    read_to_measure,
)
from enrich.training.loop import Trainer
from enrich.training.preparation import (
    Rows,
    choose_rows,
    keep_usable_phases,
    read_training_products,
    start_classifier,
)
from schemas.labels import LABEL_WORDS

_BATCH = 256
# Rows of an unseen source, evenly spread. One in `_CHOSEN_BY` validation rows chooses the epoch.
_MOST_UNSEEN, _CHOSEN_BY = 2_000, 3
# Shares of a modality alone in an answer: below 0 of the text, above 0 of the picture. In the order
# of their size, because the first of equals is chosen.
_SHIFTS = sorted(np.linspace(-1, 1, 81).tolist(), key=abs)

# Settings that say where files are; their content counts itself.
_PLACES = {"cache", "image_tower", "text_tower"}

HOME, LEFT_OUT, VALIDATION = "home", "left out", "validation"
_UNSEEN_UNDER = (Condition.AS_IS, Condition.WORDS_MASKED, Condition.NO_TEXT)
_HOME_UNDER = (*_UNSEEN_UNDER, Condition.OTHER_TEXT)


@dataclass(frozen=True, slots=True)
class System:
    """Settings of a system in place of the recipe's, and its number of seeds.

    Text layers of `trains_text` are trained along: they are its joint layers.
    """

    settings: dict[str, Any] = field(default_factory=dict)
    seeds: int = 1
    trains_text: bool = False


def _ablation(**switches: bool) -> System:
    return System({"classifier": "cma_clip", **switches}, 3)


SYSTEMS = {
    LEXICON: System(),
    "text_only": System({"classifier": "text_only"}, 3),
    "image_only": System({"classifier": "image_only"}, 3),
    "cma_clip": System({"classifier": "cma_clip"}, 3),
    "without-sequence-wise": _ablation(sequence_wise=False),
    "without-modality-wise": _ablation(modality_wise=False),
    "without-both": _ablation(sequence_wise=False, modality_wise=False),
    "clip_mlp": System({"classifier": "clip_mlp"}, 3),
    "clip_sum": System({"classifier": "clip_sum"}),
    "clip_transformer": System({"classifier": "clip_transformer"}),
    "single_stream": System({"classifier": "single_stream"}, trains_text=True),
    "mmbt": System({"classifier": "mmbt"}, trains_text=True),
    "embracenet": System({"classifier": "embracenet"}),
    "perceiver_io": System({"classifier": "perceiver_io"}),
    "coca": System({"classifier": "coca"}),
    "clip_zero_shot": System({"classifier": "clip_zero_shot"}),
}


@dataclass(frozen=True, slots=True)
class Source:
    """Readable rows to measure, and the conditions under which they are read."""

    batches: Batches
    rows: np.ndarray
    conditions: Sequence[Condition]


@dataclass(frozen=True, slots=True)
class Setting:
    """Settings, products and tower outputs that all systems share.

    The recipe `config` has labels filled in from the data; `texts` are those to train a tokenizer
    on, for towers without one. Of the `sources`, `HOME` are the held-back test groups, `LEFT_OUT`
    test groups of the kinds of goods that `leave_out` names. `folder` gets the runs.
    """

    config: TrainingConfig
    texts: list[str]
    batches: Batches
    rows: Rows
    sources: dict[str, Source]
    folder: Path


def open_setting(
    config: TrainingConfig, catalogs: list[Path], unseen: Sequence[Path], folder: Path
) -> Setting:
    """Read all products and decode their pictures.

    Nothing is trained on the `unseen` catalogs. `folder` gets the runs, and the cache if the recipe
    names no other folder.
    """
    config, products = read_training_products(config, catalogs)
    texts = [products.texts[row] for row in np.flatnonzero(products.split != TEST)]
    classifier, tokenizer = start_classifier(config, texts, folder)

    def opened(labelled: LabelledProducts) -> Batches:
        words = LabelWords(config.attributes, Lexicon.of_labels(LABEL_WORDS))
        encoder = TextEncoder(tokenizer, config.text_length)
        cache = config.cache or folder / "cache"
        return open_batches(labelled, classifier.config.image, encoder, words, cache)

    batches = opened(products)
    rows = choose_rows(config, batches)
    sources = {HOME: Source(batches, rows.test, _HOME_UNDER)}
    others: dict[str, LabelledProducts] = {}
    if config.leave_out:
        _, without = divide(read_catalogs(catalogs), config.leave_out)
        left_out = join_catalogs(without, config.attributes)
        others[LEFT_OUT] = left_out.take(np.flatnonzero(left_out.split == TEST))
    for source in unseen:
        others[name_catalog(source)] = read_to_measure(source, config.attributes)
    for name, labelled in others.items():
        known = np.flatnonzero((labelled.targets != UNLABELLED).any(1))
        spread = np.linspace(0, len(known) - 1, min(len(known), _MOST_UNSEEN)).astype(int)
        found = opened(labelled.take(known[spread]))
        readable = found.readable(np.arange(len(found.products)))
        sources[name] = Source(found, readable, _UNSEEN_UNDER)
    digest = hashlib.sha256(config.model_dump_json(exclude=_PLACES).encode())
    for tower in (config.image_tower, config.text_tower):
        if tower is not None:
            digest.update((tower / "model.safetensors").read_bytes())
    for name, one in sources.items():
        digest.update(name.encode() + one.batches.images.folder.name.encode())
        digest.update(one.batches.products.digest() + one.rows.tobytes())
    runs = folder / f"runs-{digest.hexdigest()[:12]}"
    return Setting(config, texts, batches, rows, sources, runs)


def file_of(setting: Setting, name: str, seed: int) -> Path:
    """Return the file of a run."""
    return setting.folder / f"{name}-{seed}.safetensors"


def make_run(setting: Setting, name: str, seed: int) -> None:
    """Train a system with one seed, calibrate it, and write its answers if missing."""
    file = file_of(setting, name, seed)
    if file.exists():
        return
    say(f"{name}, seed {seed}")
    file.parent.mkdir(parents=True, exist_ok=True)
    scored: dict[Key, ScoredAnswers] = {}
    if name == LEXICON:
        shown = shown_in_training(setting.config)
        words = Words.fit(setting.config.attributes, setting.batches, setting.rows, shown)
        for title, source in setting.sources.items():
            for condition in source.conditions:
                found = words.score(source.batches, source.rows, condition)
                scored |= {(title, condition.value, a): one for a, one in found.items()}
    else:
        classifier = _train(setting, name, seed, workspace := file.with_suffix(".training"))
        scored = _score(setting, _answer(setting, classifier))
        shutil.rmtree(workspace)
    tensors = {
        "|".join((*key, part)): tensor
        for key, one in scored.items()
        for part, tensor in one._asdict().items()
    }
    with atomic_write(file) as partial:
        save_file(tensors, partial)


def configure(setting: Setting, name: str, seed: int) -> TrainingConfig:
    """Return the recipe of a run; text layers that are joint layers are trained too."""
    system, phases = SYSTEMS[name], setting.config.phases
    if system.trains_text and setting.config.towers == SMALL:
        along = [{"text_learning_rate": phase.learning_rate} for phase in phases]
        phases = tuple(
            phase.model_copy(update=rate) for phase, rate in zip(phases, along, strict=True)
        )
    given = {"name": name, "seed": seed, "phases": phases}
    settings = setting.config.model_dump() | given | system.settings
    return TrainingConfig.model_validate(settings)


def build(
    setting: Setting, name: str, seed: int, workspace: Path
) -> tuple[Classifier, TrainingConfig]:
    """Return a system before training, and its settings."""
    config = configure(setting, name, seed)
    torch.manual_seed(seed)
    workspace.mkdir(parents=True, exist_ok=True)
    classifier, _ = start_classifier(config, setting.texts, workspace)
    return classifier, keep_usable_phases(config, classifier)


def _train(setting: Setting, name: str, seed: int, workspace: Path) -> Classifier:
    classifier, config = build(setting, name, seed, workspace)
    rows = setting.rows
    validation = rows.validation[::_CHOSEN_BY]
    Trainer(classifier, setting.batches, config, rows.train, validation, workspace).train()
    classifier.refresh()
    round_as_stored(classifier)
    return classifier


class _Readings(NamedTuple):
    """Vectors of rows under one condition, of both modalities, and of each if needed."""

    both: Vectors
    image: Vectors | None
    text: Vectors | None


ByCondition = dict[Condition, dict[str, Answers]]
BySource = dict[str, ByCondition]


def _answer(setting: Setting, classifier: Classifier) -> BySource:
    """Return the answers by source, at fitted weights where both modalities are read."""
    of_validation = Source(setting.batches, setting.rows.validation, tuple(Condition))
    sources = {VALIDATION: of_validation, **setting.sources}
    readings = {name: _read(classifier, source) for name, source in sources.items()}
    reads_both = classifier.config.reads_image and classifier.config.reads_text
    shifts = _fit_shifts(setting, classifier, readings[VALIDATION]) if reads_both else {}
    return _to_answers(classifier, sources, readings, shifts)


def _read(classifier: Classifier, source: Source) -> dict[Condition, _Readings]:
    """Return the vectors of a source's rows under each of its conditions."""
    batches = source.batches
    batches.cache_features(classifier)
    if classifier.reads_text_features and not classifier.text_tower.absent:
        batches.cache_texts(classifier)
    else:
        batches.texts = None
    reads_both = classifier.config.reads_image and classifier.config.reads_text
    both = {c: _encode(classifier, source, c, hide_image=False) for c in source.conditions}
    readings = {}
    for condition, vectors in both.items():
        image = text = None
        if reads_both and condition not in (Condition.NO_TEXT, Condition.NO_IMAGE):
            image = both[Condition.NO_TEXT]
            text = both.get(Condition.NO_IMAGE) if condition is Condition.AS_IS else None
            text = text or _encode(classifier, source, condition, hide_image=True)
        readings[condition] = _Readings(vectors, image, text)
    return readings


def _encode(
    classifier: Classifier, source: Source, condition: Condition, *, hide_image: bool
) -> Vectors:
    classifier.eval()
    parts = []
    for inputs in source.batches.evaluation(source.rows, condition, _BATCH):
        if hide_image:
            inputs = replace(inputs, has_image=inputs.has_image & ~inputs.has_text)
        with torch.inference_mode(), autocast(classifier.device):
            vectors = classifier.encode(inputs.to(classifier.device))
        parts.append(vectors.as_stored())
    return Vectors.join(parts)


def blend(scores: Sequence[Float[Tensor, "N C"]], shift: float) -> Float[Tensor, "N C"]:
    """Move a system's scores towards those that it gives to one modality alone.

    `scores` are those of both modalities, of the pictures alone and of the texts alone. A `shift`
    of 0 leaves them, 1 takes those of the pictures alone, -1 those of the texts alone. So every
    system has the one number that the modality bias is to CMA-CLIP's modality-wise attention.
    """
    both, image, text = scores
    return torch.lerp(both, image if shift > 0 else text, abs(shift))


def _scores(
    classifier: Classifier, readings: _Readings, shifts: Mapping[str, float]
) -> tuple[dict[str, Tensor], dict[str, Tensor]]:
    """Return logits and image weights by attribute."""
    with torch.inference_mode():
        output = classifier.answer(readings.both)
        logits = {a: scores.float().cpu() for a, scores in output.logits.items()}
        weights = {a: weight.float().cpu() for a, weight in output.image_weight.items()}
        if shifts and readings.image is not None and readings.text is not None:
            image, text = (classifier.answer(one).logits for one in (readings.image, readings.text))
            has_both = (readings.both.has_image & readings.both.has_text).cpu().unsqueeze(1)
            for attribute, shift in shifts.items():
                own = logits[attribute]
                moved = blend([own, image[attribute].cpu(), text[attribute].cpu()], shift)
                logits[attribute] = torch.where(has_both, moved, own)
    return logits, weights


def _fit_shifts(
    setting: Setting, classifier: Classifier, readings: Mapping[Condition, _Readings]
) -> dict[str, float]:
    """Return by attribute the shift with the least cross-entropy on validation rows.

    Conditions and their shares are those of the modality bias.
    """
    shares = only_shown(BIAS_FITTED_UNDER, shown_in_training(setting.config))
    targets = torch.from_numpy(setting.batches.products.targets[setting.rows.validation])
    scored: list[tuple[float, list[dict[str, Tensor]]]] = []
    with torch.inference_mode():
        for condition, share in shares.items():
            three = [classifier.answer(one) for one in readings[condition] if one is not None]
            scored.append((share, [{a: s.cpu() for a, s in o.logits.items()} for o in three]))
    shifts = {}
    for column, attribute in enumerate(classifier.config.attributes):
        labels = targets[:, column]

        def loss(shift: float, attribute: str = attribute, labels: Tensor = labels) -> float:
            return sum(
                share * _loss(blend([one[attribute] for one in three], shift), labels)
                for share, three in scored
            )

        shifts[attribute] = min(_SHIFTS, key=loss)
    return shifts


def _loss(logits: Float[Tensor, "N C"], targets: Int[Tensor, " N"]) -> float:
    return F.cross_entropy(logits, targets, ignore_index=UNLABELLED).item()


def _to_answers(
    classifier: Classifier,
    sources: Mapping[str, Source],
    readings: Mapping[str, Mapping[Condition, _Readings]],
    shifts: Mapping[str, float],
) -> BySource:
    attributes = classifier.config.attributes
    answers: BySource = {}
    for name, source in sources.items():
        answers[name] = {}
        for condition, read in readings[name].items():
            logits, weights = _scores(classifier, read, shifts)
            of = read.both
            modalities = [*map(Modalities.of, of.has_image.tolist(), of.has_text.tolist())]
            named = find_named(attributes, source.batches, source.rows, condition)
            answers[name][condition] = to_answers(
                source.batches,
                source.rows,
                modalities,
                logits,
                weights,
                torch.zeros(len(source.rows), 0),
                named,
            )
    return answers


def _score(setting: Setting, answers: BySource) -> dict[Key, ScoredAnswers]:
    """Calibrate a system on the validation rows, and score its answers."""
    under = calibrated_under(shown_in_training(setting.config))
    seen = torch.from_numpy(setting.batches.products.targets[setting.rows.train])
    calibration = calibrate_answers(answers[VALIDATION], under, seen)
    return {
        (source, condition.value, attribute): ScoredAnswers.of(
            apply_calibration(calibration, attribute, found)
        )
        for source in setting.sources
        for condition, by_attribute in answers[source].items()
        for attribute, found in by_attribute.items()
        if len(found)
    }


def load_run(file: Path) -> dict[Key, ScoredAnswers]:
    """Return the scored answers of a run by key."""
    try:
        with safe_open(file, framework="pt") as opened:
            parts: dict[Key, dict[str, Tensor]] = {}
            for name in opened.keys():  # noqa: SIM118
                source, condition, attribute, part = name.split("|")
                parts.setdefault((source, condition, attribute), {})[part] = opened.get_tensor(name)
    except Exception as error:
        raise ConfigError(f"{file} cannot be read: {error}. Remove it to train anew.") from error
    return {key: ScoredAnswers(**found) for key, found in parts.items()}
