"""What is measured on real features: affinities of a head, scores of positives and negatives, angles of augmentations.

Everything is computed in float64, whatever precision the features come in. Sources: theory.md, sections 0, 2b and 4;
alignment and uniformity: Wang & Isola 2020 (arXiv 2005.10242).
"""

import math
from collections.abc import Iterator
from dataclasses import dataclass

import torch
from jaxtyping import Float, Int
from torch import Tensor

from models.head_output import HeadOutput, Reading, unit_or_zero
from models.losses.common import label_index, others_alike, require_alike, require_rows
from models.losses.measured import measure_affinity
from models.tiled import choose_tile_rows, row_tiles
from theory.affinity import unit_points
from theory.batches.clusters import index_labels
from theory.loss_certificate import certified_sharpness
from theory.measurements import linear_quantile, pair_quantiles
from theory.noise_ceiling import bounded_separation
from theory.numerics.inputs import Array, require_count, require_number
from theory.numerics.precision import numerical_threshold

# Shares of within-class and cross cosines that quantile versions leave out on real data, where the extremes of all
# pairs are mislabelled or odd images.
LEVEL = 0.05
ANGLE_LEVELS = (0.05, 0.25, 0.5, 0.75, 0.95)
# Temperature of uniformity and power of alignment in Wang & Isola.
UNIFORMITY_SCALE = 2.0


# --- affinities -------------------------------------------------------------------------------------------------------


@torch.no_grad()
def affinity_report(output: HeadOutput, labels: Array, views: int = 1) -> list[dict]:
    """One row a reading, then one row a traced mixing block; the same keys in all, NaN where one does not apply.

    Rows whose class occurs once in the batch have no neighbours to find and are left out, as in Theorem 4.

    Args:
        output: a head's, its own stream only; with a trace for the attention of its blocks.
        labels: classes (n,), integers, in the order of the output's rows (all of the first view, then the second).
        views: of every image, among the rows.

    Returns:
        Keys of a row:
        part, "reading" or "attention"; index, which of them, from 0;
        sharpness, mean affinity sharpness of the squared_relu readout, and chance, that of uniform attention;
        integrity, 5 % quantile of within-class cosines minus 95 % quantile of cross cosines, heads averaged;
        jsd, of the affinity to the classes' target, and certified, the sharpness that it guarantees (Theorem 4);
        class_mass, the mean weight that a row gives to its own class, itself included, heads averaged;
        others_mass, the mean share that its class has of the weight that a row gives to rows of other images, which is
        what turning to one's class means: weight on oneself, or on one's other view, is none of it.

    Raises:
        ValueError: labels of another shape or type, of one class only, or every class once; views that do not divide
            the rows.
    """
    rows = output.embeddings.shape[0]
    if views < 1 or rows % views:
        raise ValueError(f"views: must divide the {rows} rows, got {views}")
    index = label_index(labels, rows, output.embeddings.device)
    others = others_alike(index)
    counted, alike = others > 0, index[:, None] == index
    if bool(alike.all()):
        raise ValueError("labels: must hold at least 2 classes, got 1")
    chance = others[counted].double().mean().item() / (rows - 1)
    empty = dict.fromkeys(
        ("sharpness", "chance", "integrity", "jsd", "certified", "class_mass", "others_mass"), math.nan
    )
    report = [
        {"part": "reading", "index": i, **empty, "chance": chance, **_measure_reading(reading, index, counted)}
        for i, reading in enumerate(output.readings)
    ]
    image = torch.arange(rows, device=index.device) % (rows // views)
    other = image[:, None] != image
    for i, weights in enumerate(output.attentions):
        weights = weights.double().mean(0)
        mass = torch.where(alike, weights, 0.0).sum(-1)
        report.append({"part": "attention", "index": i, **empty, "class_mass": mass[counted].mean().item(),
                       "others_mass": _share(weights, alike & other, other)})  # fmt: skip
    return report


def _share(weights: Tensor, inside: Tensor, whole: Tensor) -> float:
    """Of the weight that rows give to the whole, the share inside: the mean over rows that have an inside, and give the
    whole any weight; NaN if none does."""
    of_inside, of_whole = (torch.where(part, weights, 0.0).sum(-1) for part in (inside, whole))
    shares = (of_inside / of_whole)[inside.any(-1) & (of_whole > 0.0)]
    return shares.mean().item()


def _measure_reading(reading: Reading, index: Tensor, counted: Tensor) -> dict:
    # What the head itself could not tell from round-off must not become a row's only mass.
    resolution = numerical_threshold(reading.queries.dtype)
    found = measure_affinity(_directions(reading.queries) @ _directions(reading.keys).mT, index, resolution)
    integrity = linear_quantile(found.within, LEVEL).item() - linear_quantile(found.cross, 1.0 - LEVEL).item()
    return {
        "sharpness": found.sharpness[counted].mean().item(),
        "integrity": integrity,
        "jsd": float(found.jsd),
        "certified": float(certified_sharpness(float(found.jsd))),
    }


def _directions(vectors: Tensor) -> Tensor:
    """Unit vectors in float64; those that are zero stay so."""
    return unit_or_zero(vectors.double())


# --- scores -----------------------------------------------------------------------------------------------------------


@dataclass(frozen=True)
class ScoreSummary:
    """Cosines of one kind of pair.

    Attributes:
        pairs: how many.
        mean, variance: over the pairs; the variance divides by their number.
        counts: pairs in each of the bins of equal width that divide [-1, 1]; a bin holds its lower edge, the last one 1
            too.
    """

    pairs: int
    mean: float
    variance: float
    counts: Int[Tensor, " bins"]


@dataclass(frozen=True)
class ScoreReport:
    """Positives and negatives of one batch or set of two views.

    Attributes:
        positive: cosines of the two views of one image.
        negative: cosines of all other unordered pairs of the 2n embeddings.
        alignment: mean squared distance of the unit embeddings of the two views, in [0, 4]; 0 is perfect.
        uniformity: log of the mean of exp(-2 squared distance) over the pairs of different images of one view, averaged
            over the views; in [-8, 0], lower is more uniform.
    """

    positive: ScoreSummary
    negative: ScoreSummary
    alignment: float
    uniformity: float


@torch.no_grad()
def score_report(
    view_a: Float[Tensor, "n d"], view_b: Float[Tensor, "n d"], bins: int = 50, *, tile_rows: int | None = None
) -> ScoreReport:
    """Scores of two views of n images, in row tiles: O(n^2 d) time, never an n x n matrix when n is large.

    Args:
        view_a, view_b: embeddings of any norm, row i of both from image i.
        bins: of the histograms over [-1, 1].
        tile_rows: None chooses.

    Raises:
        ValueError: NaN, zero vectors, fewer than 2 images, views of different shapes, bins below 1.
    """
    require_count(bins, "bins", 1)
    a, b = _unit(view_a, "view_a", minimum=2), _unit(view_b, "view_b", minimum=2)
    require_alike(a, b, "view_a", "view_b")
    rows = choose_tile_rows(a) if tile_rows is None else require_count(tile_rows, "tile_rows", 1)
    positive, negative = _Scores(bins), _Scores(bins)
    positive.add((a * b).sum(-1))
    closeness = []
    for view in (a, b):
        total = 0.0
        for cosines in _distinct_pairs(view, view, rows, ordered=False):
            negative.add(cosines)
            total += (-2.0 * UNIFORMITY_SCALE * (1.0 - cosines)).exp().sum().item()
        closeness.append(math.log(total / (len(a) * (len(a) - 1) / 2)))
    for cosines in _distinct_pairs(a, b, rows, ordered=True):
        negative.add(cosines)
    alignment = (a - b).square().sum(-1).mean().item()
    return ScoreReport(positive.summary(), negative.summary(), alignment, sum(closeness) / 2)


def _distinct_pairs(first: Tensor, second: Tensor, tile_rows: int, ordered: bool) -> Iterator[Tensor]:
    """Cosines of row i of ``first`` with row j of ``second``, i != j (``ordered``) or i < j, a tile at a time."""
    columns = torch.arange(len(second), device=second.device)
    for tile in row_tiles(len(first), tile_rows):
        start = 0 if ordered else tile.start
        rows, others = columns[tile, None], columns[start:]
        cosines = first[tile] @ second[start:].mT
        yield cosines[rows != others] if ordered else cosines[rows < others]


class _Scores:
    """Counts, mean and variance of cosines that arrive in parts."""

    def __init__(self, bins: int) -> None:
        self.bins, self.pairs, self.mean, self.squares = bins, 0, 0.0, 0.0
        self.counts = torch.zeros(bins, dtype=torch.int64)

    def add(self, cosines: Tensor) -> None:
        """Merge the part's mean and squared deviations (Chan et al. 1983): sums of squares would cancel."""
        if cosines.numel() == 0:
            return
        cosines = cosines.clamp(-1.0, 1.0)
        place = ((cosines + 1.0) * (self.bins / 2)).long().clamp_max(self.bins - 1)
        self.counts += torch.bincount(place, minlength=self.bins).cpu()
        count, mean = cosines.numel(), cosines.mean()
        total, gap = self.pairs + count, mean.item() - self.mean
        self.squares += (cosines - mean).square().sum().item() + gap**2 * self.pairs * count / total
        self.mean += gap * count / total
        self.pairs = total

    def summary(self) -> ScoreSummary:
        return ScoreSummary(self.pairs, self.mean, self.squares / self.pairs, self.counts)


# --- angles -----------------------------------------------------------------------------------------------------------


@torch.no_grad()
def view_angles(anchor_features: Float[Tensor, "n d"], view_features: Float[Tensor, "n d"]) -> Float[Tensor, " n"]:
    """phi_i, the angle in radians, [0, pi], between the features of a view and those of its image without augmentation.

    Raises:
        ValueError: NaN, zero vectors, no rows, features of different shapes.
    """
    anchors, views = _unit(anchor_features, "anchor_features"), _unit(view_features, "view_features")
    require_alike(anchors, views, "anchor_features", "view_features")
    # An arccos of cosines near 1 would lose half of the digits of a small angle.
    return 2.0 * torch.atan2((anchors - views).norm(dim=-1), (anchors + views).norm(dim=-1))


def class_angles(features: Float[Tensor, "n d"], labels: Array, quantile: float = LEVEL) -> tuple[float, float]:
    """(theta_w, theta_b), radians: the angle within which all but a share ``quantile`` of the within-class pairs lie,
    and the one that all but this share of the cross pairs exceed. Memory O(n^2): take a few thousand rows.

    Args:
        labels: integers (n,), at least 2 classes of at least 2 rows.
        quantile: in [0, 1/2]; 0 takes the extremes, which Theorem 2b is about.

    Raises:
        ValueError: NaN, zero vectors, labels, quantile out of range.
    """
    require_number(quantile, "quantile", 0.0, 0.5)
    within, cross = pair_quantiles(_unit(features, "features"), labels, quantile)
    return math.acos(_clipped(within)), math.acos(_clipped(cross))


def closer_cross_pairs(features: Float[Tensor, "n d"], labels: Array) -> float:
    """Share of the cross pairs that are closer than the farthest within-class pair: Theorem 2b applies where it is 0.
    Memory O(n^2).

    Raises:
        ValueError: NaN, zero vectors, labels.
    """
    unit = _unit(features, "features")
    farthest, _ = pair_quantiles(unit, labels, 0.0)
    index = torch.as_tensor(index_labels(labels)[1], device=unit.device)
    cross = (unit @ unit.mT)[index[:, None] != index]
    return (cross > farthest).double().mean().item()


def angle_report(anchor_features: Float[Tensor, "n d"], view_features: Float[Tensor, "n d"]) -> dict[str, float]:
    """phi_q05, phi_q25, phi_q50, phi_q75, phi_q95, phi_max: quantiles of ``view_angles``, linearly interpolated. No
    labels are needed.

    Raises:
        ValueError: as ``view_angles``.
    """
    phi = view_angles(anchor_features, view_features)
    quantiles = {f"phi_q{round(100 * level):02d}": linear_quantile(phi, level).item() for level in ANGLE_LEVELS}
    return quantiles | {"phi_max": phi.max().item()}


def ceiling_report(
    anchor_features: Float[Tensor, "n d"], view_features: Float[Tensor, "n d"], labels: Array, quantile: float = LEVEL
) -> dict[str, float]:
    """Angles of augmentations beside Theorem 2b's ceiling for bounded noise. A comparison, not a guarantee.

    Theorem 2b promises a separated batch where every view turns by less than (theta_b - theta_w)/4, with theta_w and
    theta_b those of all pairs. Here they are quantiles, and some views may turn further, so nothing is promised, unless
    ``quantile`` is 0 and ``share_below`` is 1: then the views of these very images are separated.

    Returns:
        ``angle_report``; theta_within, theta_between of the anchors; ceiling, the angle (theta_b - theta_w)/4, 0 where
        theta_b <= theta_w; share_below, the share of views with phi below it; quantile; closer, as
        ``closer_cross_pairs`` of the anchors, whatever the quantile.

    Raises:
        ValueError: as ``view_angles`` and ``class_angles``.
    """
    phi = view_angles(anchor_features, view_features)
    within, between = class_angles(anchor_features, labels, quantile)
    ceiling = math.asin(bounded_separation(within, between))
    return {
        **angle_report(anchor_features, view_features),
        "theta_within": within,
        "theta_between": between,
        "ceiling": ceiling,
        "share_below": (phi < ceiling).double().mean().item(),
        "quantile": float(quantile),
        "closer": closer_cross_pairs(anchor_features, labels),
    }


# --- shared -----------------------------------------------------------------------------------------------------------


def _unit(features: Tensor, name: str, minimum: int = 1) -> Tensor:
    require_rows(features, name, minimum, nonzero=True)
    return unit_points(features.double())


def _clipped(cosine: Tensor) -> float:
    return min(max(float(cosine), -1.0), 1.0)
