"""No text is a spreadsheet's formula, and each comes back as it was."""

import pytest

from enrich.files.tables import guard, unguard

# The last four are full-width: a spreadsheet in Chinese or Japanese may take them for the others.
SIGNS = "=+-@\t\r\n\uff1d\uff0b\uff0d\uff20"


@pytest.mark.parametrize("sign", SIGNS, ids=ascii)
def test_what_would_be_a_formula_is_guarded_and_comes_back(sign):
    for text in (f"{sign}1+1", f"'{sign}1", f"''{sign}"):
        assert guard(text) == f"'{text}"
        assert unguard(guard(text)) == text


@pytest.mark.parametrize("text", ["", "a=1", "'quoted'", "1-1", "size \uff1d M"])
def test_other_texts_stay_as_they_are(text):
    assert guard(text) == text == unguard(text)
