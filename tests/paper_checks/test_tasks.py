"""Tasks are computed once, whole or not at all; what is damaged is named."""

import json
from dataclasses import dataclass, field

import pytest

from paper_checks.tasks import TASK, Command, Results, TaskFailedError, carry_out, last_lines, missing, unique
from theory.numerics.whole_files import write_table


@dataclass(frozen=True)
class Number:
    """A task that writes one number, or fails half-way."""

    name: str
    value: float
    fails: bool = False
    alone: bool = False
    leaves: tuple[str, ...] = ("rows.csv",)

    def run(self, folder):
        write_table(folder / "rows.csv", [{"value": self.value, "word": "x", "yes": True, "none": None}])
        if self.fails:
            raise KeyboardInterrupt


def test_a_task_is_done_once_and_read_back(tmp_path):
    task = Number("a", 0.1 + 0.2)
    assert missing([task], tmp_path) == [task]
    carry_out(task, tmp_path)
    assert missing([task], tmp_path) == []
    results = Results(tmp_path)
    (row,) = results.table(task, "rows")
    assert (row["value"], row["word"], row["yes"]) == (0.1 + 0.2, "x", True)
    assert row["none"] != row["none"]
    assert 0.0 <= results.seconds(task) < 3600.0


def test_an_interrupted_task_is_missing(tmp_path):
    with pytest.raises(KeyboardInterrupt):
        carry_out(Number("a", 1.0, fails=True), tmp_path)
    assert not (tmp_path / "a").exists()
    task = Number("a", 1.0)
    assert missing([task], tmp_path) == [task]
    carry_out(task, tmp_path)
    assert sorted(path.name for path in tmp_path.iterdir()) == ["a"]


def test_equal_tasks_are_one_and_names_are_not_shared(tmp_path):
    assert unique([Number("a", 1.0), Number("b", 1.0), Number("a", 1.0)]) == [Number("a", 1.0), Number("b", 1.0)]
    with pytest.raises(ValueError, match=r"^a: is the name of two"):
        unique([Number("a", 1.0), Number("a", 2.0)])
    carry_out(Number("a", 1.0), tmp_path)
    with pytest.raises(ValueError, match="made with other settings"):
        missing([Number("a", 2.0)], tmp_path)


@dataclass(frozen=True)
class Later(Number):
    """The same task in a version with one setting more."""

    added: int | None = None


def test_settings_that_came_later_make_no_other_task_while_they_are_not_set(tmp_path):
    carry_out(Number("a", 1.0), tmp_path)
    assert missing([Later("a", 1.0)], tmp_path) == []
    for other in (Later("a", 1.0, added=2), Later("a", 2.0)):
        with pytest.raises(ValueError, match="made with other settings"):
            missing([other], tmp_path)


@dataclass(frozen=True)
class Sizes:
    """Of an earlier version, without the number of parts."""

    width: int = 3


@dataclass(frozen=True)
class LaterSizes(Sizes):
    parts: int = 1
    exact: bool = False


@dataclass(frozen=True)
class Sized(Number):
    sizes: Sizes = Sizes()


@dataclass(frozen=True)
class Switched(Sized):
    switched: bool = True
    names: list = field(default_factory=lambda: ["a"])


def test_settings_that_came_later_are_as_by_default_in_what_was_before(tmp_path):
    """Also inside a task's settings; whatever value the default is."""
    carry_out(Sized("a", 1.0, sizes=Sizes(4)), tmp_path)
    assert missing([Switched("a", 1.0, sizes=LaterSizes(4))], tmp_path) == []
    for other in (Switched("a", 1.0, sizes=LaterSizes(4, exact=True)), Switched("a", 1.0, sizes=LaterSizes(4, 2)),
                  Switched("a", 1.0, sizes=LaterSizes(3)), Switched("a", 1.0, sizes=LaterSizes(4), switched=False),
                  Switched("a", 1.0, sizes=LaterSizes(4), names=[])):  # fmt: skip
        with pytest.raises(ValueError, match="made with other settings"):
            missing([other], tmp_path)


@pytest.mark.parametrize("damage", ["", "value,word\n1.0\n", "value\n1.0,2.0\n", "value\n1.0", "\x00\xff", None])
def test_damaged_tables_are_named(tmp_path, damage):
    task = Number("a", 1.0)
    carry_out(task, tmp_path)
    path = tmp_path / "a" / "rows.csv"
    path.unlink()
    if damage is not None:
        path.write_bytes(damage.encode("latin-1"))
    with pytest.raises(ValueError, match=r"rows\.csv: missing or damaged .*delete"):
        Results(tmp_path).table(task, "rows")


@pytest.mark.parametrize("damage", ["", "{", "[]", None])
def test_a_damaged_record_is_named_or_no_match(tmp_path, damage):
    task = Number("a", 1.0)
    carry_out(task, tmp_path)
    path = tmp_path / "a" / TASK
    path.unlink()
    if damage is None:
        assert missing([task], tmp_path) == [task]
        return
    path.write_text(damage)
    with pytest.raises(ValueError, match=r"missing or damaged|other settings"):
        missing([task], tmp_path)


def test_json_that_is_missing_or_damaged_is_named(tmp_path):
    task = Number("a", 1.0)
    carry_out(task, tmp_path)
    with pytest.raises(ValueError, match=r"verdicts\.json: missing or damaged"):
        Results(tmp_path).records(task, "verdicts")
    (tmp_path / "a" / "verdicts.json").write_text("[1")
    with pytest.raises(ValueError, match=r"verdicts\.json: missing or damaged"):
        Results(tmp_path).records(task, "verdicts")
    (tmp_path / "a" / "verdicts.json").write_text(json.dumps([1]))
    assert Results(tmp_path).records(task, "verdicts") == [1]
    (tmp_path / "a" / "config.json").write_text(json.dumps([1]))
    with pytest.raises(ValueError, match=r"config\.json: missing or damaged \(list in place of dict\)"):
        Results(tmp_path).settings(task)


def test_a_command_that_fails_says_what_it_said(tmp_path):
    task = Command("synthetic.sweep_noise", ("--trials", "0"))
    assert task.name == "sweep_noise-trials-0"
    line = "python -m synthetic.sweep_noise --trials 0"
    with pytest.raises(TaskFailedError, match=rf"^{line}: ended with status 2\n.*trials"):
        carry_out(task, tmp_path)
    assert missing([task], tmp_path) == [task]


def test_the_last_lines_of_what_was_said():
    assert last_lines("a\n\nb  \n \nc\n", 2) == "b\nc"
    assert last_lines("", 2) == ""


def test_a_folder_that_lacks_what_its_task_leaves_is_missing(tmp_path):
    task = Number("a", 1.0)
    carry_out(task, tmp_path)
    (tmp_path / "a" / "rows.csv").unlink()
    assert missing([task], tmp_path) == [task]
