"""Every registered trial: it holds, its negative controls are noticed, its violations are kept and seen again."""

from dataclasses import replace
from functools import partial

import numpy as np
import pytest

from synthetic.batches.seeding import generator
from synthetic.sweep_noise import main as sweep_noise
from synthetic.trials.files import Counterexample
from synthetic.trials.registry import trial_of, trials
from synthetic.trials.search import found_out, search, unnoticed
from synthetic.trials.stacks import BATCHES_A_SHAPE, column, column_array, random_clusters
from tests.command_lines import status_of
from tests.strategies import labels_of
from theory.judging import statements
from theory.judging.verdicts import Status

pytestmark = pytest.mark.theorems
KEYS = [trial.key for trial in trials()]
# Whose batches stand at floors and ceilings that take a second each to find; of 2c the signed one is quick enough.
DEAR = {"theorem_2c_squared", "theorem_2f", "theorem_2g_signed", "theorem_2g_squared"}
QUICKLY = [pytest.param(key, marks=[pytest.mark.slow] * (key in DEAR)) for key in KEYS]


def test_every_statement_is_on_trial():
    """Denoising has a table of its own (synthetic/sweeps/denoising.py)."""
    tried = {trial.statement.name for trial in trials()}
    assert set(statements.STATEMENTS) - tried == {statements.DENOISING.name}
    streams = [trial.search_stream for trial in trials()]
    assert len(set(streams)) == len(streams), "two searches would draw from one stream"


@pytest.mark.parametrize("key", [trial.key for trial in trials() if trial.rate is None])
def test_what_is_true_holds_on_random_cases(as_users_call, key):
    trial = trial_of(key)
    found = [trial.check(trial.draw(generator(0, i))) for i in range(8)]
    assert all(v.status is not Status.VIOLATED for v in found), [str(v) for v in found]
    # A loss of nearly ln 2 certifies nothing, and clusters too close are outside 2a's hypotheses.
    assert all(v.cases in (200, BATCHES_A_SHAPE) for v in found)
    assert sum(v.status is Status.HOLDS for v in found) >= 5


@pytest.mark.parametrize("key", QUICKLY)
def test_a_search_counts_names_and_repeats_itself(as_users_call, key):
    trial = trial_of(key)
    count = 300 if trial.rate is None else 1
    verdict, shapes = search(trial, count, 3)
    assert verdict.statement == f"{trial.name} on random batches"
    assert verdict.status is not Status.VIOLATED
    assert verdict.applicable >= count
    assert verdict.applicable == sum(shape.verdict.applicable for shape in shapes)
    assert [shape.number for shape in shapes] == list(range(len(shapes)))
    again, _ = search(trial, count, 3)
    assert str(verdict) == str(again)


@pytest.mark.parametrize("key", QUICKLY)
def test_damaged_parts_are_found_out(as_users_call, key):
    assert trial_of(key).damaged, "a trial that can notice nothing says nothing"
    assert unnoticed(trial_of(key)) == []


@pytest.mark.parametrize("key", QUICKLY)
def test_what_is_sound_is_not_found_out(as_users_call, key):
    """A control that finds everything out proves nothing: of a promised rate some sound cases fail."""
    assert not found_out(trial_of(key), trial_of(key).subject)


def test_the_noise_sweep_is_not_promised_a_rate():
    trial = next(each for each in trials() if each.rate is not None)
    with pytest.raises(ValueError, match=f"{trial.key}: on_cells goes with judge"):
        replace(trial, on_cells=lambda cell: True)


def test_what_draws_no_cases_is_not_searched(as_users_call):
    trial = replace(trial_of("theorem_4"), draw=None)
    for look in (unnoticed, partial(search, cases=1, seed=0)):
        with pytest.raises(ValueError, match="theorem_4: draws no random cases"):
            look(trial)


def test_a_damage_that_is_none_goes_unnoticed(as_users_call):
    trial = trial_of("theorem_4")
    assert unnoticed(replace(trial, damaged={"Nothing": trial.subject})) == ["Nothing"]


@pytest.mark.parametrize("key", QUICKLY)
def test_a_violation_is_kept_and_seen_again(tmp_path, as_users_call, key):
    trial = trial_of(key)
    # Of the block model some shapes have the power that the damaged block takes for granted.
    count = 1 if trial.rate else 4000 if key == "block_model" else 500
    damaged = replace(trial, subject=next(iter(trial.damaged.values())))
    verdict, shapes = search(damaged, count, 1, tmp_path)
    assert verdict.status is Status.VIOLATED or trial.rate is not None
    for shape in shapes:
        for path in tmp_path.glob(f"counterexample-{key}-{shape.number}.npz"):
            example = Counterexample.load(path)
            assert example.trial is trial
            assert example.replay().status in (Status.HOLDS, Status.NOT_APPLICABLE), "the sound subject"
            again = replace(example, trial=damaged).replay().status
            # One batch of many was damaged: alone, it is the first.
            assert again is Status.VIOLATED
    assert list(tmp_path.glob(f"counterexample-{key}-*.npz")) or trial.rate is not None


STACK_FIELDS = {"threshold": 0.5, "mixing": 0.5, "depth": 2, "query_key_map": np.empty((0, 0)), "condition": 1.0,
                "clean_angles": np.array([0.3, 1.5]), "noise_level": 0.1, "seed": 0, "cell": 1, "trial": 2}  # fmt: skip
EARLIER = [key for key in KEYS if key.startswith(("theorem_1", "theorem_2a", "theorem_2b", "theorem_2c"))]
POINTS = np.eye(4)[[0, 0, 1, 1]]


@pytest.mark.parametrize("extremes", [{}, {"extremes": np.array([0.9, 0.1])}])
@pytest.mark.parametrize("key", EARLIER)
def test_files_of_earlier_versions_are_read(tmp_path, key, extremes):
    """All statements of thresholded stacks once shared one list of fields, at first without the extremes."""
    path = tmp_path / "old.npz"
    np.savez(path, statement=key, points=POINTS, labels=labels_of((2, 2)), **STACK_FIELDS, **extremes)
    example = Counterexample.load(path)
    assert example.replay().status is Status.HOLDS
    assert dict(example.origin) == {"seed": 0, "cell": 1, "trial": 2}


def test_the_command_replays_them(tmp_path, capsys, as_users_call):
    path = tmp_path / "example.npz"
    values = {"affinity": np.full((4, 4), 0.25), "labels": np.array([0, 0, 1, 1])}
    Counterexample(trial_of("theorem_4"), values).save(path)
    assert sweep_noise(["--replay", str(path)]) == 0
    assert "Theorem 4: HOLDS" in capsys.readouterr().out


def test_damaged_files_are_refused(tmp_path, capsys):
    path = tmp_path / "example.npz"
    labels = np.array([0, 0, 1, 1])
    Counterexample(trial_of("theorem_4"), {"affinity": np.full((4, 4), 0.25), "labels": labels}).save(path)
    path.write_bytes(path.read_bytes()[:-30])
    assert status_of(sweep_noise, ["--replay", str(path)]) == 2
    assert "not a counterexample file" in capsys.readouterr().err
    for fields in ({"labels": labels}, {"affinity": np.eye(4), "labels": labels, "surprise": 1}):
        np.savez(path, statement="theorem_4", **fields)
        with pytest.raises(ValueError, match="not a counterexample file"):
            Counterexample.load(path)
    np.savez(path, statement="theorem_4", affinity=0.25, labels=labels)
    with pytest.raises(ValueError, match="not a counterexample file"):
        Counterexample.load(path)
    np.savez(path, statement="theorem_9", labels=labels)
    with pytest.raises(ValueError, match="unknown statement 'theorem_9'"):
        Counterexample.load(path)
    with pytest.raises(ValueError, match="no such file"):
        Counterexample.load(tmp_path / "nowhere.npz")


def test_batches_for_theorem_3_are_of_every_kind():
    """Overlapping and separate clusters, positive and negative cosines."""
    alphas, lowest = [], []
    for i in range(12):
        points, sizes = random_clusters(generator(0, i))
        assert points.shape[:2] == (BATCHES_A_SHAPE, sum(sizes))
        np.testing.assert_allclose(np.linalg.norm(points, axis=-1), 1.0, atol=1e-14)
        cosines = points @ np.swapaxes(points, -1, -2)
        same = np.equal.outer(labels_of(sizes), labels_of(sizes))
        alphas.append(np.where(same, cosines, 1).min((1, 2)) - np.where(same, -1, cosines).max((1, 2)))
        lowest.append(cosines.min((1, 2)))
    assert 0.1 < np.mean(np.concatenate(alphas) > 0) < 0.9
    assert 0.1 < np.mean(np.concatenate(lowest) > 0) < 0.9


def test_columns_broadcast_against_batches():
    assert column_array(np.arange(3.0)).shape == tuple(column(np.arange(3.0)).shape) == (3, 1, 1)


@pytest.mark.slow
@pytest.mark.parametrize("key", KEYS)
def test_a_hundred_thousand_random_cases_violate_nothing(key):
    trial = trial_of(key)
    verdict, _ = search(trial, 100_000 if trial.rate is None else 10_000, seed=0)
    assert verdict.status in (Status.HOLDS, Status.UNDECIDED), str(verdict)
