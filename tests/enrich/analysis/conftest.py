"""Made-up answers of a classifier, and two checkpoints over a source of colored pictures."""

import shutil

import pytest
import torch
from colored_shop import write_colored_shop
from safetensors.torch import load_file, save_file

from enrich.classifiers.manifest import read_manifest
from enrich.engine.spec import open_engine
from enrich.records import Modalities, Product
from enrich.training.answers import Answers, CalibratedAnswers


def _answers(rows, labels, seed):
    """Return answers that are mostly right, two rows a group."""
    generator = torch.Generator().manual_seed(seed)
    targets = torch.randint(0, labels, (rows,), generator=generator)
    scores = torch.randn(rows, labels, generator=generator)
    scores[torch.arange(rows), targets] += 1.5
    answers = Answers(
        product=torch.arange(rows),
        groups=torch.arange(rows) // 2,
        modalities=[Modalities.IMAGE_AND_TEXT] * rows,
        logits=2 * scores,
        embeds=torch.ones(rows, 2),
        targets=targets,
        image_weight=torch.rand(rows, generator=generator),
        named=torch.zeros(rows, labels, dtype=torch.bool),
    )
    thresholds = {0.90: torch.full((rows,), 0.6), 0.95: torch.full((rows,), float("inf"))}
    return CalibratedAnswers(answers, scores.softmax(1), thresholds)


@pytest.fixture(scope="session")
def make_answers():
    """Return a function of rows, labels and seed."""
    return _answers


@pytest.fixture(scope="session")
def source_folder(tmp_path_factory):
    folder = tmp_path_factory.mktemp("sources") / "colored"
    write_colored_shop(folder, 60)
    return folder


@pytest.fixture(scope="session")
def two_checkpoints(tmp_path_factory, tiny_checkpoint):
    """The tiny checkpoint and one with other heads, so with the same image tower."""
    other = tmp_path_factory.mktemp("more") / "other"
    shutil.copytree(tiny_checkpoint, other)
    weights = load_file(other / "model.safetensors")
    heads = {name: t.flip(0) for name, t in weights.items() if name.startswith("heads.")}
    save_file(weights | heads, other / "model.safetensors")
    return {"tiny": tiny_checkpoint, "other": other}


@pytest.fixture(scope="session")
def engine(make_checkpoint, small_config, write_jpeg, tmp_path_factory):
    """Read images from a folder that holds red.jpg, and has two joint layers."""
    folder = tmp_path_factory.mktemp("pictures")
    write_jpeg(folder / "red.jpg")
    checkpoint = make_checkpoint(small_config.model_copy(update={"joint_layers": 2}))
    return open_engine(read_manifest(checkpoint), str(folder))


@pytest.fixture
def product():
    return Product("p1", "Red striped T-shirt", "a striped shirt for the office", "red.jpg")
