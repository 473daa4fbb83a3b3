"""A theorem as one object: how its cases are drawn, measured and judged, what attacks it, and what it has to notice.

Random search, the adversary, counterexample files, their replay, the noise sweep and the negative controls iterate over
trials; synthetic/trials/registry.py alone knows which there are.
"""

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import Any
from zlib import crc32

import numpy as np

from models.stack import AttentionStack
from synthetic.batches.cell import Cell
from synthetic.trials.ascent import Violation
from theory.judging.statements import Statement
from theory.judging.verdicts import Status, Verdict

# What a measurement is taken of, such as a kind of stack: damaged ones take its place in negative controls.
Subject = Callable[..., Any]


@dataclass(frozen=True)
class Cases:
    """Cases that a statement speaks about, such as batches.

    Attributes:
        each: values that differ from case to case, by name: arrays, or other sequences, (cases, ...).
        shared: values that all cases have in common, by name.
        device: where they are measured.
    """

    each: Mapping[str, Any]
    shared: Mapping[str, Any]
    device: str = "cpu"

    def __getitem__(self, name: str) -> Any:
        return self.each[name] if name in self.each else self.shared[name]

    def first(self, count: int) -> "Cases":
        """The first cases alone."""
        return Cases({name: column[:count] for name, column in self.each.items()}, self.shared, self.device)

    def values(self, case: int) -> dict[str, Any]:
        """All values of one case, as a counterexample file holds them."""
        return {**self.shared, **{name: column[case] for name, column in self.each.items()}}


@dataclass(frozen=True)
class Rate:
    """What is promised of cases that may fail now and then.

    Attributes:
        delta: share of cases that may fail.
        fails: (cases, measured) -> (cases,), those that do.
    """

    delta: float
    fails: Callable[[Cases, Any], np.ndarray]


@dataclass(frozen=True)
class Trial:
    """A statement, and all that is needed to put it on trial.

    Attributes:
        statement: what is claimed.
        key: its name in files and columns, a word in lower case.
        each, shared: names of the values that a case is made of (``Cases``). "labels" are (n,), "points" (n, D), unit
            vectors; what else there is the measurement decides.
        measure: (cases, subject) -> what is measured of them, such as a stack's layers.
        judge: (cases, measured) -> verdict whose ``where`` is the tightest case; None for promises of a rate.
        rate: the promise, where cases may fail.
        draw: random cases of one shape, most of them inside the hypotheses; None: there is no random search.
        subject: what the measurement is taken of.
        violations: what the adversary maximizes.
        killed: false statements that this one replaces, as the adversary sees them; it has to refute each.
        damaged: subjects that ``judge`` (or the rate) has to find out, by name.
        shows_after: random shapes among which every one of them has to be found out.
        on_cells: cells of the noise sweep that the statement speaks about; their values are those of ``cell_cases``.
        defaults: values that older files lack.
        part: of the statement, where it has several trials.
        stream: of the random search's generators; by default one of its own.
    """

    statement: Statement
    key: str
    each: tuple[str, ...]
    shared: tuple[str, ...]
    measure: Callable[[Cases, Subject], Any]
    judge: Callable[[Cases, Any], Verdict] | None = None
    rate: Rate | None = None
    draw: Callable[[np.random.Generator], Cases] | None = None
    subject: Subject = AttentionStack
    violations: tuple[Violation, ...] = ()
    killed: tuple[Violation, ...] = ()
    damaged: Mapping[str, Subject] = field(default_factory=dict)
    shows_after: int = 12
    on_cells: Callable[[Cell], bool] | None = None
    defaults: Mapping[str, Any] = field(default_factory=dict)
    part: str = ""
    stream: int | None = None

    def __post_init__(self) -> None:
        if not self.key.isidentifier() or self.key != self.key.lower():
            raise ValueError(f"key: must be a word in lower case, got {self.key!r}")
        if (self.judge is None) == (self.rate is None):
            raise ValueError(f"{self.key}: give judge for a statement about every case, or rate for one that may fail")
        if self.on_cells is not None and self.judge is None:
            raise ValueError(f"{self.key}: on_cells goes with judge: the noise sweep asks about every case")
        if "labels" not in self.shared:
            raise ValueError(f"{self.key}: shared has to name labels, got {self.shared}")

    @property
    def name(self) -> str:
        """For tables and verdicts."""
        return f"{self.statement.name} ({self.part})" if self.part else self.statement.name

    @property
    def search_stream(self) -> int:
        """Of the random search's generators."""
        return crc32(self.key.encode()) if self.stream is None else self.stream

    @property
    def needs(self) -> frozenset[str]:
        """Names of all values of a case."""
        return frozenset((*self.each, *self.shared))

    def cases_of(self, values: Mapping[str, Any], device: str = "cpu") -> Cases:
        """One case from its values, as ``Cases.values`` gives them."""
        values = {**self.defaults, **values}
        each = {name: np.asarray(values[name])[None] for name in self.each}
        return Cases(each, {name: values[name] for name in self.shared}, device)

    def check(self, cases: Cases, subject: Subject | None = None) -> Verdict:
        """Measure and judge the cases. Of a promised rate, whether any of them fails."""
        measured = self.measure(cases, subject or self.subject)
        if self.judge is not None:
            return self.judge(cases, measured)
        assert self.rate is not None
        return self.verdict_on(np.asarray(self.rate.fails(cases, measured)))

    def verdict_on(self, failed: np.ndarray) -> Verdict:
        """Of a promised rate, from the cases that failed: whether any did, and the first of them."""
        count, where = int(failed.sum()), int(failed.argmax())
        status = Status.VIOLATED if count else Status.HOLDS
        told = "one failing batch of a rate that was too high; it " + ("fails again" if count else "does not fail")
        return Verdict(self.key, status, float(bool(count)), 0.0, -float(bool(count)), -float(bool(count)),
                       len(failed), len(failed), where, told)  # fmt: skip
