import math

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from models.cifar.evaluation.measure import affinity_report as report_of
from models.cifar.evaluation.measure import (
    ceiling_report,
    class_angles,
    closer_cross_pairs,
    score_report,
    view_angles,
)
from models.head_output import HeadOutput, Reading
from models.heads import HeadConfig, build_head
from theory.measurements import pair_extremes


def gaussian(*shape, seed=0, dtype=torch.float64):
    return torch.from_numpy(np.random.default_rng(seed).standard_normal(shape)).to(dtype)


def on_circle(angles):
    angles = torch.as_tensor(angles, dtype=torch.float64)
    return torch.stack([angles.cos(), angles.sin()], -1)


def unit(vectors):
    return torch.nn.functional.normalize(vectors, dim=-1)


# --- affinities -------------------------------------------------------------------------------------------------------


def slow_reading(queries, keys, labels, cut):
    """Entry by entry; rows of classes of one left out."""
    heads, n = len(queries), len(labels)
    cosine = [[[sum(a * b for a, b in zip(q, k)) for k in keys[h]] for q in queries[h]] for h in range(heads)]
    mean = [[sum(cosine[h][i][j] for h in range(heads)) / heads for j in range(n)] for i in range(n)]
    sharpness, chance, jsd, within, cross = [], [], [], [], []
    for i in range(n):
        raw = [sum(max(cosine[h][i][j] - cut, 0.0) ** 2 for h in range(heads)) * (i != j) for j in range(n)]
        row = [value / sum(raw) if sum(raw) else 0.0 for value in raw]
        alike = [j for j in range(n) if labels[j] == labels[i] and j != i]
        within += [mean[i][j] for j in alike]
        cross += [mean[i][j] for j in range(n) if labels[j] != labels[i]]
        if not alike:
            continue
        sharpness.append(sum(row[j] for j in alike))
        chance.append(len(alike) / (n - 1))
        divergence = 0.0
        for j in range(n):
            ideal = 1.0 / len(alike) if j in alike else 0.0
            for value in (row[j], ideal):
                divergence += 0.5 * value * math.log(2.0 * value / (row[j] + ideal)) if value else 0.0
        jsd.append(divergence if sum(row) else math.log(2.0))
    return {
        "sharpness": np.mean(sharpness),
        "chance": np.mean(chance),
        "jsd": np.mean(jsd),
        "integrity": np.quantile(within, 0.05) - np.quantile(cross, 0.95),
    }


@pytest.mark.parametrize("labels", [[0, 1, 0, 1, 2, 2, 0, 1], [7, 7, 3, 3, 3, 5, 7, 7]], ids=["", "a class of one"])
@pytest.mark.parametrize("heads", [1, 3])
def test_readings_are_their_double_loops(heads, labels):
    queries, keys = unit(gaussian(heads, 8, 4)), unit(gaussian(heads, 8, 4, seed=1))
    keys, queries[:, 3] = keys.abs(), -0.5  # row 3 has no positive cosine, so no mass
    embeddings = gaussian(8, 4)
    output = HeadOutput(embeddings, (Reading(queries, keys), Reading.of_tokens(embeddings)))
    report = report_of(output, torch.tensor(labels))
    assert [(row["part"], row["index"]) for row in report] == [("reading", 0), ("reading", 1)]
    for row, reading in zip(report, output.readings):
        expected = slow_reading(reading.queries.tolist(), reading.keys.tolist(), labels, 1e-10)
        assert {name: row[name] for name in expected} == pytest.approx(expected, abs=1e-12)
        assert math.isnan(row["class_mass"])


@settings(max_examples=40)
@given(st.integers(0, 10**6), st.floats(0.0, 3.0))
def test_sharpness_is_never_below_what_the_loss_certifies(seed, noise):
    labels = torch.arange(12) % 3
    points = torch.eye(5, dtype=torch.float64)[labels] + noise * gaussian(12, 5, seed=seed)
    (row,) = report_of(HeadOutput(points, (Reading.of_tokens(points),)), labels)
    assert 0.0 <= row["certified"] <= row["sharpness"] + 1e-9
    if noise < 0.05:
        assert row["certified"] > 0.9


def test_orthogonal_classes_are_sharp_and_one_direction_is_chance():
    labels = torch.tensor([0, 1, 2, 0, 1, 2, 0])
    axes = torch.eye(3)[labels]
    for points, expected in (
        (axes, {"sharpness": 1.0, "integrity": 1.0, "jsd": 0.0, "certified": 1.0}),
        (torch.ones(7, 3), {"sharpness": (3 * 2 + 4 * 1) / 7 / 6, "integrity": 0.0}),
    ):
        (row,) = report_of(HeadOutput(points, (Reading.of_tokens(points),)), labels)
        assert {name: row[name] for name in expected} == pytest.approx(expected, abs=1e-6)
        assert row["chance"] == pytest.approx((3 * 2 + 4 * 1) / 7 / 6)


def test_mass_that_the_heads_precision_cannot_tell_from_zero_is_none():
    """Row 0 meets only a cosine of 1e-6, of its own class: sharpness 1 if it were read as mass."""
    points = torch.eye(4)[[0, 1, 2, 2]]
    points[1, 0] = 1e-6
    (row,) = report_of(HeadOutput(points, (Reading.of_tokens(points),)), torch.tensor([0, 0, 1, 1]))
    assert row["sharpness"] == pytest.approx(0.5)


def test_attention_counts_the_row_itself_and_averages_heads():
    labels = torch.tensor([0, 0, 1, 1])
    own, even = torch.eye(4), torch.full((4, 4), 0.25)
    attentions = (torch.stack([own, own]), torch.stack([even, even]), torch.stack([own, own.flip(0)]))
    points = gaussian(4, 3)
    report = report_of(HeadOutput(points, (Reading.of_tokens(points),), attentions), labels)
    assert [(row["part"], row["index"]) for row in report] == [
        ("reading", 0),
        ("attention", 0),
        ("attention", 1),
        ("attention", 2),
    ]
    assert [row["class_mass"] for row in report[1:]] == pytest.approx([1.0, 0.5, 0.5])
    # On oneself alone: no weight on others. Even: one of three others is of the class. Flipped, half of the weight
    # goes to the other class.
    assert [row["others_mass"] for row in report[1:]] == pytest.approx([math.nan, 1 / 3, 0.0], nan_ok=True)
    assert all(math.isnan(row["sharpness"]) for row in report[1:])
    assert len({tuple(row) for row in report}) == 1


@pytest.mark.parametrize("views", [1, 2])
def test_attention_to_others_is_its_double_loop(views):
    """Neither a row itself nor the other view of its image counts, and a class of one image has no others."""
    labels = torch.tensor([0, 1, 0, 2, 1, 1]).repeat(2)
    weights = gaussian(2, 12, 12).softmax(-1)
    points = gaussian(12, 3)
    row = report_of(HeadOutput(points, (Reading.of_tokens(points),), (weights,)), labels, views)[1]
    shares = []
    for i in range(12):
        others = [j for j in range(12) if (i - j) % (12 // views)]
        inside = [j for j in others if labels[j] == labels[i]]
        if inside:
            shares.append(sum(weights.mean(0)[i, j].item() for j in inside) /
                          sum(weights.mean(0)[i, j].item() for j in others))  # fmt: skip
    assert len(shares) == (12 if views == 1 else 10)
    assert row["others_mass"] == pytest.approx(np.mean(shares), abs=1e-12)


def test_attention_to_oneself_is_no_attention_to_the_class():
    """The planted head looks at itself more and more, and at others evenly: class_mass rises, others_mass does not."""
    labels = torch.arange(12) % 3
    even = torch.full((1, 12, 12), 1 / 12)
    steps = tuple((1.0 - own) * even + own * torch.eye(12) for own in (0.0, 0.3, 0.6))
    points = gaussian(12, 3)
    report = report_of(HeadOutput(points, (Reading.of_tokens(points),), steps), labels)[1:]
    assert report[0]["class_mass"] < report[1]["class_mass"] < report[2]["class_mass"]
    assert [row["others_mass"] for row in report] == pytest.approx([3 / 11] * 3)


@pytest.mark.parametrize(
    ("kind", "readings", "attentions"),
    [("transfusion", 3, 2), ("reluformer", 1, 2), ("deepfusion", 2, 2), ("mlp", 1, 0), ("none", 1, 0)],
)
@pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
def test_reports_of_heads(kind, readings, attentions, dtype):
    torch.manual_seed(0)
    head = build_head(HeadConfig(kind=kind, depth=2, width=8, num_heads=2), in_dim=6).to(dtype)
    with torch.no_grad():
        output = head(gaussian(12, 6, dtype=dtype), views=2, trace=True)
    report = report_of(output, torch.arange(12) % 3)
    assert [row["part"] for row in report] == ["reading"] * readings + ["attention"] * attentions
    for row in report:
        values = [row["class_mass"]] if row["part"] == "attention" else [row["sharpness"], row["chance"], row["jsd"]]
        assert all(0.0 <= value <= 1.0 for value in values)


# --- scores -----------------------------------------------------------------------------------------------------------


def slow_scores(a, b, bins):
    a, b = unit(a).tolist(), unit(b).tolist()
    rows = [(i, v) for i, v in enumerate(a)] + [(i, v) for i, v in enumerate(b)]
    scores = {"positive": [], "negative": []}
    for p in range(len(rows)):
        for q in range(p):
            kind = "positive" if rows[p][0] == rows[q][0] else "negative"
            scores[kind].append(sum(x * y for x, y in zip(rows[p][1], rows[q][1])))
    closeness = []
    for view in (a, b):
        pairs = [math.exp(-2.0 * math.dist(view[i], view[j]) ** 2) for i in range(len(view)) for j in range(i)]
        closeness.append(math.log(sum(pairs) / len(pairs)))
    alignment = np.mean([math.dist(x, y) ** 2 for x, y in zip(a, b)])
    counts = {kind: np.histogram(values, bins, (-1.0, 1.0))[0].tolist() for kind, values in scores.items()}
    return scores, counts, alignment, sum(closeness) / 2


@pytest.mark.parametrize("tile_rows", [1, 4, None])
def test_scores_are_their_double_loops(tile_rows):
    a = gaussian(9, 3)
    b = a + 0.5 * gaussian(9, 3, seed=1)
    report = score_report(a, 10.0 * b, bins=7, tile_rows=tile_rows)
    scores, counts, alignment, uniformity = slow_scores(a, b, 7)
    for kind, summary in (("positive", report.positive), ("negative", report.negative)):
        assert summary.pairs == len(scores[kind])
        assert summary.counts.tolist() == counts[kind]
        assert summary.mean == pytest.approx(np.mean(scores[kind]), abs=1e-12)
        assert summary.variance == pytest.approx(np.var(scores[kind]), abs=1e-12)
    assert report.positive.pairs == 9
    assert report.negative.pairs == 18 * 17 // 2 - 9
    assert report.alignment == pytest.approx(alignment, abs=1e-12)
    assert report.uniformity == pytest.approx(uniformity, abs=1e-12)


def test_scores_of_an_orthonormal_frame_and_of_one_point():
    frame = score_report(torch.eye(5), 3.0 * torch.eye(5), bins=4)
    assert (frame.positive.mean, frame.negative.mean, frame.alignment) == (1.0, 0.0, 0.0)
    assert frame.uniformity == pytest.approx(-4.0)
    assert frame.positive.counts.tolist() == [0, 0, 0, 5]
    assert frame.negative.counts.tolist() == [0, 0, 40, 0]
    point = score_report(torch.ones(4, 3), -torch.ones(4, 3), bins=2)
    assert (point.positive.mean, point.alignment) == pytest.approx((-1.0, 4.0))
    assert point.uniformity == pytest.approx(0.0, abs=1e-12)
    # Each view agrees with itself (6 + 6 pairs) and opposes the other one (12 ordered pairs).
    assert (point.negative.mean, point.negative.variance) == pytest.approx((0.0, 1.0))
    assert point.negative.counts.tolist() == [12, 12]


def test_a_small_variance_does_not_cancel():
    angle = 1e-8
    report = score_report(on_circle([0.0, 0.3]), on_circle([angle, 0.3 + 2 * angle]))
    assert report.positive.variance < 1e-30
    assert report.alignment == pytest.approx(angle**2 * (1 + 4) / 2, rel=1e-6, abs=0.0)


# --- angles -----------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("angle", [0.0, 1e-9, 0.3, math.pi / 2, 3.0, math.pi])
def test_a_turned_row_has_turned_by_its_angle(angle):
    anchors, views = on_circle([0.0, 1.0]), on_circle([angle, 1.0 - angle])
    found = view_angles(5.0 * anchors, 0.1 * views)
    torch.testing.assert_close(found, torch.full((2,), angle, dtype=torch.float64), rtol=1e-6, atol=1e-15)


def test_quantiles_of_angles():
    turns = np.random.default_rng(0).permutation(np.linspace(0.0, 1.0, 101))
    starts = np.linspace(0.0, 6.0, 101)
    found = ceiling_report(on_circle(starts), on_circle(starts + turns), np.arange(101) % 2)
    expected = {"phi_q05": 0.05, "phi_q25": 0.25, "phi_q50": 0.5, "phi_q75": 0.75, "phi_q95": 0.95, "phi_max": 1.0}
    assert {name: found[name] for name in expected} == pytest.approx(expected, abs=1e-12)


def test_class_angles_of_two_arcs():
    features, labels = on_circle([0.0, 0.1, 0.3, 1.0, 1.2, 1.3]), torch.tensor([4, 4, 4, 2, 2, 2])
    assert class_angles(features, labels, 0.0) == pytest.approx((0.3, 0.7))
    within, between = [0.1, 0.2, 0.3, 0.2, 0.1, 0.3], [b - a for a in (0.0, 0.1, 0.3) for b in (1.0, 1.2, 1.3)]
    expected = math.acos(np.quantile(np.cos(within), 0.2)), math.acos(np.quantile(np.cos(between), 0.8))
    assert class_angles(features, labels, 0.2) == pytest.approx(expected)


def test_the_ceiling_of_two_arcs():
    anchors, labels = on_circle([0.0, 0.1, 0.3, 1.0, 1.2, 1.3]), torch.tensor([0, 0, 0, 1, 1, 1])
    turns = torch.tensor([0.0, 0.05, 0.0999, 0.1001, 0.2, -0.3], dtype=torch.float64)
    turn = torch.stack([torch.stack([turns.cos(), -turns.sin()], -1), torch.stack([turns.sin(), turns.cos()], -1)], 1)
    report = ceiling_report(anchors, (turn @ anchors[..., None])[..., 0], labels, quantile=0.0)
    assert (report["theta_within"], report["theta_between"]) == pytest.approx((0.3, 0.7))
    assert report["ceiling"] == pytest.approx(0.1)
    assert report["share_below"] == 0.5
    assert report["phi_max"] == pytest.approx(0.3)
    assert report["quantile"] == 0.0


def test_classes_that_overlap_have_no_ceiling():
    anchors, labels = on_circle([0.0, 0.5, 0.1, 0.6]), torch.tensor([0, 0, 1, 1])
    report = ceiling_report(anchors, anchors, labels, quantile=0.0)
    assert report["theta_between"] < report["theta_within"]
    assert (report["ceiling"], report["share_below"], report["phi_max"]) == (0.0, 0.0, 0.0)
    # Within pairs at .5; cross pairs at .1, .6, .4, .1, of which one is not closer.
    assert report["closer"] == closer_cross_pairs(anchors, labels) == 0.75
    apart = on_circle([0.0, 0.1, 1.0, 1.2])
    assert closer_cross_pairs(apart, labels) == 0.0


def test_views_that_all_stay_below_the_ceiling_of_all_pairs_are_separated():
    labels, below, separated = torch.arange(8) % 2, 0, 0
    for seed in range(200):
        anchors = torch.eye(3, dtype=torch.float64)[labels] + 0.1 * gaussian(8, 3, seed=2 * seed)
        views = unit(anchors) + 0.002 * seed * gaussian(8, 3, seed=2 * seed + 1)
        within, cross = pair_extremes(views, labels)
        separated += bool(within > cross)
        if ceiling_report(anchors, views, labels, quantile=0.0)["share_below"] == 1.0:
            below += 1
            assert within > cross
    assert 20 < below < separated < 180, "the hypothesis holds for some only, and is sufficient, not necessary"


# --- bad input --------------------------------------------------------------------------------------------------------


@pytest.mark.usefixtures("as_users_call")
class TestRefusals:
    @pytest.mark.parametrize(
        ("labels", "message"),
        [
            ([0, 0, 0, 0], "labels: must hold at least 2 classes"),
            ([0, 1, 2, 3], "labels: some label must occur at least twice"),
            ([0, 0, 1], r"labels: expected integers of shape \(4,\)"),
            ([0.0, 0.0, 1.0, 1.0], "labels: expected integers"),
        ],
    )
    def test_affinities(self, labels, message):
        points = gaussian(4, 3)
        with pytest.raises(ValueError, match=message):
            report_of(HeadOutput(points, (Reading.of_tokens(points),)), torch.tensor(labels))

    def test_scores(self):
        good = gaussian(4, 3)
        for a, b, message in (
            (good, good[:3], "view_b: must have the shape of view_a"),
            (good[:1], good[:1], "view_a: must have at least 2 rows"),
            (good * math.nan, good, "view_a: contains NaN"),
            (good, good * 0.0, "view_b: contains a zero vector"),
        ):
            with pytest.raises(ValueError, match=message):
                score_report(a, b)
        with pytest.raises(ValueError, match="bins: must be a whole number of at least 1"):
            score_report(good, good, bins=0)

    def test_angles(self):
        good = gaussian(4, 3)
        for a, b, message in (
            (good, good[:, :2], "view_features: must have the shape of anchor_features"),
            (good * 0.0, good, "anchor_features: contains a zero vector"),
            (good, good * math.inf, "view_features: contains NaN or infinity"),
        ):
            with pytest.raises(ValueError, match=message):
                ceiling_report(a, b, torch.tensor([0, 0, 1, 1]))
        with pytest.raises(ValueError, match="labels: every cluster needs at least 2 points"):
            class_angles(good, torch.tensor([0, 0, 0, 1]))
        with pytest.raises(ValueError, match=r"quantile: must lie in \[0, 0.5\]"):
            class_angles(good, torch.tensor([0, 0, 1, 1]), 0.6)
