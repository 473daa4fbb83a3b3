"""From numbers to advice: each answer in a sentence, with its status, and what to do next."""

import math
from collections.abc import Sequence

import numpy as np

from models.advisor.advice import Advice, Answer, Status
from models.advisor.config import AdvisorConfig
from models.advisor.findings import Findings, find
from models.advisor.inputs.features import feature_set
from models.advisor.predictions import curve_rows, predictions_of
from models.advisor.questions.attention import KINDS, Choice
from models.advisor.questions.geometry import Geometry
from models.advisor.questions.strength import StrengthLimit

DEFAULTS = AdvisorConfig()
Z = 1.96
HIGH_COSINE = 0.5
# Batches' worth of rows below which intervals are rough.
BATCHES_OF_ROWS = 20
# Affinity sharpness that a stack must add before it is worth a line.
WORTH_A_BLOCK = 0.01
NAMES = {"relu": "ReLU", "softmax": "softmax"}
NO_THRESHOLD = "asked at the threshold, which is undecided"


def advise(
    embeddings: np.ndarray,
    labels: np.ndarray | Sequence | None = None,
    views: Sequence[np.ndarray] | np.ndarray | None = None,
    strengths: Sequence[float] | np.ndarray | None = None,
    config: AdvisorConfig = DEFAULTS,
) -> Advice:
    """What batch size, attention, augmentation strength and depth these embeddings ask for.

    Args:
        embeddings: (N, D), rows of any norm.
        labels: (N,), whole numbers or text; None makes the views the classes.
        views: (S, N, D), row i of each a view of row i, at ``strengths`` (S,), which increase from 0.

    Raises:
        ValueError: bad input, by name and row; a batch size that the rows do not fill.
    """
    return advice_of(find(feature_set(embeddings, labels, views, strengths), config), config)


def advice_of(findings: Findings, config: AdvisorConfig) -> Advice:
    """Findings in words."""
    relu, softmax = (findings.choices[findings.centered][k] for k in (0, 1))
    known = dict(findings.weights)
    answers = [
        _centering(findings),
        *(_attention(choice, findings) for choice in (relu, softmax)),
        *_sharpness(findings, config),
        *_floor(findings, config),
        *_strength(findings, config),
        *_depth(findings),
        _separation(findings.geometry[findings.centered], findings.pool_size),
    ]
    sharpest = max(findings.depths, key=lambda curve: curve.means[curve.peak], default=None)
    return Advice(
        answers=tuple(answers), geometry=findings.geometry, warnings=tuple(_warnings(findings, config)),
        num_rows=findings.num_rows, num_classes=findings.num_classes, width=findings.width,
        pair_strength=findings.pair_strength, batch_size=findings.batch_size, centered=findings.centered,
        center=None if findings.center is None else tuple(map(float, findings.center)),
        threshold=known["relu"].threshold if "relu" in known else None,
        inverse_temperature=known["softmax"].inverse_temperature if "softmax" in known else None,
        attention=None if sharpest is None else sharpest.kind, depth=None if sharpest is None else sharpest.peak,
        curves=tuple(curve_rows(findings)), predictions=tuple(predictions_of(findings)),
        next_steps=tuple(_next_steps(findings, config)),
    )  # fmt: skip


def _centering(findings: Findings) -> Answer:
    raw, centered = (choices[0] for choices in findings.choices)
    told = [f"{c.sharpness:.3f} {name}" if c.value is not None else f"no threshold possible {name}"
            for c, name in ((raw, "as they are"), (centered, "centered"))]  # fmt: skip
    cosines = [g.median_cosine for g in findings.geometry]
    meaning = (
        f"best affinity sharpness of ReLU attention {told[0]}, {told[1]}; median cosine {cosines[0]:.2f} and "
        f"{cosines[1]:.2f}"
    )
    if findings.centered and centered.value is not None and raw.sharpness > centered.sharpness:
        meaning += "; no clear difference, so that centering does no harm"
    status = Status.PREDICTED if raw.above_chance or centered.above_chance else Status.UNDECIDED
    value = "yes" if findings.centered else "no"
    return Answer("Subtract the mean of the rows first?", "center", value, None, None, status, meaning, "choice")


def _attention(choice: Choice, findings: Findings) -> Answer:
    what = f"Best {KINDS[choice.kind]}, {NAMES[choice.kind]} attention"
    unit = "cosine" if choice.kind == "relu" else "number"
    name = KINDS[choice.kind].replace(" ", "_")
    if choice.value is None:
        return Answer(what, name, None, None, None, Status.UNDECIDED,
                      f"in batches of {findings.batch_size} none leaves the median row enough effective neighbors "
                      f"(at most {choice.neighbors:.1f}); ask with a larger --batch-size", unit)  # fmt: skip
    if not choice.above_chance:
        return Answer(what, name, None, None, None, Status.UNDECIDED,
                      f"affinity sharpness {choice.sharpness:.3f} is not above chance, {choice.chance:.3f}: attention "
                      "does not see these labels in these rows", unit)  # fmt: skip
    temperature = "" if choice.kind == "relu" else f", temperature {1 / choice.value:.3g}"
    return Answer(what, name, choice.value, choice.low, choice.high, Status.PREDICTED,
                  f"affinity sharpness {choice.sharpness:.3f}, chance {choice.chance:.3f}, {choice.neighbors:.1f} "
                  f"effective neighbors{temperature}; in brackets: not clearly worse", unit)  # fmt: skip


def _sharpness(findings: Findings, config: AdvisorConfig) -> list[Answer]:
    found = []
    for kind, _ in findings.weights:
        point = next(p for p in findings.sizes if (p.kind, p.batch_size) == (kind, findings.batch_size))
        error = Z * point.deviation / math.sqrt(point.rows)
        name = f"Affinity sharpness, {NAMES[kind]}, batches of {point.batch_size}"
        found.append(Answer(name, f"sharpness_{kind}", point.middle, point.low, point.high, Status.EXACT,
                            f"of these rows; rows drawn anew: within {error:.3f} of it"))  # fmt: skip
        certified = next(each for each in findings.certified if each.kind == kind)
        found.append(Answer("  for new rows it is at least", f"sharpness_{kind}_certified", certified.value, None, None,
                            Status.CERTIFIED, f"wrong with probability at most {config.delta:g}; from "
                            f"{certified.tested:,} rows held against {certified.bank:,} others"))  # fmt: skip
    return found


def _floor(findings: Findings, config: AdvisorConfig) -> list[Answer]:
    question = f"Smallest batch: {_percent(config.share)} of rows may lack a true neighbor"
    if findings.paired and findings.weights:
        asked = "Rows whose other view is no neighbor"
        # Of softmax attention every row is a neighbor.
        isolated = next((point.isolated for point in findings.sizes if point.kind == "relu"), None)
        if isolated is None:
            return [Answer(asked, "isolated", None, None, None, Status.UNDECIDED, NO_THRESHOLD)]
        return [Answer(asked, "isolated", isolated, None, None, Status.EXACT,
                       "both views are in every batch, so the batch size does not matter to this")]  # fmt: skip
    if findings.floor is None:
        return [Answer(question, "batch_floor", None, None, None, Status.UNDECIDED, NO_THRESHOLD, "rows")]
    floor, certified = findings.floor, findings.certified_floor
    if floor.rows is None:
        meaning = (
            f"no batch is large enough: {_percent(floor.never)} of the rows have no true neighbor above "
            f"{floor.threshold:g} among all {findings.num_rows:,}; lower the threshold or allow a larger --share"
        )
        return [Answer(question, "batch_floor", None, None, None, Status.EXACT, meaning, "rows")]
    found = [Answer(question, "batch_floor", floor.rows, None, None, Status.EXACT,
                    f"at threshold {floor.threshold:g}, of these rows", "rows")]  # fmt: skip
    if certified is not None and certified.rows is not None:
        found.append(Answer("  the same, for new rows", "batch_floor_certified", certified.rows, None, None,
                            Status.CERTIFIED, f"wrong with probability at most {config.delta:g}; from "
                            f"{certified.tested:,} rows held against {certified.bank:,} others", "rows"))  # fmt: skip
    elif certified is not None:
        found.append(Answer("  the same, for new rows", "batch_floor_certified", None, None, None, Status.UNDECIDED,
                            f"{certified.tested:,} rows held against {certified.bank:,} others certify no batch of "
                            f"up to {certified.largest:,}; more rows, a larger --share or --delta may",
                            "rows"))  # fmt: skip
    return found


def _strength(findings: Findings, config: AdvisorConfig) -> list[Answer]:
    found = []
    for limit in findings.limits:
        found.append(limit_answer(limit, findings.strengths, config))
        certified = findings.certified_strength
        if certified is None or certified.kind != limit.kind:
            continue
        if certified.value is None:
            told = f"{certified.tested:,} rows held against {certified.bank:,} others certify not even strength 0"
        else:
            told = f"wrong with probability at most {config.delta:g}; the largest embedded strength that passes"
        status = Status.UNDECIDED if certified.value is None else Status.CERTIFIED
        found.append(Answer("  the same, for new rows", "strength_certified", certified.value, None, None, status, told,
                            "strength"))  # fmt: skip
    return found


def limit_answer(limit: StrengthLimit, strengths: Sequence[float], config: AdvisorConfig) -> Answer:
    """A limit in words: PREDICTED, or UNDECIDED where it lies beyond the embedded strengths."""
    question = f"Largest strength that keeps {_percent(config.target)} ({NAMES[limit.kind]})"
    name = f"strength_{limit.kind}"
    if math.isinf(limit.value):
        return Answer(question, name, None, limit.low if math.isfinite(limit.low) else limit.last, None,
                      Status.UNDECIDED, f"more than {_percent(config.target)} of the excess over chance is left at "
                      f"{limit.last:g}, the largest embedded strength; embed a larger one", "strength")  # fmt: skip
    error = Z * limit.deviation / math.sqrt(limit.rows)
    low, high = max(0.0, limit.low - error), limit.high + error
    left = max(s for s in strengths if s <= limit.value)
    right = min((s for s in strengths if s >= limit.value), default=limit.last)
    meaning = f"of the affinity sharpness in excess of chance; interpolated between {left:g} and {right:g}"
    return Answer(question, name, limit.value, low, high if math.isfinite(high) else None, Status.PREDICTED, meaning,
                  "strength")  # fmt: skip


def _depth(findings: Findings) -> list[Answer]:
    found = []
    for curve in findings.depths:
        last = len(curve.means) - 1
        fused = (
            f"half of its excess over chance is lost from layer {curve.fused} on" if curve.fused is not None
            else f"more than half of its excess over chance is left at layer {last}"
        )  # fmt: skip
        meaning = f"affinity sharpness {curve.means[curve.peak]:.3f} there, {curve.means[0]:.3f} at layer 0; {fused}"
        found.append(Answer(f"Sharpest layer of {NAMES[curve.kind]} blocks", f"depth_{curve.kind}", curve.peak,
                            curve.peak_low, curve.peak_high, Status.PREDICTED, meaning, "layer"))  # fmt: skip
    return found


def _separation(shape: Geometry, pool_size: int) -> Answer:
    """One pair that is too close settles it; that there is none takes all pairs."""
    rows, unseen = f" ({shape.rows_seen:,} rows looked at)", pool_size - shape.rows_seen
    if shape.separated and unseen:
        return Answer("Does Theorem 2b apply?", "theorem_2b", None, None, None, Status.UNDECIDED,
                      f"of {shape.rows_seen:,} rows every within-class pair is closer than every cross pair; pairs "
                      f"among the other {unseen:,} were not looked at", "choice")  # fmt: skip
    if shape.separated:
        return Answer("Does Theorem 2b apply?", "theorem_2b", "yes", None, None, Status.EXACT,
                      f"every within-class pair is closer than every cross pair{rows}", "choice")  # fmt: skip
    return Answer("Does Theorem 2b apply?", "theorem_2b", "no", None, None, Status.EXACT, does_not_apply(shape.closer) +
                  rows, "choice")  # fmt: skip


def does_not_apply(closer: float) -> str:
    """Why Theorem 2b says nothing about rows of which this share of the cross pairs is too close."""
    return f"does not apply: {_percent(closer)} of the cross pairs are closer than the farthest within pair"


def _warnings(findings: Findings, config: AdvisorConfig) -> list[str]:
    found = []
    (raw, centered), n = findings.geometry, findings.batch_size
    # Before centering rows far from the origin look like copies of each other.
    if centered.duplicates:
        seen = "" if raw.rows_seen == findings.pool_size else f" of the {raw.rows_seen:,} looked at"
        found.append(
            f"{centered.duplicates:,} rows{seen} have a near-duplicate (cosine above 1 - 1e-6): remove copies, they "
            "make every answer look better than it is"
        )
    if raw.median_cosine > HIGH_COSINE:
        found.append(
            f"the median cosine of the rows as they are is {raw.median_cosine:.2f}: all point the same way; center them"
        )
    if centered.median_cosine > HIGH_COSINE:
        found.append(
            f"the median cosine is {centered.median_cosine:.2f} even after centering: one direction outweighs all "
            "others; are the columns in different units? Standardize them"
        )
    for choice in findings.choices[findings.centered]:
        tried = [row["at"] for row in choice.rows]
        if choice.above_chance and choice.value == tried[-1]:
            found.append(f"the best {KINDS[choice.kind]} is the largest that was tried, {choice.value:g}")
    if findings.pool_size < BATCHES_OF_ROWS * findings.batch_size:
        found.append(
            f"{findings.pool_size:,} rows are {findings.pool_size / findings.batch_size:.1f} batches of "
            f"{findings.batch_size}; with fewer than {BATCHES_OF_ROWS} intervals are rough"
        )
    own = raw.chance * (n - 1)
    if not findings.paired and own < config.effective_neighbors:
        found.append(
            f"a batch of {n} holds {own:.1f} other rows of a row's own class on average, fewer than the "
            f"{config.effective_neighbors:g} effective neighbors asked for: some must be false; ask with a larger "
            "--batch-size"
        )
    if not findings.weights:
        found.append("affinity sharpness is at chance: the labels say nothing about these rows; are they shuffled?")
    return found


def _next_steps(findings: Findings, config: AdvisorConfig) -> list[str]:
    if not findings.weights:
        return ["Check that row i of the labels belongs to row i of the embeddings; no setting helps before it does."]
    steps = []
    if findings.centered:
        steps.append("Subtract the mean (center in advice.json) from every row before attention or kNN.")
    known = dict(findings.weights)
    parts = [f"ReLU threshold {known['relu'].threshold:g}"] if "relu" in known else []
    kappa = known["softmax"].inverse_temperature if "softmax" in known else None
    if kappa is not None:
        parts.append(f"softmax temperature {1 / kappa:.3g}")
    steps.append(f"Use {' or '.join(parts)}.")
    if findings.floor is not None and findings.floor.rows is not None:
        certified = findings.certified_floor.rows if findings.certified_floor is not None else None
        least = findings.floor.rows if certified is None else certified
        steps.append(f"With that threshold take batches of at least {least:,} rows.")
    limits = [limit for limit in findings.limits if math.isfinite(limit.value)]
    if limits:
        sure = findings.certified_strength.value if findings.certified_strength is not None else None
        certain = "" if sure is None else f" (certified up to {sure:g})"
        steps.append(f"Augment up to strength {min(limit.value for limit in limits):.2g}{certain}.")
    elif not findings.strengths:
        steps.append("For an augmentation limit embed views too: --view 0=FEATURES --view 0.5=FILE --view 1=FILE.")
    steps += _blocks(findings)
    steps.append("Hold the predictions against rows kept aside: the same command with --out DIR --resume --check FILE.")
    return steps


def _blocks(findings: Findings) -> list[str]:
    """Stacks that make the rows sharper by more than a trifle."""
    found = []
    for curve in findings.depths:
        first, best = curve.means[0], curve.means[curve.peak]
        if best - first > WORTH_A_BLOCK:
            last = curve.peak == len(curve.means) - 1
            rest = "more may do better (--depth)" if last else "more do not add to it"
            blocks = f"{curve.peak} {NAMES[curve.kind]} block{'s' if curve.peak > 1 else ''}"
            found.append(f"Or stack {blocks}: affinity sharpness {first:.3f} before, {best:.3f} after; {rest}.")
    return found or ["Add no attention blocks: none makes these rows sharper."]


def _percent(share: float) -> str:
    text = f"{100 * share:.0f}" if share in (0, 1) or 0.095 <= share < 0.99 else f"{100 * share:.3g}"
    return f"{text} %"
