"""An observed figure beside the one that it is held against, as people read them."""

# A double has no more.
_MOST_DIGITS = 17


def tell_apart(observed: float, limit: float, form: str) -> tuple[str, str]:
    """Returns both figures with as many digits as tell them apart, and no fewer than in `form`.

    "0.53, allowed 0.53" would say that nothing is wrong.

    Args:
        observed: One figure.
        limit: What it is held against, in the same unit.
        form: How figures are written that differ much, such as .2f or .1%.
    """
    fewest, kind = int(form[1:-1]), form[-1]
    pairs = [
        (f"{observed:.{digits}{kind}}", f"{limit:.{digits}{kind}}")
        for digits in range(fewest, _MOST_DIGITS)
    ]
    return next((pair for pair in pairs if pair[0] != pair[1]), pairs[0])
