from concurrent.futures import ThreadPoolExecutor

import numpy as np
import pandas as pd
import pytest
import torch

from models import stack as stack_module
from synthetic import large_batches
from synthetic.integrity.folders import look_at
from synthetic.large_batches import LargeBatchOptions, Shape, need, slopes
from tests.command_lines import status_of
from tests.stand_in import ACCELERATORS, accelerator

# No command of these tests has time for more.
SMALL = ["--rounds", "0", "--depth", "1", "--dims", "32", "40", "48", "--depths", "1", "--slope-size", "64"]


def test_large_batches_command(tmp_path, capsys, monkeypatch):
    # A thread for a process: five of them take half a minute to start.
    monkeypatch.setattr(large_batches, "ProcessPoolExecutor", lambda count, mp_context: ThreadPoolExecutor(count))
    monkeypatch.setattr(large_batches, "PRODUCT_SIZE", 8)
    monkeypatch.setattr(large_batches, "REPEAT_SECONDS", 0.0)
    arguments = ["--sizes", "64", "--out", str(tmp_path / "run"), *SMALL, "--rounds", "1"]
    assert large_batches.main(arguments) == 0
    printed = capsys.readouterr().out
    assert "MiB" in printed
    assert "seconds grow with the coordinates to the power" in printed
    found = {name: pd.read_csv(tmp_path / "run" / f"{name}.csv") for name in ("memory", "slopes", "ratios")}
    memory = found["memory"]
    assert memory[["axis", "n", "ambient_dim", "depth"]].to_numpy().tolist() == [
        ["n", 64, 128, 1], *(["ambient_dim", 64, dim, 1] for dim in (32, 40, 48)), ["depth", 64, 128, 1]
    ]  # fmt: skip
    assert (memory["one_matrix_mib"] == 64 * 64 * 8 / 2**20).all()
    assert (memory[["seconds", "cpu_seconds", "product_seconds", "peak_mib"]] > 0).all(axis=None)
    assert found["slopes"]["axis"].tolist() == ["ambient_dim"], "one size and one depth have no slope"
    assert (found["ratios"][["measure_ratio", "train_ratio"]] > 0).all(axis=None)
    assert (tmp_path / "run" / "large_batches.png").stat().st_size > 0
    assert look_at(tmp_path / "run").words == "whole, finished: large batches, 5 rows"
    assert large_batches.main(arguments) == 2, "the folder is taken"


def test_what_is_interrupted_keeps_the_batches_before(tmp_path, monkeypatch):
    """Of an hour's run the row under way is lost, and the folder is not taken for a finished one."""
    monkeypatch.setattr(large_batches, "ProcessPoolExecutor", lambda count, mp_context: ThreadPoolExecutor(count))
    monkeypatch.setattr(large_batches, "PRODUCT_SIZE", 8)
    monkeypatch.setattr(large_batches, "REPEAT_SECONDS", 0.0)

    def interrupted(shape, options):
        if shape.axis == "depth":
            raise KeyboardInterrupt
        return need(shape, options)

    monkeypatch.setattr(large_batches, "need", interrupted)
    assert status_of(large_batches.main, ["--sizes", "64", "--out", str(tmp_path / "run"), *SMALL]) == 130
    assert len(pd.read_csv(tmp_path / "run" / "memory.csv")) == 4
    assert look_at(tmp_path / "run").words == "whole, not finished: large batches, 4 rows"


@pytest.mark.slow
def test_a_batch_has_a_process_of_its_own(tmp_path):
    arguments = ["--sizes", "64", "--rounds", "0", "--dims", "--depths", "--out", str(tmp_path / "run")]
    assert large_batches.main(arguments) == 0
    (row,) = pd.read_csv(tmp_path / "run" / "memory.csv").to_dict("records")
    assert row["peak_mib"] > 0


@pytest.mark.parametrize(
    ("arguments", "names"),
    [
        (["--sizes", "100"], "sizes: must be multiples of 8"),
        (["--rounds", "-1"], "rounds"),
        (["--noise", "2"], "noise"),
        (["--dims", "31"], "dims: must be a whole number of at least 32"),
        (["--depths", "0"], "depths"),
        (["--slope-size", "12"], "slope_size"),
        (["--device", "cuda:77"], "device: must be one of cpu"),
    ],
)
def test_bad_options_are_named(capsys, arguments, names):
    assert large_batches.main(arguments) == 2
    assert names in capsys.readouterr().err


def row(axis, seconds, tile_rows=64, n=4096, ambient_dim=128, depth=4):
    return {"axis": axis, "n": n, "ambient_dim": ambient_dim, "depth": depth, "seconds": seconds,
            "tile_rows": tile_rows}  # fmt: skip


def test_slopes_of_planted_powers():
    """Exact powers have no error; a factor of e^(1, -2, 1) times 0.1 around one of them has a known one."""
    rows = [row("n", 1e9, 0, 256), *(row("n", 3e-9 * n**2.1, 64, n) for n in (2048, 4096, 8192))]
    off = dict(zip((32, 64, 128), np.exp([0.1, -0.2, 0.1])))
    rows += [row("ambient_dim", dim**0.5 * factor, ambient_dim=dim) for dim, factor in off.items()]
    rows += [row("depth", 2.0 * depth, depth=depth) for depth in (1, 2)]
    of_n, of_dim = slopes(rows)
    assert (of_n["axis"], of_n["points"], of_dim["axis"]) == ("n", 3, "ambient_dim")
    assert of_n["slope"] == pytest.approx(2.1, rel=1e-9)
    assert of_n["standard_error"] < 1e-6
    assert np.exp(of_n["intercept"]) == pytest.approx(3e-9, rel=1e-6)
    assert (of_n["products"], of_dim["products"]) == pytest.approx((2.0, 1.0), rel=1e-9)
    assert of_dim["slope"] == pytest.approx(0.5, rel=1e-9)
    # Residuals 0.1, -0.2, 0.1, one degree of freedom; sizes log 2 apart.
    assert of_dim["standard_error"] == pytest.approx(np.sqrt(0.06 / (2 * np.log(2) ** 2)), rel=1e-9)


def test_products_are_counted():
    """Three layers' cosines and two layers' mixing, 2 n n D operations each."""
    assert Shape("n", 16, 32, 2).product_flops == (3 + 2) * 2 * 16 * 16 * 32


@pytest.mark.parametrize("kind", ACCELERATORS)
@pytest.mark.parametrize("work", ["measure", "train"])
def test_all_of_it_computes_on_an_accelerator(monkeypatch, work, kind):
    """Batches whole and in tiles; gradients are the CPU's."""
    monkeypatch.setattr(large_batches, "PRODUCT_SIZE", 8)
    monkeypatch.setattr(large_batches, "REPEAT_SECONDS", 0.0)
    shape = Shape("n", 64, 32, 2)
    with accelerator(kind) as device:
        options = LargeBatchOptions(device=str(device), work=work, rounds=1, dtype="float32")
        for limit, tiled in ((2**31, False), (1, True)):
            monkeypatch.setattr(stack_module, "GPU_DENSE_BYTES", limit)
            found = need(shape, options)
            assert bool(found["tile_rows"]) == tiled
            assert found["seconds"] > 0
            assert (found["device_peak_mib"] > 0.0) == (kind == "cuda"), "a GPU counts"
        compared = large_batches.compare(64, options)
        assert all(compared[f"{name}_ratio"] > 0 for name in ("measure", "train"))
        batch = large_batches.LargeBatch.draw(shape, options)
        assert batch.points.device.type == device.type
        there = batch.train(batch.stack()).cpu()
    on_cpu = large_batches.LargeBatch.draw(shape, LargeBatchOptions(dtype="float32"))
    torch.testing.assert_close(there, on_cpu.train(on_cpu.stack()), rtol=1e-4, atol=1e-6)
