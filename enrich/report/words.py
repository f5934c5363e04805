"""What the page says in words, and what it makes of words that others wrote."""

import shlex
import unicodedata
from collections.abc import Mapping
from typing import NamedTuple

from markupsafe import Markup, escape
from schemas.digits import tell_apart
from schemas.tables import Outcome

from enrich.report.content import RunFacts

LONGEST_TEXT = 400

# Unicode's categories of characters without a shape. Joiners are among these characters, but in
# some scripts they are part of words.
_INVISIBLE = {"Cc", "Cf", "Cs", "Co", "Cn", "Zl", "Zp"}
_JOINERS = "\u200c\u200d"


def make_printable(value: object) -> object:
    """Returns a text short and without control or direction characters; other values as they are.

    Everything that a template writes passes through here, before it is escaped.
    """
    if not isinstance(value, str) or isinstance(value, Markup):
        return value
    shown = _without_invisible(value[: 2 * LONGEST_TEXT])
    return shown if len(shown) <= LONGEST_TEXT else f"{shown[: LONGEST_TEXT - 1]}…"


def _without_invisible(text: str) -> str:
    return "".join(
        letter if letter in _JOINERS or unicodedata.category(letter) not in _INVISIBLE else " "
        for letter in text
    )


class Headline(NamedTuple):
    """An outcome as a person says it; `style` is a class of the style sheet."""

    title: str
    sentence: str
    style: str
    commands: tuple[Markup, ...] = ()


def describe_outcome(run: RunFacts) -> Headline:
    """Returns what became of a run, and how to go on where a person has to decide."""
    headlines = {
        Outcome.PUBLISHED: Headline("Published", _describe_published(run.counts), "good"),
        # A run without any product to ask about has no page, so this one did ask.
        Outcome.NOTHING_TO_DO: Headline(
            "Nothing to publish",
            f"No product could be read, of {run.counts['pending']:,} asked about.",
            "warn",
        ),
        Outcome.STAGED: _describe_waiting(
            run,
            "Staged",
            "warn",
            ("answered product waits for a look", "answered products wait for a look"),
        ),
        Outcome.BLOCKED: _describe_waiting(
            run,
            "Blocked",
            "bad",
            ("answered product was not published", "answered products were not published"),
        ),
        Outcome.DROPPED: Headline(
            "Dropped", "What this run had staged and not published was deleted.", "calm"
        ),
        Outcome.ROLLED_BACK: Headline(
            "Rolled back", "What this run had published or found was taken back.", "calm"
        ),
        Outcome.FAILED: Headline("Failed", "The run did not end well.", "bad"),
    }
    return headlines[Outcome(run.outcome)]


def _describe_published(counts: Mapping[str, int]) -> str:
    """Returns what a run did to the published table."""
    published, withheld, deleted = (counts[n] for n in ("published", "withheld", "deleted"))
    # As it was then: the page is not written again when later runs, or a rollback, change that.
    given = say_count(published, "product was", "products were")
    said = [f"{given if published else 'No product was'} given the labels of this run."]
    if withheld:
        said.append(f"{say_count(withheld, 'answer is', 'answers are')} withheld.")
    if deleted:
        gone = say_count(deleted, "product that is gone was", "products that are gone were")
        said.append(f"{gone} deleted.")
    return " ".join(said)


def _describe_waiting(run: RunFacts, title: str, style: str, answers: tuple[str, str]) -> Headline:
    """Returns the headline on rows that a person has to publish or to drop.

    `answers` is what is said of one answered product, and of several.
    """
    published = run.counts["published"]
    standing = say_count(published, "is published already.", "are published already.")
    said = [standing] if published else []
    if not run.counts["enriched"] and run.outcome != Outcome.STAGED:
        said.insert(0, "No product was answered, so none waits to be published.")
        return Headline(title, " ".join(said), style)
    said = [*_list_waiting(run, answers), *said]
    return Headline(
        title,
        f"{' '.join(said)} To publish or to drop this, after a look, with the run's own --catalog, "
        "--image-root and --checkpoint besides, if it was given any:",
        style,
        _name_commands(run),
    )


def _list_waiting(run: RunFacts, answers: tuple[str, str]) -> list[str]:
    """Returns a sentence on the answers that wait, and one on the products to be deleted."""
    # Until something is answered, all that was to be asked about counts as withheld.
    waiting = run.counts["withheld"] if run.counts["enriched"] else 0
    vanished = run.counts["vanished"] if run.deletes_missing else 0
    said = [f"{say_count(waiting, *answers)}."] if waiting else []
    if vanished:
        gone = say_count(vanished, "product that is gone", "products that are gone")
        waits = "waits" if vanished == 1 else "wait"
        said.append(f"{gone} from the product table {waits} to be deleted.")
    return said or ["No answered product waits."]


def _name_commands(run: RunFacts) -> tuple[Markup, ...]:
    """Returns what settles the run, to be pasted: never cut off, however long a path is."""
    given = "" if run.settings_file is None else f" --config {shlex.quote(run.settings_file)}"
    job = f"spark-submit jobs/enrich_catalog.py{given} --database {run.database}"
    reason = ' --reason "..."'
    publish = f"{job} --publish-run {run.run_id}{reason if run.outcome == Outcome.BLOCKED else ''}"
    commands = publish, f"{job} --drop-run {run.run_id}{reason}"
    return tuple(escape(_without_invisible(command)) for command in commands)


def say_count(number: int, one: str, many: str) -> str:
    """Returns the number with the words that go on from it."""
    return f"{number:,} {one if number == 1 else many}"


def as_heading(name: str) -> str:
    """Returns the name with a capital at its start; the rest stays, as in "RAM type"."""
    return name[:1].upper() + name[1:]


def name_expectation(expectation: str) -> str:
    """Returns an expectation's name as words."""
    return expectation.removeprefix("expect_").replace("_", " ")


def format_number(number: float | None) -> str:
    """Returns a count with its thousands apart, anything else with three digits or more."""
    if number is None:
        return "-"
    is_whole = abs(number) >= 100 or float(number).is_integer()
    return f"{number:,.0f}" if is_whole else f"{number:.3g}"


def format_beside(observed: float | None, limit: float | None) -> tuple[str, str]:
    """Returns a figure and what it is held against, with as many digits as tell them apart."""
    written = format_number(observed), format_number(limit)
    if written[0] != written[1] or observed is None or limit is None or observed == limit:
        return written
    return tell_apart(observed, limit, ".3g")


def format_share(share: float | None) -> str:
    """Returns a share as a percentage, finer where it is small."""
    if share is None:
        return "-"
    return f"{share:.0%}" if share >= 0.0995 or share == 0 else f"{share:.1%}"


STATUSES: Mapping[str, str] = {
    "ok": "image and text were read",
    "image_missing": "no image at that path",
    "image_unreadable": "the store failed to deliver the image, or denied it, or it changed",
    "image_corrupt": "the image is damaged",
    "image_too_large": "the image is over the limits",
    "image_forbidden": "the image lies outside the allowed roots",
    "text_empty": "no title and no description",
    "worker_crashed": "the product took its Python process with it",
}
REASONS: Mapping[str, str] = {
    "null_id": "no product_id, or one with bytes that are no UTF-8",
    "surplus_fields": "more fields than columns (a comma without quotation marks?), or no JSON",
    "duplicate_id": "the same product_id again: another row was kept",
    "no_modality": "neither image nor text could be read",
    "poison": "the product took its Python process with it",
}
