"""The files of a checkpoint that say how it was trained, and how what it learnt from was."""

from pathlib import Path

import yaml

from enrich.classifiers.interface import Classifier
from enrich.training.config import TrainingConfig
from enrich.training.opinions import read_recipe

TOWER_RECIPE = "image_tower_training.yaml"
_OPINIONS_RECIPE = "opinions_training.yaml"


def collect_recipes(config: TrainingConfig, classifier: Classifier) -> dict[str, str]:
    """Returns the content of each file by its name.

    All settings of the run, defaults too, so that they outlive a change of defaults. Beside them
    those of what was trained before: the image tower, and who had opinions.

    Raises:
        ConfigError: a file of opinions does not say what it is from.
    """
    settings = config.model_dump(mode="json", exclude={"cache"})
    recipes = {"training.yaml": yaml.safe_dump(settings, sort_keys=False)}
    if config.image_tower is not None and not classifier.image_tower.absent:
        # That checkpoint may have taken its tower from another one; then it says how that was
        # trained.
        files = (config.image_tower / name for name in (TOWER_RECIPE, "training.yaml"))
        if (of_tower := next(filter(Path.exists, files), None)) is not None:
            recipes[TOWER_RECIPE] = of_tower.read_text()
    if config.opinions:
        heard = [read_recipe(file) for file in config.opinions]
        recipes[_OPINIONS_RECIPE] = yaml.safe_dump_all(heard, sort_keys=False)
    return recipes


def remove_others(folder: Path, recipes: dict[str, str]) -> None:
    """Removes what an earlier run left there of a tower or of opinions that this one lacks."""
    for name in {TOWER_RECIPE, _OPINIONS_RECIPE} - recipes.keys():
        (folder / name).unlink(missing_ok=True)
