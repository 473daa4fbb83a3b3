"""The phase diagram: refinement, guarantee, figure."""

import numpy as np
import pandas as pd
import pytest

from synthetic.phase_diagram import PhaseDiagram, PhaseSettings, build_planes, corners, main, run
from synthetic.sweeps.subspace_model import OneBlockResult, run_one_block
from synthetic.trials.files import Counterexample
from tests.command_lines import status_of

SMALL = [
    "--noises",
    "bounded",
    "--refinements",
    "1",
    "--trials",
    "40",
    "--largest-cluster",
    "40",
    "--ambient-dim",
    "12",
]


@pytest.fixture(scope="module")
def finished(tmp_path_factory):
    out = tmp_path_factory.mktemp("phase") / "run"
    assert main([*SMALL, "--out", str(out)]) == 0
    return out


def test_squares_cover_the_plane_once(finished):
    rows, squares = pd.read_csv(finished / "rows.csv"), pd.read_csv(finished / "squares.csv")
    area = (squares["noise_to"] - squares["noise_from"]) * np.log(squares["size_to"] / squares["size_from"])
    assert (squares["size_to"] > squares["size_from"]).all()
    whole = squares["noise_to"].max() * np.log(40 / 3)
    assert area.sum() == pytest.approx(whole, rel=1e-9)
    assert len(rows) < 81, "the quiet corners are not refined"
    assert (finished / "phase_diagram.png").stat().st_size > 10_000


def test_the_guarantee_agrees_with_the_outline(finished):
    rows, outline = pd.read_csv(finished / "rows.csv"), pd.read_csv(finished / "outline.csv")
    assert rows["guaranteed"].any()
    floors = dict(zip(outline["noise_level"].round(9), outline["proved_floor"]))
    for row in rows.itertuples():
        floor = floors.get(round(row.noise_level, 9), np.inf)
        assert row.guaranteed == (row.cluster_size >= (floor if np.isfinite(floor) else np.inf)), row


def test_only_squares_whose_corners_disagree_are_divided(finished):
    settings = PhaseSettings(noises=("bounded",), refinements=1, trials=40, largest_cluster=40, ambient_dim=12)
    (plane,) = build_planes(settings)
    rows = {int(row.cell): row for row in pd.read_csv(finished / "rows.csv").itertuples()}
    for i in range(0, 8, 2):
        for j in range(0, 8, 2):
            found = [rows[plane.index(*point)] for point in corners((i, j, 2))]
            rates = [row.recovered_rate for row in found]
            differ = max(rates) - min(rates) > 0.08 or len({row.guaranteed for row in found}) > 1
            assert not differ or plane.index(i + 1, j + 1) in rows


@pytest.mark.slow
def test_a_run_goes_on_where_it_was_interrupted(finished, tmp_path):
    calls = []

    def interrupted(task):
        calls.append(task)
        if len(calls) > 30:
            raise KeyboardInterrupt
        return run_one_block(task)

    options = PhaseDiagram(
        noises=("bounded",), refinements=1, trials=40, largest_cluster=40, ambient_dim=12, out=tmp_path / "run"
    )
    with pytest.raises(KeyboardInterrupt):
        run(options, measure=interrupted)
    assert main([*SMALL, "--out", str(tmp_path / "run"), "--resume", "--backend", "loky", "--jobs", "2"]) == 0
    for name in ("rows.csv", "squares.csv", "outline.csv"):
        assert (tmp_path / "run" / name).read_bytes() == (finished / name).read_bytes()


@pytest.mark.parametrize(
    ("noise", "keys"),
    [("bounded", {"theorem_2c_signed"}), ("gaussian", {"theorem_2c_signed", "theorem_2g_signed"})],
)
def test_a_contradicted_guarantee_is_a_violation(noise, keys, tmp_path, capsys):
    def careless(task):
        return OneBlockResult(task.cell.trials // 2, 0, task.cell.trials - task.cell.trials // 2, 3)

    options = PhaseDiagram(noises=(noise,), refinements=0, trials=40, largest_cluster=40, ambient_dim=12,
                           out=tmp_path / "run", figures=False)  # fmt: skip
    assert run(options, measure=careless) == 1
    assert "VIOLATED" in capsys.readouterr().out
    kept = sorted((tmp_path / "run").glob("counterexample-*-trial3.npz"))
    assert {path.name.split("-")[1] for path in kept} == keys
    # Of the theorem that was violated, whose statement it is replayed on.
    for path in kept:
        assert Counterexample.load(path).trial.key in keys


@pytest.mark.parametrize(
    ("arguments", "name"),
    [(["--noises", "bounded", "bounded"], "noises"), (["--subspace-dim", "1"], "subspace_dim"),
     (["--ambient-dim", "5"], "ambient_dim"), (["--principal-angle-deg", "0"], "principal_angle_deg"),
     (["--largest-cluster", "4"], "largest_cluster"), (["--refinements", "9"], "refinements"),
     (["--trials", "0"], "trials"),
     (["--delta", "0"], "delta"), (["--resume"], "--out"), (["--backend", "loky", "--jobs", "0"], "jobs")],
)  # fmt: skip
def test_bad_arguments_are_named(arguments, name, capsys, tmp_path):
    assert status_of(main, [*arguments, *([] if "--resume" in arguments else ["--out", str(tmp_path / "run")])]) == 2
    captured = capsys.readouterr()
    assert name in captured.err + captured.out


def test_lines_that_round_to_one_size_are_places_of_their_own():
    """Their batches are others: as one place only the worst of them would count."""
    (plane,) = build_planes(PhaseSettings(noises=("gaussian",), coarse=8, refinements=4))
    line = next(j for j in range(plane.steps) if plane.size(j) == plane.size(j + 1))
    one, other = (plane.task(3, j)[1] for j in (line, line + 1))
    assert one["cluster_size"] == other["cluster_size"]
    assert one["place"] != other["place"]
