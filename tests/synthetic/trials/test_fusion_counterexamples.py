"""Violations of Theorems 3 and 4, the block model and Proposition 5 are kept, and can be seen again."""

import numpy as np
import pytest
from synthetic.trials.counterexamples import replay_file
from synthetic.trials.fusion_counterexamples import FIELDS, FusionCounterexample, keeper

from synthetic.batches.seeding import generator
from synthetic.sweep_noise import main as sweep_noise
from synthetic.trials import random_fusion
from tests.command_lines import status_of
from theory import block_model, loss_certificate, softmax_fusion
from theory.verdicts import Status

DRAWS = {"theorem_3": random_fusion.softmax_shape, "theorem_4": random_fusion.certificate_shape,
         "block_model": random_fusion.block_model_shape, "proposition_5": random_fusion.sharpening_shape}  # fmt: skip


def plant(patch, statement):
    """Make the bound that the statement's check computes too strong."""
    if statement == "theorem_3":
        true = softmax_fusion._mass
        patch.setattr(softmax_fusion, "_mass", lambda gap, *rest: true(gap + 1.0, *rest))
    elif statement == "theorem_4":
        true = loss_certificate.certified_sharpness
        patch.setattr(loss_certificate, "certified_sharpness", lambda jsd: 0.5 + 0.5 * true(jsd))
    elif statement == "block_model":
        patch.setattr(block_model, "EXACTNESS", 0.0)
    else:
        patch.setattr("synthetic.trials.random_fusion.sharpening_margin", lambda *a: -block_model.sharpening_margin(*a))
        patch.setattr(
            "synthetic.trials.fusion_counterexamples.sharpening_margin", lambda *a: -block_model.sharpening_margin(*a)
        )


@pytest.mark.parametrize("statement", list(FIELDS))
def test_a_planted_violation_is_kept_and_seen_again(statement, tmp_path, as_users_call):
    with pytest.MonkeyPatch.context() as patch:
        plant(patch, statement)
        keep = keeper(tmp_path)
        verdicts = [DRAWS[statement](generator(0, number), keep) for number in range(12)]
        count = sum(verdict.status is Status.VIOLATED for verdict in verdicts)
        kept = sorted(tmp_path.glob(f"counterexample-{statement}-*.npz"))
        assert count == len(kept) > 0
        found = [replay_file(path).status for path in kept]
        # A batch alone may round differently from the one in five hundred; rounding is all that EXACTNESS = 0 sees.
        assert all(status is Status.VIOLATED for status in found) or statement == "block_model"
        assert Status.VIOLATED in found
    # Nothing is wrong once the plant is gone; of a loss that certifies nothing, nothing is said.
    assert {replay_file(path).status for path in kept} <= {Status.HOLDS, Status.NOT_APPLICABLE}


def test_the_command_replays_them(tmp_path, capsys, as_users_call):
    path = tmp_path / "example.npz"
    FusionCounterexample("theorem_4", {"affinity": np.full((4, 4), 0.25), "labels": np.array([0, 0, 1, 1])}).save(path)
    assert sweep_noise(["--replay", str(path)]) == 0
    assert "Theorem 4: HOLDS" in capsys.readouterr().out


def test_damaged_files_are_refused(tmp_path, capsys):
    path = tmp_path / "example.npz"
    FusionCounterexample("theorem_4", {"affinity": np.full((4, 4), 0.25), "labels": np.array([0, 0, 1, 1])}).save(path)
    path.write_bytes(path.read_bytes()[:-30])
    assert status_of(sweep_noise, ["--replay", str(path)]) == 2
    assert "not a counterexample file" in capsys.readouterr().err
    FusionCounterexample("theorem_3", {"labels": np.array([0, 0, 1, 1])}).save(path)
    with pytest.raises(ValueError, match="not a counterexample file"):
        FusionCounterexample.load(path)
    np.savez(path, statement="theorem_9", labels=np.array([0, 0, 1, 1]))
    with pytest.raises(ValueError, match="not a counterexample file"):
        FusionCounterexample.load(path)
    with pytest.raises(ValueError, match="no such file"):
        FusionCounterexample.load(tmp_path / "nowhere.npz")
