"""One draw: the advisor is asked about some rows, and everything that it guarantees is held against the source."""

import math
from collections.abc import Iterator
from dataclasses import dataclass, replace

import numpy as np

from models.advisor.advice import Status
from models.advisor.answers import advice_of
from models.advisor.batches import draw_batches, measure_batches
from models.advisor.check_set import CheckSet
from models.advisor.config import AdvisorConfig
from models.advisor.coverage.sources import Source, without_labels
from models.advisor.coverage.truth import isolated_in_bank, sharpness_in_bank
from models.advisor.findings import Findings, find, strength_pool
from models.advisor.inputs.features import FeatureSet
from models.advisor.pool import Pool, pool_of
from models.advisor.prospective import judge
from models.advisor.questions.certified import lower_shares, split

# Rows that certified answers are held against, and batches that exact ones are.
NEW_ROWS, BATCHES = 1000, 1000
Z = 1.96


@dataclass(frozen=True)
class Outcome:
    """Whether one guarantee held in one draw.

    Attributes:
        status: EXACT, CERTIFIED or PREDICTED; "control" of what must be noticed.
        guarantee: in words.
        held: True where it held; of a control, where it was noticed.
    """

    status: str
    guarantee: str
    held: bool


@dataclass(frozen=True)
class Draw:
    """The advisor's findings about some rows, beside rows of the same source that it did not see.

    Attributes:
        strength_rows: that the advisor works out strengths and certified shares from.
    """

    features: FeatureSet
    new: FeatureSet
    config: AdvisorConfig
    findings: Findings
    strength_rows: int

    @property
    def pool(self) -> Pool:
        return pool_of(self.features, self.findings.centered, seed=self.config.seed)

    def pools_at(self, strength: float | None) -> tuple[Pool, Pool]:
        """The rows that certified shares are worked out from, and the new ones centered likewise."""
        pool = strength_pool(self.features, self.findings.centered, strength, self.config, self.strength_rows)
        return pool, pool_of(self.new, self.findings.centered, strength, pool.center)


def drawn(source: Source, rows: int, config: AdvisorConfig, rng: np.random.Generator, paired: bool) -> Draw:
    """Rows drawn and advised about; of view pairs all are looked at."""
    most = 2 * rows if paired else int(rows * source.looked_at)
    features, new = source.draw(rng, rows, NEW_ROWS)
    if paired:
        features, new = without_labels(features), without_labels(new)
    return Draw(features, new, config, find(features, config, strength_rows=most), most)


def outcomes(draw: Draw, rng: np.random.Generator) -> Iterator[Outcome]:
    """Every guarantee that the advisor gave."""
    for status, ask in ((Status.EXACT, _exact), (Status.CERTIFIED, _certified), (Status.PREDICTED, _predicted)):
        for guarantee, held in ask(draw, rng):
            yield Outcome(status.value, guarantee, bool(held))


def _exact(draw: Draw, rng: np.random.Generator) -> Iterator[tuple[str, bool]]:
    """These rows' own batches, drawn at random: their mean is known up to its standard error."""
    found, pool = draw.findings, draw.pool
    n = found.batch_size
    sharp, alone = measure_batches(pool, [w for _, w in found.weights], draw_batches(pool, n, BATCHES, rng))
    for place, (kind, _) in enumerate(found.weights):
        point = next(p for p in found.sizes if (p.kind, p.batch_size) == (kind, n))
        error = Z * sharp.error[place]
        yield f"affinity sharpness, {kind}", point.low - error <= sharp.mean[place] <= point.high + error
        if kind == "relu" and not found.paired:
            yield "rows without a true neighbor", abs(alone.mean[place] - point.isolated) <= Z * alone.error[place]
    if found.floor is not None and found.floor.rows is not None and found.floor.rows > 2:
        weight, share = dict(found.weights)["relu"], draw.config.share
        enough, fewer = (
            measure_batches(pool, [weight], draw_batches(pool, rows, BATCHES, rng))[1]
            for rows in (found.floor.rows, found.floor.rows - 1)
        )
        yield "smallest batch: enough", enough.mean[0] <= share + Z * enough.error[0]
        yield "smallest batch: one row fewer is not", fewer.mean[0] > share - Z * fewer.error[0]


def _certified(draw: Draw, rng: np.random.Generator) -> Iterator[tuple[str, bool]]:
    """New rows in batches filled from the bank."""
    found = draw.findings
    weights, (pool, new) = dict(found.weights), draw.pools_at(None)
    bank, _ = split(pool)
    for each in found.certified:
        true = sharpness_in_bank(pool, bank, new, weights[each.kind], found.batch_size, rng)
        yield f"affinity sharpness, {each.kind}", each.value <= true
    floor = found.certified_floor
    if floor is not None and floor.rows is not None:
        # The smallest batch is asked of all rows.
        whole = draw.pool
        alone = isolated_in_bank(whole, split(whole)[0], new, weights["relu"], floor.rows, rng)
        yield "smallest batch", alone <= draw.config.share
    strength = found.certified_strength
    if strength is not None and strength.value is not None:
        accepted = [each for each in found.strengths if each <= strength.value]
        yield "largest strength", all(_keeps(draw, strength.kind, strength.target, each, rng) for each in accepted)


def _keeps(draw: Draw, kind: str, target: float, strength: float, rng: np.random.Generator) -> bool:
    pool, new = draw.pools_at(strength)
    weight = dict(draw.findings.weights)[kind]
    return sharpness_in_bank(pool, split(pool)[0], new, weight, draw.findings.batch_size, rng) >= target


def _predicted(draw: Draw, rng: np.random.Generator) -> Iterator[tuple[str, bool]]:
    """A check set of the same source, by the rule that every user's is judged by."""
    checked = _checked(draw)
    for each in checked:
        if not math.isnan(each.measured):
            yield each.prediction.name, each.status is Status.CONFIRMED
    yield "nothing is CONTRADICTED", all(each.status is not Status.CONTRADICTED for each in checked)


def _checked(draw: Draw) -> tuple:
    predictions = advice_of(draw.findings, draw.config).predictions
    check = CheckSet(draw.findings, draw.features, draw.new, draw.config)
    return judge(predictions, check.measure(predictions), check.new_size)


def _shuffled(features: FeatureSet, rng: np.random.Generator) -> FeatureSet:
    assert features.classes is not None
    return replace(features, classes=rng.permutation(features.classes))


def controls(draw: Draw, rng: np.random.Generator) -> Iterator[Outcome]:
    """What is wrong on purpose, with labels."""
    shuffled = _shuffled(draw.features, rng)
    found = find(shuffled, draw.config)
    yield _control("shuffled labels: called at chance", not found.weights)
    twice = draw.features.take(np.tile(np.arange(draw.features.num_rows), 2))
    advice = advice_of(find(twice, draw.config), draw.config)
    yield _control("every row twice: near-duplicates named", any("near-duplicate" in told for told in advice.warnings))
    other = _shuffled(draw.new, rng)
    yield _control("check set with shuffled labels: CONTRADICTED", _contradicted(replace(draw, new=other)))
    yield _control("shifted check set: CONTRADICTED", _contradicted(replace(draw, new=shifted(draw.new, rng))))


def mean_as_bound(draw: Draw, rng: np.random.Generator) -> Outcome:
    """The mean itself, taken for a bound: wrong half the time, which a count of draws must notice."""
    weight = draw.findings.weights[0][1]
    pool, new = draw.pools_at(None)
    bank, others = split(pool)
    bound = lower_shares(pool, weight, draw.findings.batch_size, bank, others).mean()
    true = sharpness_in_bank(pool, bank, new, weight, draw.findings.batch_size, rng)
    return Outcome("planted", "the mean without its radius", bool(bound <= true))


def shifted(features: FeatureSet, rng: np.random.Generator) -> FeatureSet:
    """Every row moved the same way, as far as rows are from their mean."""
    rows = features.embeddings
    way = rng.standard_normal(rows.shape[1])
    step = way / np.linalg.norm(way) * np.linalg.norm(rows - rows.mean(axis=0), axis=1).mean()
    return replace(features, embeddings=rows + step, views=tuple(view + step for view in features.views))


def _contradicted(draw: Draw) -> bool:
    return any(each.status is Status.CONTRADICTED for each in _checked(draw))


def _control(name: str, noticed: bool) -> Outcome:
    return Outcome("control", name, bool(noticed))
