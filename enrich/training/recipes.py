"""The files of a checkpoint that say how it was trained, and how what it learnt from was."""

from pathlib import Path

import yaml

from enrich.classifiers.interface import Classifier
from enrich.errors import ConfigError
from enrich.training.config import TrainingConfig

TOWER_RECIPE = "image_tower_training.yaml"
_HALVES_RECIPE = "half_towers_training.yaml"


def collect_recipes(config: TrainingConfig, classifier: Classifier) -> dict[str, str]:
    """Returns the content of each file by its name.

    All settings of the run, defaults too, so that they outlive a change of defaults. Beside them
    those of what was trained before: the image tower, and the towers of the halves.

    Raises:
        ConfigError: a half has no tower.
    """
    settings = config.model_dump(mode="json", exclude={"cache"})
    recipes = {"training.yaml": yaml.safe_dump(settings, sort_keys=False)}
    if config.image_tower is not None and not classifier.image_tower.absent:
        # That checkpoint may have taken its tower from another one; then it says how that was
        # trained.
        files = (config.image_tower / name for name in (TOWER_RECIPE, "training.yaml"))
        if (of_tower := next(filter(Path.exists, files), None)) is not None:
            recipes[TOWER_RECIPE] = of_tower.read_text()
    for half_tower in config.half_towers:
        if not (half_tower / "model.safetensors").is_file():
            raise ConfigError(
                f"no checkpoint of a half in {half_tower}: train one on half=0, one on half=1"
            )
    of_halves = [half_tower / "training.yaml" for half_tower in config.half_towers]
    if of_halves and all(file.exists() for file in of_halves):
        recipes[_HALVES_RECIPE] = "---\n".join(file.read_text() for file in of_halves)
    return recipes


def remove_others(folder: Path, recipes: dict[str, str]) -> None:
    """Removes what an earlier run left there of other towers, which this one lacks."""
    for name in {TOWER_RECIPE, _HALVES_RECIPE} - recipes.keys():
        (folder / name).unlink(missing_ok=True)
