"""Planted bugs, one at a time: ``python -m pytest -m mutants``. See tests/mutants/bench.py for what is kept, and where.

A bug that the tests do not notice is a failed test. What the sweep does not notice is reported (xfailed), not failed:
some bugs lie where a sweep that trusts the code cannot look.
"""

from pathlib import Path

import pytest

from tests.mutants.bench import Bench, folder_of
from tests.mutants.catalogue import BUGS

ROOT = Path(__file__).parents[2]
pytestmark = pytest.mark.mutants


@pytest.fixture(scope="session")
def bench():
    return Bench(ROOT, folder_of(ROOT), BUGS)


@pytest.mark.parametrize("bug", BUGS, ids=lambda bug: bug.name)
def test_the_tests_notice(bench, bug):
    outcome = bench.tests_notice(bug)
    assert outcome.noticed, f"{bug.path} with {bug.new!r} for {bug.old!r} passes all tests"


@pytest.mark.parametrize("bug", [bug for bug in BUGS if bug.sweep], ids=lambda bug: bug.name)
def test_the_sweep_notices(bench, bug):
    if not bench.sweep_notices(bug).noticed:
        pytest.xfail("the default noise sweep does not notice")
