"""Arms: trainings on images that differ from the tier's in what a claim is about, and what is read off them.

A seed also draws the images: which are held out for validation, and, where a tier takes only some of each class, which
training images it takes. All arms have the same images with the same seed, so that their differences stay paired, and
intervals over seeds cover the draw. Test images are the same in all trainings.
"""

from collections.abc import Mapping
from dataclasses import asdict, dataclass, fields, is_dataclass, replace
from functools import lru_cache
from pathlib import Path
from typing import Any

import torch

from models.cifar.data.images import DataConfig, ImageSet, Splits, load_images
from models.cifar.evaluate import LEARNED, evaluate
from models.cifar.methods.processes import rank
from models.cifar.methods.settings import MethodConfig, in_place_of
from models.cifar.training.checks import check, without_idle
from models.cifar.training.config import TrainConfig
from models.cifar.training.state import TrainState
from models.cifar.training.train import fit
from models.environment import resolve_device
from models.run_folder import differing
from paper_checks.tasks import Results
from paper_checks.tiers import Control, Tier
from paper_checks.trainings.transformations import transformation_rows
from theory.numerics.whole_files import to_plain, write_json, write_table

SHUFFLE_SEED = 7


@dataclass(frozen=True)
class Training:
    """One training, evaluated; a task. Its folder is a run folder of models.cifar, without the checkpoint.

    Attributes:
        label: the arm's, and with the seed the folder's name.
        config: with the seed.
        transformations: also predict which transformation an image has gone through, from h and from z; and the probe
            reads z too.
    """

    label: str
    config: TrainConfig
    device: str = "cpu"
    control: Control = "none"
    transformations: bool = False

    @property
    def name(self) -> str:
        """Of the folder."""
        return f"{self.label}-seed{self.config.seed}".replace("/", "_")

    @property
    def alone(self) -> bool:
        """One thread is enough."""
        return False

    @property
    def leaves(self) -> tuple[str, ...]:
        """Tables that claims read."""
        return ("config.json", "epochs.csv", "results.csv", *(("transformations.csv",) if self.transformations else ()))

    def run(self, folder: Path) -> None:
        """Train, evaluate, and leave the tables."""
        device = resolve_device(self.device)
        splits = images(self.config.data, self.control)
        features = LEARNED if self.transformations else ("h",)
        state = train_and_evaluate(self.config, splits, device, folder, features)
        if self.transformations:
            rows = transformation_rows(state.config, state.learner, splits, device)
            write_table(folder / "transformations.csv", rows)


def train_and_evaluate(
    config: TrainConfig, splits: Splits, device: torch.device, folder: Path, features: tuple[str, ...] = ("h",)
) -> TrainState:
    """A training and its evaluation, with config.json and results.csv in the folder; process 0 writes them."""
    config = check(config, splits, device)
    if rank() == 0:
        write_json(folder / "config.json", config)
    # A folder that is not whole is thrown away: nothing would go on from a checkpoint.
    state = fit(config, splits, device, folder, checkpoints=False)
    if rank() == 0:
        # Claims compare arms by the linear probe on h: none reads the baselines, nor nearest neighbors.
        rows = evaluate(
            config, state.learner, splits, device, state.data, baselines=False, features=features, probes=("linear",)
        )
        write_table(folder / "results.csv", rows)
    return state


@lru_cache(maxsize=1)
def images(config: DataConfig, control: Control) -> Splits:
    """The images; with the control every class is given to an image drawn at random, in each part for itself."""
    splits = load_images(config)
    if control == "none":
        return splits
    generator = torch.Generator().manual_seed(SHUFFLE_SEED)

    def shuffled(part: ImageSet) -> ImageSet:
        return replace(part, labels=part.labels[torch.randperm(len(part), generator=generator)])

    # One generator: their order is part of what is drawn.
    train, validation, test = (shuffled(part) for part in (splits.train, splits.validation, splits.test))
    return replace(splits, train=train, validation=validation, test=test)


def changed(config: Any, changes: Mapping[str, Any]) -> Any:
    """A configuration with some settings changed, named as on the command line: "method.name", "epochs". Another
    method keeps the temperature of a loss that it shares; its other settings are its defaults.

    Raises:
        ValueError: an unknown setting, or a value out of range.
    """
    if isinstance(config, MethodConfig) and changes.get("name", config.name) != config.name:
        return in_place_of(config, **changes)
    here = {name: value for name, value in changes.items() if "." not in name}
    for group in dict.fromkeys(name.split(".", 1)[0] for name in changes if "." in name):
        inner = {name.split(".", 1)[1]: value for name, value in changes.items() if name.startswith(f"{group}.")}
        if not is_dataclass(getattr(config, group, None)):
            raise ValueError(f"{group}: is no group of settings")
        here[group] = changed(getattr(config, group), inner)
    unknown = set(here) - {each.name for each in fields(config)}
    if unknown:
        raise ValueError(f"{', '.join(sorted(unknown))}: no such setting")
    return replace(config, **here)


# Configurations are checked as they are made, and claims name their tasks at every look.
@lru_cache(maxsize=8192)
def seeded(config: TrainConfig, seed: int) -> TrainConfig:
    """The training of one seed, with its draw of images."""
    drawn = replace(config.data, split_seed=seed, limit_seed=None if config.data.limit is None else seed)
    return replace(config, seed=seed, data=drawn)


@dataclass(frozen=True)
class Arm:
    """A setting that is trained with every seed: the tier's, with changes.

    Attributes:
        changes: pairs of a setting's name and its value; those that change nothing are the tier's arm.
    """

    changes: tuple[tuple[str, Any], ...] = ()

    def with_(self, **changes: Any) -> "Arm":
        """Further changes; a double underscore stands for the dot."""
        return Arm(tuple({**dict(self.changes), **{k.replace("__", "."): v for k, v in changes.items()}}.items()))

    def label(self, tier: Tier) -> str:
        """What differs from the tier's own training, for people and for folders."""
        config, base = changed(tier.config, dict(self.changes)), tier.config
        words = []
        if config.method.name != base.method.name:
            words, base = [config.method.name], replace(base, method=type(config.method)())
        for name, (value, _) in differing(asdict(config), asdict(base)).items():
            words.append(f"{name.removeprefix('method.')}={_word(value)}")
        return ",".join(words) or "base"

    def trainings(self, tier: Tier) -> list[Training]:
        """One task a seed. Of the tier's own arm it is also asked which transformations its features tell."""
        label, config, same = _trained(self, tier.at(1))
        return [Training(label, seeded(config, seed), tier.device, tier.control, same) for seed in tier.all_seeds]

    def values(
        self, results: Results, tier: Tier, column: str = "accuracy", *, features: str = "h", probe: str = "linear"
    ) -> dict[int, float]:
        """By seed, a column of results.csv: by default the test accuracy of the linear probe on h."""
        found = {}
        for task in self.trainings(tier):
            rows = results.table(task, "results")
            found[task.config.seed] = next(r[column] for r in rows if (r["features"], r["probe"]) == (features, probe))
        return found

    def tables(self, results: Results, tier: Tier, name: str) -> dict[int, list[dict]]:
        """By seed, the rows of another table: epochs, layers, scores."""
        return {task.config.seed: results.table(task, name) for task in self.trainings(tier)}


@lru_cache(maxsize=1024)
def _trained(arm: Arm, tier: Tier) -> tuple[str, TrainConfig, bool]:
    """Label and configuration of an arm, and whether it is the tier's own."""
    # A tier has sizes for all heads; what an arm's own does not read makes no other training of it.
    config, base = (without_idle(each) for each in (changed(tier.config, dict(arm.changes)), tier.config))
    same = config == base
    if tier.precision is not None and tier.precision != config.precision:
        arm, config = arm.with_(precision=tier.precision), replace(config, precision=tier.precision)
    return arm.label(tier), config, same


def of_batch_size(arm: Arm, size: int, tier: Tier) -> Arm:
    """The arm with another batch size and a learning rate that suits it: linear in the size for SGD and LARS (as in
    SimCLR's paper), its square root for AdamW (whose steps do not grow with the gradient)."""
    power = 0.5 if tier.config.optimiser.kind == "adamw" else 1.0
    rate = tier.config.optimiser.learning_rate * (size / tier.config.batch_size) ** power
    return arm.with_(batch_size=size, optimiser__learning_rate=rate)


BASE = Arm()
SIMCLR = BASE
MOCO = BASE.with_(method__name="moco")


def _word(value: Any) -> str:
    plain = to_plain(value)
    return f"{plain:g}" if isinstance(plain, float) else str(plain)
