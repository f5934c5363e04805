"""Systems on frozen towers: runs, weights between modalities, and the page."""

import pytest
import torch
from colored_shop import write_colored_shop

from bench import systems
from bench.comparison import SeededMeasures, write_page
from bench.systems import (
    HOME,
    LEFT_OUT,
    LEXICON,
    blend,
    configure,
    file_of,
    load_run,
    make_run,
    open_setting,
)
from enrich.analysis.bootstrap import Column, ScoredAnswers
from enrich.errors import ConfigError
from enrich.training.batches import Condition
from enrich.training.config import Phase, TrainingConfig

NAMES = (LEXICON, "text_only", "cma_clip")


@pytest.fixture(scope="module")
def setting(tmp_path_factory):
    """A setting in which four runs are made: two seeds of text_only, one of the others."""
    folder = tmp_path_factory.mktemp("systems")
    write_colored_shop(folder / "shop", 200)
    write_colored_shop(folder / "other", 40, seed=1)
    config = TrainingConfig(
        name="compared",
        image_size_px=64,
        text_length=8,
        batch_size=16,
        swap_text=0.15,
        attributes={"color": ("black", "blue", "red", "white"), "pattern": ("solid", "striped")},
        leave_out={"style": ("formal",)},
        phases=(Phase(loss="multitask", epochs=1, learning_rate=1e-3),),
    )
    opened = open_setting(config, [folder / "shop"], [folder / "other"], folder / "out")
    for name, seeds in zip(NAMES, (1, 2, 1), strict=True):
        for seed in range(seeds):
            make_run(opened, name, seed)
    return opened


def test_a_run_is_made_once(setting, monkeypatch):
    monkeypatch.setattr(systems, "_train", None)
    make_run(setting, "cma_clip", 0)
    assert not [*setting.folder.glob("*.training")]


def test_sources_are_held_back_groups_kinds_left_out_and_other_shops(setting):
    assert [*setting.sources] == [HOME, LEFT_OUT, "other"]
    trained = {setting.batches.products.texts[row] for row in setting.rows.train}
    for name, source in setting.sources.items():
        measured = {source.batches.products.texts[row] for row in source.rows}
        assert measured and not measured & trained
        assert (name == LEFT_OUT) == all("formal" in text for text in measured)


def test_the_lexicon_is_right_where_one_label_is_named(setting):
    scored = load_run(file_of(setting, LEXICON, 0))
    source = setting.sources["other"]
    rows = source.rows[source.batches.products.targets[source.rows, 0] >= 0]
    shown = scored["other", Condition.AS_IS.value, "color"]
    colors = setting.config.attributes["color"]
    titles = [source.batches.products.wordings[row][0] or "" for row in rows]
    named = torch.tensor([any(color in title.split() for color in colors) for title in titles])
    assert named.any() and shown.right[named].all()
    # Of all silent texts it says the same.
    assert len(shown.confidence[~named].unique()) == 1


def test_a_weight_moves_scores_from_both_modalities_to_one():
    both, image, text = (torch.tensor([[value]]) for value in (1.0, 5.0, -3.0))
    moved = [blend([both, image, text], shift).item() for shift in (-1.0, -0.5, 0.0, 0.5, 1.0)]
    assert moved == [-3, -1, 1, 3, 5]


def test_towers_stay_frozen_but_for_text_layers_that_are_joint_layers(setting):
    for name, rate in (("cma_clip", 0), ("mmbt", 1e-3)):
        (phase,) = configure(setting, name, 0).phases
        assert (phase.tower_learning_rate, phase.text_rate) == (0, rate)


def test_a_damaged_run_is_refused_by_name(tmp_path):
    (tmp_path / "cma_clip-0.safetensors").write_bytes(b"cut short")
    with pytest.raises(ConfigError, match=r"cma_clip-0.safetensors cannot be read"):
        load_run(tmp_path / "cma_clip-0.safetensors")


def test_the_page_compares_with_intervals_and_says_what_is_not_there(setting, tmp_path):
    (tmp_path / "page.md").write_text("of an earlier run")
    write_page(setting, tmp_path / "page.md", "make compare", "1 May 2026")
    page = (tmp_path / "page.md").read_text()
    assert page.startswith("# Comparison of systems\n") and "of an earlier run" not in page
    assert "4 of " in page and "cma_clip has 1 of 3" in page
    for row in ("| lexicon |", "| text_only |", "| cma_clip |"):
        assert row in page
    assert "color: share right, less that of cma_clip" in page
    # Words need no seed and no tower: they have no row of costs.
    assert page.count("| lexicon |") == page.count("| text_only |") - 1


COLUMN = Column("shop", Condition.AS_IS, "color")


def _scored(right):
    confidence = torch.linspace(1, 0.5, len(right)).round(decimals=2)
    return ScoredAnswers(confidence, right.bool(), confidence > 0, torch.arange(len(right)))


def _measures(fixed, **runs):
    found = {name: [{COLUMN.key: one} for one in scored] for name, scored in runs.items()}
    return SeededMeasures(found, fixed, 500)


def test_how_seeds_differ_widens_intervals_also_of_systems_with_one_seed():
    seeds = [_scored(torch.arange(200) < count) for count in (120, 140, 160)]
    alone = _scored(torch.arange(200) < 140)
    plain = _measures((), one=[alone], words=[alone])
    seeded = _measures(("words",), one=[alone], words=[alone], seeded=seeds)

    def width(measures, name):
        low, high = measures.estimate(name, COLUMN).bounds
        return high - low

    assert width(seeded, "one") > 2 * width(plain, "one")
    # A mean of three varies less, and words do not vary at all.
    assert width(plain, "words") < width(seeded, "seeded") < width(seeded, "one")
    assert width(seeded, "words") == pytest.approx(width(plain, "words"))
