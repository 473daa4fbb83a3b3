"""The batch floor of the cone model (theory.md 2f, batch size): which cluster sizes are proved to be repaired."""

from dataclasses import dataclass

import pytest

from theory import fusion_ceiling as fc
from theory.lemmas.fusion_nodes import FULL

pytestmark = pytest.mark.theorems

PLACE = {"ambient_dim": 64, "num_clusters": 4, "noise_level": 0.88, "min_within_cos": 1.0, "delta": 0.05}


def total(size, **place):
    place = {**PLACE, **place}
    dim, count, level, within, delta = place.values()
    return fc.fusion_failure(dim, count, size, within, delta, level, 1.0).total


@pytest.mark.slow
def test_both_ends_are_proved_and_their_neighbours_are_not():
    """Noise 1.2 times the separation ceiling: a smallest and a largest batch."""
    first, last = fc.fusion_batch_range(**PLACE, mixing=1.0, largest=64)
    assert 8 < first < 32 < last < 64
    assert max(total(first), total(last)) <= 0.05 < min(total(first - 1), total(last + 1))


def test_the_numbers_of_theory_md():
    """Noise 1.4 at D = 256, K = 4: proved from 32 to 256 points a cluster, at 16 and 1,024 not."""
    found = [total(size, ambient_dim=256, noise_level=1.4) <= 0.05 for size in (16, 32, 256, 1024)]
    assert found == [False, True, True, False]


@dataclass(frozen=True)
class Planted:
    """Failures of a mock theorem, proved for sizes between two ends; few nodes are off by a few sizes."""

    first: int
    last: int
    off: int = 0

    def __call__(self, setting, sigma, nodes=FULL):
        assert sigma == PLACE["noise_level"]
        off = 0 if nodes == FULL else self.off
        held = self.first + off <= setting.sizes[0] <= self.last + off
        return fc.FusionFailure(0.3, 0.025, 0.02 if held else 0.03, 0.0)


@pytest.mark.parametrize("off", [0, 3, -3])
@pytest.mark.parametrize(("first", "last"), [(23, 700), (32, 64), (17, 4096), (2, 31)])
def test_the_search_finds_the_ends(monkeypatch, first, last, off):
    """Wherever few nodes lead; the end of the search is not the end of the range."""
    monkeypatch.setattr(fc, "_failure", Planted(first, last, off))
    assert fc.fusion_batch_range(**PLACE) == (first, last)
    assert fc.fusion_batch_range(**PLACE, largest=29) in ((first, 29), None)


def test_where_no_size_of_the_grid_is_proved_there_is_no_range(monkeypatch):
    monkeypatch.setattr(fc, "_failure", Planted(33, 63))
    assert fc.fusion_batch_range(**PLACE) is None
    # Few nodes may be too hopeful: what they promise is asked again.
    monkeypatch.setattr(fc, "_failure", lambda *law: Planted(9, 8)(*law) if law[2:] in ((), (FULL,)) else
                        Planted(2, 500)(*law))  # fmt: skip
    assert fc.fusion_batch_range(**PLACE) is None


def test_two_points_and_wide_cones_leave_nothing():
    assert fc.fusion_batch_range(**PLACE, largest=2) is None
    assert fc.fusion_batch_range(**{**PLACE, "min_within_cos": 0.1}, largest=64) is None


@pytest.mark.parametrize(
    ("name", "value", "message"),
    [("ambient_dim", 2, "at least 3"), ("num_clusters", 65, r"\[2, ambient_dim = 64\]"), ("noise_level", 0.0, "in"),
     ("noise_level", float("nan"), ""), ("min_within_cos", 0.0, r"\(0, 1\]"), ("delta", 1.0, r"\(0, 1\)"),
     ("mixing", 0.0, r"\(0, 1\]"), ("subspace_dim", 17, r"\[1, 16\]"), ("depth", 0, "at least 1"),
     ("largest", 1, "at least 2|2")],
)  # fmt: skip
def test_bad_input(name, value, message):
    with pytest.raises(ValueError, match=f"^{name}: .*({message})"):
        fc.fusion_batch_range(**{**PLACE, name: value})
