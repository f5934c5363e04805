"""The gate of a refresh, before inference and before publication.

Decides nothing about publication: it reports, and the refresh acts on `Verdict.failures`.
"""

from collections.abc import Collection, Iterator, Mapping, Sequence
from contextlib import contextmanager
from typing import TYPE_CHECKING

from enrich.errors import tell_apart
from pyspark.sql import Column, DataFrame
from pyspark.sql import functions as F
from schemas.labels import AuditedLabel
from schemas.tables import CheckOutcome, Suite

from expectations.baseline import LabelBaseline
from expectations.checks import NO_BASELINE, Check, Verdict, reach_verdict, say_limit
from expectations.counts import (
    MIN_COMPARED,
    MIN_NEW,
    OTHER,
    UNKNOWN,
    AnswerCounts,
    count_answers,
    mark_rows,
)
from expectations.distribution import bound_share
from expectations.settings import ValidationSettings

if TYPE_CHECKING:
    from enrich.images.store import ImageSample

# A character that the classifier reads: neither a space of any script nor a control character.
_SHOWS = r"(?U)[^\s\p{C}]"
# What an editor writes for an empty text: tags and comments, also escaped ones, and spaces. Of a
# bounded length, so that no text takes long.
_MARKUP = r"(?i)(<|&lt;)[!/]?[a-z-][^<>]{0,500}?(>|&gt;)|&(amp;){0,2}(nbsp|#160|#xa0);"

# One picture under fewer paths may be that of one product in many sizes. Under more of them it is
# the placeholder of a catalog that has lost its images.
_MIN_PATHS = 50


class Gate:
    """Check runs of one catalog.

    The baseline is what the catalog is expected to look like. It fits the checkpoint's labels
    (`baseline.refuse_unknown_labels`); None leaves out the comparisons with it. To attributes in
    `never_answered` no answer can be given, because no threshold is proved.
    """

    def __init__(
        self,
        settings: ValidationSettings,
        attribute_labels: Mapping[str, Sequence[str]],
        baseline: LabelBaseline | None,
        never_answered: Collection[str] = (),
    ) -> None:
        self._settings = settings
        self._labels = attribute_labels
        self._baseline = baseline
        self._never_answered = never_answered

    @property
    def max_unusable_id_share(self) -> float:
        """Share of rows without a usable id that `check_input` allows, in [0, 1]."""
        return self._settings.max_unusable_id_share

    def prepare(self) -> None:
        """Import Great Expectations, which takes seconds, and build the settings' checks.

        Both checks do so too. Call it earlier to refuse wrong settings before a run begins, or in a
        thread while Spark works. Raises ConfigError if an expectation of the settings cannot be
        used.
        """
        from expectations import evaluation, suite  # noqa: F401

        suite.build_further(self._settings)

    def check_input(self, products: DataFrame, images: "ImageSample") -> Verdict:
        """Check a product table before hours of inference, on the driver.

        `products` has product_id of every row, NULL where it cannot be used; title and description;
        and is_new, whether the row will be encoded for the first time. The caller tried to read
        `images`, a sample of those of new products. Raises as `prepare` does.
        """
        self.prepare()
        from expectations.evaluation import evaluate
        from expectations.suite import build_input_suite

        shown = F.when(shows_text(F.concat_ws(" ", "title", "description")), True)
        with _cached(products.select("product_id", "is_new", shown.alias("text"))) as rows:
            sizes = rows.agg(F.count("*"), F.count_if("is_new")).collect()[0]
            suite = build_input_suite(self._settings, *sizes)
            checks = evaluate("input", suite, rows) if suite else []
        checks += check_images(images, self._settings)
        notes = () if images.tried else ("0 images were tried before inference",)
        return reach_verdict(checks, notes, NO_BASELINE)

    def check_candidates(
        self,
        candidates: DataFrame,
        published: DataFrame | None,
        expected_rows: int,
        *,
        is_unseen: bool = False,
        audited: Sequence[AuditedLabel] = (),
    ) -> Verdict:
        """Check answers before they are published, on the driver.

        `candidates` are the run's answers, one row a product, `expected_rows` by the run's own
        count. `published` is `product_attributes` as it is; None where there is none. If
        `is_unseen`, the source looks unlike those of training, so few labels are a warning.
        `audited` are labels of the same model_version that people have judged. Raises as `prepare`
        does.
        """
        self.prepare()
        from expectations.evaluation import evaluate
        from expectations.suite import build_candidates_suite

        baseline = self._baseline
        categories = [name for name in baseline.categories if name != OTHER] if baseline else []
        others = baseline.other_categories if baseline else None
        marked = mark_rows(candidates, published, list(self._labels), categories, others)
        with _cached(marked) as rows:
            counts = count_answers(rows)
            suite = build_candidates_suite(
                self._settings,
                self._labels,
                baseline,
                counts,
                expected_rows,
                is_unseen=is_unseen,
                never_answered=self._never_answered,
            )
            checks = evaluate("candidates", suite, rows)
        checks += _check_audits(audited, self._settings)
        name = baseline.catalog if baseline else NO_BASELINE
        return reach_verdict(checks, self._list_gaps(counts), name)

    def _list_gaps(self, counts: AnswerCounts) -> Iterator[str]:
        """Yield a sentence for all that is not checked, or compared with a whole catalog."""
        baseline, rows = self._baseline, counts.rows
        for attribute in self._never_answered:
            yield (
                f"{attribute} is not answered: no labelled products have proved a confidence that "
                "reaches the target precision"
            )
        if baseline is None:
            yield "label shares are not compared: this catalog has no baseline"
            return
        if rows < MIN_COMPARED:
            yield (
                f"label shares are not compared: found {rows} different products, a baseline "
                f"is compared with {MIN_COMPARED} or more"
            )
            return
        for attribute in self._labels:
            if attribute not in baseline.products.attributes:
                yield f"shares of {attribute} are not compared: the baseline does not have it"
        if others := counts.sizes.get(OTHER):
            yield (
                f"{others:,} of {rows:,} different products are of categories that the baseline "
                f"{baseline.catalog!r} does not tell apart"
            )
        if unknown := counts.sizes.get(UNKNOWN):
            yield (
                f"{unknown:,} of {rows:,} different products are of categories that the baseline "
                f"{baseline.catalog!r} has not seen: they are expected to look like all of it"
            )


def shows_text(text: Column) -> Column:
    """Return whether there is anything in a text but markup and spaces; lazy."""
    return F.regexp_replace(text, _MARKUP, "").rlike(_SHOWS)


@contextmanager
def _cached(rows: DataFrame) -> Iterator[DataFrame]:
    cached = rows.persist()
    try:
        yield cached
    finally:
        cached.unpersist()


def check_images(images: "ImageSample", settings: ValidationSettings) -> list[Check]:
    """Return the checks of a sample of images, which lies in no table."""
    unread = "could not be read"
    if images.problem is not None:
        unread += f" (the first: {images.problem})"
    shares = (
        (
            *("expect_images_to_be_readable", "max_unread_image_share", unread),
            *(images.tried - images.read, images.tried if images.tried >= MIN_NEW else 0),
        ),
        (
            *("expect_images_to_differ", "max_same_image_share", "are one and the same picture"),
            *(images.alike, images.paths if images.paths >= _MIN_PATHS else 0),
        ),
    )
    checks = []
    for name, setting, what, broken, of in shares:
        if of:
            threshold = getattr(settings, setting)
            most = bound_share(threshold, of, settings.false_alarm_rate / len(shares))
            found, _ = tell_apart(broken / of, most, ".1%")
            limit = say_limit(setting, threshold, most - threshold)
            said = f"{broken} of {of} images of a sample {what} ({found}); {limit}"
            figures = (broken / of, threshold, most)
            checks.append(_judge("input", name, None, figures, CheckOutcome.FAIL, said))
    return checks


def _check_audits(audited: Sequence[AuditedLabel], settings: ValidationSettings) -> Iterator[Check]:
    """Yield a check of each label that people have judged; a failed one is a warning.

    Nothing is published anew under a label because its audit failed, so the run is not blocked.
    """
    for one in audited:
        wrong = one.labels - one.right
        observed, threshold = wrong / one.labels, 1 - one.target
        most = bound_share(threshold, one.labels, settings.false_alarm_rate / len(audited))
        said = (
            f"{one.attribute} {one.label}: {wrong} of {one.labels} audited answers are wrong "
            f"({observed:.1%}), allowed {threshold:.1%} (target precision) and "
            f"{most - threshold:.1%} by chance. Fit the checkpoint to the audit's labels by "
            "`catalog-enrich adapt`, or map the label to null in the settings (labels)"
        )
        figures, name = (observed, threshold, most), "expect_audited_labels_to_be_right"
        yield _judge("candidates", name, one.attribute, figures, CheckOutcome.WARN, said)


def _judge(
    suite: Suite,
    expectation: str,
    attribute: str | None,
    figures: tuple[float, float, float],
    otherwise: CheckOutcome,
    detail: str,
) -> Check:
    """Return the check of an observed share, the threshold, and the most with chance."""
    observed, threshold, most = figures
    outcome = CheckOutcome.PASS if observed <= most else otherwise
    shares = (observed, threshold, most - threshold)
    return Check(suite, expectation, attribute, None, *shares, outcome, detail)
