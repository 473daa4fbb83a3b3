"""Other pictures under the path of a run's are noticed before anything is paired with them."""

import shutil
from dataclasses import dataclass, replace
from pathlib import Path

import pytest

from models.cifar.data.fingerprint import FINGERPRINT_FILE, fingerprint
from models.cifar.training.config import TrainConfig
from paper_checks import __main__ as command
from paper_checks import same_images, tiers
from paper_checks.claims import Claim, judged
from paper_checks.statistics.decisions import against_zero
from paper_checks.tiers import QUICK
from paper_checks.trainings.arms import images
from tests.command_lines import status_of
from tests.models.cifar.tiny import write_folder
from theory.numerics.whole_files import write_json, write_table


@dataclass(frozen=True)
class Seen:
    """A training that is over at once, and leaves the fingerprint of its images as trainings do."""

    config: TrainConfig
    alone: bool = True
    leaves: tuple[str, ...] = ("value.csv",)

    @property
    def name(self):
        return f"base-seed{self.config.seed}"

    def run(self, folder: Path) -> None:
        write_json(folder / FINGERPRINT_FILE, fingerprint(images(self.config.data, "none")))
        write_table(folder / "value.csv", [{"value": float(self.config.seed)}])


def seen(tier):
    return [Seen(replace(tier.config, seed=seed)) for seed in tier.all_seeds]


def judge(results, tier):
    values = {task.config.seed: results.table(task, "value")[0]["value"] for task in seen(tier)}
    return judged("Planted.", [against_zero("a", "units", values)])


CLAIM = Claim("S1", "SimCLR", "here", "A claim.", "comparison", "Its rule.", seen, judge)


@pytest.fixture
def go(tmp_path, monkeypatch):
    monkeypatch.setitem(tiers.TIERS, "quick", replace(QUICK, config=replace(QUICK.config, data=tiers.DataConfig())))
    monkeypatch.setattr(command, "all_claims", lambda: {"S1": CLAIM})
    monkeypatch.setattr("figures.catalogue.draw_all", lambda path: [])
    write_folder(tmp_path / "photos", "ab")
    words = ["--images", str(tmp_path / "photos"), "--root", str(tmp_path / "cache"), "--jobs", "1"]

    def command_line(*more):
        images.cache_clear()
        return status_of(command.main, [*words, "--out", str(tmp_path / "run"), *more])

    yield command_line
    images.cache_clear()


@pytest.mark.parametrize("kept_by", ["the run", "a training of an earlier version's run"])
def test_a_run_does_not_go_on_with_other_images(go, kept_by, tmp_path, monkeypatch, capsys):
    with monkeypatch.context() as patch:
        if kept_by != "the run":
            patch.setattr(command, same_images.keep.__name__, lambda found, folder: None)
        assert go() == 0
        assert go("--resume") == 0, "the same ones"
    assert (tmp_path / "run" / FINGERPRINT_FILE).exists() == (kept_by == "the run")
    shutil.rmtree(tmp_path / "photos")
    write_folder(tmp_path / "photos", "ab", seed=1)
    capsys.readouterr()
    assert go("--resume", "--accept-other-version") == 2
    assert "set of images: the same counts, but other pixels" in capsys.readouterr().err
