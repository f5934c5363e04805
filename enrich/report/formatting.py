"""Sentences of the pages, and safe display of other people's texts."""

import shlex
import unicodedata
from collections.abc import Mapping
from typing import NamedTuple

from markupsafe import Markup, escape
from schemas.tables import Outcome, Reason, State, Status

from enrich.errors import tell_apart
from enrich.report.content import Row

LONGEST_TEXT = 400

# Unicode's categories of characters without a shape. Joiners are among these characters, but in
# some scripts they are part of words.
_INVISIBLE = {"Cc", "Cf", "Cs", "Co", "Cn", "Zl", "Zp"}
_JOINERS = "\u200c\u200d"


def make_printable(value: object) -> object:
    """Shorten a text and remove control and direction characters; keep other values.

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
    """State of a run for people; `style` is a class of the style sheet."""

    title: str
    style: str
    sentence: str = ""
    commands: tuple[Markup, ...] = ()


_STYLES: Mapping[str, str] = {
    State.PUBLISHED: "good",
    State.STAGED: "warn",
    State.APPROVED: "warn",
    State.BLOCKED: "bad",
    State.FAILED: "bad",
    State.ROLLED_BACK: "bad",
}


def name_state(state: str) -> Headline:
    """Return the title and style of a state."""
    return Headline(as_heading(state.replace("_", " ")), _STYLES.get(state, "calm"))


def describe_run(run: Row, deletions: int) -> Headline:
    """Return the state of a run, and the commands by which a person decides on it.

    The run would delete `deletions` published rows.
    """
    headline = name_state(run["state"])
    match run["state"]:
        case State.PUBLISHED:
            sentence = _describe_published(run["counts"])
        case State.STAGED | State.BLOCKED | State.APPROVED:
            return _describe_waiting(run, deletions, headline)
        case State.NOTHING_TO_DO:
            due = format_count(run["counts"]["due"], "product was due", "products were due")
            sentence = f"{due}, and none of them could be read."
        case State.DISCARDED:
            sentence = "A person decided not to publish the answers of this run."
        case State.SUPERSEDED:
            sentence = (
                "A later run with the same trigger replaced this run. Its answers stay unpublished."
            )
        case State.FAILED:
            sentence = (
                "The run ended with an error. The next run does not repeat what this one encoded."
            )
        case State.ROLLED_BACK if run["caused_by"]:
            sentence = (
                f"Undone with run {run['caused_by']}, which had published before it. The products "
                "of this run are due again: the next run publishes them without reading a picture."
            )
        case State.ROLLED_BACK:
            return _describe_rolled_back(run, headline)
        case _:
            sentence = "The run had not ended when this page was written."
    return headline._replace(sentence=sentence)


def _describe_published(counts: Mapping[str, int]) -> str:
    published, withheld, deleted = (counts[n] for n in ("published", "withheld", "deleted"))
    sentences = [
        f"{format_count(published, 'product has', 'products have')} the labels of this run."
    ]
    if withheld:
        sentences.append(f"{format_count(withheld, 'answer is', 'answers are')} withheld.")
    if deleted:
        deleted_rows = format_count(deleted, "row was", "rows were")
        sentences.append(
            f"{deleted_rows} deleted, whose products are no longer in the product table."
        )
    return " ".join(sentences)


def _describe_waiting(run: Row, deletions: int, headline: Headline) -> Headline:
    answered = run["counts"]["answered"]
    sentences = []
    if answered:
        sentences.append(f"{format_count(answered, 'answer waits', 'answers wait')} for a person.")
    if deletions:
        rows = format_count(deletions, "published row waits", "published rows wait")
        sentences.append(f"{rows} to be deleted: the product is no longer in the product table.")
    if not sentences:
        sentence = (
            "The run was stopped before it answered a product. Nothing waits to be published: "
            "correct the cause and run again."
        )
        return headline._replace(sentence=sentence)
    sentences.append("Look at this page. Then publish or discard them, with the flags of the run:")
    reason = ' --reason "..."'
    approve = f"{_name_command('approve', run)}{'' if run['state'] == State.STAGED else reason}"
    commands = approve, f"{_name_command('discard', run)}{reason}"
    return headline._replace(sentence=" ".join(sentences), commands=_to_paste(*commands))


def _describe_rolled_back(run: Row, headline: Headline) -> Headline:
    sentence = (
        "The published table is again as it was before this run. What the run had published is "
        "held back until the product or the checkpoint changes. To publish it all the same:"
    )
    command = f'{_name_command("approve", run)} --reason "..."'
    return headline._replace(sentence=sentence, commands=_to_paste(command))


def _name_command(name: str, run: Row) -> str:
    of_run = f"--database {run['database']} --run-id {run['run_id']}"
    return f"catalog-enrich {name}{_name_flags(run)} {of_run}"


def _name_flags(run: Row) -> str:
    given = run["given"]
    # Without a file of settings, the catalog would be the demo, and its baseline the demo's. A flag
    # wins over the file.
    if "config" not in given or "catalog" in given:
        given = {**given, "catalog": run["source"]}
    return "".join(f" --{name.replace('_', '-')} {shlex.quote(one)}" for name, one in given.items())


def name_reviews(run: Row) -> tuple[Markup, ...]:
    """Return the shell commands that write review pages of a run's answers."""
    given = _name_flags(run)
    return _to_paste(
        *(
            f"catalog-enrich review --what {what} --run-id {run['run_id']}{given} "
            f"--database {run['database']} --output review-{what}.html"
            for what in ("unsure", "contradictions")
        )
    )


def _to_paste(*commands: str) -> tuple[Markup, ...]:
    """Return commands that are shown in full, however long a path is."""
    return tuple(escape(_without_invisible(command)) for command in commands)


def format_count(number: int, one: str, many: str) -> str:
    """Return the number with its words, singular or plural."""
    return f"{number:,} {one if number == 1 else many}"


def as_heading(name: str) -> str:
    """Return the name with a capital at its start; the rest stays, as in "RAM type"."""
    return name[:1].upper() + name[1:]


def name_expectation(expectation: str) -> str:
    """Return an expectation's name as words."""
    return expectation.removeprefix("expect_").replace("_", " ")


def format_number(number: float | None) -> str:
    """Return a count with separated thousands, or a number with three digits or more."""
    if number is None:
        return "-"
    is_whole = abs(number) >= 100 or float(number).is_integer()
    return f"{number:,.0f}" if is_whole else f"{number:.3g}"


def format_beside(observed: float | None, limit: float | None) -> tuple[str, str]:
    """Return a figure and its limit, with enough digits to differ."""
    written = format_number(observed), format_number(limit)
    if written[0] != written[1] or observed is None or limit is None or observed == limit:
        return written
    return tell_apart(observed, limit, ".3g")


def format_share(share: float | None) -> str:
    """Return a share as a percentage, finer where it is small."""
    if share is None:
        return "-"
    return f"{share:.0%}" if share >= 0.0995 or share == 0 else f"{share:.1%}"


STATUSES: Mapping[str, str] = {
    Status.OK: "image and text were read",
    Status.IMAGE_MISSING: "no image path, or no image at that path",
    Status.IMAGE_UNREADABLE: "the store did not deliver the image, denied it, or replaced it",
    Status.IMAGE_CORRUPT: "the image is damaged",
    Status.IMAGE_TOO_LARGE: "the image is over the limits",
    Status.IMAGE_FORBIDDEN: "the image is outside the allowed folders",
    Status.TEXT_EMPTY: "no title and no description",
    Status.WORKER_CRASHED: "the product crashed its Python process",
}
# Why a row is in quarantine.
REASONS: Mapping[str, str] = {
    Reason.NULL_ID: "no product_id, or one with bytes that are not UTF-8",
    Reason.MALFORMED: "the reader could not take the row apart: a stray comma or broken JSON?",
    Reason.DUPLICATE_ID: "the same product_id again: another row was kept",
    Reason.NO_MODALITY: "neither image nor text could be read",
    Reason.WORKER_CRASHED: "the product crashed its Python process",
}
# Why a run has a candidate for a product.
CAUSES: Mapping[str, str] = {
    Outcome.NEW: "not published before",
    Outcome.CHANGED: "title, description or picture changed",
    Outcome.RETRIED: "the picture was out of reach before",
    Outcome.REANSWERED: "another checkpoint or target precision, or a full refresh",
    Outcome.REVISED: "the category or a person's label changed",
    Outcome.MISSING: "no longer in the product table",
}
