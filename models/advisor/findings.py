"""The numbers behind the advice: every question asked once, each answer kept as soon as it is there."""

import math
from collections.abc import Callable, Sequence
from dataclasses import asdict, dataclass
from functools import partial
from pathlib import Path

import numpy as np

from models.advisor.config import AdvisorConfig
from models.advisor.inputs.checks import check_batch_size
from models.advisor.inputs.features import FeatureSet
from models.advisor.pool import Pool, main_strength, pool_of, thinned
from models.advisor.questions.attention import Choice, choose_attention
from models.advisor.questions.certified import (
    CertifiedFloor,
    CertifiedSharpness,
    CertifiedStrength,
    certify_floor,
    certify_sharpness,
    certify_strength,
)
from models.advisor.questions.curves import SizePoint, curve_sizes, size_curve
from models.advisor.questions.depth import DepthCurve, depth_curve
from models.advisor.questions.floor import Floor, row_floor
from models.advisor.questions.geometry import Geometry, geometry
from models.advisor.questions.strength import StrengthLimit, batch_means, strength_limit
from theory.batch_law import Weight
from theory.numerics.whole_files import read_json, write_json

# progress(name, rows done).
Progress = Callable[..., None]
# keep(name, compute) returns what compute says, or what it said when it was asked before.
Keep = Callable[[str, Callable[[], dict]], dict]
SMALLEST_BATCH, LARGEST_BATCH = 16, 256
OWN_ROWS, FEWEST_BATCHES = 8, 8
# Rows that are looked at at every strength, and that certified shares are worked out from.
STRENGTH_ROWS = 5000
OF_THE_BANK = "; batches of new rows are filled from about half of the rows looked at, 5,000 at most"


@dataclass(frozen=True)
class Findings:
    """Numbers of one set of embeddings.

    Attributes:
        pair_strength: of the views that take the place of labels, but where strengths are compared; None with labels.
        num_rows: of the set; ``pool_size``: rows that batches are drawn from, twice as many for view pairs.
        geometry, choices: raw first, then centered; of choices ReLU and softmax each.
        centered: whether to subtract the mean.
        center: (D,) the mean of a random half, which choices are made from, or None.
        weights: kind and weight of the attentions that see the classes; the rest is asked of them.
        sizes: their curves over batch sizes; ``certified``: of each, at the batch size that is asked for.
        floor, certified_floor: of the ReLU attention; None without it, or for view pairs.
        by_strength: their points at every embedded strength, one list a strength.
        limits: of every attention; certified_strength likewise. Empty without views.
        depths: of every attention.
    """

    num_rows: int
    num_classes: int
    width: int
    pair_strength: float | None
    pool_size: int
    batch_size: int
    geometry: tuple[Geometry, Geometry]
    choices: tuple[tuple[Choice, Choice], tuple[Choice, Choice]]
    centered: bool
    center: np.ndarray | None
    weights: tuple[tuple[str, Weight], ...]
    sizes: tuple[SizePoint, ...]
    certified: tuple[CertifiedSharpness, ...]
    floor: Floor | None
    certified_floor: CertifiedFloor | None
    strengths: tuple[float, ...]
    by_strength: tuple[tuple[SizePoint, ...], ...]
    limits: tuple[StrengthLimit, ...]
    certified_strength: CertifiedStrength | None
    depths: tuple[DepthCurve, ...]

    @property
    def paired(self) -> bool:
        """Whether view pairs take the place of labels."""
        return self.pair_strength is not None


def keep_nothing(name: str, compute: Callable[[], dict]) -> dict:
    """Every answer is worked out."""
    return compute()


def no_progress(name: str, rows: int | None = None) -> None:
    """Nobody is told."""


def keep_in(folder: Path) -> Keep:
    """Answers that FOLDER/parts keeps from one start of a run to the next."""

    def keep(name: str, compute: Callable[[], dict]) -> dict:
        path = folder / "parts" / f"{name}.json"
        if path.exists():
            return read_json(path)
        found = compute()
        path.parent.mkdir(exist_ok=True)
        write_json(path, found)
        return found

    return keep


def usual_batch(pool_size: int, chance: float) -> int:
    """Enough rows for eight of a row's own class on average, up to an eighth of the rows, in powers of two from 16 to
    256; never more than half of the rows, with which batches of new rows are filled."""
    enough = 1.0 + OWN_ROWS / chance if chance > 0 else math.inf
    wanted = min(max(min(enough, pool_size / FEWEST_BATCHES), SMALLEST_BATCH), LARGEST_BATCH, pool_size / 2)
    return max(2, 2 ** int(np.log2(wanted)))


def find(
    features: FeatureSet,
    config: AdvisorConfig,
    keep: Keep = keep_nothing,
    progress: Progress = no_progress,
    strength_rows: int | None = None,
) -> Findings:
    """Ask everything.

    Args:
        progress: told the name of every part before it is worked out, and of long ones how many rows are done.
        strength_rows: that strengths and certified shares are worked out from; None is STRENGTH_ROWS.

    Raises:
        ValueError: a batch size that half of these rows do not fill, or an odd one of view pairs; a row equal to the
            mean that is subtracted.
    """
    most = STRENGTH_ROWS if strength_rows is None else strength_rows
    raw, centered, batch_size = pools_of(features, config, most)
    check_batch_size(config.batch_size, int(thinned(raw, most, config.seed).bank.sum()), why=OF_THE_BANK)

    def part(name: str, compute: Callable[[], dict]) -> dict:
        progress(name)
        return keep(name, compute)

    def shape(name: str, pool: Pool) -> Geometry:
        return Geometry(**part(f"geometry_{name}", lambda: asdict(geometry(pool, config.seed))))

    shapes = shape("raw", raw), shape("centered", centered)
    choices, use_centered, weights = choose(raw, centered, batch_size, config, part)
    pool = centered if use_centered else raw
    relu = dict(weights).get("relu")
    sizes = floor = certified_floor = None
    if weights:
        asked = curve_sizes(pool.size, batch_size)
        sizes = part(
            "batch_sizes", lambda: _points(size_curve(pool, weights, asked, config, partial(progress, "batch_sizes")))
        )

    def certified_share(kind: str, weight: Weight) -> CertifiedSharpness:
        some = partial(thinned, pool, most, config.seed)
        return CertifiedSharpness(**part(
            f"certified_{kind}", lambda: asdict(certify_sharpness(some(), kind, weight, batch_size, config))
        ))  # fmt: skip

    certified_shares = tuple(certified_share(*each) for each in weights)
    if relu is not None and not pool.paired:
        found = part("floor", lambda: asdict(row_floor(pool, relu, config)))
        floor = Floor(**found)
        certified_floor = CertifiedFloor(**part("certified_floor", lambda: asdict(certify_floor(pool, relu, config))))
    strengths = features.strengths if weights and len(features.strengths) > 1 else ()
    of_strengths = features, strengths, use_centered, weights, batch_size, config, part
    by_strength, limits = strength_limits(*of_strengths, progress, most)
    certified = _certified_strength(*of_strengths, most)

    def over_depths(kind: str, weight: Weight) -> DepthCurve:
        found = part(f"depth_{kind}", lambda: asdict(depth_curve(pool, kind, weight, batch_size, config)))
        read: dict = {name: tuple(value) if isinstance(value, list) else value for name, value in found.items()}
        return DepthCurve(**read)

    depths = tuple(over_depths(*each) for each in weights)
    return Findings(
        num_rows=features.num_rows, num_classes=len(features.class_names) or features.num_rows,
        width=features.embeddings.shape[1], pair_strength=main_strength(features), pool_size=pool.size,
        batch_size=batch_size,
        geometry=shapes, choices=choices, centered=use_centered, center=pool.center, weights=weights,
        sizes=_read_points(sizes), certified=certified_shares, floor=floor, certified_floor=certified_floor,
        strengths=strengths,
        by_strength=by_strength, limits=limits, certified_strength=certified, depths=depths,
    )  # fmt: skip


def pools_of(features: FeatureSet, config: AdvisorConfig, strength_rows: int | None = None) -> tuple[Pool, Pool, int]:
    """The rows as they are, the centered ones, and the batch size that is asked about.

    Raises:
        ValueError: a batch size that the rows do not fill, or an odd one of view pairs; a row equal to the mean that is
            subtracted.
    """
    most = STRENGTH_ROWS if strength_rows is None else strength_rows
    raw, centered = (pool_of(features, flag, seed=config.seed) for flag in (False, True))
    check_batch_size(config.batch_size, min(raw.size, most))
    # A choice as all others: the rows that stand for new ones have no part in it.
    chance = raw.take(np.flatnonzero(raw.bank)).chance
    batch_size = config.batch_size or usual_batch(raw.size, chance)
    if raw.paired and batch_size % 2:
        raise ValueError(f"batch_size: must be even, as both views of a row are in the batch, got {batch_size}")
    return raw, centered, batch_size


def choose(
    raw: Pool, centered: Pool, batch_size: int, config: AdvisorConfig, part: Keep
) -> tuple[tuple[tuple[Choice, Choice], tuple[Choice, Choice]], bool, tuple[tuple[str, Weight], ...]]:
    """Both attentions on both pools, whether to center, and the attentions that see the classes, by kind."""

    def chosen(name: str, pool: Pool) -> tuple[Choice, Choice]:
        both = partial(choose_attention, pool, batch_size, config)
        return _choices(part(f"attention_{name}", lambda: {"found": [asdict(each) for each in both()]}))

    choices = chosen("raw", raw), chosen("centered", centered)
    use_centered = prefers_centered(*choices)
    return choices, use_centered, tuple((c.kind, c.weight()) for c in choices[use_centered] if c.above_chance)


def prefers_centered(raw: Sequence[Choice], centered: Sequence[Choice]) -> bool:
    """Centering, unless the raw rows are clearly sharper for ReLU attention."""
    before, after = raw[0], centered[0]
    if before.value is None or after.value is None:
        return before.value is None
    return after.sharpness >= before.sharpness - 1.96 * float(np.hypot(before.error, after.error))


def strength_limits(
    features: FeatureSet,
    strengths: Sequence[float],
    centered: bool,
    weights: Sequence[tuple[str, Weight]],
    batch_size: int,
    config: AdvisorConfig,
    part: Keep = keep_nothing,
    progress: Progress = no_progress,
    strength_rows: int | None = None,
) -> tuple[tuple[tuple[SizePoint, ...], ...], tuple[StrengthLimit, ...]]:
    """Every attention at every strength, and the limit of each; nothing without strengths."""
    most = STRENGTH_ROWS if strength_rows is None else strength_rows
    if not strengths:
        return (), ()
    found = []
    for strength in strengths:
        name = f"strength_{exact_name(strength)}"
        told = partial(progress, name)
        make = partial(strength_pool, features, centered, strength, config, most)
        found.append(part(name, partial(_at_strength, make, weights, batch_size, config, told)))
    points = tuple(_read_points(each) for each in found)
    means = [[np.array(values) for values in each["means"]] for each in found]
    chance = found[0]["chance"]
    size = found[0]["pool_size"]
    limits = tuple(
        strength_limit(strengths, [at[k] for at in points], [at[k] for at in means], chance, config.target, size)
        for k in range(len(weights))
    )
    return points, limits


def _certified_strength(
    features: FeatureSet, strengths: Sequence[float], centered: bool, weights: Sequence[tuple[str, Weight]],
    batch_size: int, config: AdvisorConfig, part: Keep, most: int,
) -> CertifiedStrength | None:  # fmt: skip
    if not strengths:
        return None
    pools = [partial(strength_pool, features, centered, strength, config, most) for strength in strengths]
    certified = part("certified_strength", lambda: asdict(certify_strength(pools, strengths, *weights[0], batch_size,
                                                                           config)))  # fmt: skip
    return CertifiedStrength(**certified)


def exact_name(strength: float) -> str:
    """A number in as few digits as tell it from every other one."""
    short = f"{strength:g}"
    return short if float(short) == strength else repr(float(strength))


def _at_strength(
    make: Callable[[], Pool], weights: Sequence[tuple[str, Weight]], batch_size: int, config: AdvisorConfig,
    progress: Callable[[int], None],
) -> dict:  # fmt: skip
    pool = make()
    points = _points(size_curve(pool, weights, [batch_size], config, progress))
    means = [batch_means(pool, weight, batch_size, config).tolist() for _, weight in weights]
    return {**points, "means": means, "chance": pool.chance_at(batch_size), "pool_size": pool.size}


def strength_pool(
    features: FeatureSet, centered: bool, strength: float | None, config: AdvisorConfig, most: int
) -> Pool:
    """What is asked over strengths is interpolated at best, so a part of the rows will do."""
    return thinned(pool_of(features, centered, strength, seed=config.seed), most, config.seed)


def _choices(found: dict) -> tuple[Choice, Choice]:
    relu, softmax = (Choice(**{**each, "rows": tuple(each["rows"])}) for each in found["found"])
    return relu, softmax


def _points(points: Sequence[SizePoint]) -> dict:
    return {"points": [asdict(each) for each in points]}


def _read_points(found: dict | None) -> tuple[SizePoint, ...]:
    return () if found is None else tuple(SizePoint(**each) for each in found["points"])
