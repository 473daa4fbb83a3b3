"""What is said about rows that are as they should be, and about rows that are not."""

from dataclasses import replace

import numpy as np
import pytest
import torch

from models.advisor import AdvisorConfig, AttentionTransformer, Status, advise
from models.advisor.answers import advice_of, does_not_apply
from models.advisor.check_set import CheckSet
from models.advisor.findings import find, keep_in, usual_batch
from models.advisor.inputs.features import feature_set
from models.advisor.pool import Pool, pool_of
from models.advisor.predictions import curve_rows, predictions_of
from models.advisor.prospective import judge, summary
from models.advisor.questions import geometry
from models.advisor.questions.curves import size_curve
from models.advisor.report import WIDTH, report, write_advice
from tests.models.advisor.rows import STRENGTHS, gaussian_set, rows_of, views_of
from theory.batch_law import Weight, batch_laws
from theory.measurements import pair_extremes
from theory.neighbour_floor import neighbour_floor

CONFIG = AdvisorConfig(batch_size=24, depth=3, batches=6)


@pytest.fixture(scope="module")
def features():
    return gaussian_set(0)


@pytest.fixture(scope="module")
def findings(features):
    return find(features, CONFIG)


@pytest.fixture(scope="module")
def advice(findings):
    return advice_of(findings, CONFIG)


def test_every_question_has_an_answer_with_a_status(advice):
    found = {each.name: each.status for each in advice.answers}
    assert found == {
        "center": Status.PREDICTED, "threshold": Status.PREDICTED, "inverse_temperature": Status.PREDICTED,
        "sharpness_relu": Status.EXACT, "sharpness_softmax": Status.EXACT,
        "sharpness_relu_certified": Status.CERTIFIED, "sharpness_softmax_certified": Status.CERTIFIED,
        "batch_floor": Status.EXACT, "batch_floor_certified": Status.CERTIFIED, "strength_relu": Status.PREDICTED,
        "strength_softmax": Status.PREDICTED, "strength_certified": Status.CERTIFIED,
        "depth_relu": Status.PREDICTED, "depth_softmax": Status.PREDICTED, "theorem_2b": Status.EXACT,
    }  # fmt: skip
    assert advice.centered
    assert advice.geometry[0].median_cosine > 0.5 > advice.geometry[1].median_cosine
    for each in advice.answers:
        if each.low is not None and each.high is not None:
            assert each.low <= each.value <= each.high, each


def test_exact_answers_are_those_of_the_propositions(features, findings, advice):
    points = features.embeddings - findings.center
    weights = tuple(weight for _, weight in findings.weights)
    for (kind, _), law in zip(findings.weights, batch_laws(points, features.classes, (24,), weights)):
        answer = advice.answer(f"sharpness_{kind}")
        assert answer.low == pytest.approx(law.lower.mean(), abs=1e-5)
        assert answer.high == pytest.approx(law.upper.mean(), abs=1e-5)
        assert answer.low - 0.2 < advice.answer(f"sharpness_{kind}_certified").value < answer.high
    floor = neighbour_floor(points, features.classes, advice.threshold, 0.05)
    assert advice.answer("batch_floor").value == floor <= advice.answer("batch_floor_certified").value


def test_theorem_2b_is_told_why_it_does_not_apply(features, advice):
    centered = features.embeddings - np.array(advice.center)
    alpha, beta = pair_extremes(centered, features.classes)
    assert advice.geometry[1].smallest_within == pytest.approx(float(alpha), abs=1e-5)
    assert advice.geometry[1].largest_cross == pytest.approx(float(beta), abs=1e-5)
    assert advice.answer("theorem_2b").meaning.startswith(does_not_apply(advice.geometry[1].closer))
    assert does_not_apply(0.37) == "does not apply: 37 % of the cross pairs are closer than the farthest within pair"
    tight = advise(*rows_of(0, noise=0.02), config=CONFIG)
    assert (tight.answer("theorem_2b").value, tight.answer("theorem_2b").status) == ("yes", Status.EXACT)


def test_theorem_2b_is_undecided_by_a_part_of_the_rows(findings, monkeypatch):
    """Classes at 0 and 60 degrees, but for one row each, at 21 and 39: only that pair is too close, and it is not
    looked at. A pair that is too close and was looked at settles it."""
    monkeypatch.setattr(geometry, "MOST_ROWS", 10)
    unseen = np.random.default_rng([0, 1]).permutation(40)[10:]
    classes = np.arange(40) % 2
    first, second = (unseen[classes[unseen] == k][0] for k in (0, 1))
    angles = np.where(classes == 0, 0.0, 60.0)
    angles[first], angles[second] = 21.0, 39.0

    def asked():
        points = torch.from_numpy(np.stack([np.cos(np.deg2rad(angles)), np.sin(np.deg2rad(angles))], axis=1)).float()
        pool = Pool(points, classes, None, np.ones(40, dtype=bool), False)
        shapes = (geometry.geometry(pool, 0),) * 2
        return advice_of(replace(findings, geometry=shapes, pool_size=40), CONFIG).answer("theorem_2b")

    found = asked()
    assert (found.value, found.status) == (None, Status.UNDECIDED)
    assert "of 10 rows every within-class pair is closer" in found.meaning
    assert "among the other 30 were not looked at" in found.meaning
    monkeypatch.setattr(geometry, "MOST_ROWS", 40)
    assert (asked().value, asked().status) == ("no", Status.EXACT)
    angles[first], angles[second] = 19.0, 41.0
    assert (asked().value, asked().status) == ("yes", Status.EXACT)
    monkeypatch.setattr(geometry, "MOST_ROWS", 10)
    angles[np.setdiff1d(np.arange(40), unseen)[:1]] = 30.0
    assert (asked().value, asked().status) == ("no", Status.EXACT)


def test_an_honest_split_is_confirmed(features, findings, advice):
    checked = judge_against(gaussian_set(1), features, findings)
    found = summary(checked)
    assert found["predictions"] == len(advice.predictions) >= 25
    assert found["confirmed"] >= 0.9 * found["predictions"]
    assert found["contradicted"] == 0
    assert found["median_error"] < 0.03


def judge_against(new, features, findings, config=CONFIG):
    check = CheckSet(findings, features, new, config)
    given = list(predictions_of(findings))
    return judge(given, check.measure(given), check.new_size)


def test_a_shifted_check_set_is_contradicted(features, findings):
    """Classes half as far apart; and the right rows with other rows' labels."""
    shifted = replace(gaussian_set(1, noise=2.0))
    assert summary(judge_against(shifted, features, findings))["contradicted"] >= 5
    new = gaussian_set(1)
    shuffled = replace(new, classes=np.random.default_rng(0).permutation(new.classes))
    assert summary(judge_against(shuffled, features, findings))["contradicted"] >= 10


def test_nothing_is_chosen_by_the_rows_that_stand_for_new_ones(features, findings):
    """Their labels are shuffled and their rows moved: mean, candidates and what is certified against stay the same."""
    others = np.flatnonzero(~pool_of(features, True).bank)
    classes, embeddings = features.classes.copy(), features.embeddings.copy()
    classes[others] = np.random.default_rng(3).permutation(classes[others])
    embeddings[others] += np.random.default_rng(4).normal(size=(len(others), 12))
    found = find(replace(features, classes=classes, embeddings=embeddings, views=(), strengths=()), CONFIG)
    assert found.choices == findings.choices
    np.testing.assert_array_equal(found.center, findings.center)
    assert found.certified != findings.certified


def test_new_rows_are_centered_by_the_old_mean(features, findings):
    check = CheckSet(findings, features, gaussian_set(1), CONFIG)
    np.testing.assert_array_equal(check.pool(None).center, findings.center)
    np.testing.assert_allclose(check.pool(1.0).center, features.views[2][pool_of(features, True).bank].mean(0))
    moved = replace(gaussian_set(1), embeddings=gaussian_set(1).embeddings + 3.0)
    found = [each for each in judge_against(moved, features, findings) if each.prediction.kind == "sharpness"]
    assert sum(each.status is Status.CONTRADICTED for each in found) >= 4


def test_a_new_row_equal_to_the_old_mean_is_named(features, findings):
    rows, labels = rows_of(1, 40)
    rows[7] = findings.center
    with pytest.raises(ValueError, match=r"^check: embeddings: row 7 is the mean that is subtracted"):
        judge_against(feature_set(rows, labels), features, findings)


def test_a_check_set_without_views_or_too_small_leaves_predictions_undecided(features, findings):
    few = feature_set(*rows_of(1, 20))
    found = judge_against(few, features, findings)
    strengths = [each for each in found if "strength" in each.prediction.kind]
    assert {each.status for each in strengths} == {Status.UNDECIDED}
    assert all(np.isnan(each.measured) for each in strengths)
    sizes = {each.prediction.at: each.status for each in found if each.prediction.kind == "sharpness"}
    assert sizes[32] is Status.UNDECIDED
    assert sizes[8] is not Status.UNDECIDED or few.num_rows < 8


def test_a_check_set_of_another_kind_is_refused(features, findings):
    with pytest.raises(ValueError, match=r"its rows must have 12 numbers.*got 3"):
        judge_against(feature_set(np.eye(3)[[0, 1, 2, 0]] + 0.1, [0, 1, 0, 1]), features, findings)
    with pytest.raises(ValueError, match="check: has none of the labels"):
        judge_against(gaussian_set(1, labeled=False), features, findings)


@pytest.mark.parametrize(("more", "says"), [(0.001, True), (-0.001, False)])
def test_a_mean_that_is_subtracted_for_no_gain_is_said_to_do_no_harm(findings, more, says):
    """Else the answer would be yes beside two numbers that say no."""
    (relu, softmax), centered = findings.choices
    raw = replace(relu, sharpness=centered[0].sharpness + more)
    answer = advice_of(replace(findings, choices=((raw, softmax), centered)), CONFIG).answer("center")
    assert answer.value == "yes"
    assert ("does no harm" in answer.meaning) == says


def test_shuffled_labels_are_noticed():
    embeddings, labels = rows_of(0)
    shuffled = np.random.default_rng(1).permutation(labels)
    advice = advise(embeddings, shuffled, views_of(embeddings, 0), STRENGTHS, CONFIG)
    for name in ("center", "threshold", "inverse_temperature", "batch_floor"):
        assert advice.answer(name).status is Status.UNDECIDED
    assert advice.threshold is advice.inverse_temperature is advice.depth is None
    assert any("at chance" in each and "shuffled" in each for each in advice.warnings)
    assert len(advice.next_steps) == 1
    assert advice.predictions == ()
    assert "-  " in report(advice)
    with pytest.raises(ValueError, match="leaves the attention undecided"):
        AttentionTransformer.from_advice(advice)


def test_warnings():
    embeddings, labels = rows_of(0, 200)
    copied = np.concatenate([embeddings, embeddings[:40]])
    found = advise(copied, np.concatenate([labels, labels[:40]]), config=CONFIG).warnings
    assert any(each.startswith("80 rows have a near-duplicate") for each in found)
    assert any("median cosine" in each and "center" in each for each in found)
    assert any("240 rows are 10.0 batches of 24" in each for each in found)
    stretched = embeddings.copy()
    stretched[:, 0] = 100 * np.random.default_rng(0).lognormal(sigma=1.5, size=200)
    found = advise(stretched, labels, config=CONFIG).warnings
    assert any("even after centering" in each and "Standardize" in each for each in found)
    few = advise(embeddings, labels, config=replace(CONFIG, batch_size=12)).warnings
    assert any("holds 2.7 other rows of a row's own class" in each for each in few)
    clean = advise(embeddings - embeddings.mean(0), labels, config=replace(CONFIG, batch_size=10,
                                                                           effective_neighbors=2.0))  # fmt: skip
    assert clean.warnings == ()


def test_the_last_candidate_is_told_so(findings):
    relu, softmax = findings.choices[findings.centered]
    last = replace(softmax, value=softmax.rows[-1]["at"])
    choices = tuple((relu, last) if i == findings.centered else pair for i, pair in enumerate(findings.choices))
    told = "the best inverse temperature is the largest that was tried, 100"
    assert told in advice_of(replace(findings, choices=choices), CONFIG).warnings
    assert told not in advice_of(findings, CONFIG).warnings


def test_view_pairs_take_the_place_of_labels():
    features = gaussian_set(0, 120, labeled=False)
    findings = find(features, CONFIG)
    advice = advice_of(findings, CONFIG)
    assert advice.paired
    assert "view pairs of strength 0.5" in report(advice)
    names = {each.name for each in advice.answers}
    assert {"isolated", "sharpness_softmax", "strength_softmax"} <= names
    assert not {"batch_floor", "batch_floor_certified"} & names
    found = summary(judge_against(gaussian_set(1, 120, labeled=False), features, findings))
    assert found["contradicted"] == 0
    assert found["confirmed"] >= 0.9 * found["predictions"]


def test_rows_whose_other_view_is_no_neighbor_are_counted_at_the_threshold():
    """Not by softmax attention, to which every row is a neighbor, and whose points stand first where ReLU has none."""
    features = gaussian_set(0, 120, labeled=False)
    findings = find(features, replace(CONFIG, depth=1))
    relu, softmax = (tuple(each for each in findings.sizes if each.kind == kind) for kind in ("relu", "softmax"))
    planted = tuple(replace(each, isolated=0.25) for each in relu)
    for sizes, value, status in ((planted + softmax, 0.25, Status.EXACT), (softmax + planted, 0.25, Status.EXACT),
                                 (softmax, None, Status.UNDECIDED)):  # fmt: skip
        weights = tuple(each for each in findings.weights if sizes != softmax or each[0] == "softmax")
        answer = advice_of(replace(findings, sizes=sizes, weights=weights), CONFIG).answer("isolated")
        assert (answer.value, answer.status) == (value, status)
    # What the points say is a count.
    pool, high = pool_of(features, findings.centered), Weight("relu", threshold=0.9)
    pairs = (pool.points[:120] * pool.points[120:]).sum(1)
    (point,) = size_curve(pool, [("relu", high)], (8,), CONFIG)
    assert point.isolated == pytest.approx(float((pairs <= 0.9).double().mean()))
    assert 0.1 < point.isolated < 0.9


@pytest.mark.slow
def test_a_strength_that_is_never_lost_asks_for_a_larger_one():
    embeddings, labels = rows_of(0)
    advice = advise(embeddings, labels, [embeddings, embeddings + 0.01], [0, 0.5], CONFIG)
    answer = advice.answer("strength_relu")
    assert answer.status is Status.UNDECIDED
    assert answer.low == 0.5
    assert "embed a larger one" in answer.meaning


def test_a_threshold_may_leave_no_batch_large_enough():
    """A third class whose rows point everywhere: they have no true neighbors."""
    rng = np.random.default_rng(0)
    rows = np.concatenate([np.eye(20)[:2].repeat(40, 0) + 0.05 * rng.normal(size=(80, 20)), rng.normal(size=(20, 20))])
    advice = advise(rows, np.repeat([0, 1, 2], [40, 40, 20]), config=replace(CONFIG, share=0.01))
    answer = advice.answer("batch_floor")
    if answer.value is None:
        assert "no batch is large enough" in answer.meaning
    assert answer.status is Status.EXACT


def test_batches_too_small_for_four_neighbors_are_undecided():
    advice = advise(*rows_of(0), config=replace(CONFIG, batch_size=4))
    assert advice.answer("threshold").status is Status.UNDECIDED
    assert "ask with a larger --batch-size" in advice.answer("threshold").meaning


def test_the_batch_is_one_that_the_rows_fill():
    for given, most in ((241, 240), (121, 120)):
        with pytest.raises(ValueError, match=rf"^batch_size: must be a whole number in \[2, {most}\], got {given}"):
            advise(*rows_of(0), config=AdvisorConfig(batch_size=given))
    with pytest.raises(ValueError, match=r"got 121; batches of new rows are filled from about half"):
        find(gaussian_set(0), AdvisorConfig(batch_size=121), progress=lambda *_: pytest.fail("something was asked"))
    with pytest.raises(ValueError, match=r"^batch_size: must be a whole number in \[2, 33\], got 40"):
        find(gaussian_set(0), AdvisorConfig(batch_size=40), strength_rows=60)
    with pytest.raises(ValueError, match="batch_size: must be even"):
        find(gaussian_set(0, 40, labeled=False), AdvisorConfig(batch_size=13))
    assert [usual_batch(n, 0.1) for n in (5, 40, 899, 5000)] == [2, 16, 64, 64]
    assert [usual_batch(n, 0.1) for n in (24, 31, 32)] == [8, 8, 16], "half of the rows fill it"
    assert usual_batch(240, 0.0) == 16, "every row of the half is alone in its class"
    assert [usual_batch(10**6, chance) for chance in (0.5, 0.1, 0.01, 1e-6)] == [16, 64, 256, 256]


@pytest.mark.parametrize(
    ("settings", "message"),
    [({"batch_size": 3}, "batch_size"), ({"share": 0.0}, r"share: must lie in \(0, 1\)"), ({"target": 1.0}, "target"),
     ({"delta": 0.0}, "delta"), ({"effective_neighbors": 0.5}, "effective_neighbors"), ({"depth": 0}, "depth"),
     ({"batches": 1}, "batches"), ({"seed": -1}, "seed"), ({"memory_limit": 0.0}, "memory_limit")],
)  # fmt: skip
def test_settings_are_refused_by_name(settings, message):
    with pytest.raises(ValueError, match=message):
        AdvisorConfig(**settings)


def test_finished_parts_are_kept(tmp_path, features, findings):
    keep = keep_in(tmp_path)
    again = find(features, CONFIG, keep)
    stored = {path.name: path.read_bytes() for path in (tmp_path / "parts").iterdir()}
    assert len(stored) == 16
    (tmp_path / "parts" / "depth_relu.json").unlink()
    told = []
    resumed = find(features, CONFIG, lambda name, compute: keep(name, lambda: told.append(name) or compute()))
    assert told == ["depth_relu"]
    assert list(curve_rows(resumed)) == list(curve_rows(again)) == list(curve_rows(findings))
    assert {path.name: path.read_bytes() for path in (tmp_path / "parts").iterdir()} == stored


def test_the_report_fits_a_terminal(tmp_path, advice, features, findings):
    checked = replace(advice, checked=judge_against(gaussian_set(1, noise=2.0), features, findings))
    for each in (advice, checked):
        assert max(map(len, report(each).splitlines())) <= WIDTH
    assert "CONTRADICTED" in report(checked)
    assert "What to do next" in report(advice)
    write_advice(tmp_path, checked)
    assert {path.name for path in tmp_path.iterdir()} == {"advice.json", "curves.csv", "checked.csv"}


def test_stacks_are_advised_where_they_sharpen(findings):
    curve, other = findings.depths
    flat = replace(other, means=(0.5,) * 4, peak=0, peak_low=0, peak_high=3)
    for means, peak, words in (
        ((0.5, 0.6, 0.55, 0.4), 1, "Or stack 1 ReLU block: affinity sharpness 0.500 before, 0.600 after; more do not"),
        ((0.5, 0.6, 0.7, 0.8), 3, "Or stack 3 ReLU blocks: affinity sharpness 0.500 before, 0.800 after; more may"),
        ((0.5, 0.505, 0.4, 0.3), 1, "Add no attention blocks"),
    ):
        planted = replace(curve, means=means, peak=peak, peak_low=peak, peak_high=peak)
        steps = advice_of(replace(findings, depths=(planted, flat)), CONFIG).next_steps
        assert [words in each for each in steps].count(True) == 1


def test_the_transformer_takes_the_advice(advice):
    relu = AttentionTransformer.from_advice(replace(advice, attention="relu", depth=0), bank_size=50)
    assert (relu.threshold, relu.inverse_temperature, relu.depth) == (advice.threshold, None, 1)
    assert (relu.center, relu.bank_size) == (advice.centered, 50)
    softmax = AttentionTransformer.from_advice(replace(advice, attention="softmax", depth=3))
    assert (softmax.inverse_temperature, softmax.depth) == (advice.inverse_temperature, 3)
