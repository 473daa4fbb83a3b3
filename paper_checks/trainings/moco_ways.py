"""Ways to read MoCo with feature transformation (arXiv 2108.02982): what its paper leaves open, as settings of arms."""

from dataclasses import dataclass, replace
from typing import Any

from paper_checks.tiers import Tier
from paper_checks.trainings.arms import MOCO, Arm

# The paper's queue holds 5 % of its images (65,536 of ImageNet's 1.3 million); small queues of tiers hold 2 to 10 % of
# theirs. models.cifar's default, 4096 or half of the training images, keeps keys for many steps, which move features
# far in short trainings: at momentum .9 and below scores then collapse to 1 (registered/readings.md).
SMALL, HALF = "a queue of a few per cent of the images", "a queue of 4096, or half of the images"
HIGH_MOMENTUM = 0.999
# Scores of the first epochs move for every momentum, and say nothing about any.
FIRST_EPOCHS = 2
# What comes after them: of fewer epochs steadiness would be one or two differences.
FOLLOWED = 6


@dataclass(frozen=True)
class Way:
    """One way to read the paper: settings of its arms.

    Attributes:
        name: what is chosen, in words.
        moco: of all arms, by setting of the method.
        transform: of the arms that transform features.
        half: whether the queue has models.cifar's default size, not the tier's small one.
    """

    name: str
    moco: tuple[tuple[str, Any], ...] = ()
    transform: tuple[tuple[str, Any], ...] = ()
    half: bool = False

    def _settings(self, tier: Tier) -> dict[str, Any]:
        return ({} if self.half else {"queue_size": tier.small_queue}) | dict(self.moco)

    def plain(self, tier: Tier) -> Arm:
        """MoCo."""
        return MOCO.with_(**{f"method__{name}": value for name, value in self._settings(tier).items()})

    def transformed(self, tier: Tier, **changes: Any) -> Arm:
        """MoCo with feature transformation; by default of positives and negatives."""
        settings = {**self._settings(tier), **dict(self.transform), **changes}
        if settings.get("positives") == "none":
            # The query is the plain one then.
            settings.pop("negatives_query", None)
        return MOCO.with_(method__name="moco_ft", **{f"method__{name}": value for name, value in settings.items()})

    def positives(self, tier: Tier, **changes: Any) -> Arm:
        """Positives alone: extrapolated unless changed."""
        return self.transformed(tier, negatives="none", **changes)

    def negatives(self, tier: Tier, **changes: Any) -> Arm:
        """Negatives alone."""
        return self.transformed(tier, positives="none", **changes)

    def choices(self, tier: Tier) -> dict[str, Arm]:
        """What is transformed -> arm."""
        return {"neither": self.plain(tier), "positives": self.positives(tier), "negatives": self.negatives(tier),
                "both": self.transformed(tier)}  # fmt: skip

    def positive_betas(self, tier: Tier) -> dict[float, Arm]:
        """Beta parameter -> arm."""
        return {value: self.positives(tier, positive_beta=value) for value in (0.2, 2.0, 8.0)}

    def negative_betas(self, tier: Tier) -> dict[float, Arm]:
        """Beta parameter -> arm."""
        return {value: self.negatives(tier, negative_beta=value) for value in (0.2, 1.6, 8.0)}

    def momenta(self, tier: Tier) -> dict[float, Arm]:
        """Momentum -> MoCo, whose scores are followed through training."""
        values = (0.0, 0.5, 0.9, 0.99, *(value for name, value in self.moco if name == "momentum"))
        epochs = max(tier.config.epochs, FIRST_EPOCHS + FOLLOWED)
        own = replace(self, moco=()).plain(tier).with_(measure_every=1, epochs=epochs)
        return {value: own.with_(method__momentum=value) for value in values}


MAIN = Way("one weight a coordinate, negatives scored by the plain query, not normalized again, momentum .99, "
           f"{SMALL}")  # fmt: skip
# As the command that the authors' code publishes has it.
AUTHORS = Way(
    "the authors' code (one weight a step, negatives scored by the transformed query, momentum .999)",
    (("momentum", HIGH_MOMENTUM),),
    (("weights", "step"), ("negatives_query", "transformed")),
)
ROW = Way("one weight a row", transform=(("weights", "row"),))
STEP = Way("one weight a step", transform=(("weights", "step"),))
QUERY = Way("negatives scored by the transformed query", transform=(("negatives_query", "transformed"),))
NORMALIZED = Way("normalized again", transform=(("renormalize", True),))
SLOW = Way("momentum .999", (("momentum", HIGH_MOMENTUM),))
LARGE = Way(HALF, half=True)
WAYS = (AUTHORS, QUERY, STEP, ROW, NORMALIZED, SLOW, LARGE)
# Where the queue alone is transformed, at both of its sizes.
QUEUE_MAIN = "one weight a coordinate, not normalized again, momentum .99"
STEP_SLOW = Way("the authors' code (one weight a step, momentum .999)", AUTHORS.moco, STEP.transform)
# Where momentum is varied.
MOMENTA_MAIN = f"momenta up to .99, {SMALL}"
TO_HIGH = Way("momenta up to .999", SLOW.moco)
