"""A table of the classifiers for people: what each does, where it is from, what it starts from."""

import inspect

from rich.markup import escape
from rich.table import Table

from enrich.classifiers.interface import Classifier
from enrich.classifiers.registry import CLASSIFIERS


def list_classifiers() -> Table:
    """Returns one row a classifier."""
    table = Table("classifier", "what it does", "paper", "starts from", show_lines=True)
    for name, classifier in CLASSIFIERS.items():
        starts_from = "\n".join(classifier.starts_from)
        table.add_row(name, escape(summarise(classifier)), classifier.paper, starts_from)
    return table


def summarise(classifier: type[Classifier]) -> str:
    """Returns the first line of the classifier's docstring."""
    return inspect.cleandoc(classifier.__doc__ or "").partition("\n")[0]
