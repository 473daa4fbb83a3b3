"""A user's own statement: registered from a file, it is searched, attacked, tabulated, kept and replayed."""

import hashlib
import json
from pathlib import Path

import pandas as pd
import pytest

from synthetic import adversary, sweep_noise
from synthetic.trials import registry
from synthetic.trials.registry import load_statements, register, trial_of
from tests.command_lines import status_of

EXAMPLE = Path(registry.__file__).with_name("example.py")
BROKEN = """
alpha[1], 1.0 - alpha[0] + 1e-12
0.5 + 0.0 * alpha[1], 0.0 * alpha[0]
"""


@pytest.fixture
def own_registry(monkeypatch):
    """What is registered here is forgotten afterwards."""
    monkeypatch.setattr(registry, "_TRIALS", dict(registry._TRIALS))
    monkeypatch.setattr(registry, "_LOADED", set())


def test_the_example_is_a_page():
    assert len(EXAMPLE.read_text().splitlines()) < 70


def test_a_file_of_statements_joins_search_and_attack(tmp_path, capsys, own_registry, monkeypatch):
    monkeypatch.setattr(adversary, "trials", lambda: (trial_of("closer_at_every_block"),))
    arguments = ["--statements", str(EXAMPLE), "--random-batches", "500", "--restarts", "8", "--steps", "30",
                 "--out", str(tmp_path / "run")]  # fmt: skip
    assert adversary.main(arguments) == 0
    printed = capsys.readouterr().out
    assert "Closer at every block on random batches: HOLDS" in printed
    assert "1 of 1 damaged parts found out" in printed
    assert set(pd.read_csv(tmp_path / "run" / "trials.csv")["trial"]) == {"closer_at_every_block"}
    assert (tmp_path / "run" / "trials.png").exists()


SMALL = ["--ambient-dims", "12", "--batch-sizes", "9", "--geometry.num-clusters", "3", "--geometry.subspace-dim", "2",
         "--trials", "5", "--depth", "2", "--noise-levels", "0.2", "--no-controls", "--no-figures"]  # fmt: skip


def test_the_noise_sweep_judges_it_on_every_cell(tmp_path, capsys, own_registry):
    assert sweep_noise.main([*SMALL, "--statements", str(EXAMPLE), "--out", str(tmp_path / "run")]) == 0
    assert "Closer at every block: HOLDS" in capsys.readouterr().out
    rows = pd.read_csv(tmp_path / "run" / "rows.csv")
    own = rows["closer_at_every_block_status"]
    assert (own[~rows["mapped"]] == "HOLDS").all()
    assert own[rows["mapped"]].isna().all(), "it does not speak about cells with a query/key map"
    kept = json.loads((tmp_path / "run" / "config.json").read_text())["statements"]
    assert kept == {"example.py": hashlib.sha256(EXAMPLE.read_bytes()).hexdigest()}


def test_a_run_does_not_go_on_with_another_file_of_the_same_name(tmp_path, capsys, own_registry):
    """Its finished cells have the verdicts of the statement as it was."""
    mine = tmp_path / "mine.py"
    mine.write_text(EXAMPLE.read_text())
    arguments = [*SMALL, "--statements", str(mine), "--out", str(tmp_path / "run")]
    assert sweep_noise.main(arguments) == 0
    mine.write_text(EXAMPLE.read_text() + "# Changed.\n")
    assert status_of(sweep_noise.main, [*arguments, "--resume"]) == 2
    assert "statements.mine.py" in capsys.readouterr().err


def test_a_false_one_is_violated_kept_and_replayed(tmp_path, capsys, own_registry):
    old, new = BROKEN.strip().splitlines()
    false = tmp_path / "false.py"
    text = EXAMPLE.read_text()
    assert old in text
    false.write_text(text.replace(f"1.0 - {old}", new))
    arguments = [*SMALL, "--statements", str(false)]
    assert sweep_noise.main([*arguments, "--out", str(tmp_path / "run")]) == 1
    assert "Closer at every block: VIOLATED" in capsys.readouterr().out
    kept = sorted((tmp_path / "run").glob("counterexample-closer_at_every_block-*.npz"))
    assert kept
    assert sweep_noise.main(["--statements", str(false), "--replay", str(kept[0])]) == 1


def test_the_processes_of_a_backend_know_it_too(tmp_path, own_registry):
    run = [*SMALL, "--statements", str(EXAMPLE), "--backend", "loky", "--jobs", "2", "--out", str(tmp_path / "run")]
    assert sweep_noise.main(run) == 0
    rows = pd.read_csv(tmp_path / "run" / "rows.csv")
    assert (rows["closer_at_every_block_status"][~rows["mapped"]] == "HOLDS").all()


def test_a_key_is_taken_once(own_registry):
    with pytest.raises(ValueError, match="registered already"):
        register(trial_of("theorem_1"))


def test_a_file_that_python_cannot_import_is_refused_in_words(tmp_path, own_registry):
    path = tmp_path / "mine.txt"
    path.write_text("x = 1")
    with pytest.raises(ValueError, match=r"mine\.txt: ImportError: must be a Python file"):
        load_statements([path])


@pytest.mark.parametrize(
    ("text", "told"), [("1/0", "ZeroDivisionError"), ("x = 1", "registers nothing"), (None, "FileNotFoundError")]
)
def test_files_that_register_nothing_are_refused(tmp_path, capsys, own_registry, text, told):
    path = tmp_path / "mine.py"
    if text is not None:
        path.write_text(text)
    with pytest.raises(ValueError, match=told):
        load_statements([path])
    assert sweep_noise.main([*SMALL, "--statements", str(path), "--out", str(tmp_path / "run")]) == 2
    assert not (tmp_path / "run").exists(), "refused before any work"
