"""Which runs have their products judged. Needs no Spark."""

import pytest
from fake_shop import FakeGate

from enrich.spark.judging import Judging
from enrich.spark.records import RunSummary
from enrich.spark.survey import State, Survey


def survey_of(**counts: int) -> Survey:
    by_state = dict.fromkeys(State, 0) | {State(k): n for k, n in counts.items()}
    return Survey(None, by_state, "f", 0, 0)


def judging(allowed: float) -> Judging:
    return Judging(None, RunSummary(), FakeGate(max_unusable_id_share=allowed))


@pytest.mark.parametrize(
    ("lost", "allowed", "is_judged"),
    [
        (15, 0.05, False),
        (21, 0.05, True),
        # Whoever allows fewer than usual has them looked at sooner.
        (15, 0.005, True),
        (5, 0.005, False),
        (1, 0.0, True),
        (0, 0.0, False),
    ],
)
def test_lost_ids_are_judged_on_a_night_without_new_products_where_they_may_be_too_many(
    lost: int, allowed: float, is_judged: bool
) -> None:
    night = survey_of(unchanged=1_000 - lost, null_id=lost, vanished=lost)

    looks = judging(allowed).wants_a_look(night, is_staged=False)

    assert looks == is_judged


@pytest.mark.parametrize("is_staged", [False, True])
def test_new_products_are_judged_unless_their_answers_are_there_already(is_staged: bool) -> None:
    night = survey_of(new=3, unchanged=997)

    looks = judging(0.05).wants_a_look(night, is_staged=is_staged)

    assert looks != is_staged


@pytest.mark.parametrize("lost", [10, 90])
def test_lost_ids_are_judged_also_where_the_answers_of_new_products_are_there_already(
    lost: int,
) -> None:
    night = survey_of(new=10, unchanged=990 - lost, null_id=lost, vanished=lost)

    looks = judging(0.05).wants_a_look(night, is_staged=True)

    assert looks == (lost == 90)
