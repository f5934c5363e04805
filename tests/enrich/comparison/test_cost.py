"""Costs against counts worked out by hand."""

from pathlib import Path

import pytest
import torch
from tokenizers import Tokenizer
from torch import nn

from enrich.classifiers.config import ClassifierConfig, SmallTowers
from enrich.classifiers.interface import (
    TEXT,
    Classifier,
    ModelInputs,
    ModelOutput,
    Tokens,
    Vectors,
)
from enrich.classifiers.registry import CLASSIFIERS, build_classifier
from enrich.classifiers.tower_interface import Encoded
from enrich.classifiers.transformer import build_transformer
from enrich.comparison import cost
from enrich.comparison.cost import (
    count_flops,
    count_parameters,
    describe_machine,
    measure_size,
    measure_speeds,
)

CPU = torch.device("cpu")
WIDTH, LABELS = 32, 4


@pytest.fixture(scope="module")
def classifier(small_config: ClassifierConfig, tokenizer: Tokenizer) -> Classifier:
    config = small_config.model_copy(update={"attributes": {"color": ("a", "b", "c", "d")}})
    return build_classifier(config, tokenizer.get_vocab_size()).eval()


def test_pretrained_parameters_are_those_of_the_backbone(classifier: Classifier) -> None:
    total, pretrained = count_parameters(classifier)
    backbone = sum(p.numel() for p in classifier.image_tower.pretrained().parameters())
    assert pretrained == backbone and 1_000_000 < backbone < total
    assert total == sum(p.numel() for p in classifier.parameters())


class Counted(Classifier):
    """A convolution, a transformer layer and a head, small enough to count by hand."""

    def build_encoder(self, config: ClassifierConfig, vocabulary: int) -> None:
        self.convolution = nn.Conv2d(3, 8, kernel_size=16, stride=16)
        self.tokens = nn.Embedding(vocabulary, WIDTH)
        self.transformer = build_transformer(WIDTH, layers=1, heads=2, dropout=0.1)

    def build_answering(self, config: ClassifierConfig) -> None:
        self.head = nn.Linear(WIDTH, LABELS)

    def vector_shapes(self, config: ClassifierConfig) -> dict[str, tuple[int, ...]]:
        return {TEXT: (WIDTH,)}

    def encode(self, inputs: ModelInputs) -> Vectors:
        self.convolution(self.normalise_pixels(inputs.pixel_values))
        hidden = self.transformer(
            self.tokens(inputs.token_ids), src_key_padding_mask=~inputs.token_mask
        )
        return Vectors({TEXT: hidden[:, 0]}, inputs.has_image, inputs.has_text)

    def _answer(self, vectors: Vectors) -> ModelOutput:
        return ModelOutput({"color": self.head(vectors.text)}, vectors)


def test_flops_count_every_multiplication_with_its_addition_twice(
    small_config: ClassifierConfig,
) -> None:
    cells, tokens = (64 // 16) ** 2, small_config.text_length
    convolution = 2 * cells * 8 * (3 * 16 * 16)
    # Queries, keys, values and output, then a feed-forward of four widths.
    projections = 2 * tokens * WIDTH * (3 * WIDTH + WIDTH + 4 * WIDTH + 4 * WIDTH)
    attention = 2 * 2 * tokens * tokens * WIDTH
    head = 2 * WIDTH * LABELS
    assert torch.backends.mha.get_fastpath_enabled()
    counted = count_flops(Counted(small_config, vocabulary=40).eval())
    assert counted == convolution + projections + attention + head
    assert torch.backends.mha.get_fastpath_enabled(), "inference is left as fast as it was"


def test_flops_see_the_convolutions_and_a_larger_picture(
    small_config: ClassifierConfig, tokenizer: Tokenizer, classifier: Classifier
) -> None:
    image = small_config.image.model_copy(update={"size_px": 128})
    towers = SmallTowers(width=WIDTH, heads=2, text_layers=1)
    larger = build_classifier(
        classifier.config.model_copy(update={"image": image, "towers": towers}),
        tokenizer.get_vocab_size(),
    ).eval()
    small, large = count_flops(classifier), count_flops(larger)
    assert 30e6 < small < 100e6 and 3.5 < large / small < 4.5


class Slow(Classifier):
    """Takes as long as it is told, on a clock that only it moves."""

    def __init__(self, clock: list[float], seconds: list[float], turns: list["Slow"]) -> None:
        torch.nn.Module.__init__(self)
        self.clock, self.seconds, self.turns = clock, seconds, turns

    def __deepcopy__(self, memo: dict[int, object]) -> "Slow":
        return self

    def towers(self, inputs: ModelInputs) -> Tokens:
        self.turns.append(self)
        self.clock[0] += self.seconds[len([turn for turn in self.turns if turn is self]) - 1]
        nothing = Encoded(torch.zeros(4, 1, 1), torch.ones(4, 1).bool(), torch.zeros(4).long())
        return Tokens(nothing, nothing, inputs.token_mask)

    def join(self, tokens: Tokens, has_image: torch.Tensor, has_text: torch.Tensor) -> Vectors:
        return Vectors({TEXT: torch.zeros(4, 1)}, has_image, has_text)


def test_speed_is_the_median_of_turns_after_a_warm_up(monkeypatch: pytest.MonkeyPatch) -> None:
    clock, turns = [0.0], []
    monkeypatch.setattr(cost.time, "perf_counter", lambda: clock[0])
    present = torch.ones(4, dtype=torch.bool)
    inputs = ModelInputs(torch.ones(4, 2).long(), torch.ones(4, 2).bool(), present, present)
    slow = Slow(clock, [90.0, 50.0, 4.0, 2.0, 6.0, 1.0, 2.0, 5.0], turns)
    fast = Slow(clock, [70.0] + [0.5] * 7, turns)
    assert measure_speeds([(slow, inputs), (fast, inputs)], CPU) == [1.0, 8.0]
    assert turns == [slow, fast] * 8


def _inputs(config: ClassifierConfig) -> ModelInputs:
    present = torch.ones(2, dtype=torch.bool)
    ids = torch.ones(2, config.text_length, dtype=torch.long)
    size_px = config.image.size_px
    pixels = torch.zeros(2, 3, size_px, size_px, dtype=torch.uint8)
    return ModelInputs(ids, ids.bool(), present, present, pixel_values=pixels)


def _dtypes(classifier: Classifier) -> dict[str, torch.dtype]:
    return {name: weights.dtype for name, weights in classifier.state_dict().items()}


# The second keeps what it has read of its prompts.
@pytest.mark.parametrize("name", ["cma_clip", "clip_zero_shot"])
def test_speed_is_that_of_the_layers_that_the_job_merges_and_the_classifier_stays_as_it_is(
    small_config: ClassifierConfig,
    tokenizer: Tokenizer,
    name: str,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    config = small_config.model_copy(update={"classifier": name})
    classifier = build_classifier(config, tokenizer.get_vocab_size()).eval()
    inputs, before = _inputs(config), _dtypes(classifier)
    # As it comes from being evaluated.
    with torch.inference_mode():
        classifier(inputs)
    quickened: list[nn.Module] = []
    tower = type(classifier.image_tower)
    monkeypatch.setattr(tower, "quicken", lambda tower: quickened.append(tower))
    assert measure_speeds([(classifier, inputs)], CPU)[0] > 0
    assert len(quickened) == 1 and quickened[0] is not classifier.image_tower
    assert _dtypes(classifier) == before


def test_machine_is_named_with_its_threads_and_number_format() -> None:
    said = describe_machine(CPU)
    assert "CPU" in said and "1 thread," in said and "float" in said


def test_size_is_that_of_the_checkpoint_files(tiny_checkpoint: Path) -> None:
    files = ["model.safetensors", "tokenizer.json", "config.json", "calibration.json"]
    files += ["lexicon.json", "metrics.json", "MODEL_CARD.md"]
    assert measure_size(tiny_checkpoint) == sum(
        len((tiny_checkpoint / name).read_bytes()) for name in files
    )


@pytest.mark.parametrize("name", CLASSIFIERS)
def test_operations_of_every_classifier_can_be_counted(
    small_config: ClassifierConfig, tokenizer: Tokenizer, name: str
) -> None:
    config = small_config.model_copy(update={"classifier": name})
    classifier = build_classifier(config, tokenizer.get_vocab_size()).eval()
    assert count_flops(classifier) > 10_000


def test_what_is_computed_once_a_batch_is_no_cost_of_a_product(
    small_config: ClassifierConfig, tokenizer: Tokenizer
) -> None:
    many = {"color": tuple(f"label {number}" for number in range(100))}
    counted = [
        count_flops(
            build_classifier(
                small_config.model_copy(
                    update={"classifier": "clip_zero_shot", "attributes": attributes}
                ),
                tokenizer.get_vocab_size(),
            ).eval()
        )
        for attributes in ({"color": ("red", "blue")}, many)
    ]
    # A hundred cosines more, and no prompt.
    assert counted[0] < counted[1] < 1.05 * counted[0]
