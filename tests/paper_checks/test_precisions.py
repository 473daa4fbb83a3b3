"""A claim's arms have one precision, on whatever processors a run goes on: planted trainings that keep theirs."""

import shutil
from dataclasses import dataclass, replace
from pathlib import Path

import pytest

from models.cifar.training.config import TrainConfig
from paper_checks import __main__ as command
from paper_checks import precisions, tiers
from paper_checks.catalogue import all_claims
from paper_checks.claims import Claim, Reading, judged
from paper_checks.statistics.decisions import Contrast
from paper_checks.tiers import CPU, QUICK
from paper_checks.trainings.arms import BASE, MOCO
from tests.command_lines import status_of
from theory.numerics.manifest import settle
from theory.numerics.whole_files import read_json, write_json, write_table

TIER = replace(QUICK, config=replace(QUICK.config, precision="bf16"), seeds=5, cap=10)
FLOAT32 = replace(TIER, precision="float32")


@dataclass(frozen=True)
class Number:
    """A training that is over at once: of its precision."""

    label: str
    config: TrainConfig
    alone: bool = True
    leaves: tuple[str, ...] = ("value.csv",)

    @property
    def name(self):
        return f"{self.label}-{self.config.precision}-seed{self.config.seed}"

    def run(self, folder: Path) -> None:
        value = 1.0 - 2.0 * (self.config.seed % 2)
        write_table(folder / "value.csv", [{"value": value, "precision": self.config.precision}])


def comparison(name: str, first: str, second: str) -> Claim:
    """First and second differ by 1 and -1 in turns: undecided forever."""

    def tasks(tier):
        config = replace(tier.config, precision=tier.precision or tier.config.precision)
        return [Number(label, replace(config, seed=seed)) for label in (first, second) for seed in tier.all_seeds]

    def judge(results, tier):
        found = {(task.label, task.config.seed): results.table(task, "value")[0] for task in tasks(tier)}
        # What is read is of one precision.
        (precision,) = {row["precision"] for row in found.values()}
        values = [{seed: row["value"] * way for (label, seed), row in found.items() if label == asked}
                  for asked, way in ((first, 1.0), (second, 0.0))]  # fmt: skip
        return judged(f"All in {precision}.", [Contrast(f"{first} over {second}", "units", *values)])

    return Claim(name, "SimCLR", "here", f"Claim {name}.", "comparison", "Its rule.", tasks, judge)


FIRST_FIVE = {f"bf16-seed{seed}" for seed in range(5)}
ONE, TWO = comparison("S1", "a", "b"), comparison("S2", "a", "c")


@pytest.fixture
def run(tmp_path, monkeypatch):
    """The command with planted claims, and a processor that multiplies bf16 or not."""
    monkeypatch.setitem(tiers.TIERS, "quick", TIER)
    monkeypatch.setattr(command, "all_claims", lambda: {claim.id: claim for claim in (ONE, TWO)})
    monkeypatch.setattr("figures.catalogue.draw_all", lambda path: [])

    def go(*more, bf16=True):
        monkeypatch.setattr(precisions, "multiplies_bf16", lambda: bf16)
        return status_of(command.main, ["--out", str(tmp_path / "run"), "--jobs", "1", *more])

    def trainings(label):
        return {path.name.removeprefix(f"{label}-") for path in (tmp_path / "run/tasks").glob(f"{label}-*")}

    go.folder, go.trainings = tmp_path / "run", trainings
    return go


def begin(run, monkeypatch, *more):
    """A run that has looked at S1 in bf16, and has one training of S2 beside those that they share."""
    carry_out = command.carry_out_all

    def stop(tasks, *others):
        return carry_out([task for task in tasks if task.label != "c" or task.config.seed == 0], *others)

    monkeypatch.setattr(command, "carry_out_all", stop)
    monkeypatch.setattr("paper_checks.study.Study.next_step", lambda *_: None)
    assert run("--hours", "1", *more) == 0
    monkeypatch.setattr(command, "carry_out_all", carry_out)


def test_a_run_in_bf16_goes_on_elsewhere_only_when_told_how(run, monkeypatch, capsys):
    with monkeypatch.context() as patch:
        begin(run, patch)
    before = sorted(path.name for path in run.folder.rglob("*"))
    assert run("--resume", bf16=False) == 2
    error = capsys.readouterr().err
    for words in ("--precision float32", "--precision bf16", "slow on this processor", "nobody has looked at"):
        assert words in error
    assert sorted(path.name for path in run.folder.rglob("*")) == before, "said before anything is done"


def test_claims_without_a_look_are_trained_again_with_all_of_their_arms(run, monkeypatch, capsys):
    with monkeypatch.context() as patch:
        begin(run, patch)
    assert run("--resume", "--precision", "float32", bf16=False) == 0
    out = capsys.readouterr().out
    assert "In bf16, which is slow here, and left (--precision bf16 does them): S1" in out
    assert "Now in float32: S2; 1 finished trainings in another are not used" in out
    assert read_json(run.folder / "precisions.json") == {"S2": "float32"}
    ten = {f"float32-seed{seed}" for seed in range(10)}
    assert run.trainings("a") == {*FIRST_FIVE, *ten}
    assert run.trainings("b") == FIRST_FIVE
    assert run.trainings("c") == {"bf16-seed0", *ten}
    text = (run.folder / "report.md").read_text()
    assert "All in bf16." in text
    assert "All in float32." in text
    assert "bf16 (S2 in float32)" in text
    assert "--only S2 --precision float32" in text
    assert "--only S1 --precision" not in text
    # Where bf16 is fast, each goes on in its own; what was looked at keeps what it has, whatever is asked for.
    for more in ((), ("--precision", "bf16")):
        assert run("--resume", *more) == 0
        assert read_json(run.folder / "precisions.json") == {"S2": "float32"}
    assert run.trainings("b") == {f"bf16-seed{seed}" for seed in range(10)}
    assert run.trainings("c") == {"bf16-seed0", *ten}


def test_a_new_run_is_begun_in_what_is_asked_for(run):
    assert run("--precision", "float32") == 0
    assert read_json(run.folder / "tier.json")["config"]["precision"] == "float32"
    assert not (run.folder / "precisions.json").exists()
    assert run("--resume", bf16=False) == 0, "nothing is in bf16"
    assert run.trainings("b") == {f"float32-seed{seed}" for seed in range(10)}
    assert (run.folder / "report.md").read_text().count(" --precision float32`") == 3, (
        "the run's command, and each claim's"
    )


def test_a_damaged_run_is_no_question_of_precision(run, capsys):
    assert run("--precision", "float32") == 0
    (run.folder / "tier.json").write_text("{}")
    assert run("--resume") == 2
    assert "tier.json" in capsys.readouterr().err


def test_a_run_in_float32_goes_on_in_bf16_and_back(run, monkeypatch, capsys):
    """What is in bf16 by then is left alone where that is slow, looked at or not, unless it is asked for."""
    with monkeypatch.context() as patch:
        begin(run, patch, "--precision", "float32")
        assert run("--resume", "--precision", "bf16", "--hours", "1") == 0
    kept = {"S2": "bf16"}
    assert read_json(run.folder / "precisions.json") == kept
    five = {f"float32-seed{seed}" for seed in range(5)}
    assert run.trainings("b") == five
    assert run.trainings("c") == {"float32-seed0", *FIRST_FIVE}
    capsys.readouterr()
    for more in ((), ("--precision", "float32")):
        assert run("--resume", *more, bf16=False) == 0
        assert "left (--precision bf16 does them): S2" in capsys.readouterr().out
        assert read_json(run.folder / "precisions.json") == kept, "it was looked at"
        assert run.trainings("c") == {"float32-seed0", *FIRST_FIVE}
    assert run.trainings("b") == {f"float32-seed{seed}" for seed in range(10)}
    assert run("--resume", "--precision", "bf16", bf16=False) == 0
    assert len(run.trainings("c")) == 1 + 10


def test_nothing_slow_is_begun_unasked(run, capsys):
    assert run(bf16=False) == 2
    assert "--tier quick: trains in bf16, which is slow on this processor; say --precision" in capsys.readouterr().err
    assert not run.folder.exists()
    assert run("--precision", "fp16") == 2
    assert not run.folder.exists()
    assert run("--precision", "bf16", bf16=False) == 0
    assert len(run.trainings("b")) == 10


def test_the_precisions_of_a_run_are_not_forgotten(run, monkeypatch, capsys):
    with monkeypatch.context() as patch:
        begin(run, patch)
    assert run("--resume", "--precision", "float32") == 0
    (run.folder / "precisions.json").unlink()
    assert run("--resume") == 2
    assert "precisions.json: missing" in capsys.readouterr().err


def test_a_claim_that_was_looked_at_keeps_its_precision_although_a_training_is_gone(run, capsys):
    """Messages about a damaged training advise to delete it."""
    assert run() == 0
    shutil.rmtree(run.folder / "tasks" / "a-bf16-seed0")
    assert run("--resume", "--precision", "float32") == 0
    assert "Now in float32" not in capsys.readouterr().out
    assert run.trainings("a") == run.trainings("b") == {f"bf16-seed{seed}" for seed in range(10)}
    # As after a correction of an arm, whose trainings have other names then.
    looks = read_json(run.folder / "looks.json")
    write_json(run.folder / "looks.json", {name: ["of before"] for name in looks})
    settle(run.folder)
    assert run("--resume", "--precision", "float32") == 0
    assert "Now in float32" not in capsys.readouterr().out
    (run.folder / "looks.json").unlink()
    assert run("--resume") == 2
    assert "looks.json: missing" in capsys.readouterr().err


READ = replace(ONE, main="as it is", readings=(Reading("other", TWO.tasks, TWO.judge),))


def test_a_look_at_a_reading_is_a_look_at_the_claim(run, monkeypatch, capsys):
    """The claim had no look yet, its reading one in bf16: asked anew in float32, it would have two at 5 %."""
    monkeypatch.setattr(command, "all_claims", lambda: {"S1": READ})
    carry_out = command.carry_out_all
    wanted = TWO.tasks(TIER)

    def stop(tasks, *others):
        return carry_out([*wanted, *(task for task in tasks if task in wanted)], *others)

    with monkeypatch.context() as patch:
        patch.setattr(command, "carry_out_all", stop)
        patch.setattr("paper_checks.study.Study.next_step", lambda *_: None)
        assert run("--readings", "--hours", "1") == 0
    assert "Open: other. Not yet run: main reading." in capsys.readouterr().out
    (run.folder / "tasks" / "c-bf16-seed0").rename(run.folder / "gone")
    assert run("--resume", "--readings", "--precision", "float32", bf16=False) == 0
    assert "Now in float32" not in capsys.readouterr().out
    assert run.trainings("a") == run.trainings("c") | {"bf16-seed0"} == FIRST_FIVE
    # Nor where nobody kept that it was looked at, but its trainings say it.
    (run.folder / "gone").rename(run.folder / "tasks" / "c-bf16-seed0")
    write_json(run.folder / "looks.json", {})
    settle(run.folder)
    assert run("--resume", "--readings", "--precision", "float32", bf16=False) == 0
    assert "Now in float32" not in capsys.readouterr().out


def test_what_is_left_alone_is_said_of_readings_too_and_is_no_matter_of_hours(run, monkeypatch, capsys):
    monkeypatch.setattr(command, "all_claims", lambda: {"S1": replace(READ, readings=())})
    assert run("--cap", "5") == 0
    assert run("--resume", "--cap", "5", "--precision", "float32", bf16=False) == 0
    assert "which is slow here" not in capsys.readouterr().out, "nothing is to come"
    shutil.rmtree(run.folder)
    monkeypatch.setattr(command, "all_claims", lambda: {"S1": READ})
    with monkeypatch.context() as patch:
        patch.setattr("paper_checks.study.Study.next_step", lambda *_: None)
        assert run("--readings", "--cap", "5") == 0
    more = ("--resume", "--readings", "--cap", "5", "--precision", "float32", "--hours", "100")
    capsys.readouterr()
    assert run(*more, bf16=False) == 0
    out = capsys.readouterr().out
    assert "Not yet run: other." in out
    assert "left (--precision bf16 does them): S1" in out
    assert "are over" not in out


def test_another_tier_is_said_before_its_precision(run, monkeypatch, capsys):
    with monkeypatch.context() as patch:
        begin(run, patch)
    monkeypatch.setitem(tiers.TIERS, "quick", replace(TIER, name="other"))
    assert run("--resume", bf16=False) == 2
    assert "another tier, quick" in capsys.readouterr().err


def configs(tasks):
    return [task.config for task in tasks if isinstance(getattr(task, "config", None), TrainConfig)]


def test_every_claim_and_reading_can_be_trained_in_another_precision():
    """Also of arms that are the tier's own, which then have a name of their own; all else stays as it is."""
    tier = replace(CPU, config=replace(CPU.config, precision="bf16"), seeds=1, cap=1)
    trained = 0
    for claim in all_claims().values():
        other = claim.trained_in("float32")
        asked = [(claim, other), *zip(map(claim.read_as, claim.readings), map(other.read_as, other.readings))]
        for before, after in asked:
            first, second = before.tasks(tier), after.tasks(tier)
            assert {config.precision for config in configs(second)} <= {"float32"}
            assert [replace(config, precision="bf16") for config in configs(second)] == configs(first)
            assert {task.name for task in first if configs([task])}.isdisjoint(task.name for task in second)
            assert [task for task in first if not configs([task])] == [task for task in second if not configs([task])]
            trained += len(configs(second))
        assert set(claim.trained_in("bf16").tasks(tier)) == set(claim.tasks(tier))
    assert trained > 100


def test_arms_keep_what_is_asked_of_the_tiers_own():
    own, other = BASE.trainings(FLOAT32)[0], MOCO.trainings(FLOAT32)[0]
    assert (own.name, own.transformations) == ("precision=float32-seed0", True)
    assert (other.name, other.transformations) == ("moco,precision=float32-seed0", False)


def test_the_last_precision_that_is_asked_for_counts():
    tier = replace(CPU, config=replace(CPU.config, precision="bf16"))
    claim = all_claims()["S1"]
    twice = claim.trained_in("bf16").trained_in("float32")
    assert twice.tasks(tier) == claim.trained_in("float32").tasks(tier) != claim.tasks(tier)


def test_a_reading_is_judged_in_the_precision_of_its_claim():
    seen = []
    reading = Reading("another", lambda tier: [], lambda results, tier: seen.append(tier.precision))
    claim = replace(ONE, main="this", readings=(reading,)).trained_in("float32")
    claim.read_as(claim.readings[0]).judge(None, TIER)
    assert seen == ["float32"]
