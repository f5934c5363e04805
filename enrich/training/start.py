"""What a training run starts from: a classifier on published weights, and its tokenizer."""

import hashlib
from pathlib import Path

from tokenizers import Tokenizer

from enrich.classifiers.config import Architecture, ClassifierConfig
from enrich.classifiers.interface import Classifier
from enrich.classifiers.registry import build_classifier
from enrich.errors import ConfigError
from enrich.files.whole import whole_file
from enrich.preprocess import ImageShape
from enrich.progress import say
from enrich.tokenizer import TextEncoder
from enrich.training.config import OPEN_CLIP, PublishedPair, TrainingConfig
from enrich.training.published.open_clip_weights import open_open_clip
from enrich.training.published.preprocessors import HALVES
from enrich.training.published.pretrained import (
    PublishedTowers,
    load_efficientnet_weights,
    load_image_tower,
    load_parts,
    open_hugging_face_clip,
    open_pair,
)
from enrich.training.tokenizers import train_tokenizer

# Settings that one classifier alone reads. `matching` is another, but recipes that serve all
# classifiers give it, so nothing is said of it.
_SWITCHES = {
    "cma_clip": ("sequence_wise", "modality_wise", "scoring"),
    "clip_zero_shot": ("prompt",),
}


def start_classifier(
    config: TrainingConfig, texts: list[str], folder: Path
) -> tuple[Classifier, Tokenizer]:
    """Returns the classifier on its published weights, and its tokenizer.

    Args:
        config: The training run's configuration.
        texts: What a tokenizer is trained on, where the towers bring none.
        folder: Where a trained one is kept: a resumed run must read the same token ids.

    Raises:
        ConfigError: the published weights cannot be read, or are not for this classifier.
    """
    _tell_unused(config)
    published = _open_towers(config, texts, folder)
    classifier = _build(config, published)
    if published.parts:
        load_parts(classifier, published.parts)
    elif not classifier.image_tower.absent:
        backbone = classifier.image_tower.pretrained()
        if config.image_tower is None:
            load_efficientnet_weights(backbone)
        else:
            load_image_tower(backbone, config.image_tower)
    classifier.read_tokenizer(TextEncoder(published.tokenizer, config.text_length))
    return classifier, published.tokenizer


def keep_usable_phases(config: TrainingConfig, classifier: Classifier) -> TrainingConfig:
    """Returns the configuration without the phases whose loss cannot train the classifier.

    So one file serves all classifiers: zero-shot takes its contrastive phases, one that reads a
    single modality its multitask phases.

    Raises:
        ConfigError: what is left would not train the classifier.
    """
    phases = tuple(phase for phase in config.phases if phase.loss in classifier.trained_by)
    if left_out := len(config.phases) - len(phases):
        losses = " and ".join(sorted(classifier.trained_by))
        say(f"{config.classifier} is trained by {losses} phases alone: {left_out} left out")
    if "multitask" in classifier.trained_by:
        if not any(phase.loss == "multitask" for phase in phases):
            raise ConfigError(
                f"{config.classifier} has heads that only a multitask phase trains, and there is "
                "none: give it one"
            )
    elif not phases and not _is_aligned(config):
        raise ConfigError(
            f"{config.classifier} compares images with texts, and these towers were never taught "
            "to: give it a contrastive phase, or a CLIP as towers"
        )
    return config.model_copy(update={"phases": phases})


def _tell_unused(config: TrainingConfig) -> None:
    """Says which switches make no difference, before the same classifier is trained twice."""
    fields = Architecture.model_fields
    for owner, switches in _SWITCHES.items():
        given = [name for name in switches if getattr(config, name) != fields[name].default]
        if given and config.classifier != owner:
            say(f"without effect, as {owner} alone reads it: {', '.join(given)}")


def _build(config: TrainingConfig, published: PublishedTowers) -> Classifier:
    try:
        return build_classifier(
            ClassifierConfig(
                name=config.name,
                towers=published.towers,
                image=published.image,
                text_length=config.text_length,
                attributes=config.attributes,
                **{field: getattr(config, field) for field in Architecture.model_fields},
            ),
            published.tokenizer.get_vocab_size(),
        )
    except ValueError as error:
        raise ConfigError(f"these settings make no classifier: {error}") from error


def _open_towers(config: TrainingConfig, texts: list[str], folder: Path) -> PublishedTowers:
    if isinstance(config.towers, PublishedPair):
        return open_pair(config.towers)
    if config.towers.startswith(OPEN_CLIP):
        return open_open_clip(config.towers.removeprefix(OPEN_CLIP))
    if config.towers != "small":
        return open_hugging_face_clip(config.towers)
    # What the published EfficientNet-Lite weights were trained with.
    shape = ImageShape(size_px=config.image_size_px, **HALVES._asdict())
    return PublishedTowers(config.small_towers, shape, _keep_tokenizer(config, texts, folder), {})


def _keep_tokenizer(config: TrainingConfig, texts: list[str], folder: Path) -> Tokenizer:
    """Returns the tokenizer of these texts, trained now or by an earlier attempt at the run."""
    digest = hashlib.sha256(repr((config.vocabulary, texts)).encode()).hexdigest()[:12]
    file = folder / f"tokenizer-{digest}.json"
    if not file.exists():
        with whole_file(file) as partial:
            train_tokenizer(texts, config.vocabulary).save(str(partial))
    return Tokenizer.from_file(str(file))


def _is_aligned(config: TrainingConfig) -> bool:
    """Whether the published towers already put images and their texts close together."""
    return isinstance(config.towers, str) and config.towers != "small"
