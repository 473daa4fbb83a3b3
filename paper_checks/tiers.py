"""Tiers: how much is spent on every claim. The rules are the same in all of them."""

from dataclasses import dataclass, replace
from pathlib import Path
from typing import Literal, get_args

from models.cifar.data.images import DIGITS, DataConfig
from models.cifar.training.config import HeadChoice, Precision, TrainConfig
from models.cifar.training.recipes import fast_lane
from models.encoders import EncoderConfig
from models.optim import OptimizerConfig
from theory.numerics.inputs import require_choice, require_count

TierName = Literal["quick", "cpu", "gpu"]
Control = Literal["none", "shuffled_labels"]


@dataclass(frozen=True)
class LimitSizes:
    """What is spent on the limits on real data (papers/limits.py), as registered.

    Attributes:
        epochs: of trainings at several strengths.
        smallest_batch: of trainings at several batch sizes.
        epochs_at_smallest_batch: larger batches take as many more.
        seeds: trainings of each arm.
    """

    epochs: int
    smallest_batch: int
    epochs_at_smallest_batch: int
    seeds: int = 5


@dataclass(frozen=True)
class Tier:
    """The budget of a run.

    Attributes:
        name: of the tier.
        config: the training that every arm of an image claim differs from in what the claim is about (SimCLR). Features
            are measured at its end; arms whose claim is about epochs measure after each.
        seeds: trainings of each arm on images: in the first stage, or at the look at hand.
        cap: most seeds that an arm gets while a claim about it is undecided; those of the first stage for no more.
        batch_sizes: smallest and largest batch compared with the base's, which lies between them.
        epochs: shortest and longest training compared with the base's.
        limits: sizes of the trainings that are asked for their limits.
        small_queue: keys of a small queue in claims about its size; the large one is models.cifar's default.
        quick_theory: coarse grids for the synthetic runs.
        device: of the trainings.
        control: shuffled_labels permutes the classes of all images, so that nothing about them can be learned.
        own_claims: whether this toolkit's own claims (L1, L2) are asked where none are named.
        readings: whether claims are also asked in other readings (other_readings.py), which takes more trainings.
        precision: of trainings whose precision is not config's (precisions.py).
        chosen_rates: whether T8, T9 and T10 compare methods each at its best of three learning rates, or all at the
            tier's.
        shown_arms: whether arms are trained that are shown and decide nothing: S1's other pairs, F5's unions.
    """

    name: str
    config: TrainConfig
    seeds: int
    cap: int
    batch_sizes: tuple[int, int]
    epochs: tuple[int, int]
    small_queue: int
    limits: LimitSizes
    quick_theory: bool = True
    device: str = "cpu"
    control: Control = "none"
    readings: bool = True
    own_claims: bool = True
    chosen_rates: bool = True
    shown_arms: bool = True
    precision: Precision | None = None

    def __post_init__(self) -> None:
        require_count(self.seeds, "seeds", 1)
        require_count(self.cap, "cap", self.seeds)

    def at(self, seeds: int) -> "Tier":
        """The same tier at a look with so many seeds."""
        return replace(self, seeds=seeds, cap=max(self.cap, seeds))

    def in_precision(self, precision: Precision) -> "Tier":
        """The same tier, begun in a precision."""
        return replace(self, config=replace(self.config, precision=precision))

    @property
    def all_seeds(self) -> range:
        """0, 1, ..."""
        return range(self.seeds)

    @property
    def digits(self) -> bool:
        """Whether the images are scikit-learn's digits, which have no color."""
        return self.config.data.dataset == DIGITS


QUICK = Tier(
    name="quick",
    config=TrainConfig(
        # Their own size: larger ones take twice the time, and features are no better.
        data=DataConfig(image_size=8),
        encoder=EncoderConfig("small", width=8),
        head=HeadChoice(width=64, out_dim=64),
        optimiser=OptimizerConfig("adamw", learning_rate=3e-3, weight_decay=0.01),
        epochs=10,
        batch_size=128,
        measure_every=10,
        monitor=False,
        measure_images=140,
    ),
    seeds=5,
    # Longer than half an hour only for who asks for it (--cap).
    cap=5,
    batch_sizes=(32, 512),
    epochs=(3, 20),
    small_queue=128,
    limits=LimitSizes(epochs=8, smallest_batch=8, epochs_at_smallest_batch=1),
    readings=False,
    own_claims=False,
    # Eighty trainings more; with --readings they are asked for.
    chosen_rates=False,
    shown_arms=False,
)
FAST = fast_lane()
CPU = Tier(
    name="cpu",
    # The fast lane for few epochs of small views, so that a night holds hundreds of trainings: 55.7 % by the linear
    # probe on validation images after two minutes of one core; with half of the epochs at 24 pixels 55.7 % too.
    # Features are as wide as the last stage: probes of wider ones would take longer than the training.
    config=replace(
        FAST,
        encoder=replace(FAST.encoder, features=None),
        epochs=4,
        view_sizes=(16,),
        measure_every=4,
        # No paper's claim is about it, and it takes as long as half an epoch.
        monitor=False,
    ),
    seeds=5,
    # Looks at 5, 10 and 20: a point takes 15 to 21 seeds where differences deviate by one (statistics/power.py).
    cap=20,
    batch_sizes=(32, 512),
    epochs=(2, 8),
    small_queue=1024,
    limits=LimitSizes(epochs=4, smallest_batch=32, epochs_at_smallest_batch=1),
    quick_theory=False,
    # Both take a third of the time, and decide nothing that a paper claims.
    own_claims=False,
    shown_arms=False,
)
GPU = Tier(
    name="gpu",
    config=TrainConfig(
        encoder=EncoderConfig("resnet18"),
        head=HeadChoice(width=512),
        optimiser=OptimizerConfig("sgd", learning_rate=0.06, weight_decay=5e-4, warmup_epochs=5),
        epochs=100,
        batch_size=512,
        precision="bf16",
        measure_every=100,
        monitor=False,
    ),
    seeds=5,
    cap=20,
    batch_sizes=(128, 2048),
    epochs=(50, 200),
    small_queue=1024,
    limits=LimitSizes(epochs=100, smallest_batch=32, epochs_at_smallest_batch=6),
    quick_theory=False,
    device="cuda",
)
TIERS = {"quick": QUICK, "cpu": CPU, "gpu": GPU}


def tier_of(
    name: TierName,
    images: str | None,
    root: Path | None,
    device: str | None,
    control: Control,
    cap: int | None = None,
    readings: bool | None = None,
) -> Tier:
    """The tier with its images; cap and readings are its own unless given.

    Raises:
        ValueError: an unknown tier or control; images missing where they are needed; a cap below the first stage.
    """
    require_choice(name, "tier", get_args(TierName))
    require_choice(control, "control", get_args(Control))
    tier = TIERS[name]
    if name != "quick" and images is None:
        raise ValueError(f"--images: tier {name} needs the path of an image folder or an archive, or cifar10, cifar100")
    if images is not None:
        tier = replace(tier, config=replace(tier.config, data=replace(tier.config.data, dataset=images, root=root)))
    if cap is not None:
        require_count(cap, "--cap", tier.seeds)
    readings = tier.readings if readings is None else readings
    tier = replace(tier, readings=readings, chosen_rates=tier.chosen_rates or readings)
    return replace(tier, device=device or tier.device, control=control, cap=tier.cap if cap is None else cap)
