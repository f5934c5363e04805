"""A figure and what it is held against are told apart."""

import pytest

from enrich.errors import tell_apart


@pytest.mark.parametrize(
    ("observed", "limit", "form", "written"),
    [
        (0.5291, 0.5263, ".2f", ("0.529", "0.526")),
        (0.53, 0.41, ".2f", ("0.53", "0.41")),
        (0.5, 0.5, ".2f", ("0.50", "0.50")),
        (0.050_04, 0.05, ".1%", ("5.004%", "5.000%")),
        (1190.2, 1190.4, ".3g", ("1190.2", "1190.4")),
    ],
)
def test_as_many_digits_are_written_as_tell_two_figures_apart(observed, limit, form, written):
    assert tell_apart(observed, limit, form) == written
