"""What the advisor says: answers with value, interval and status."""

from dataclasses import dataclass
from enum import StrEnum

from models.advisor.questions.geometry import Geometry


class Status(StrEnum):
    """How far an answer goes."""

    EXACT = "EXACT"
    """Of these very rows, by a law without approximation."""
    CERTIFIED = "CERTIFIED"
    """Of new rows from the same source, wrong with probability at most delta."""
    PREDICTED = "PREDICTED"
    """Interpolated, resampled, or asymptotic: the interval is meant to hold 95 times in 100."""
    UNDECIDED = "UNDECIDED"
    """These rows do not tell."""
    CONFIRMED = "CONFIRMED"
    """Measured on rows that the prediction never saw, and inside its interval."""
    CONTRADICTED = "CONTRADICTED"
    """Measured likewise, and outside by more than chance over all predictions explains."""


@dataclass(frozen=True)
class Answer:
    """One line of the table.

    Attributes:
        question: in words.
        name: short, for files.
        value: None where there is none to give.
        low, high: interval of the value; None without one.
        status: how far it goes.
        meaning: what follows from it, in words.
        unit: how the value is written: "rows", "cosine", "share", "strength", "layer", "1/temperature", "choice".
    """

    question: str
    name: str
    value: float | str | None
    low: float | None
    high: float | None
    status: Status
    meaning: str
    unit: str = "share"


@dataclass(frozen=True)
class Prediction:
    """A number that rows not yet seen will be held against.

    Attributes:
        name: what is measured, for instance "affinity sharpness, relu, n = 64".
        kind: "sharpness", "isolated", "strength" or "depth".
        curve, at: attention ("relu" or "softmax") and batch size, strength or layer; None of a
            strength limit.
        value: predicted.
        slack_low, slack_high: how far the truth may lie below and above apart from chance (bracket, interpolation).
        error: standard error of the value, the rows given (of what is resampled).
        deviation: of one row's influence: rows drawn anew move the value with standard error deviation/sqrt(rows).
        rows: that it was made from.
    """

    name: str
    kind: str
    curve: str
    at: float | None
    value: float
    slack_low: float
    slack_high: float
    error: float
    deviation: float
    rows: int


@dataclass(frozen=True)
class Checked:
    """A prediction beside what was measured.

    Attributes:
        prediction: what was hashed before the rows were read.
        measured: on batches of the new rows; NaN where nothing could be measured.
        low, high: 95 % interval in which the measured value was expected.
        wide_low, wide_high: the same for all predictions together.
        status: CONFIRMED inside the first interval, CONTRADICTED outside the second, else UNDECIDED.
    """

    prediction: Prediction
    measured: float
    low: float
    high: float
    wide_low: float
    wide_high: float
    status: Status


@dataclass(frozen=True)
class Advice:
    """Everything that the advisor found.

    Attributes:
        answers: lines of the table.
        geometry: raw, then centered.
        warnings: in words; what to do about them included.
        num_rows, num_classes, width: of the data; the classes of view pairs are the rows.
        pair_strength: of the views that take the place of labels; None with labels.
        batch_size: that threshold, temperature, strength and depth are advised for.
        centered: whether the rows should be centered.
        center: (D,) what to subtract (the mean of a random half, which choices are made from), or None.
        threshold, inverse_temperature: of ReLU and of softmax attention, None where undecided.
        attention, depth: "relu" or "softmax", and how many of its blocks; the sharpest of all that were tried.
        curves: rows of curves.csv.
        predictions: to be held against new rows.
        checked: the same after they were; empty before.
        next_steps: what to do, in words.
    """

    answers: tuple[Answer, ...]
    geometry: tuple[Geometry, ...]
    warnings: tuple[str, ...]
    num_rows: int
    num_classes: int
    width: int
    pair_strength: float | None
    batch_size: int
    centered: bool
    center: tuple[float, ...] | None
    threshold: float | None
    inverse_temperature: float | None
    attention: str | None
    depth: int | None
    curves: tuple[dict, ...]
    predictions: tuple[Prediction, ...]
    checked: tuple[Checked, ...] = ()
    next_steps: tuple[str, ...] = ()

    @property
    def paired(self) -> bool:
        """Whether view pairs take the place of labels."""
        return self.pair_strength is not None

    def answer(self, name: str) -> Answer:
        """The answer of that name.

        Raises:
            KeyError: there is none.
        """
        return {each.name: each for each in self.answers}[name]
