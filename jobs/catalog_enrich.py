"""Console script with all commands: `catalog-enrich COMMAND`.

A command has the flags, exit codes and last line of its file in `jobs/`. Only the called command's
file is imported, so that `--help` is quick.
"""

import sys
from collections.abc import Mapping
from importlib import import_module
from pathlib import Path
from typing import Any

import typer
from typer.core import TyperCommand, TyperGroup

from enrich.cli import run_app
from enrich.errors import EnrichError, load_extra

# Each command's function and its line in --help, in the order of a user's first steps.
COMMANDS: Mapping[str, tuple[str, str]] = {
    "enrich": ("enrich_catalog:main", "Enrich a product table, or the demo, into Delta tables."),
    "check": ("check_settings:main", "Check settings and all that they name, without Spark."),
    "approve": ("enrich_catalog:approve_run", "Publish the candidates of a run that waits."),
    "discard": ("enrich_catalog:discard_run", "Discard the candidates of a run that waits."),
    "rollback": ("rollback:main", "Undo what a run and later runs published."),
    "review": ("review:main", "Write a page with pictures on which people label products."),
    "corrections import": ("import_corrections:main", "Record labels given by people."),
    "corrections export": ("export_corrections:main", "Write people's labels to a file."),
    "audit": ("audit:main", "Prove by a blind sample how many published labels are right."),
    "baseline": ("build_label_baseline:main", "Count labels as the baseline of later runs."),
    "maintain": ("maintain_tables:main", "Compact the tables, and delete what no reader needs."),
    "classify": ("classify_table:main", "Classify the products of a file, without Spark."),
    "explain": ("explain_product:main", "Draw what the classifier looked at in one product."),
    "adapt": ("adapt_checkpoint:main", "Fit a checkpoint to a shop with labelled products."),
    "attributes add": ("add_attribute:main", "Add your own attribute with labelled products."),
    "train": ("train_classifier:main", "Train a classifier on labelled products."),
    "compare": ("compare:main", "Compare checkpoints on labelled products."),
    "export": ("export_checkpoint:main", "Write a checkpoint that computes in int8, for CPUs."),
}
GROUPS = {
    "corrections": "Record people's labels, or write them to a file.",
    "attributes": "Add attributes of your own to a checkpoint.",
}


class _LazyGroup(TyperGroup):
    """Group that imports only the command that is called or completed."""

    def resolve_command(self, ctx: Any, args: list[str]) -> Any:
        """Return the command at the start of `args`, with its name and the rest."""
        name, command, rest = super().resolve_command(ctx, args)
        path = str(name) if ctx.parent is None else f"{ctx.info_name} {name}"
        return name, load_command(COMMANDS[path][0]) if path in COMMANDS else command, rest


def load_command(target: str) -> Any:
    """Return the command of a function, given as `module:function` of `jobs`.

    Raises:
        ConfigError: The module needs Spark, and Spark is not installed.
    """
    module, _, function = target.partition(":")
    try:
        found = import_module(f"jobs.{module}")
    except ModuleNotFoundError:
        load_extra("pyspark", "spark")
        raise
    app = typer.Typer(add_completion=False)
    app.command()(getattr(found, function))
    return typer.main.get_command(app)


def catalog_enrich() -> None:
    """Fill color, pattern and style of product tables from texts and pictures.

    `catalog-enrich COMMAND --help` lists a command's flags. Start with `catalog-enrich enrich`.
    """


def build_group() -> Any:
    """Return the group of all commands, without importing them."""
    app = typer.Typer(cls=_LazyGroup)
    app.callback()(catalog_enrich)
    top: Any = typer.main.get_command(app)
    for path, (_, line) in COMMANDS.items():
        group, _, name = path.rpartition(" ")
        if group and group not in top.commands:
            top.add_command(_LazyGroup(name=group, help=GROUPS[group]))
        (top.commands[group] if group else top).add_command(TyperCommand(name, help=line))
    return top


def explain(error: Exception) -> EnrichError | None:
    """Return the known error behind an exception of Spark, or None."""
    if "pyspark" not in sys.modules:
        return None
    from enrich.spark.failures import explain_failure

    return explain_failure(error)


def main() -> None:
    """Run a command; without a command, list all."""
    if len(sys.argv) == 1:
        sys.argv.append("--help")
    run_app(build_group(), Path(__file__), explain)


if __name__ == "__main__":
    main()
