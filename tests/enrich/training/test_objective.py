"""What training makes small: rare labels count more where the configuration says so."""

import pytest
import torch
from torch import nn

from enrich.classifiers.interface import Classifier, ModelInputs, ModelOutput
from enrich.training.config import Phase, TrainingConfig
from enrich.training.objective import Objective
from enrich.training.parts import Part

HEADS = Phase(loss="multitask", epochs=1, learning_rate=1e-3)
YES = torch.ones(2, dtype=torch.bool)


class Indifferent(Classifier):
    """Answers every label alike."""

    def __init__(self) -> None:
        nn.Module.__init__(self)

    def forward(self, inputs: ModelInputs) -> ModelOutput:
        return ModelOutput({"style": torch.zeros(2, 2)}, torch.zeros(2, 4), torch.zeros(2, 4))


@pytest.mark.parametrize("balance", [0.0, 0.5, 1.0])
def test_an_indifferent_answer_loses_by_what_the_labels_frequency_gives_away(
    balance: float,
) -> None:
    shares = torch.tensor([0.9, 0.1])
    config = TrainingConfig(name="a", phases=(HEADS,), balance=balance)
    objective = Objective(Indifferent(), HEADS, config, {"style": shares.log()})
    rare = Part(
        inputs=ModelInputs(torch.zeros(2, 1, dtype=torch.long), YES.view(2, 1), YES, YES),
        targets=torch.tensor([[1], [1]]),
        groups=torch.arange(2),
        labelled=torch.tensor([2]),
        own_text=YES,
        share=1.0,
        seed=0,
    )
    wanted = -(shares**balance / (shares**balance).sum())[1].log()
    torch.testing.assert_close(objective(rare), wanted)
