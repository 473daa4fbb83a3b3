"""Over-fusion and the sharpening map: what the commands write, and that their verdicts notice damage."""

import json
import shutil
from itertools import islice

import numpy as np
import pandas as pd
import pytest

from models.attention import TransFusionBlock
from models.softmax_fusion import SoftmaxStack
from synthetic import head_costs, over_fusion, sharpening_map
from synthetic.batches.prescribed_cosines import draw_batches, mean_cosines
from synthetic.integrity.folders import look_at
from synthetic.trials.files import Counterexample
from tests import reference
from tests.command_lines import status_of
from theory.judging.verdicts import Status
from theory.numerics.manifest import adopt

SMALL = ["--num-clusters", "3", "--cluster-size", "5", "--ambient-dim", "64", "--depth", "20", "--trials", "4",
         "--inverse-temperatures", "4", "6"]  # fmt: skip
MAP = ["--equiangular-batches", "500", "--steps", "4", "--trials", "3", "--num-clusters", "3", "--cluster-size", "5",
       "--ambient-dim", "64"]  # fmt: skip


@pytest.fixture(scope="module")
def finished(tmp_path_factory):
    out = tmp_path_factory.mktemp("fusion") / "run"
    assert over_fusion.main([*SMALL, "--out", str(out)]) == 0
    return out


def test_mean_cosines_are_the_double_loop():
    points = draw_batches("noisy", 0.7, 0.2, 3, 4, 30, 2, 0, 0)
    within, between = mean_cosines(points, 3)
    labels = np.repeat(np.arange(3), 4)
    for trial in range(2):
        inside, cross = reference.extremes(points[trial], labels)
        assert within[trial] == pytest.approx(np.mean(inside), abs=1e-13)
        assert between[trial] == pytest.approx(np.mean(cross), abs=1e-13)


def test_batches_have_the_cosines_that_were_asked_for():
    exact = draw_batches("equiangular", 0.7, 0.2, 3, 4, 30, 2, 0, 0)
    assert mean_cosines(exact, 3) == (pytest.approx([0.7, 0.7]), pytest.approx([0.2, 0.2]))
    within, between = mean_cosines(draw_batches("noisy", 0.7, 0.2, 3, 10, 2000, 8, 0, 0), 3)
    assert within.mean() == pytest.approx(0.7, abs=0.01)
    assert between.mean() == pytest.approx(0.2, abs=0.01)
    for within, between in ((0.5, 0.5), (0.5, -0.1), (0.0, 0.0), (1.1, 0.0)):
        with pytest.raises(ValueError, match=r"within|between"):
            draw_batches("noisy", within, between, 3, 4, 30, 2, 0, 0)


def test_a_run_shows_over_fusion_and_what_stays_sharp(finished):
    curves = pd.read_csv(finished / "curves.csv").set_index("cell")
    depths = pd.read_csv(finished / "depths.csv")
    last = depths[depths["layer"] == 20].set_index("cell")["sharpness_mean"]
    for cell, curve in curves.iterrows():
        if curve["name"] == "ReLU, threshold":
            assert last[cell] == pytest.approx(1.0, abs=1e-12)
        if curve["name"] in ("ReLU", "softmax 4"):
            assert last[cell] == pytest.approx(curve["chance"], abs=0.05)
    exact = depths[depths["cell"].isin(curves.index[curves["batches"] == "equiangular"])]
    assert exact["error_max"].max() < 1e-11
    capped = depths[depths["cap"].notna()]
    assert len(capped)
    assert (capped["sharpness_high"] <= capped["cap"] + 1e-12).all()
    guaranteed = curves[curves["certified_layers"].notna()]
    assert (guaranteed["certified_layers"] <= guaranteed["separated_layers"]).all()
    assert (guaranteed["certified_layers"] >= 1).all()
    verdicts = {v["statement"]: v["status"] for v in json.loads((finished / "verdicts.json").read_text())}
    assert verdicts == {"Theorem 2a": "HOLDS", "Theorem 3": "HOLDS", "Block model": "HOLDS"}
    assert (finished / "over_fusion.png").stat().st_size > 10_000


def test_a_run_is_continued_with_the_same_rows(finished, tmp_path, capsys):
    copy = shutil.copytree(finished, tmp_path / "run")
    before = (copy / "curves.csv").read_bytes()
    (copy / "curves.csv").write_text("".join((copy / "curves.csv").read_text().splitlines(keepends=True)[:6]))
    adopt(copy)
    assert over_fusion.main([*SMALL, "--out", str(copy), "--resume", "--no-figures"]) == 0
    assert "14 curves, 5 already there" in capsys.readouterr().out
    assert (copy / "curves.csv").read_bytes() == before
    assert status_of(over_fusion.main, [*SMALL, "--seed", "1", "--out", str(copy), "--resume"]) == 2


def test_softmax_of_another_temperature_is_noticed(monkeypatch, tmp_path):
    true = SoftmaxStack.weigh
    monkeypatch.setattr(SoftmaxStack, "weigh", lambda self, cosines, kappa: true(self, cosines, 0.5 * kappa))
    assert over_fusion.main([*SMALL, "--out", str(tmp_path / "run"), "--no-figures"]) == 1
    kept = list((tmp_path / "run").glob("counterexample-theorem_3-*.npz"))
    assert kept
    assert all(Counterexample.load(path).replay().status is Status.VIOLATED for path in kept)


def test_a_block_that_forgets_its_power_is_noticed(monkeypatch, tmp_path):
    true = TransFusionBlock.affinity

    def forgetful(self, attention):
        raw = self.rectify(attention)
        return (raw, raw.sum(-1)) if self.power == 2.0 else true(self, attention)

    monkeypatch.setattr(TransFusionBlock, "affinity", forgetful)
    assert sharpening_map.main([*MAP, "--out", str(tmp_path / "run"), "--no-figures"]) == 1
    assert list((tmp_path / "run").glob("counterexample-*.npz"))


def test_the_map_is_written_and_drawn(tmp_path):
    out = tmp_path / "run"
    assert sharpening_map.main([*MAP, "--out", str(out)]) == 0
    rows = pd.read_csv(out / "map.csv")
    assert (rows["between"] < rows["within"]).all()
    assert (rows["plain_after"] < rows["plain_before"]).all(), "plain ReLU never sharpens, noise or not"
    assert (rows["plain_model_after"] < rows["plain_model_before"]).all()
    assert (out / "sharpening_map.png").stat().st_size > 10_000


def test_agreement_by_hand():
    def row(change, model, error):
        return {
            "x_before": 0.5,
            "x_after": 0.5 + change,
            "x_error": error,
            "x_model_before": 0.0,
            "x_model_after": model,
        }

    rows = [row(0.1, 0.2, 0.01), row(-0.1, 0.2, 0.01), row(0.1, 0.2, 0.06), row(0.0, 0.0, 0.0), row(0.1, 1, np.nan)]
    assert sharpening_map.agreement(rows, "x") == (1, 1, 3)


@pytest.mark.parametrize(
    ("command", "arguments", "name"),
    [
        (over_fusion, ["--within-cos", "1"], "within_cos"),
        (over_fusion, ["--between-cos", ".9"], "between_cos"),
        (over_fusion, ["--inverse-temperatures", "0"], "inverse_temperatures"),
        (over_fusion, ["--inverse-temperatures", "4", "4"], "inverse_temperatures"),
        (over_fusion, ["--ambient-dim", "4"], "ambient_dim"),
        (over_fusion, ["--mixing", "0"], "mixing"),
        (over_fusion, ["--trials", "0"], "trials"),
        (sharpening_map, ["--threshold", "1"], "threshold"),
        (sharpening_map, ["--steps", "1"], "steps"),
        (sharpening_map, ["--cluster-size", "1"], "cluster_size"),
        (head_costs, ["--batch-sizes", "7"], "batch_sizes"),
        (head_costs, ["--feature-dim", "6"], "in_dim"),
        (head_costs, ["--device", "cuda:77"], "device"),
    ],
)
def test_bad_arguments_are_named(command, arguments, name, capsys, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    assert status_of(command.main, arguments) == 2
    assert name in capsys.readouterr().err
    assert not list(tmp_path.iterdir()), "nothing is left behind"


def test_costs_of_heads(tmp_path, capsys):
    out = tmp_path / "run"
    arguments = ["--batch-sizes", "8", "16", "--rounds", "2", "--feature-dim", "8", "--width", "8", "--depth", "1"]
    assert head_costs.main([*arguments, "--out", str(out)]) == 0
    rows = pd.read_csv(out / "costs.csv")
    assert len(rows) == 14
    assert (rows.loc[rows["head"] == "mlp", "ratio"] == 1.0).all()
    assert rows.loc[rows["head"] == "linear", "parameters"].unique() == [72]
    assert (out / "head_costs.png").exists()
    assert "parameters" in capsys.readouterr().out
    assert look_at(out).words == "whole, finished: head costs, 14 rows"


def test_costs_of_heads_go_on_where_they_were_stopped(tmp_path, monkeypatch, capsys):
    """Inside a batch size too: what is there is kept, what is missing is timed."""
    out, timed = tmp_path / "run", head_costs.cost_rows
    arguments = ["--batch-sizes", "8", "16", "--rounds", "2", "--feature-dim", "8", "--width", "8", "--depth", "1",
                 "--out", str(out), "--no-figures"]  # fmt: skip
    monkeypatch.setattr(head_costs, "cost_rows", lambda *given: islice(timed(*given), 9))
    assert head_costs.main(arguments) == 0
    assert look_at(out).words == "whole, not finished: head costs, 9 rows"
    before = pd.read_csv(out / "costs.csv")
    monkeypatch.setattr(head_costs, "cost_rows", timed)
    assert head_costs.main([*arguments, "--resume"]) == 0
    rows = pd.read_csv(out / "costs.csv")
    assert rows[["head", "batch_size"]].drop_duplicates().shape == (14, 2)
    pd.testing.assert_frame_equal(rows.head(9), before)
    assert look_at(out).words == "whole, finished: head costs, 14 rows"
