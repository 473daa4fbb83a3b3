"""Bugs in theory/rigorous/: what an enclosure must not forget."""

from tests.mutants.bugs import bugs_in

PAIR_LAW = bugs_in(
    "theory/rigorous/pair_law.py", "theory/rigorous/pair_law",
    ("rest_of_the_series_forgotten", "change = scale * (total + arb(0, rest))", "change = scale * total"),
    ("coefficients_not_squared", "masses.append(count * a[n] ** 2)", "masses.append(count * a[n])"),
    ("gegenbauer_of_the_wrong_dimension", "(n - 1) * q0) / (n + dim - 1)", "(n - 1) * q0) / (n + dim - 2)"),
    ("recurrence_without_the_far_term", "near + far) * a[n]", "near) * a[n]"),
)  # fmt: skip
TAILS = bugs_in(
    "theory/rigorous/spherical_tail.py", "theory/rigorous/spherical_tail",
    ("both_sides_of_the_equator_alike", "b - beyond if cosine >= 0 else", "b - beyond if cosine != 9 else"),
    ("sign_of_the_cosine_guessed", "return 1 - half if cosine <= 0 else arb(0.5, 0.5)", "return 1 - half"),
    ("events_counted_once", "return (num_events * tail,)", "return (tail,)"),
    ("kappa_forgotten", "arb(threshold) ** 2 - arb(max_between_cos) ** 2", "arb(threshold) ** 2"),
)  # fmt: skip
MARGINS = bugs_in(
    "theory/depth_threshold.py", "theory/rigorous/spherical_tail",
    ("margin_of_few_dimensions", "max(ROUND_UP, ROUND_UP_A_DIMENSION * dim)", "ROUND_UP"),
)  # fmt: skip
LENSES = bugs_in(
    "theory/rigorous/caps.py", "theory/rigorous/caps theory/rigorous/connectivity",
    ("lens_without_the_half_cap", "return self.cap / 2 - self._scale", "return self.cap - self._scale"),
    ("slope_without_the_sine", "self._series(angle, True) / angle.sin() ** 2", "self._series(angle, True)"),
    ("rings_count_for_their_far_end", "slope * ring.length / 2", "slope * ring.length * 8"),
)  # fmt: skip
DESCENT = bugs_in(
    "theory/rigorous/connectivity.py", "theory/rigorous/connectivity",
    ("stevens_all_terms_positive", "power if j % 2 == 0 else -power", "power if j % 2 == 0 else power"),
    ("two_gaps_that_rise", "if not room * (m + 1) < m - 1:", "if False:"),
    ("one_sheet_of_masses", "mass=sheets * (caps", "mass=(caps"),
    ("larger_sizes_forgotten", "size = arb(m).max(peak)", "size = arb(m)"),
    ("slope_counts_twice", "fall = (m - 2) * cell.slope", "fall = 4 * (m - 2) * cell.slope"),
)  # fmt: skip
FLOORS = bugs_in(
    "theory/rigorous/floors.py", "theory/rigorous/connectivity",
    ("signless_cross_pairs_once", "pairs[1] * (2 if squared else 1)", "pairs[1]"),
    ("false_edges_under_bounded_noise", "and bool(cut <= arb(min_principal_angle) - turn)", ""),
)  # fmt: skip
CERTIFICATES = bugs_in(
    "theory/rigorous/certificates.py", "theory/rigorous/certificates",
    ("lower_end_decides", "if found.high <= allowed:", "if found.low <= allowed:"),
)  # fmt: skip
ENCLOSURES = bugs_in(
    "theory/rigorous/balls.py", "theory/rigorous/certificates",
    ("floats_inside", "- point) * side >= 0", "- point) * side >= -1"),
    ("precision_kept", "        context.prec = before", "        pass"),
)  # fmt: skip

BUGS = (*PAIR_LAW, *TAILS, *MARGINS, *LENSES, *DESCENT, *FLOORS, *CERTIFICATES, *ENCLOSURES)
