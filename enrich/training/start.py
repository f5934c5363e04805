"""A classifier on published weights, and its tokenizer, to start training from."""

import hashlib
from collections.abc import Iterable
from pathlib import Path

from tokenizers import (
    Tokenizer,
    decoders,
    models,
    normalizers,
    pre_tokenizers,
    processors,
    trainers,
)

from enrich.classifiers.coca import Coca
from enrich.classifiers.config import Architecture, ClassifierConfig
from enrich.classifiers.interface import Classifier
from enrich.classifiers.registry import build_classifier
from enrich.classifiers.tokenizer import TextEncoder
from enrich.errors import ConfigError
from enrich.files.atomic_write import atomic_write
from enrich.terminal import say
from enrich.training.config import OPEN_CLIP, SMALL, PublishedPair, TrainingConfig
from enrich.training.open_clip import open_open_clip
from enrich.training.pretrained import (
    PublishedTowers,
    load_efficientnet_weights,
    load_image_tower,
    load_parts,
    load_text_tower,
    open_hugging_face,
    open_pair,
    small_image_shape,
)

# Settings that one classifier alone reads. `matching` is left out, because recipes for all
# classifiers set it.
_SWITCHES = {
    "cma_clip": ("sequence_wise", "modality_wise"),
    "clip_zero_shot": ("prompt", "prompts"),
    "embracenet": ("selection_probabilities",),
}

_SPECIAL = ["<pad>", "<start>", "<end>"]


def start_classifier(
    config: TrainingConfig, texts: list[str], folder: Path
) -> tuple[Classifier, Tokenizer]:
    """Build the classifier on its published weights, with its tokenizer.

    Args:
        config: settings of the run.
        texts: texts to train a tokenizer on, for towers without one.
        folder: folder that keeps a trained tokenizer, so that a resumed run reads the same ids.

    Raises:
        ConfigError: the published weights cannot be read, or do not fit this classifier.
    """
    _tell_unused(config)
    published = _open_towers(config, texts, folder)
    classifier = _build(config, published)
    if published.parts:
        load_parts(classifier, published.parts)
    if config.on_small_image_tower and not classifier.image_tower.absent:
        backbone = classifier.image_tower.pretrained()
        if config.image_tower is None:
            load_efficientnet_weights(backbone)
        else:
            load_image_tower(backbone, config.image_tower)
    if config.text_tower is not None:
        load_text_tower(classifier.text_tower, config.text_tower)
    if isinstance(classifier, Coca):
        classifier.word_scores = published.word_scores
    classifier.read_tokenizer(TextEncoder(published.tokenizer, config.text_length))
    return classifier, published.tokenizer


def keep_usable_phases(config: TrainingConfig, classifier: Classifier) -> TrainingConfig:
    """Return the settings with only those phases whose loss can train the classifier.

    So one file serves all classifiers: zero-shot takes its contrastive phases, a classifier of a
    single modality its multitask phases.
    """
    phases = tuple(phase for phase in config.phases if phase.loss in classifier.trained_by)
    if left_out := len(config.phases) - len(phases):
        losses = " and ".join(sorted(classifier.trained_by))
        say(f"{config.classifier} is trained by {losses} phases alone: {left_out} left out")
    if "multitask" in classifier.trained_by:
        if not any(phase.loss == "multitask" for phase in phases):
            raise ConfigError(
                f"{config.classifier} cannot be trained: found 0 multitask phases, expected 1 or "
                "more for its heads. Add one to phases."
            )
    elif not phases and (config.towers == SMALL or isinstance(config.towers, PublishedPair)):
        raise ConfigError(
            f"{config.classifier} cannot be trained: found towers that were not trained to compare "
            "images with texts, expected a CLIP or a contrastive phase"
        )
    return config.model_copy(update={"phases": phases})


def _tell_unused(config: TrainingConfig) -> None:
    """Log switches without effect, before the same classifier is trained twice."""
    fields = Architecture.model_fields
    for owner, switches in _SWITCHES.items():
        given = [name for name in switches if getattr(config, name) != fields[name].default]
        if given and config.classifier != owner:
            say(f"without effect, as {owner} alone reads it: {', '.join(given)}")
    if unknown := config.prompts.keys() - config.attributes.keys():
        say(f"prompts of attributes that are not trained: {', '.join(sorted(unknown))}")


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
        raise ConfigError(f"settings of the classifier are wrong: {error}") from error


def _open_towers(config: TrainingConfig, texts: list[str], folder: Path) -> PublishedTowers:
    if isinstance(config.towers, PublishedPair):
        return open_pair(config.towers, config.small_towers, config.image_size_px)
    if config.towers.startswith(OPEN_CLIP):
        return open_open_clip(config.towers.removeprefix(OPEN_CLIP))
    if config.towers != SMALL:
        return open_hugging_face(config.towers)
    shape = small_image_shape(config.image_size_px)
    return PublishedTowers(config.small_towers, shape, _keep_tokenizer(config, texts, folder), {})


def _keep_tokenizer(config: TrainingConfig, texts: list[str], folder: Path) -> Tokenizer:
    """Return the tokenizer of these texts, as an earlier attempt at the run left it."""
    if config.text_tower is not None:
        return Tokenizer.from_file(str(config.text_tower / "tokenizer.json"))
    digest = hashlib.sha256(repr((config.vocabulary, texts)).encode()).hexdigest()[:12]
    file = folder / f"tokenizer-{digest}.json"
    if not file.exists():
        with atomic_write(file) as partial:
            train_tokenizer(texts, config.vocabulary).save(str(partial))
    return Tokenizer.from_file(str(file))


def train_tokenizer(texts: Iterable[str], vocabulary: int) -> Tokenizer:
    """Train a lower-casing byte-level BPE tokenizer, which encodes any script.

    Every text ends in `<end>`, also when it is cut, because that token stands for the whole text.
    """
    tokenizer = Tokenizer(models.BPE())
    tokenizer.normalizer = normalizers.Lowercase()
    tokenizer.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=True)
    tokenizer.decoder = decoders.ByteLevel()
    trainer = trainers.BpeTrainer(
        vocab_size=vocabulary,
        special_tokens=_SPECIAL,
        initial_alphabet=pre_tokenizers.ByteLevel.alphabet(),
        min_frequency=3,
        show_progress=False,
    )
    tokenizer.train_from_iterator(texts, trainer)
    tokenizer.post_processor = processors.TemplateProcessing(
        single="<start> $A <end>",
        special_tokens=[(token, tokenizer.token_to_id(token)) for token in _SPECIAL[1:]],
    )
    return tokenizer
