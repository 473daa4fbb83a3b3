"""Every public function of theory/ that takes numbers, with arguments that it accepts (test_hostile_numbers.py)."""

import ast
import math
import re
from collections.abc import Callable
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np

import theory
from theory import (
    affinity,
    batch_floor,
    batch_law,
    block_model,
    certified_mean,
    denoising,
    depth_threshold,
    fusion_ceiling,
    loss_certificate,
    measurements,
    neighbour_floor,
    noise_ceiling,
    noise_free,
    persistence,
    restart,
    soft_floor,
    softmax_fusion,
)
from theory.judging import rates
from theory.lemmas import (
    connectivity,
    fusion_rows,
    pair_law,
    simulated_floor,
    soft_graph,
)
from theory.numerics import laplace_rule, precision

NUMERIC = re.compile(r"\b(int|float|Numbers|ClusterSizes)\b")


@dataclass(frozen=True)
class Case:
    """A function, or what stands for a method.

    Attributes:
        name: "module.function".
        call: takes arguments by name.
        accepted: arguments that it accepts.
        low, high: where every number of its results lies.
        may_be_nan: NaN is an answer, and documented.
    """

    name: str
    call: Callable
    accepted: dict
    low: float
    high: float
    may_be_nan: bool = False

    @property
    def numbers(self) -> list[str]:
        """Arguments to be replaced one at a time: all but words, flags, arrays and objects."""
        return [k for k, v in self.accepted.items() if isinstance(v, int | float | tuple) and not isinstance(v, bool)]


def numeric_parameters() -> dict[str, set[str]]:
    """Parameters of every public function of theory/ whose annotation says that they may be numbers."""
    found = {}
    for path in sorted(Path(theory.__file__).parent.rglob("*.py")):
        for node in ast.parse(path.read_text()).body:
            if isinstance(node, ast.FunctionDef) and not node.name.startswith("_"):
                arguments = node.args.args + node.args.kwonlyargs
                texts = {a.arg: ast.unparse(a.annotation) if a.annotation else "" for a in arguments}
                numeric = {k for k, text in texts.items() if NUMERIC.search(text) and "Callable" not in text}
                if numeric:
                    found[f"{path.stem}.{node.name}"] = numeric
    return found


def _case(function, low=-math.inf, high=math.inf, **accepted):
    return Case(f"{function.__module__.rpartition('.')[2]}.{function.__name__}", function, accepted, low, high)


def _method(name, owner, method, low=-math.inf, high=math.inf, **accepted):
    return Case(name, lambda **arguments: getattr(owner, method)(**arguments), accepted, low, high)


RELU = batch_law.Weight("relu", threshold=0.1)
HITS = np.array([3, 0, 5, 2, 2, 5])
LAW = pair_law.PairLaw(8, 0.5, 0.9)
CONNECTION = batch_floor.Connection(0.5, 0.7, 0.01)
POINTS, LABELS = np.random.default_rng(0).standard_normal((6, 3)), np.array([0, 0, 1, 1, 2, 2])
# Sums and products of these do not fit 8 bits.
LAYOUT = {"ambient_dim": 200, "num_clusters": 3, "cluster_size": 100}
COSINES = {"min_within_cos": 0.9, "max_between_cos": 0.1, "delta": 0.05}
TIGHT = {"min_within_cos": 1.0, "delta": 0.05, "mixing": 1.0, "subspace_dim": 2, "depth": 3}
ROWS = fusion_rows.RowLaw(16, 0.5, 0.3, 1.0)
TOKENS = restart.measure_tokens(np.eye(4)[None, None] + 0.2, np.array([0, 0, 1, 1]))
ANGLES = {"theta_within": 0.3, "theta_between": 1.4}
DENOISING = {"noise_level": 0.3, "ambient_dim": 200, "num_clusters": 200, "kappa": 0.5, "depth": 4, "delta": 0.05,
             "mixing": 0.5}  # fmt: skip
SOFTMAX = {"alpha": 0.9, "beta": 0.1, "inverse_temperature": 5.0, "cluster_size": 100, "batch_size": 250}
SUBSPACES = {"ambient_dim": 200, "subspace_dim": 2}
SOFT = soft_graph.soft_descent(3, 16, 0.3, 0.5)
BLOCK = {"within": 0.9, "between": 0.1, "num_clusters": 3, "cluster_size": 100}

CASES = [
    _case(affinity.affinity_matrix, 0.0, 1.0, points=POINTS, threshold=0.1, power=2.0, condition=1.0),
    _case(affinity.effective_threshold, 0.0, 1.0, threshold=0.1, dtype="float64", condition=1.0),
    _case(batch_floor.Connection, 0.0, math.pi, threshold=0.5, radius=0.7, delta=0.01),
    _method("batch_floor.Connection.floor", CONNECTION, "floor", 2, subspace_dim=2),
    _case(batch_law.Weight, 0.0, 300.0, kind="relu", threshold=0.1, power=2.0),
    _case(batch_law.Weight, 0.0, 300.0, kind="exponential", inverse_temperature=5.0),
    _case(batch_law.expected_sharpness, 0.0, 1.0, points=POINTS, labels=LABELS, batch_size=4, weight=RELU),
    _case(batch_law.batch_laws, 0.0, 6.0, points=POINTS, labels=LABELS, batch_sizes=(2, 4), weights=[RELU]),
    _case(certified_mean.divergence_floor, 0.0, 1.0, mean=0.9, count=200, delta=0.05),
    _case(certified_mean.mean_floor, 0.0, 1.0, values=np.array([0.9, 0.8]), delta=0.05),
    _case(certified_mean.batch_floor_of_mean, 0.0, 1.0, average=0.9, num_rows=200, batch_size=3, delta=0.05,
          sampled=100),
    _case(certified_mean.fixed_sequence, 0, 3, floors=(0.9, 0.8, 0.5), targets=0.7),
    _case(certified_mean.asymptotic_interval, 0.0, 1.0, estimate=0.9, influence=np.array([-0.1, 0.1, 0.0]),
          confidence=0.9),
    _case(neighbour_floor.true_neighbours, 0, 1, points=POINTS, labels=LABELS, threshold=0.1),
    _case(neighbour_floor.lonely_probabilities, 0.0, 1.0, hits=HITS, pool_size=200, batch_size=100, neighbours=2),
    _case(neighbour_floor.lonely_share, 0.0, 1.0, hits=HITS, batch_size=4, neighbours=2),
    _case(neighbour_floor.floor_of_hits, 2, 6, hits=HITS, share=0.5, neighbours=2),
    _case(neighbour_floor.neighbour_floor, 2, 6, points=POINTS, labels=LABELS, threshold=0.1, share=0.9, neighbours=1),
    _case(laplace_rule.trapezoid_error, 0.0, step=0.5),
    _case(batch_floor.bounded_connection, 0, 2, min_principal_angle=1.2, noise_level=0.1, num_clusters=3, delta=0.05),
    _case(batch_floor.bounded_radius, 0.0, 2.0, min_principal_angle=1.2, noise_level=0.1),
    _case(batch_floor.connectivity_floor, 2, subspace_dim=2, radius=0.7, delta=0.05),
    _case(batch_floor.proved_floor, 2, subspace_dim=2, radius=0.7, delta=0.05),
    _case(batch_floor.connectivity_certificate, 0.0, subspace_dim=2, radius=0.7, delta=0.05),
    _case(batch_floor.gaussian_floor_certificate, 0.0, subspace_dim=2, ambient_dim=200, num_clusters=200,
          min_principal_angle=1.2, noise_level=0.1, delta=0.05),
    _case(batch_floor.gaussian_connection, 0.0, 2.0, **LAYOUT, min_principal_angle=1.2, noise_level=0.3, delta=0.05),
    _case(batch_floor.gaussian_floor, 2, subspace_dim=2, ambient_dim=200, num_clusters=200, min_principal_angle=1.2,
          noise_level=0.1, delta=0.05),
    _case(batch_floor.is_guaranteed, 0, 1, connection=CONNECTION, subspace_dim=2, cluster_size=50),
    _case(denoising.residual_noise, 0.0, min_cluster_size=4, max_cluster_size=200, **DENOISING),
    _case(denoising.residual_limit, 0.0, 1.0, angle=0.5, min_within_cos=0.9, max_cluster_size=8),
    _case(denoising.denoising_floor, 2, target_angle=0.5, min_within_cos=0.9, largest=200, **DENOISING),
    _case(batch_floor.gaussian_guarantee, 0, 1, subspace_dim=2, **LAYOUT, min_principal_angle=1.2, noise_level=0.3,
          delta=0.05),
    _case(depth_threshold.spherical_tail, 0.0, 1.0, dim=200, cosine=0.3),
    _case(depth_threshold.tail_constant, 1.0, complement_dim=200, excess=0.3),
    _case(depth_threshold.conditional_tail, 0.0, math.inf, **SUBSPACES, excess=0.3, alignment_i=0.5, alignment_j=0.25,
          max_between_cos=0.1),
    _case(depth_threshold.depth_threshold, 0.0, 1.0, **SUBSPACES, num_cross_pairs=200, depth=3, delta=0.05,
          max_between_cos=0.1),
    _case(depth_threshold.depth_certificate, 0.0, 1.0, **SUBSPACES, num_cross_pairs=200, depth=3, delta=0.05,
          max_between_cos=0.1),
    _case(depth_threshold.cross_pairs, 4, num_clusters=200, cluster_size=100),
    _case(soft_floor.soft_floor, 3, 16, **SUBSPACES, num_clusters=2, noise_level=0.3, min_principal_angle=1.2,
          delta=0.05, largest=16),
    _case(soft_floor.is_soft_guaranteed, 0, 1, **SUBSPACES, num_clusters=3, cluster_size=100, noise_level=0.3,
          min_principal_angle=1.2, delta=0.05),
    _case(soft_graph.alignment_law, 0.0, 1.0, **SUBSPACES, noise_level=0.3, count=5),
    _method("soft_graph.soft_descent", soft_graph, "soft_descent", **SUBSPACES, noise_level=0.3, threshold=0.5),
    _method("soft_graph.SoftDescent.one_step", SOFT, "one_step", 0.0, num_points=9),
    _method("soft_graph.SoftDescent.two_sided", SOFT, "two_sided", 0.0, num_points=9),
    _method("soft_graph.SoftDescent.bound", SOFT, "bound", 0.0, num_points=9),
    _case(block_model.trajectory, -1.0, 1e9, **BLOCK, depth=3, attention=block_model.ReluAttention()),
    _case(block_model.sharpening_margin, **BLOCK, power=2.0, mixing=0.5, threshold=0.05),
    _case(block_model.ReluAttention, 0.0, threshold=0.1, power=2.0, mixing=0.5),
    _case(block_model.SoftmaxAttention, 0.0, inverse_temperature=5.0, mixing=0.5),
    _case(connectivity.circle_disconnection_probability, 0.0, 1.0, num_points=9, radius=0.7),
    _case(connectivity.isolated_point_rate, 0.0, num_points=9, subspace_dim=3, radius=0.7, until=20),
    _case(connectivity.two_gap_rate, 0.0, num_points=200, radius=0.7, until=210),
    _case(connectivity.suffices, 0, 1, num_points=200, subspace_dim=3, radius=1.2, delta=0.05),
    _method("connectivity.descent", connectivity, "descent", 0.0, math.inf, subspace_dim=3, radius=0.7),
    _method("connectivity.Descent.one_step", connectivity.descent(3, 0.7), "one_step", 0.0, num_points=9, until=20),
    _method("connectivity.Descent.two_step", connectivity.descent(2, 0.7), "two_step", 0.0, num_points=9, until=20),
    _case(fusion_ceiling.fusion_failure, 0.0, 1.0, **LAYOUT, **TIGHT, noise_level=0.5),
    _case(fusion_ceiling.fusion_batch_range, 2, 5, ambient_dim=200, num_clusters=3, **TIGHT, noise_level=0.6,
          largest=5),
    _case(fusion_ceiling.fusion_threshold, 0.0, 1.0, **LAYOUT, delta=0.05, noise_level=0.5),
    _case(fusion_rows.RowLaw, ambient_dim=200, noise_level=0.5, threshold=0.3, mixing=1.0, min_within_cos=0.9),
    _method("fusion_rows.RowLaw.failure", ROWS, "failure", 0.0, 1.0, slope=0.5, cluster_size=100),
    _method("fusion_rows.RowLaw.typical_slope", ROWS, "typical_slope", 0.0, cluster_size=100),
    _case(loss_certificate.binary_divergence, 0.0, math.log(2), sharpness=0.5),
    _case(loss_certificate.certified_sharpness, 0.0, 1.0, jsd=0.3),
    _case(loss_certificate.certified_row_sharpness, 0.0, 1.0, loss=0.001, num_rows=200),
    _case(measurements.cluster_integrity, -2.0, 2.0, points=POINTS, labels=LABELS, level=0.05),
    _case(measurements.pair_quantiles, -1.0, 1.0, points=POINTS, labels=LABELS, level=0.05),
    _case(noise_ceiling.bounded_extremes, -1.0, 1.0, **ANGLES, noise_level=0.1),
    _case(noise_ceiling.bounded_persistence, 0.0, 1.0, **ANGLES, max_cluster_size=200),
    _case(noise_ceiling.bounded_separation, 0.0, 1.0, **ANGLES),
    _case(noise_ceiling.bounded_threshold_separation, 0.0, 1.0, **ANGLES),
    _case(noise_ceiling.ceiling_certificate, 0.0, kind="separation", **LAYOUT, **COSINES),
    _case(noise_ceiling.gaussian_extremes, -1.0, 1.0, **LAYOUT, **COSINES, noise_level=0.3),
    _case(noise_ceiling.gaussian_persistence, 0.0, **LAYOUT, **COSINES),
    _case(noise_ceiling.gaussian_separation, 0.0, **LAYOUT, **COSINES),
    _case(noise_ceiling.gaussian_threshold_separation, 0.0, **LAYOUT, **COSINES),
    _case(noise_ceiling.recommended_threshold, 0.0, 1.0, alpha=0.9, beta=0.1, cluster_sizes=200),
    _case(measurements.linear_quantile, 0.0, 1.0, values=np.linspace(0.0, 1.0, 9), level=0.25),
    _case(noise_free.contraction_factor, 0.0, 1.0, within=0.9, cluster_sizes=200, threshold=0.1, mixing=0.5),
    _case(noise_free.equiangular_cosines, -1.0, 1.0, within=0.9, between=0.1, cluster_size=200, layer=200, mixing=0.5),
    _case(noise_free.equiangular_threshold_interval, 0.0, 1.0, within=0.9, between=0.1, cluster_size=200),
    _case(noise_free.spread_bound, 0.0, within=0.9, cluster_size=200, depth=3, threshold=0.1, mixing=0.5),
    _case(noise_free.spread_bounds, 0.0, alpha=np.array([0.8, 0.9]), cluster_sizes=200, threshold=0.1, mixing=0.5),
    _case(pair_law.PairLaw, ambient_dim=200, noise_level=0.5, clean_cos=0.9),
    _method("pair_law.PairLaw.log_tail", LAW, "log_tail", high=0.0, cosine=0.3, upper=False),
    _method("pair_law.PairLaw.tail", LAW, "tail", 0.0, 1.0, cosine=0.3, upper=False),
    _method("pair_law.PairLaw.quantile", LAW, "quantile", -1.0, 1.0, log_probability=-3.0, upper=False),
    _case(persistence.admits_threshold, 0, 1, alpha=0.9, beta=0.1, cluster_sizes=200),
    _case(persistence.cross_cap, 0.0, alpha=0.9, beta=0.1, cluster_sizes=200),
    _case(persistence.norm_product, -1.0, 1.0, alpha=0.9, cluster_sizes=(200, 201)),
    _case(persistence.persists, 0, 1, alpha=0.9, beta=0.1, cluster_sizes=200, threshold=0.5),
    _case(persistence.threshold_interval, 0.0, 1.0, alpha=0.9, beta=0.1, max_cluster_size=200),
    _case(precision.numerical_threshold, 0.0, 1.0, dtype="float64", condition=2.0),
    _case(restart.certified_from_layer, -1, 1, geometry=TOKENS, cluster_sizes=200, threshold=0.5),
    _case(restart.cross_slack, geometry=TOKENS, cluster_sizes=200),
    _case(restart.restarts, 0, 1, geometry=TOKENS, cluster_sizes=200, threshold=0.5),
    _case(simulated_floor.simulated_floor, 0, 10**6, subspace_dim=2, radius=1.5, delta=0.5, seed=0),
    _case(simulated_floor.count_disconnected, 0, 9, num_points=20, subspace_dim=3, radius=0.7, trials=9, seed=200,
          stop_beyond=3),
    _case(simulated_floor.allowed_failures, -1, trials=200, delta=0.3),
    _case(softmax_fusion.mass_bound, 0.0, 1.0, **SOFTMAX),
    _case(softmax_fusion.mass_cap, 0.0, 1.0, spread=0.1, inverse_temperature=5.0, cluster_size=100, batch_size=250),
    replace(_case(softmax_fusion.certified_layers, -1.0, 1.0, **SOFTMAX, min_cross_cos=0.0, depth=2, mixing=0.5),
            may_be_nan=True),
    _case(softmax_fusion.certified_depth, 0, 200, **SOFTMAX, min_cross_cos=0.0, mixing=0.5, max_depth=200),
    _case(softmax_fusion.spread_caps, 0.0, 1.0, min_cos=0.5, inverse_temperature=5.0, depth=3, mixing=0.5,
          batch_size=200),
    _case(rates.clopper_pearson, 0.0, 1.0, successes=30, trials=200, confidence=0.95),
    _case(rates.trials_to_notice, 1, rate=0.08, delta=0.05, cells=200),
    _case(rates.noticed_rates, 0.0, 1.0, cells=[rates.RateCell("a", "kept", 3, 200, pool="all")], delta=0.05),
    _case(rates.RateCell, place="a", claim="kept", failures=3, trials=200),
]  # fmt: skip

KERNEL = "an elementwise formula inside integrals and searches, whose arguments are checked where those begin"
JUDGES = "holds measured arrays against bounds, whose arguments the bounds check"
CHECK = "is such a check itself"
LABELS_OR_ARRAYS = "its number is a count that is compared with an array's"
SEARCH = "checks its arguments where fusion_failure does, and calls it a dozen times"
REMEMBERED = "hands its arguments, which must be hashable, to PairLaw, and remembers the answer"
ENCLOSED = "encloses a number for arguments that a public function has checked"
EXEMPT = {
    "depth_threshold.coordinate_tail": KERNEL,
    "floor_search.log_share": KERNEL,
    "certified_mean.bernoulli_divergence": KERNEL,
    "cosine_bins.dot_error": KERNEL,
    "drawn_rows.row_sides": KERNEL,
    "soft_floor.cross_threshold": KERNEL,
    "pair_law.safe_quantile": KERNEL,
    **{name: ENCLOSED for name in (
        "balls.exceeds", "balls.settled", "balls.working_bits", "caps.cap_ball", "ceilings.alpha_needed",
        "ceilings.certify_bounded", "ceilings.certify_ceiling", "ceilings.certify_cosine", "ceilings.keeps_apart",
        "ceilings.tail_sum", "ceilings.times", "certificates.certify", "connectivity.circle_failure",
        "connectivity.one_step",
        "connectivity.stevens", "connectivity.two_gaps", "floors.certify_bounded_connection",
        "floors.certify_connectivity", "floors.connection_failure", "floors.connectivity_failure",
        "floors.is_bounded_connection", "pair_law.pair_tails", "pair_law.zonal_masses",
        "spherical_tail.coordinate_tail_ball", "spherical_tail.depth_failure", "spherical_tail.tail_constant_ball")},
    "noise_free.norm_floor_squared": KERNEL,
    "pair_law.log_norm_density": KERNEL,
    "pair_law.scaled_log_bessel": KERNEL,
    **{f"fusion_nodes.{name}": KERNEL for name in (
        "chi_nodes", "coordinate_nodes", "direction_nodes", "normal_density", "normal_nodes")},
    "quadrature.gauss_legendre": KERNEL,
    "quadrature.gauss_rule": KERNEL,
    **{f"floor_search.{name}": KERNEL for name in ("bisect", "climb", "last_above", "settle")},
    "drawn_rows.round_off": KERNEL,
    **{f"sphere.{name}": KERNEL for name in (
        "arccos", "azimuth", "cap_intersection", "cap_measure", "distance_density", "lens", "reach")},
    "block_model.check_sharpening": JUDGES,
    "noise_ceiling.check_bounded": JUDGES,
    "fusion_ceiling.gaussian_fusion": SEARCH,
    "noise_free.check_monotone": JUDGES,
    "noise_free.check_noise_free": JUDGES,
    "noise_free.check_spread": JUDGES,
    "persistence.check_persistence": JUDGES,
    "depth_threshold.check_depth_threshold": JUDGES,
    "depth_threshold.false_edge_cell": JUDGES,
    "restart.check_restart": JUDGES,
    "softmax_fusion.check_softmax_fusion": JUDGES,
    "loss_certificate.check_certificate": JUDGES,
    "verdicts.judge": JUDGES,
    "noise_ceiling.within_extremes": JUDGES,
    "pair_law.pair_log_tail": REMEMBERED,
    "pair_law.pair_quantile": REMEMBERED,
    "rates.judge_rates": JUDGES,
    "rates.contradictions": JUDGES,
    "rates.culprits": JUDGES,
    **{f"inputs.{name}": CHECK for name in (
        "as_floats", "as_sizes", "require_above", "require_count", "require_mixing", "require_number", "require_range",
        "require_threshold", "sizes_of_clusters")},
    "limits.require_batch": CHECK,
    "limits.require_grid": CHECK,
    "commands.status_of_error": "takes errors; its numbers are statuses of the table",
    "commands.tell": "takes an error; its number is a status of the table",
    "commands.exit_status": "takes what is to be done; its numbers are statuses of the table",
    "softmax_fusion.require_inverse_temperature": CHECK,
    "sphere.require_sphere": CHECK,
    "clusters.cluster_layout": LABELS_OR_ARRAYS,
    "clusters.contiguous_labels": LABELS_OR_ARRAYS,
    "clusters.index_labels": LABELS_OR_ARRAYS,
    "clusters.pair_counts": LABELS_OR_ARRAYS,
    "tiled_measurements.count_fragments": LABELS_OR_ARRAYS,
    "trajectory.measure_layer": LABELS_OR_ARRAYS,
    "waitless_layers.read_layer": LABELS_OR_ARRAYS,
}  # fmt: skip
