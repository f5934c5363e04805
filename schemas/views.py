"""Views over the output tables as SQL, for questions that people ask.

`database` must be a plain name. Attributes are quoted: they are columns of a table that others may
alter.
"""

import csv
from collections.abc import Sequence
from importlib import resources

from schemas.tables import quote_literal, quote_part

# The title is called wrong if the answer is at least this many times likelier than the label that
# the title names. Of titles called wrong, 87 of 100 were; of the others, 32 (376 contradictions in
# test products of two catalogs, with one text in a hundred exchanged). In an unseen source an
# abstained answer does not count.
TITLE_IS_WRONG_FROM = 5


def views(database: str, attributes: Sequence[str]) -> dict[str, str]:
    """Return every view with its columns, comment and query, in order of creation.

    A column without a comment here has the comment of its source column.

    Args:
        attributes: all attributes that `product_attributes` has columns for.
    """
    return {
        "enrichment_runs": _runs(database),
        "product_attribute_values": _values(database, attributes),
        "low_confidence_values": _low_confidence(database),
        "contradictions": _contradictions(database),
        "taxonomy_values": _taxonomy_values(database),
        "failed_check_products": _failed_check_products(database),
        "certificates": _certificates(database),
    }


def _runs(database: str) -> str:
    return f"""
    COMMENT 'one row a run: its last event; state is in outcome' AS
    SELECT run_id, state AS outcome, run_date, started_at, at AS finished_at,
      * EXCEPT (run_id, state, run_date, started_at, at, number, _place)
    FROM (SELECT *, row_number() OVER (PARTITION BY run_id ORDER BY number DESC, at DESC)
            AS _place
          FROM {database}.run_events)
    WHERE _place = 1"""


def _values(database: str, attributes: Sequence[str]) -> str:
    # `_said` is not an attribute's name: attributes do not begin with an underscore.
    label = " ".join(f"WHEN {quote_literal(a)} THEN {quote_part(a)}" for a in attributes)
    return f"""
    (product_id, product_category, attribute COMMENT 'color, pattern, ...',
      label COMMENT 'of a correction, else of the classifier; NULL where that says none',
      confidence COMMENT 'calibrated probability of the candidate, in [0, 1]',
      abstained COMMENT 'that is below the threshold of this attribute and these modalities',
      candidate COMMENT 'the best label of the classifier, also where it abstained',
      alternatives COMMENT 'its next three labels, with their confidences',
      image_weight COMMENT 'how much the answer rests on the image, in [0, 1]; NULL: not known',
      named COMMENT 'the one label that the title names; NULL: none or several',
      abstention COMMENT 'unsure, not_applicable or other; NULL where it gave a label',
      is_corrected COMMENT 'the label is of a person, the confidence still that of the candidate',
      modalities, status, model_version, run_id, run_date)
    COMMENT 'one row a product and attribute' AS
    SELECT product_id, product_category, _said.attribute,
      CASE _said.attribute {label} END AS label, _said.confidence, _said.abstained,
      _said.label AS candidate, _said.alternatives, _said.image_weight, _said.named,
      _said.abstention,
      coalesce(exists(corrections, one -> one.attribute = _said.attribute), false) AS is_corrected,
      modalities, status, model_version, run_id, run_date
    FROM (SELECT *, explode(predictions) AS _said FROM {database}.product_attributes)"""


def _low_confidence(database: str) -> str:
    return f"""
    COMMENT 'what the classifier is unsure of and nobody has corrected: label these first' AS
    SELECT product_id, product_category, attribute, candidate, confidence, alternatives,
      image_weight, modalities, status, model_version, run_id, run_date
    FROM {database}.product_attribute_values WHERE abstention = 'unsure' AND NOT is_corrected"""


def _contradictions(database: str) -> str:
    return f"""
    (product_id, product_category, attribute, named COMMENT 'the label that the title names',
      named_confidence COMMENT 'of that label, in [0, 1]; 0 where it is not among the best four',
      candidate COMMENT 'the best label of the classifier', confidence, image_weight,
      probably_wrong COMMENT 'title, where the answer is much likelier than it; answer; or unclear',
      run_id, run_date)
    COMMENT 'products whose title names another label than the classifier; surest first' AS
    SELECT product_id, product_category, attribute, named, named_confidence, candidate, confidence,
      image_weight,
      CASE WHEN abstained AND is_unseen THEN 'unclear'
        WHEN confidence >= {TITLE_IS_WRONG_FROM} * named_confidence THEN 'title'
        ELSE 'answer' END AS probably_wrong, run_id, run_date
    FROM (SELECT *,
            coalesce(get(filter(alternatives, one -> one.label = named), 0).confidence, 0.0)
              AS named_confidence
          FROM {database}.product_attribute_values
          WHERE named <> candidate AND NOT is_corrected
            AND coalesce(abstention, 'unsure') = 'unsure')
    CROSS JOIN (SELECT coalesce(max_by(is_unseen, looked_at), false) AS is_unseen
                FROM {database}.source_profiles)
    ORDER BY named_confidence / confidence, confidence DESC"""


def _taxonomy_values(database: str) -> str:
    known = ", ".join(
        f"({', '.join('NULL' if not cell else quote_literal(cell) for cell in row)})"
        for row in _read_taxonomies()
    )
    return f"""
    (product_id, product_category, attribute, label, confidence, is_corrected,
      shopify_attribute_id COMMENT 'of Shopify''s product taxonomy; NULL: it has no such attribute',
      shopify_value_id COMMENT 'NULL: no such value, or only its handle is known',
      shopify_handle COMMENT 'of the value in the taxonomy''s files',
      google_color_family COMMENT 'of the Retail API''s color_families')
    COMMENT 'published labels with their ids in public taxonomies' AS
    SELECT product_id, product_category, said.attribute, said.label, confidence, is_corrected,
      concat('gid://shopify/TaxonomyAttribute/', shopify_attribute) AS shopify_attribute_id,
      concat('gid://shopify/TaxonomyValue/', shopify_value) AS shopify_value_id,
      shopify_handle, google_color_family
    FROM {database}.product_attribute_values AS said
    LEFT JOIN (VALUES {known}) AS known
        (attribute, label, shopify_attribute, shopify_value, shopify_handle, google_color_family)
      ON said.attribute = known.attribute AND lower(said.label) = known.label
    WHERE said.label IS NOT NULL"""


def _read_taxonomies() -> list[list[str]]:
    """Return the rows of `taxonomies.csv`; the last four cells may be empty."""
    text = (resources.files("schemas") / "taxonomies.csv").read_text(encoding="utf-8")
    return [*csv.reader(text.splitlines())][1:]


def _failed_check_products(database: str) -> str:
    return f"""
    (run_id, run_date, suite, expectation, attribute, category, outcome,
      product_id COMMENT 'that the check is about; at most 1000 products of a check', detail)
    COMMENT 'products behind the checks that did not pass' AS
    SELECT run_id, run_date, suite, expectation, attribute, category, outcome,
      explode(products) AS product_id, detail
    FROM {database}.label_quality WHERE outcome <> 'pass'"""


# Failed checks of answers that differ from the baseline's or the published ones.
SHIFT = (
    "outcome = 'fail' AND "
    "(expectation LIKE 'expect%near_baseline' OR expectation LIKE 'expect%with_published')"
)


def _certificates(database: str) -> str:
    return f"""
    (attribute, label, category, statement,
      stands COMMENT 'the published answers are still those that were audited',
      ended_because COMMENT 'NULL while it stands',
      bound, observed, labels, right_labels, drawn, confidence, target, more_labels,
      labelled_from, labelled_to, model_version, audit_id, drawn_at, made_at)
    COMMENT 'what labels of random samples prove of the published answers' AS
    WITH made AS (
        SELECT * FROM (SELECT *, row_number() OVER (
            PARTITION BY model_version, attribute, label, category ORDER BY made_at DESC) AS _place
          FROM {database}.audit_certificates)
        WHERE _place = 1),
      published AS (
        SELECT run_id, model_version, finished_at, struct(run_date, started_at, run_id) AS age
        FROM {database}.enrichment_runs WHERE outcome = 'published'),
      newest AS (
        SELECT max_by(struct(run_id, model_version), age) AS run FROM published),
      shifts AS (
        SELECT audit.audit_id, audit.attribute, min_by(quality.run_id, finished_at) AS run_id,
          min_by(detail, finished_at) AS detail
        FROM (SELECT DISTINCT audit_id, attribute, drawn_at FROM made) AS audit
        JOIN published ON finished_at > drawn_at
        JOIN (SELECT * FROM {database}.label_quality WHERE {SHIFT}) AS quality
          ON quality.run_id = published.run_id
          AND coalesce(quality.attribute, audit.attribute) = audit.attribute
        GROUP BY audit.audit_id, audit.attribute),
      judged AS (
        SELECT made.*, CASE
            WHEN newest.run IS NULL THEN 'no published run is left'
            WHEN newest.run.model_version <> made.model_version THEN concat(
              'run ', newest.run.run_id, ' published answers of ', newest.run.model_version)
            WHEN shifts.run_id IS NOT NULL THEN concat(
              'run ', shifts.run_id, ' was published with a shift: ', shifts.detail)
          END AS ended_because
        FROM made CROSS JOIN newest
        LEFT JOIN shifts ON shifts.audit_id = made.audit_id AND shifts.attribute = made.attribute)
    SELECT attribute, label, category, statement, ended_because IS NULL AS stands, ended_because,
      bound, observed, labels, right_labels, drawn, confidence, target, more_labels,
      labelled_from, labelled_to, model_version, audit_id, drawn_at, made_at
    FROM judged"""
