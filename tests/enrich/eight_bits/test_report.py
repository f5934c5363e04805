"""What people read of eight bits is what was found."""

from enrich.eight_bits.agreement import EightBitComparison, LabelAgreement
from enrich.eight_bits.report import format_report, summarise


def test_the_report_tells_the_same_answers_from_the_same_best_labels_and_how_much_faster() -> None:
    agreed = LabelAgreement(1_000, same=900, same_best=950, mean_move=0.01, largest_move=0.1)
    comparison = EightBitComparison({"color": agreed}, 9, cpu_ms_before=4.0, cpu_ms_after=2.0)
    told = format_report(comparison)
    assert "| color | 1,000 | 0.9000 | 0.9500 |" in told
    assert "4.0 ms of a core before and 2.0 in eight bits" in told
    assert "2.00 times as fast" in told
    assert summarise(comparison)["speedup"] == 2.0
