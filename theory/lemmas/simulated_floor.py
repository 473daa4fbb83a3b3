"""The simulated batch floor: the practical number beside the proved one.

The smallest m at which m points, uniform on S^{r-1}, fall apart with probability at most delta, as far as a number of
trials that is fixed in advance can tell: the one-sided 99 % Clopper-Pearson limit of the failure rate must not exceed
delta. It is a measurement, not a bound. Results are kept on disk, one small file each, and read back.

Source: theory.md, section 2c (what the floors are compared with).
"""

import hashlib
import json
import math
from dataclasses import asdict, dataclass
from pathlib import Path

import numpy as np
from scipy.special import bdtr

from theory.affinity import unit_points
from theory.lemmas.connectivity import isolated_point_rate
from theory.measurements import is_connected
from theory.numerics.cache import cache_folder, kept
from theory.numerics.inputs import require_count, require_range
from theory.numerics.precision import half_as_float64
from theory.sphere import require_sphere

CONFIDENCE = 0.99
# Trials: this many expected failures at delta, so that a true rate of about four fifths of delta passes.
EXPECTED_FAILURES = 160
SMALLEST_DELTA = 1e-4
# Candidates climb in steps of this factor before the last step is bisected.
STEP = 1.05
CHUNK_BYTES = 8 * 2**20
# Part of the key: to be raised when the simulation changes or its file does, so that old files are not read.
VERSION = 3


@dataclass(frozen=True)
class SimulatedFloor:
    """The floor and what it rests on: ``failures`` of ``trials`` batches of ``num_points`` points fell apart."""

    num_points: int
    trials: int
    failures: int


@half_as_float64
def simulated_floor(
    subspace_dim: int, radius: float, delta: float, squared: bool = False, seed: int = 0, cache: Path | None = None
) -> SimulatedFloor:
    """The simulated floor, from the cache if it is there.

    Args:
        subspace_dim: r >= 2.
        radius: vartheta in (0, pi/2], radians.
        delta: in [1e-4, 1); smaller ones need more trials than are reasonable.
        squared: antipodes coincide.
        seed: of the simulation.
        cache: folder; by default the one that the environment variable CONTRASTIVE_THEORY_CACHE names, else
            contrastive-theory-toolkit in the user's cache folder.

    Raises:
        ValueError: an argument out of range.
    """
    require_sphere(subspace_dim, radius)
    require_range(delta, "delta (simulated floor)", SMALLEST_DELTA, 1.0, closed="left")
    require_count(seed, "seed", 0)
    key = {
        "version": VERSION, "subspace_dim": int(subspace_dim), "radius": float(radius).hex(),
        "delta": float(delta).hex(), "squared": bool(squared), "seed": int(seed),
    }  # fmt: skip
    question = json.dumps(key).encode()
    name = f"simulated-floor-{hashlib.sha256(question).hexdigest()[:24]}.json"

    def read(content: memoryview) -> SimulatedFloor:
        return SimulatedFloor(**json.loads(bytes(content)))

    def write(found: SimulatedFloor) -> list[bytes]:
        return [json.dumps(asdict(found)).encode() + b"\n"]

    def search() -> SimulatedFloor:
        return _search(subspace_dim, float(radius), float(delta), squared, seed)

    return kept((cache or cache_folder()) / name, question, read, search, write, "simulated floors")


def allowed_failures(trials: int, delta: float) -> int:
    """The most failures of ``trials`` whose one-sided 99 % upper limit does not exceed delta; -1 if there is none.

    Raises:
        ValueError: fewer than one trial, delta outside (0, 1).
    """
    trials = require_count(trials, "trials", 1)
    require_range(delta, "delta", 0.0, 1.0, closed="neither")
    low, high = -1, trials
    while high - low > 1:
        middle = (low + high) // 2
        # The upper limit is at most delta iff so few failures are that unlikely at delta.
        low, high = (middle, high) if bdtr(middle, trials, delta) <= 1.0 - CONFIDENCE else (low, middle)
    return low


def _search(subspace_dim: int, radius: float, delta: float, squared: bool, seed: int) -> SimulatedFloor:
    trials = math.ceil(EXPECTED_FAILURES / delta)
    allowed = allowed_failures(trials, delta)

    def attempt(size: int) -> int:
        return count_disconnected(size, subspace_dim, radius, trials, squared, seed, stop_beyond=allowed)

    # Isolated points alone fall short of the floor, so the climb begins a little below where they become rare enough.
    size = 2
    while isolated_point_rate(size, subspace_dim, radius, squared, until=math.inf) > 2.0 * delta:
        size = max(size + 1, int(size * STEP))
    size = max(2, int(size / STEP))
    failures, below = attempt(size), 1
    while failures > allowed:
        below, size = size, max(size + 1, math.ceil(size * STEP))
        failures = attempt(size)
    while size - below > 1:
        middle = (size + below) // 2
        count = attempt(middle)
        if count > allowed:
            below = middle
        else:
            size, failures = middle, count
    return SimulatedFloor(size, trials, failures)


@half_as_float64
def count_disconnected(
    num_points: int,
    subspace_dim: int,
    radius: float,
    trials: int,
    squared: bool = False,
    seed: int = 0,
    stop_beyond: int | None = None,
) -> int:
    """Of ``trials`` batches of uniform points, how many do not form one component.

    Args:
        stop_beyond: give up, and return what was counted, once there are more failures than this.

    Raises:
        ValueError: an argument out of range.
    """
    num_points, trials = require_count(num_points, "num_points", 1), require_count(trials, "trials", 0)
    require_sphere(subspace_dim, radius)
    require_count(seed, "seed", 0)
    if stop_beyond is not None:
        require_count(stop_beyond, "stop_beyond", -1)
    rng = np.random.default_rng([seed, subspace_dim, num_points])
    chunk = max(1, CHUNK_BYTES // (4 * num_points * num_points))
    failures = 0
    for start in range(0, trials, chunk):
        points = unit_points(rng.standard_normal((min(chunk, trials - start), num_points, subspace_dim)))
        cosines = points @ np.swapaxes(points, -1, -2)
        edges = (np.abs(cosines) if squared else cosines) > np.cos(radius)
        failures += int((~is_connected(edges)).sum())
        if stop_beyond is not None and failures > stop_beyond:
            break
    return failures
