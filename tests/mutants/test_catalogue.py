"""Every planted bug can be planted: a bug whose place in the source has changed is an error, not a survivor."""

from collections import Counter
from pathlib import Path

import pytest

from tests.mutants.bugs import Bug, StaleBugError, bugs_in, with_bug
from tests.mutants.catalogue import BUGS

ROOT = Path(__file__).parents[2]


def test_there_are_enough_bugs_in_every_package_and_names_are_unique():
    counts = Counter(bug.path.split("/")[0] for bug in BUGS)
    assert sum(counts.values()) >= 70
    assert min(counts[package] for package in ("theory", "models", "synthetic", "figures")) >= 5
    assert sum(bug.sweep for bug in BUGS) >= 20
    assert max(Counter(bug.name for bug in BUGS).values()) == 1
    assert max(Counter((bug.path, bug.old, bug.new) for bug in BUGS).values()) == 1


def test_every_figure_has_bugs():
    texts = {path: path.read_text(encoding="utf-8") for path in (ROOT / "figures").rglob("*.py")}
    drawn = {path for path, text in texts.items() if "def draw" in text and "Axes" in text}
    counts = Counter(bug.path for bug in BUGS)
    assert len(drawn) > 12
    assert {name for path in drawn if counts[name := path.relative_to(ROOT).as_posix()] < 2} == set()


@pytest.mark.parametrize("path", sorted({bug.path for bug in BUGS}))
def test_every_bug_can_be_planted(path):
    source = (ROOT / path).read_text(encoding="utf-8")
    stale = []
    for bug in (bug for bug in BUGS if bug.path == path):
        try:
            compile(with_bug(source, bug), path, "exec")
        except (StaleBugError, SyntaxError) as error:
            stale.append(str(error))
        stale += [f"{bug.name}: no such file {name}" for name in bug.tests if not (ROOT / name).exists()]
        stale += [f"{bug.name}: changes nothing"] * (bug.old == bug.new) + [f"{bug.name}: asks none"] * (not bug.tests)
    assert not stale, "\n".join(stale)


@pytest.mark.parametrize("source", ["x = 1\n", "x = a + a + b\n"])
def test_a_stale_bug_is_refused(source):
    with pytest.raises(StaleBugError, match=r"swapped: theory/x.py has (0|2) places"):
        with_bug(source, Bug("swapped", "theory/x.py", "a", "b", ()))


def test_bugs_of_a_file():
    one, other = bugs_in("theory/x.py", "theory/x models/cifar/y", ("one", "a", "b"), ("other", "b", "a", True))
    assert one == Bug("one", "theory/x.py", "a", "b", ("tests/theory/test_x.py", "tests/models/cifar/test_y.py"))
    assert (one.sweep, other.sweep) == (False, True)
