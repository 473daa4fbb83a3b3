"""Trainings that are asked, when they are done, for the limit that the advisor predicts from validation features."""

import math
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Literal

from models.advisor.advice import Answer, Status
from models.advisor.answers import advise
from models.advisor.critical_strength import critical_strength
from models.advisor.inputs.features import FeatureSet
from models.cifar.evaluation.strengths import embed_strengths
from models.cifar.training.checks import check
from models.cifar.training.config import TrainConfig
from models.cifar.training.train import fit
from models.environment import resolve_device
from paper_checks.tiers import Control
from paper_checks.trainings.arms import images
from theory.numerics.whole_files import write_json, write_table

Question = Literal["strength", "floor", "nothing"]
FLOORS = ("batch_floor", "batch_floor_certified")
STRENGTH = "strength_relu"


@dataclass(frozen=True)
class LimitTraining:
    """One training, its validation accuracy (in epochs.csv) and what the advisor says of its features; a task.

    Attributes:
        label: the arm's, and with the seed the folder's name.
        config: with the seed; measures features after the last epoch.
        asks: for the critical strength, for the batch floor, or for nothing.
        strengths: that validation images are embedded at.
    """

    label: str
    config: TrainConfig
    asks: Question
    strengths: tuple[float, ...]
    device: str = "cpu"
    control: Control = "none"

    @property
    def name(self) -> str:
        """Of the folder."""
        return f"limits,{self.label}-seed{self.config.seed}"

    @property
    def alone(self) -> bool:
        """One thread is enough."""
        return False

    @property
    def leaves(self) -> tuple[str, ...]:
        """Tables that claims read."""
        return ("config.json", "epochs.csv", *(() if self.asks == "nothing" else ("advice.csv",)))

    def run(self, folder: Path) -> None:
        """Train, embed, ask, and leave the tables."""
        device = resolve_device(self.device)
        splits = images(self.config.data, self.control)
        config = check(self.config, splits, device)
        write_json(folder / "config.json", config)
        state = fit(config, splits, device, folder, checkpoints=False)
        if self.asks == "nothing":
            return
        size = config.view_shape(config.epochs - 1, *splits.train.images.shape[2:])
        try:
            features = embed_strengths(
                state.learner.encoder, splits.validation, config.view, self.strengths, config.batch_size, device,
                size=size,
            )  # fmt: skip
        except ValueError as error:
            # Collapsed features: attention cannot see classes in them.
            answers = [_none(name, str(error)) for name in ((STRENGTH,) if self.asks == "strength" else FLOORS)]
        else:
            answers = _strength(features) if self.asks == "strength" else _floors(features)
        write_table(folder / "advice.csv", [_row(answer) for answer in answers])


def _strength(features: FeatureSet) -> list[Answer]:
    return [critical_strength(features) or _none(STRENGTH, "attention does not see the classes")]


def _floors(features: FeatureSet) -> list[Answer]:
    known = {answer.name: answer for answer in advise(features.embeddings, features.classes).answers}
    return [known.get(name) or _none(name, "asked at a threshold, which is undecided") for name in FLOORS]


def _none(name: str, why: str) -> Answer:
    return Answer(name, name, None, None, None, Status.UNDECIDED, why)


def _row(answer: Answer) -> dict:
    found = {name: asdict(answer)[name] for name in ("name", "value", "low", "high", "status", "meaning")}
    return {name: math.nan if value is None else str(value) if name == "status" else value
            for name, value in found.items()}  # fmt: skip
