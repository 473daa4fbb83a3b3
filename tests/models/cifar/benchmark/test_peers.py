"""The benchmark against peers: who is timed, who is refused, skipped or absent, and what ratios are made of."""

import json
import sys

import numpy as np
import pandas as pd
import pytest
import torch

from models.cifar.benchmark import __main__ as command
from models.cifar.benchmark import losses, peers, pipelines, stacks
from models.devices import timing
from models.devices.timing import Spread, Times, in_turn, peak_bytes
from synthetic.integrity.folders import kind_of
from tests.command_lines import status_of

CPU, ALL = torch.device("cpu"), ("nt_xent", "supcon", "affinity")
TOY = ["--peers", "--sizes", "32", "20", "--dim", "6", "--rounds", "2", "--batch-size", "8", "--image-size", "8",
       "--encoder.width", "2", "--encoder.norm", "group", "--head.kind", "linear", "--no-figures"]  # fmt: skip


def test_values_and_gradients_of_all_peers_are_ours():
    assert peers.library_left_out() is None
    for contest in peers.contests():
        inputs = contest.inputs(60, 5, CPU)
        ours = peers.value_and_gradients(contest.ours, *inputs)
        assert float(ours[0]) > 0
        assert all(gradient.abs().max() > 1e-4 for gradient in ours[1:])
        for name, peer in contest.peers.items():
            theirs = peers.value_and_gradients(peer.loss, *inputs)
            assert peers.disagreement(ours, theirs) < 1e-5, (contest.name, name)
            assert peers.disagreement(ours, tuple(1.01 * each for each in theirs)) == pytest.approx(0.01, rel=0.01)
    assert [list(each.peers) for each in peers.contests()] == [[peers.WRITTEN, peers.LIBRARY]] * 2 + [[peers.WRITTEN]]


def test_views_of_other_sizes_are_refused_before_anything_is_measured(tmp_path, capsys):
    """They were timed against Pillow's, of full size."""
    run = tmp_path / "run"
    for words in (TOY[1:], [*TOY, "--out", str(run)]):
        assert status_of(command.main, [*words, "--view-sizes", "4", "8"]) == 2
        assert "view_sizes: the first epoch's views would be of 4 pixels" in capsys.readouterr().err
    assert not run.exists()


def test_nan_is_no_agreement():
    one = (torch.tensor(1.0), torch.ones(2))
    assert peers.disagreement(one, (torch.tensor(float("nan")), torch.ones(2))) == np.inf
    assert peers.disagreement(one, (torch.tensor(1.0), torch.tensor([1.0, np.inf]))) == np.inf
    assert peers.disagreement(one, one) == 0.0


def test_the_command_from_end_to_end(tmp_path, capsys):
    run = tmp_path / "run"
    assert status_of(command.main, [*TOY, "--out", str(run)]) == 0
    rows = pd.read_csv(run / "peer_losses.csv")
    assert set(rows["status"]) == {"timed"}
    assert sorted(zip(rows["loss"], rows["n"], rows["peer"])) == sorted(
        (loss, n, peer)
        for n in (20, 32)
        for loss, peer in [("affinity", peers.WRITTEN), *((loss, peer) for loss in ("nt_xent", "supcon")
                                                           for peer in (peers.WRITTEN, peers.LIBRARY))]
    )  # fmt: skip
    assert (rows["ratio_min"] <= rows["ratio"]).all()
    assert (rows["ratio"] <= rows["ratio_max"]).all()
    np.testing.assert_allclose(rows["memory_ratio"], rows["peer_mib"] / rows["ours_mib"])
    assert (pd.read_csv(run / "peer_stacks.csv")[["trials", "n", "dim"]].to_numpy() == stacks.SHAPES).all()
    shares = pd.read_csv(run / "pipelines.csv").set_index("work")
    assert list(shares.index) == [pipelines.BARE, pipelines.TRAINER, pipelines.VIEWS, pipelines.OBVIOUS,
                                  pipelines.OBVIOUS_VIEWS]  # fmt: skip
    assert (shares.loc[pipelines.BARE, ["share", "share_min", "share_max"]] == 1.0).all()
    out = capsys.readouterr().out
    assert "views are the same whatever --view says" in out
    assert f"torch {torch.__version__}" in out
    assert "pytorch-metric-learning" in out
    assert kind_of(run)[0].name == "benchmark against peers"
    assert json.loads((run / "config.json").read_text())["peers"] is True


def test_a_peer_that_computes_something_else_is_refused(tmp_path, monkeypatch, capsys):
    """Planted: a temperature that is 1 % higher."""

    def wrong(view_a, view_b):
        return peers.contests()[0].ours.__class__(0.505)(view_a, view_b)

    right = peers.contests()
    going = {"wrong": peers.Peer(wrong, lambda n: 0), peers.WRITTEN: right[0].peers[peers.WRITTEN]}
    planted = peers.Contest("nt_xent", right[0].ours, going)
    monkeypatch.setattr(losses, "contests", lambda: (planted,))
    monkeypatch.setattr(command, "_pipelines", lambda *_: [])
    assert status_of(command.main, [*TOY, "--sizes", "32", "--out", str(tmp_path / "run")]) == 1
    assert "nt_xent, n = 32: wrong computes something else" in capsys.readouterr().out
    rows = pd.read_csv(tmp_path / "run" / "peer_losses.csv").set_index("peer")
    assert rows.loc["wrong", "status"] == "refused"
    assert np.isnan(rows.loc["wrong", "ratio"])
    assert rows.loc[peers.WRITTEN, "status"] == "timed"


def test_a_peer_that_is_not_installed_is_told(monkeypatch):
    monkeypatch.setitem(sys.modules, "pytorch_metric_learning", None)
    rows = list(losses.compare_losses(ALL, (20,), 4, 1, CPU, print))
    absent = [row for row in rows if row["status"] == "absent"]
    assert [(row["loss"], row["peer"]) for row in absent] == [(loss, peers.LIBRARY) for loss in ("nt_xent", "supcon")]
    assert all("pip install 'contrastive-theory-toolkit[peers]'" in row["note"] for row in absent)
    assert [row["peer"] for row in rows if row["status"] == "timed"] == [peers.WRITTEN] * 3


def test_a_peer_without_the_memory_for_it_is_skipped(monkeypatch):
    monkeypatch.setattr(losses, "free_bytes", lambda device: 10**6)
    said = []
    rows = list(losses.compare_losses(ALL, (40, 20), 4, 1, CPU, said.append))
    cubic = [(row["n"], row["status"]) for row in rows if (row["loss"], row["peer"]) == ("nt_xent", peers.LIBRARY)]
    assert cubic == [(20, "timed"), (40, "skipped")], "20 n^3 bytes, against 8e5"
    assert len(said) == 1
    assert said[0].startswith("nt_xent, n = 40: pytorch-metric-learning would need about")
    assert {row["status"] for row in rows if row["loss"] != "nt_xent"} == {"timed"}
    assert {row["loss"] for row in losses.compare_losses(["supcon"], (20,), 4, 1, CPU, print)} == {"supcon"}
    assert losses.free_bytes(CPU) > 0


@pytest.mark.parametrize(
    ("words", "told"),
    [
        (["--sizes", "19"], "sizes: must be"),
        (["--sizes", "21"], "sizes: must be even"),
        (["--dim", "0"], "dim: must be"),
        (["--rounds", "0"], "rounds: must be"),
    ],
)
def test_bad_options_are_named(words, told, tmp_path, capsys):
    assert status_of(command.main, ["--peers", *words, "--out", str(tmp_path / "run")]) == 2
    assert told in capsys.readouterr().err
    assert not (tmp_path / "run").exists()


# --- times and memory -------------------------------------------------------------------------------------------------


def test_work_takes_turns_and_is_repeated_until_it_can_be_timed(monkeypatch):
    """On a planted clock: "slow" takes 30 ms, "fast" 4."""
    now, calls = [0.0], []

    def work(name, seconds):
        def call():
            calls.append(name)
            now[0] += seconds

        return call

    monkeypatch.setattr(timing.time, "perf_counter", lambda: now[0])
    monkeypatch.setattr(timing.time, "process_time", lambda: 0.5 * now[0])
    times = in_turn({"slow": work("slow", 0.03), "fast": work("fast", 0.004)}, 3, CPU)
    assert calls == ["slow", "fast", *(["slow", *["fast"] * 6] * 3)], "the first of six is not timed"
    np.testing.assert_allclose(times["slow"].wall, [0.03] * 3)
    np.testing.assert_allclose(times["fast"].wall, [0.004] * 3)
    np.testing.assert_allclose(times["fast"].cpu, [0.002] * 3)
    assert times["fast"].milliseconds == pytest.approx(4.0)


def test_ratios_are_taken_round_by_round():
    ours, theirs = Times(np.array([1.0, 2.0, 4.0]), np.ones(3)), Times(np.array([2.0, 6.0, 4.0]), np.ones(3))
    spread = Spread.of(theirs.wall / ours.wall)
    assert spread == Spread(2.0, 1.0, 3.0), "of medians it would be 4/2, of the extremes 6/4 and 2/1"
    assert str(spread) == "  2.00 [1.00, 3.00]"


def test_memory_is_what_lives_at_once():
    given = torch.zeros(1000)

    def work():
        first = given + 1.0
        second = first + 1.0
        del first
        view = second[:10]
        return view.add_(1.0), torch.zeros(500)

    assert peak_bytes(work, CPU) == 8000
    assert peak_bytes(lambda: given.mul_(2.0), CPU) == 0


def test_bare_products_are_all_that_a_stack_multiplies():
    points = stacks.clustered_points((2, 16, 8))
    torch.testing.assert_close(points.norm(dim=-1), torch.ones(2, 16, dtype=torch.float64))
    moved = 1e-3 * (points @ points.mT) @ points
    torch.testing.assert_close(stacks.bare_products(points, 1), moved)
