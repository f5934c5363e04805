"""What eight bits change, for people and for the checkpoint's metrics."""

from typing import Any

from enrich.eight_bits.agreement import EightBitComparison
from enrich.markdown import Table, to_markdown


def format_report(comparison: EightBitComparison) -> str:
    """Returns the comparison as Markdown."""
    rows = [
        [
            attribute,
            f"{agreement.products:,}",
            f"{agreement.same / agreement.products:.4f}",
            f"{agreement.same_best / agreement.products:.4f}",
            f"{agreement.at_least:.4f}",
            f"{agreement.mean_move:.4f}",
            f"{agreement.largest_move:.3f}",
        ]
        for attribute, agreement in comparison.attributes.items()
    ]
    columns = (
        "attribute",
        "products",
        "same answer",
        "same best label",
        "surely",
        "confidence moves by",
        "at most",
    )
    return (
        f"{to_markdown(Table('The same products, before and in eight bits', columns, [rows]))}\n"
        f"{comparison.with_image:,} of the products were answered with their image.\n"
        f"A product takes {comparison.cpu_ms_before:.1f} ms of a core before and "
        f"{comparison.cpu_ms_after:.1f} in eight bits, reading and decoding included: "
        f"{comparison.speedup:.2f} times as fast.\n"
    )


def summarise(comparison: EightBitComparison) -> dict[str, Any]:
    """Returns the comparison as plain values."""
    return {
        "with_image": comparison.with_image,
        "cpu_ms_before": round(comparison.cpu_ms_before, 2),
        "cpu_ms_after": round(comparison.cpu_ms_after, 2),
        "speedup": round(comparison.speedup, 2),
        "attributes": {
            attribute: {
                "products": agreement.products,
                "same": agreement.same,
                "surely": round(agreement.at_least, 4),
                "same_best": agreement.same_best,
                "mean_move": round(agreement.mean_move, 5),
                "largest_move": round(agreement.largest_move, 4),
            }
            for attribute, agreement in comparison.attributes.items()
        },
    }
