"""Bounds, checks and geometry called with float16 numbers; and what the battery of half precision leaves out, and why.

The numbers are multiples of 1/16 or 1/8, which float16 represents exactly.
"""

import numpy as np

from tests.half_precision import Case
from theory import (
    batch_floor,
    batch_law,
    block_model,
    certified_mean,
    denoising,
    depth_threshold,
    fusion_ceiling,
    loss_certificate,
    neighbour_floor,
    noise_ceiling,
    noise_free,
    persistence,
    restart,
    soft_floor,
    softmax_fusion,
    sphere,
)
from theory.batches import trajectory
from theory.judging import verdicts
from theory.lemmas import (
    connectivity,
    fusion_rows,
    pair_law,
    simulated_floor,
    soft_graph,
)
from theory.numerics import laplace_rule, quadrature


def numbers() -> list[Case]:
    """Bounds, their checks and the geometry behind them: float16 arrays where they take arrays, scalars else."""
    a, b, t, p = np.array([0.5, 0.75, 0.875]), np.array([0.25, -0.125, 0.375]), np.array(0.375), np.array(0.0625)
    one, angle = np.array(0.75), np.array(1.125)
    layers = np.array([[0.5, 0.75], [0.625, 0.875], [0.75, 0.9375]])
    turns = np.array([0.25, 0.75, 1.5])
    kinds = (np.zeros((3, 2), int), np.ones((3, 2), int))

    def path(x):
        return trajectory.Trajectory(x, x - x, x, x, x - x, *kinds, kinds[0], x)

    def soft(x):
        masses = np.stack([x, x], axis=1)
        return trajectory.SoftmaxTrajectory(x, x / 2, x / 4, masses / 2, masses, x)

    steps = np.array([[[[1, 2, 1], [2, 1, 4], [1, 1, 1], [1, 4, 2]]]])

    def tokens(x):
        return restart.TokenGeometry(x, x / 4, x, x / 2, x / 8, x, x)

    def case(name, call, *values, **options):
        return Case(name, call, lambda: list(values), "number", dtype="float64", **options)

    nf, ps, nc, bf, sf, sp, co, dt = (
        noise_free,
        persistence,
        noise_ceiling,
        batch_floor,
        softmax_fusion,
        sphere,
        connectivity,
        depth_threshold,
    )
    law = lambda s: pair_law.PairLaw(16, s, s)  # noqa: E731
    relu = lambda t, m: block_model.ReluAttention(t, 2.0, m)  # noqa: E731
    return [
        case("noise_free.norm_floor_squared", lambda a: nf.norm_floor_squared(a, 7), a),
        case("noise_free.contraction_factor", lambda a, t, m: nf.contraction_factor(a, (5, 9), t, m), a, t, one),
        case("noise_free.spread_bounds", lambda x, t: nf.spread_bounds(x, 7, t), layers, t),
        case("noise_free.spread_bound", lambda a, t, m: nf.spread_bound(a, 7, 3, t, m), one, t, one),
        case("noise_free.equiangular_threshold_interval",
             lambda a, b: nf.equiangular_threshold_interval(a, b, 7), one, p),
        case("noise_free.equiangular_cosines", lambda a, b, m: nf.equiangular_cosines(a, b, 7, 2, m), one, p, t),
        case("noise_free.check_noise_free", lambda x, t: nf.check_noise_free(path(x), 7, t, 0.5), layers, t),
        case("noise_free.check_monotone", lambda x, t: nf.check_monotone(x, t, "rises"), layers, t),
        case("noise_free.check_spread", lambda x, t: nf.check_spread(x, 7, t, 0.5), layers, t),
        case("persistence.norm_product", lambda a: ps.norm_product(a, (5, 9)), a),
        case("persistence.cross_cap", lambda a, b: ps.cross_cap(a, b, (5, 9)), a, b),
        case("persistence.threshold_interval", lambda a, b: ps.threshold_interval(a, b, (5, 9)), one, p),
        case("persistence.persists", lambda a, b, t: ps.persists(a, b, (5, 9), t), a, b, t),
        case("persistence.admits_threshold", lambda a, b: ps.admits_threshold(a, b, (5, 9)), a, b),
        case("persistence.check_persistence",
             lambda x, t: ps.check_persistence(path(x), 7, t, 0.5, unit_inputs=True), layers, t),
        case("noise_ceiling.bounded_extremes", nc.bounded_extremes, t, angle, p),
        case("noise_ceiling.bounded_separation", nc.bounded_separation, t, angle),
        case("noise_ceiling.bounded_threshold_separation", nc.bounded_threshold_separation, t, angle),
        case("noise_ceiling.bounded_persistence", lambda w, b: nc.bounded_persistence(w, b, 7), t, angle),
        *(
            case(f"noise_ceiling.{f.__name__}", lambda a, b, d, f=f: f(16, 3, 4, a, b, d), one, t, p)
            for f in (nc.gaussian_separation, nc.gaussian_threshold_separation, nc.gaussian_persistence)
        ),
        case("noise_ceiling.gaussian_extremes", lambda a, b, d, s: nc.gaussian_extremes(16, 3, 4, a, b, d, s),
             one, t, p, t),
        case("noise_ceiling.recommended_threshold", lambda a, b: nc.recommended_threshold(a, b, 7), one, p),
        case("noise_ceiling.check_bounded", lambda a, b, w, v, s: nc.check_bounded(a, b, w, v, s, 7),
             a, b, t, angle, p),
        case("pair_law.scaled_log_bessel", lambda x: pair_law.scaled_log_bessel(3.0, x), turns),
        case("pair_law.log_norm_density", lambda x, m, s: pair_law.log_norm_density(x, m, s, 5), turns, one, t),
        case("pair_law.PairLaw", lambda s, c: (law(s).log_tail(c, True), law(s).tail(c, False)), t, one),
        case("pair_law.PairLaw", lambda s, q: law(s).quantile(-q, True), t, one),
        case("batch_floor.connectivity_floor", lambda r, d: bf.connectivity_floor(2, r, d, method="exact"), t, p),
        case("batch_floor.proved_floor", lambda r, d: bf.proved_floor(2, r, d), t, p),
        case("batch_floor.bounded_radius", bf.bounded_radius, angle, p),
        case("batch_floor.bounded_connection", lambda a, s, d: bf.bounded_connection(a, s, 3, d), angle, p, p),
        case("batch_floor.gaussian_connection", lambda a, s, d: bf.gaussian_connection(64, 3, 9, a, s, d), angle, p, p),
        case("batch_floor.gaussian_floor", lambda a, s, d: bf.gaussian_floor(2, 64, 3, a, s, d), angle, p, p),
        case("batch_floor.gaussian_guarantee",
             lambda a, s, d: bf.gaussian_guarantee(2, 64, 3, 40, a, s, d), angle, p, p),
        case("depth_threshold.spherical_tail", lambda x: dt.spherical_tail(9, x), a),
        case("depth_threshold.tail_constant", lambda x: dt.tail_constant(9, x), a),
        case("depth_threshold.conditional_tail", lambda x, i, k: dt.conditional_tail(64, 3, x, i, i, k), t, a, p),
        case("depth_threshold.depth_threshold", lambda d, k: dt.depth_threshold(64, 3, 50, 4, d, k), p, t),
        case("depth_threshold.check_depth_threshold",
             lambda x, t: dt.check_depth_threshold(path(x), t + 0.5, t), layers, t),
        case("depth_threshold.false_edge_cell", lambda x, t: dt.false_edge_cell(path(x), t + 0.5, t, "a"), layers, t),
        case("fusion_ceiling.fusion_threshold", lambda d, s: fusion_ceiling.fusion_threshold(16, 3, 4, d, s), p, t),
        case("fusion_ceiling.fusion_failure",
             lambda a, d, s, m: fusion_ceiling.fusion_failure(16, 3, 4, a, d, s, m).rows, one, p, t, one),
        case("fusion_ceiling.fusion_batch_range",
             lambda a, d, s, m: fusion_ceiling.fusion_batch_range(64, 3, s, a, d, m, largest=4), one, p, t, one),
        case("fusion_rows.RowLaw", lambda s, t, m: fusion_rows.RowLaw(16, s, t, m).failure(0.5, 8), t, t, one),
        case("restart.measure_tokens",
             lambda x: restart.measure_tokens(x * steps.astype(x.dtype), [0, 0, 1, 1]).alpha, a),
        case("restart.cross_slack", lambda x: restart.cross_slack(tokens(x), 7)["axes"], layers),
        case("restart.restarts", lambda x, t: restart.restarts(tokens(x), 7, t), layers, t),
        case("restart.certified_from_layer", lambda x, t: restart.certified_from_layer(tokens(x), 7, t), layers, t),
        case("restart.check_restart", lambda x, t: restart.check_restart(path(x), 7, t, tokens(x)), layers, t),
        case("soft_floor.soft_floor", lambda s, a, d: soft_floor.soft_floor(2, 64, 3, s, a, d), p, angle, p),
        case("soft_floor.is_soft_guaranteed",
             lambda s, a, d: soft_floor.is_soft_guaranteed(2, 64, 3, 40, s, a, d), p, angle, p),
        case("soft_graph.alignment_law", lambda s: soft_graph.alignment_law(64, 3, s), t),
        case("soft_graph.soft_descent", lambda s, t: soft_graph.soft_descent(3, 64, s, t).bound(20), t, t),
        case("batch_floor.is_guaranteed",
             lambda a, d: bf.is_guaranteed(bf.Connection(a, a, d), 2, 30), t, p),
        case("denoising.residual_noise",
             lambda s, k, d, m: denoising.residual_noise(s, 64, 8, 16, 3, k, 4, d, m), t, one, p, one),
        case("denoising.denoising_floor",
             lambda g, a, s, d: denoising.denoising_floor(g, a, s, 4096, 3, 0.5, 6, d, largest=64), angle, one, p, p),
        case("denoising.residual_limit", lambda g, a: denoising.residual_limit(g, a, 9), angle, one),
        case("block_model.ReluAttention", lambda a, b, t: relu(t, t).weights(a, b), a, b, t),
        case("block_model.SoftmaxAttention", lambda a, b, k: block_model.SoftmaxAttention(k).weights(a, b), a, b, t),
        case("block_model.trajectory", lambda a, b, t, m: block_model.trajectory(a, b, 3, 5, 4, relu(t, m)),
             a, b, p, one),
        case("block_model.trajectory",
             lambda a, b, k: block_model.trajectory(a, b, 3, 5, 4, block_model.SoftmaxAttention(k)), a, b, t),
        case("block_model.sharpening_margin",
             lambda a, b, t, m: block_model.sharpening_margin(a, np.abs(b), 3, 5, 2.0, m, t), a, b, p, one),
        case("block_model.margin_formula",
             lambda a, b, t, m: block_model.margin_formula(a, b, 3, 5, 2.0, m, t), a, np.abs(b), p, one),
        case("block_model.check_sharpening", lambda m, a, b: block_model.check_sharpening(m, (a, b), (b, a)),
             b, a, np.abs(b)),
        case("block_model.check_exactness",
             lambda x: block_model.check_exactness(
                 "exact", (x, x), block_model.BlockTrajectory(np.arange(3), x / 3, x, x)), layers),
        case("softmax_fusion.mass_bound", lambda a, b, k: sf.mass_bound(a, b, k, 4, 12), a, b, angle),
        case("softmax_fusion.mass_cap", lambda s, k: sf.mass_cap(s, k, 4, 12), turns, angle),
        case("softmax_fusion.certified_layers",
             lambda a, b, k, m: sf.certified_layers(a, b, b, k, 4, 12, 3, m), a, b, angle, t),
        case("softmax_fusion.certified_depth", lambda a, b, k: sf.certified_depth(a, b, b, k, 4, 12), one, p, angle),
        case("softmax_fusion.spread_caps", lambda a, k, m: sf.spread_caps(a, k, 3, m, 12), a, angle, t),
        case("softmax_fusion.check_softmax_fusion",
             lambda x, k: sf.check_softmax_fusion(soft(x), (4, 4), k, 0.5, normalized=False), layers, angle),
        case("batch_weights.Weight", lambda t: batch_law.Weight("relu", threshold=t, power=t).value(0.875), t),
        case("batch_weights.Weight", lambda t: batch_law.Weight("exponential", inverse_temperature=t).value(0.875), t),
        case("certified_mean.divergence_floor", lambda x, d: certified_mean.divergence_floor(x, 9, d), one, p),
        case("certified_mean.bernoulli_divergence", certified_mean.bernoulli_divergence, a, np.abs(b)),
        case("certified_mean.mean_floor", certified_mean.mean_floor, a, p),
        case("certified_mean.batch_floor_of_mean",
             lambda x, d: certified_mean.batch_floor_of_mean(x, 90, 4, d, sampled=50), one, p),
        case("certified_mean.fixed_sequence", certified_mean.fixed_sequence, a[::-1], one),
        case("certified_mean.asymptotic_interval", certified_mean.asymptotic_interval, one, b, t),
        case("neighbour_floor.lonely_probabilities",
             lambda h: neighbour_floor.lonely_probabilities(h, 9, 4), np.array([1.0, 5.0, 9.0])),
        case("neighbour_floor.lonely_share", lambda h: neighbour_floor.lonely_share(h, 3), np.array([1.0, 0.0, 2.0])),
        case("neighbour_floor.floor_of_hits", neighbour_floor.floor_of_hits, np.array([1.0, 0.0, 2.0]), one),
        case("laplace_rule.trapezoid_error", laplace_rule.trapezoid_error, one),
        case("sphere.distance_density", lambda x: sp.distance_density(5, x), turns),
        case("sphere.cap_measure", lambda x: sp.cap_measure(5, x), turns),
        case("sphere.arccos", sp.arccos, b),
        case("sphere.azimuth", sp.azimuth, turns, angle, angle),
        case("sphere.cap_intersection", lambda x, r, o: sp.cap_intersection(5, x, r, o), turns, angle, one),
        case("sphere.lens", lambda x, r: sp.lens(5, x, r), turns, one),
        case("sphere.reach", lambda r, d, f, w: sp.reach(4, r, d, f, w), one, turns[:1], turns[1:2], turns[:1]),
        case("connectivity.descent", lambda r: (co.descent(3, r).cap, co.descent(3, r).lens), angle),
        case("connectivity.suffices", lambda r, d: co.suffices(40, 3, r, d), one, t),
        case("connectivity.circle_disconnection_probability",
             lambda r: co.circle_disconnection_probability(30, r), t),
        case("connectivity.two_gap_rate", lambda r: co.two_gap_rate(30, r), t),
        case("connectivity.isolated_point_rate", lambda r: co.isolated_point_rate(30, 3, r), t),
        case("simulated_floor.count_disconnected", lambda r: simulated_floor.count_disconnected(9, 3, r, 20), one),
        case("loss_certificate.binary_divergence", loss_certificate.binary_divergence, a),
        case("loss_certificate.certified_sharpness", loss_certificate.certified_sharpness, np.array([0.25, 0.5])),
        case("loss_certificate.certified_row_sharpness",
             lambda x: loss_certificate.certified_row_sharpness(x, 3), np.array([0.125, 0.0625])),
        case("quadrature.gauss_legendre", lambda low, high: quadrature.gauss_legendre(low, high, 5), b, a),
        case("verdicts.judge", lambda x: verdicts.judge("small", x, x / 2, np.ones(2, bool)), layers),
    ]  # fmt: skip


LABELS = "takes labels, sizes or counts only"
CHECK = "raises or returns its argument; it computes nothing"
RESULT = "holds results that are float64 already"
EXEMPT = {
    "losses.modules.BatchLoss": "what the losses that are modules share; they are in the battery",
    **dict.fromkeys(
        ("losses.contrastive.view_pair_labels", "affinity.target_affinity", "measurements.chance_sharpness",
         "clusters.cluster_layout", "clusters.group_rows", "clusters.contiguous_labels", "clusters.ClusterLayout",
         "tiled_measurements.tile_segments", "tiled_measurements.Segment", "simulated_floor.allowed_failures",
         "inputs.as_sizes", "clusters.index_labels", "clusters.index_among", "clusters.like_labels",
         "clusters.pair_counts", "inputs.sizes_of_clusters", "depth_threshold.cross_pairs"), LABELS),
    **dict.fromkeys(
        ("depth_threshold.coordinate_tail", "floor_search.log_share", "quadrature.gauss_rule",
         "soft_floor.cross_threshold", "fusion_ceiling.gaussian_fusion"),
        "called with float64 by functions of the battery"),
    "losses.divergence.target_of_labels": "takes labels; its dtype is an argument, tested with the losses",
    **dict.fromkeys(
        ("inputs.require_points", "inputs.require_range", "inputs.require_threshold", "inputs.require_mixing",
         "inputs.require_choice", "inputs.require_count", "sphere.require_sphere",
         "softmax_fusion.require_inverse_temperature", "verdicts.reject_nan", "inputs.as_floats", "inputs.as_numpy",
         "inputs.require_above", "subspaces.require_query_key_map", "inputs.require_array", "inputs.require_flag",
         "inputs.require_flags", "inputs.require_number", "inputs.require_values",
         "losses.readout.require_cosines"), CHECK),
    "waitless_layers.trajectory_of": "called with the float64 of read_layer",
    "trajectory.axis_product": "called with float64 by layer_extremes and MeasuredTiles",
    **dict.fromkeys(
        ("batch_law.BatchLaw", "batch_weights.BatchKind", "batch_weights.Rows", "binned_rows.Edges",
         "binned_rows.RowBins", "binned_rows.RowPool", "binned_rows.Transforms", "drawn_rows.Sides",
         "laplace_rule.LaplaceRule"), RESULT),
    **dict.fromkeys(
        ("batch_weights.unit_rows", "binned_rows.bracket_rows", "cosine_bins.Tile", "cosine_bins.binned_laws",
         "cosine_bins.dot_error", "cosine_bins.number_of_bins", "drawn_rows.missing_all", "drawn_rows.row_sides"),
        "steps of batch_laws, which widens points first"),
    **dict.fromkeys(
        ("depth_threshold.depth_certificate", "noise_ceiling.ceiling_certificate",
         "batch_floor.connectivity_certificate", "batch_floor.gaussian_floor_certificate"),
        "widened, and tested with float16, by tests/theory/rigorous"),
    "pair_law.safe_quantile": "called with float64 by gaussian_extremes",
    **dict.fromkeys(
        ("balls.enclosure", "balls.exceeds", "balls.load_flint", "balls.settled", "balls.working_bits", "caps.cap_ball",
         "ceilings.add", "ceilings.alpha_needed", "ceilings.certify_bounded", "ceilings.certify_ceiling",
         "ceilings.certify_cosine", "ceilings.keeps_apart", "ceilings.tail_sum", "ceilings.times",
         "certificates.certify",
         "connectivity.circle_failure", "connectivity.one_step", "connectivity.stevens", "connectivity.two_gaps",
         "floors.certify_bounded_connection", "floors.certify_connectivity", "floors.connection_failure",
         "floors.connectivity_failure", "floors.is_bounded_connection", "pair_law.beta_ball", "pair_law.pair_tails",
         "spherical_tail.coordinate_tail_ball", "spherical_tail.depth_failure", "spherical_tail.tail_constant_ball"),
        "works on balls, with float64 that the certificates hand on"),
    "noise_ceiling.within_extremes": "compares numbers and computes nothing",
    **dict.fromkeys(
        ("floor_search.bisect", "floor_search.climb", "floor_search.last_above", "floor_search.settle"),
        "searches whole numbers"),
    "drawn_rows.round_off": "of a whole number",
    "losses.affinity.prepare_affinities": "the argument checks of affinity_jsd and affinity_divergence",
    "losses.objectives.objective_from_name": "makes an Objective, which is in the battery",
    "measurements.count_components": "takes booleans",
    "measurements.is_connected": "takes booleans",
    "tiled_measurements.count_fragments": "takes whole numbers",
    **dict.fromkeys(
        ("balls.Enclosure", "caps.LensSeries", "ceilings.Pairs", "certificates.Certificate", "pair_law.AngleCosine",
         "trajectory.LayerArrays", "trajectory.LayerExtremes", "trajectory.Trajectory", "trajectory.SoftmaxTrajectory",
         "tiled_measurements.MeasuredTiles",
         "block_model.BlockTrajectory", "softmax_fusion.CertifiedLayers", "connectivity.Descent",
         "soft_graph.SoftGraph", "soft_graph.SoftDescent", "fusion_ceiling.FusionFailure", "restart.TokenGeometry",
         "soft_graph.SoftGraph", "soft_graph.SoftDescent", "soft_graph.Rules", "soft_reach.Reach",
         "connectivity.Neighbours", "simulated_floor.SimulatedFloor", "batch_floor.Connection", "verdicts.Verdict",
         "verdicts.Status"), RESULT),
    "exact_replay.ExactReplay": "computes in 50 digits, whatever the points are stored in",
    "simulated_floor.simulated_floor": "searches with count_disconnected, minutes long",
    **dict.fromkeys(
        ("rates.clopper_pearson", "rates.judge_rates", "rates.contradictions", "rates.culprits", "rates.noticed_rates",
         "rates.trials_to_notice", "rates.RateCell"),
        "takes counts and probabilities, which are compared and not computed with"),
    "loss_certificate.check_certificate": "allows for the rounding of its arguments' dtype; tested by itself",
    "verdicts.combine_parts": "takes verdicts",
    "verdicts.combine_cells": "takes verdicts",
    **dict.fromkeys(
        ("precision.dtype_name", "precision.numerical_threshold", "precision.widen", "precision.rounding_tolerance",
         "precision.half_as_float64"), "what the battery rests on, tested by itself"),
}  # fmt: skip
# Modules without a function of numbers.
EXEMPT_MODULES = {
    "fusion_nodes": "called with float64 by fusion_rows",
    "statements": "words",
    **dict.fromkeys(("whole_files", "part_files", "manifest", "locks"), "files"),
    "commands": "exit statuses",
    "limits": "counts",
    "cache": "files",
    **dict.fromkeys(("children", "completion", "dispatch", "extras", "start", "table", "typed"), "words of commands"),
}
