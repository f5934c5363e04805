"""Counts become figures, whatever rounding made of them."""

from expectations.summarising import MODALITIES, MODEL, CountedValue, build_figures


def test_one_confidence_for_all_has_no_spread_and_stops_no_run_by_a_rounding() -> None:
    def counted(attribute: str | None, kind: str, value: str, **sums: float | None) -> CountedValue:
        bare = {"bin": None, "total": None, "squares": None, "lowest": None, "highest": None}
        return CountedValue(None, attribute, kind, value, rows=3, first=3, missing=0, outside=0,
                            **bare | sums)  # fmt: skip

    # The mean of the squares is below the square of the mean, by the last digit.
    total, squares = 0.1 + 0.1 + 0.1, 0.1**2 + 0.1**2 + 0.1**2
    assert squares / 3 < (total / 3) ** 2
    color = counted("color", "label", "red", bin=1, total=total, squares=squares)
    rows = [color, counted(None, MODALITIES, "text"), counted(None, MODEL, "model-1")]
    summary = build_figures(rows, ["color"], distinct_products=3).summary
    assert summary is not None
    found = summary.products.attributes["color"]
    assert (found.answered_mean, found.answered_sd) == (0.1, 0.0)
