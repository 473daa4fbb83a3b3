import pandas as pd

from synthetic import large_batches


def test_large_batches_command(tmp_path, capsys):
    arguments = ["--sizes", "64", "--rounds", "1", "--depth", "1", "--out", str(tmp_path / "run")]
    assert large_batches.main(arguments) == 0
    printed = capsys.readouterr().out
    assert "MiB" in printed
    memory, ratios = (pd.read_csv(tmp_path / "run" / name) for name in ("memory.csv", "ratios.csv"))
    assert memory.loc[0, "one_matrix_mib"] == 64 * 64 * 8 / 2**20
    assert (ratios[["measure_ratio", "train_ratio"]] > 0).all(axis=None)
    assert large_batches.main(arguments) == 2, "the folder is taken"
    assert large_batches.main(["--sizes", "100"]) == 2
    assert large_batches.main(["--rounds", "-1"]) == 2
    assert large_batches.main(["--noise", "2"]) == 2
    assert "multiples of 8" in capsys.readouterr().err
