"""The study of the advisor's predictions: which rows it sees, what it writes down before it is judged, its table."""

import hashlib
import json
import shutil
from dataclasses import replace
from types import SimpleNamespace

import numpy as np
import pandas as pd
import pytest

from models.cifar import prospective
from models.cifar.data.images import DataConfig
from models.cifar.prospective import ProspectiveStudy, image_sets, study, summary_table, tables


def test_tables_are_halved_and_standardized_by_the_first_half():
    for name, both in tables(3):
        rows = [sets.embeddings for sets in (both.advised, both.kept_aside)]
        assert abs(len(rows[0]) - len(rows[1])) <= 1, name
        np.testing.assert_allclose(rows[0].mean(axis=0), 0.0, atol=1e-9)
        np.testing.assert_allclose(rows[0].std(axis=0), 1.0, atol=1e-9)
        assert not set(map(bytes, rows[0])) & set(map(bytes, rows[1]))
        for sets in (both.advised, both.kept_aside):
            np.testing.assert_array_equal(sets.views[0], sets.embeddings)
            far = [np.linalg.norm(view - sets.embeddings) for view in sets.views]
            np.testing.assert_allclose(far, far[-1] * np.array(prospective.STRENGTHS), rtol=1e-9)


def test_images_that_judge_are_those_nobody_trained_on(monkeypatch, tmp_path):
    """Pixels, untrained and trained encoders of few digits; the advisor sees validation images, test images judge."""
    monkeypatch.setattr(prospective, "TRAINED", ("simclr",))

    def trained(config, splits, device, folder, resume):
        assert folder.is_dir()
        assert resume
        return SimpleNamespace(learner=prospective.new_learner(replace(config, seed=9)))

    monkeypatch.setattr(prospective, "fit", trained)
    data = DataConfig(limit=12, validation_share=0.4, image_size=16)
    splits = prospective.load_images(data)
    found = dict(image_sets("few", data, splits, ProspectiveStudy(epochs=1), tmp_path))
    assert list(found) == ["few_pixels", "few_untrained", "few_simclr"]
    for both in found.values():
        assert both.advised.num_rows == len(splits.validation)
        assert both.kept_aside.num_rows == len(splits.test)
    assert found["few_pixels"].advised.embeddings.shape[1] == 3 * 16 * 16
    same = np.allclose(found["few_untrained"].advised.embeddings, found["few_simclr"].advised.embeddings)
    assert not same, "one is trained"


@pytest.fixture(scope="module")
def finished(tmp_path_factory):
    """One table, run and gone on with."""
    folder = tmp_path_factory.mktemp("study") / "run"
    with pytest.MonkeyPatch.context() as patch:
        whole = prospective.advise_and_check
        patch.setattr(prospective, "advise_and_check", lambda run: whole(replace(run, depth=2, batches=4)))
        patch.setattr(prospective, "image_sets", lambda *_: ())
        patch.setattr(prospective, "tables", lambda seed: [each for each in tables(seed) if each[0] == "wine"])
        status = study(ProspectiveStudy(out=folder, figures=False))
        stamp = (folder / "wine" / "predictions.json").stat().st_mtime_ns
        again = study(ProspectiveStudy(out=folder, figures=False, resume=True))
    return folder, status, again, stamp


def test_predictions_are_hashed_and_kept(finished):
    folder, status, again, stamp = finished
    assert status == again == 0
    predictions = folder / "wine" / "predictions.json"
    assert predictions.stat().st_mtime_ns == stamp, "a finished set is not predicted again"
    told = (folder / "wine" / "predictions.sha256").read_text().split()[0]
    assert hashlib.sha256(predictions.read_bytes()).hexdigest() == told
    checked = pd.read_csv(folder / "checked.csv")
    assert set(checked["set"]) == {"wine"}
    assert len(checked) > 20


def test_the_table_counts(capsys, monkeypatch, tmp_path):
    checked = pd.DataFrame({"set": [*"aabc"], "status": ["CONFIRMED", "CONTRADICTED", "UNDECIDED", "NONE"],
                            "measured": [0.5, 0.9, np.nan, np.nan], "value": [0.4, 0.4, 0.1, np.nan]})  # fmt: skip
    lines = [line.split() for line in summary_table(checked).splitlines()[2:]]
    assert lines == [["a", "2", "1", "1", "0", "0.300", "0.500"], ["b", "1", "0", "0", "1", "nan", "nan"],
                     ["c", "0", "0", "0", "0", "nan", "nan"],
                     ["all", "3", "1", "1", "1", "0.300", "0.500"]]  # fmt: skip
    monkeypatch.setattr(prospective, "image_sets", lambda *_: ())
    monkeypatch.setattr(prospective, "tables", lambda _: [("a", next(tables(0))[1])])
    monkeypatch.setattr(prospective, "advised", lambda *_: checked[checked["set"] == "a"])
    assert study(ProspectiveStudy(out=tmp_path / "run", figures=False)) == 1, "half of them contradicted"


def statuses(*sets):
    """Sets by the numbers of their confirmed, contradicted and undecided predictions."""
    names = ("CONFIRMED", "CONTRADICTED", "UNDECIDED")
    rows = [{"set": str(place), "status": name} for place, counts in enumerate(sets)
            for name, count in zip(names, counts) for _ in range(count)]  # fmt: skip
    return pd.DataFrame(rows, columns=["set", "status"])


@pytest.mark.parametrize(
    ("sets", "told"),
    [
        # By hand: P(1 of 7) = .302, P(2 of 7) = .0444, P(2 of 12) = .118, P(3 of 12) = .0196, P(1 of 1) = .05.
        ([(40, 0, 0)] * 7, ""),
        ([(39, 1, 0), *[(40, 0, 0)] * 6], ""),
        ([*[(39, 1, 0)] * 2, *[(40, 0, 0)] * 5], "2 of 7 sets have a contradicted prediction"),
        ([*[(20, 20, 0)] * 2, *[(40, 0, 0)] * 10], ""),
        ([*[(20, 1, 500)] * 3, *[(40, 0, 0)] * 9], "3 of 12 sets have a contradicted prediction"),
        ([(99, 1, 0)], "1 of 1 sets have a contradicted prediction"),
        ([(0, 0, 40)] * 7, "no prediction is confirmed"),
        ([], "no prediction is confirmed"),
    ],
)
def test_more_contradicted_sets_than_chance_explains(sets, told):
    """Whatever share of all predictions they are: a verdict of CONTRADICTED is one of a whole set."""
    found = prospective.complaint(statuses(*sets))
    assert found.startswith(told)
    assert bool(found) == bool(told)


@pytest.mark.parametrize(("counts", "status"), [((200, 1, 0), 1), ((0, 0, 3), 1), ((200, 0, 3), 0)])
def test_the_exit_status_says_so(counts, status, monkeypatch, tmp_path, capsys):
    checked = statuses(counts).assign(measured=0.5, value=0.5)
    monkeypatch.setattr(prospective, "image_sets", lambda *_: ())
    monkeypatch.setattr(prospective, "tables", lambda _: [("0", next(tables(0))[1])])
    monkeypatch.setattr(prospective, "advised", lambda *_: checked)
    assert study(ProspectiveStudy(out=tmp_path / "run", figures=False)) == status
    kept = json.loads((tmp_path / "run" / "data.json").read_text())
    assert list(kept) == ["digits"]
    assert sum(kept["digits"]["images"]["test"]) == 359
    assert "359" in capsys.readouterr().out


def test_a_set_that_was_edited_is_not_gone_on_with(finished, tmp_path):
    folder = tmp_path / "run"
    shutil.copytree(finished[0], folder)
    path = folder / "wine" / "checked.csv"
    path.write_text(path.read_text().replace("UNDECIDED", "CONFIRMED").replace("0.", "0.1", 1))
    with pytest.raises(ValueError, match=r"checked\.csv: is not what the run wrote"):
        prospective.advised("wine", next(tables(0))[1], folder, ProspectiveStudy(out=folder))


def test_bad_settings_are_refused(tmp_path):
    for name in ("limit", "epochs"):
        with pytest.raises(ValueError, match=f"^{name}: must be a whole number"):
            study(ProspectiveStudy(out=tmp_path / "run", **{name: 0}))
    with pytest.raises(ValueError, match=r"^dataset: .* is neither one of digits"):
        study(ProspectiveStudy(out=tmp_path / "run", images=tmp_path / "nowhere"))
    assert not (tmp_path / "run").exists()
