"""EmbraceNet draws while it trains and answers the same every time when it does not."""

from collections.abc import Callable

import torch

from enrich.classifiers.embracenet import COMPONENTS, EmbraceNet, embrace
from enrich.classifiers.interface import ModelInputs

IMAGE, TEXT = 1.0, 3.0
EQUAL = (0.5, 0.5)
AVAILABLE = torch.tensor([[True, True], [True, False], [False, True], [False, False]])


def _docked(components: int) -> torch.Tensor:
    """Every image component is one number and every text component another."""
    return torch.tensor([IMAGE, TEXT]).view(1, 2, 1).expand(len(AVAILABLE), 2, components)


def test_the_expectation_is_the_mean_of_what_is_available_and_zero_of_nothing() -> None:
    embraced = embrace(_docked(5), AVAILABLE, EQUAL, draw=False)
    assert embraced.equal(torch.tensor([2.0, IMAGE, TEXT, 0.0]).unsqueeze(1).expand(4, 5))


def test_each_component_is_drawn_from_one_modality_with_equal_probability() -> None:
    torch.manual_seed(0)
    components = 40_000
    both = embrace(_docked(components), AVAILABLE, EQUAL, draw=True)[0]
    from_image = both == IMAGE
    assert (from_image | (both == TEXT)).all()
    # Five standard deviations of a fair coin.
    assert abs(from_image.sum() - components / 2) < 5 * (components**0.5) / 2
    # Neighbours are drawn independently: half of them agree.
    agree = (from_image[1:] == from_image[:-1]).sum()
    assert abs(agree - components / 2) < 5 * (components**0.5) / 2


def test_probabilities_choose_how_much_of_what_is_available_counts() -> None:
    wanted = torch.tensor([0.25 * IMAGE + 0.75 * TEXT, IMAGE, TEXT, 0.0])
    # Relative to each other: they need not add up to 1.
    for chances in ((0.25, 0.75), (0.2, 0.6)):
        embraced = embrace(_docked(1), AVAILABLE, chances, draw=False)
        torch.testing.assert_close(embraced.squeeze(1), wanted)
    torch.manual_seed(0)
    drawn = embrace(_docked(40_000), AVAILABLE, (0.25, 0.75), draw=True)
    share = (drawn[0] == IMAGE).float().mean().item()
    assert abs(share - 0.25) < 0.011  # five standard deviations
    assert (drawn[1] == IMAGE).all() and (drawn[2] == TEXT).all()


def test_a_missing_modality_is_never_drawn_and_a_row_without_any_holds_zeros() -> None:
    drawn = embrace(_docked(500), AVAILABLE, EQUAL, draw=True)
    assert (drawn[1] == IMAGE).all() and (drawn[2] == TEXT).all() and (drawn[3] == 0).all()


def test_the_mean_over_many_draws_is_the_expectation() -> None:
    torch.manual_seed(0)
    docked = torch.randn(1, 2, 8).expand(20_000, 2, 8)
    available = torch.ones(20_000, 2, dtype=torch.bool)
    drawn = embrace(docked, available, EQUAL, draw=True).mean(0)
    torch.testing.assert_close(drawn, docked[0].mean(0), rtol=0, atol=0.05)


def test_the_same_product_gets_the_same_answer_and_a_training_one_does_not(
    build: Callable[..., EmbraceNet], products: ModelInputs
) -> None:
    classifier = build("embracenet")
    with torch.inference_mode():
        first, second = classifier(products), classifier(products)
        assert all(t.equal(second.logits[a]) for a, t in first.logits.items())
        # The batch norm's statistics are not what is tested here.
        classifier.train().image_tower.eval()
        first, second = classifier(products), classifier(products)
    assert not any(t.equal(second.logits[a]) for a, t in first.logits.items())


def test_what_is_docked_is_never_negative_and_no_weight_is_made_up(
    build: Callable[..., EmbraceNet], products: ModelInputs
) -> None:
    classifier = build("embracenet")
    docked = []
    for dock in (classifier.dock_image, classifier.dock_text):
        dock.register_forward_hook(lambda _, __, out: docked.append(out))
    with torch.inference_mode():
        assert classifier(products).image_weight == {}
    assert [tuple(each.shape) for each in docked] == [(3, COMPONENTS)] * 2
    assert all((each >= 0).all() and (each > 0).any() for each in docked)
