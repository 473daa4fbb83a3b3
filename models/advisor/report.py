"""The advice as a table that fits a terminal, and as files."""

import textwrap
from collections.abc import Iterator
from pathlib import Path

from models.advisor.advice import Advice, Answer, Status
from models.advisor.prospective import as_rows, summary
from theory.numerics.whole_files import to_plain, write_json, write_table

WIDTH = 80
LEGEND = (
    "Affinity sharpness: the share of its attention that a row spends on its own class, itself left out. EXACT: of "
    "these rows (in brackets: the two sides of the law). CERTIFIED: of new rows, wrong with the probability given. "
    "PREDICTED: meant to hold 95 times in 100. UNDECIDED: these rows do not tell."
)
PAIRS = "A row's class is its other view. "
# Of every kind of prediction as many lines are printed.
SHOWN = 4


def write_advice(folder: Path, advice: Advice) -> None:
    """advice.json, curves.csv and, after a check, checked.csv.

    Raises:
        OSError: not writable.
    """
    plain = to_plain(advice)
    for name in ("curves", "predictions", "checked"):
        plain.pop(name)
    write_json(folder / "advice.json", plain | ({"check": summary(advice.checked)} if advice.checked else {}))
    write_table(folder / "curves.csv", list(advice.curves))
    if advice.checked:
        write_table(folder / "checked.csv", as_rows(advice.checked))


def report(advice: Advice) -> str:
    """The whole report, lines of at most 80 characters."""
    parts = [_head(advice), _shapes(advice), _answers(advice)]
    if advice.checked:
        parts.append(_checks(advice))
    if advice.warnings:
        parts.append(["Warnings", *(line for each in advice.warnings for line in _wrapped(each, "  ! "))])
    # The last step is to check, which is done then.
    todo = advice.next_steps[:-1] if advice.checked else advice.next_steps
    steps = (_wrapped(each, f"  {i}. ") for i, each in enumerate(todo, start=1))
    parts.append(["What to do next", *(line for step in steps for line in step)])
    return "\n\n".join("\n".join(lines) for lines in parts)


def _head(advice: Advice) -> list[str]:
    classes = f"{advice.num_classes:,} classes"
    if advice.paired:
        classes = f"view pairs of strength {advice.pair_strength:g}"
    return [
        f"{advice.num_rows:,} rows of {advice.width:,} numbers, {classes}; asked for batches of {advice.batch_size:,}"
    ]


def _shapes(advice: Advice) -> list[str]:
    raw, centered = advice.geometry
    lines = [f"{'The rows themselves':<50}{'as they are':>11}{'centered':>9}{'chance':>8}"]

    def line(name: str, one: str, other: str, chance: str = "") -> None:
        lines.append(f"  {name:<48}{one:>11}{other:>9}{chance:>8}".rstrip())

    def share(name: str, read: str) -> None:
        one, other = (f"{getattr(g, read):.1%}" for g in (raw, centered))
        line(name, one, other, f"{raw.chance:.1%}")

    line("median cosine of two rows", f"{raw.median_cosine:.2f}", f"{centered.median_cosine:.2f}")
    if advice.paired:
        share("nearest row is the other view", "agreement")
    else:
        share("right class by the 20 nearest rows (kNN)", "knn")
        share("same class among the 10 nearest rows", "agreement")
    line("cross pairs closer than the farthest within pair", f"{raw.closer:.1%}", f"{centered.closer:.1%}")
    return lines


def _answers(advice: Advice) -> list[str]:
    lines = [f"{'Question':<43}{'Answer':>9}  {'Interval':<15} Status"]
    for answer in advice.answers:
        lines += _answer(answer)
    return [*lines, *_wrapped(PAIRS + LEGEND if advice.paired else LEGEND, "")]


def _answer(answer: Answer) -> Iterator[str]:
    value = "-" if answer.value is None else _number(answer.value, answer.unit)
    interval = ""
    if answer.low is not None or answer.high is not None:
        low, high = ("" if side is None else _number(side, answer.unit) for side in (answer.low, answer.high))
        interval = f"[{low}, {high}]" if high else f"at least {low}"
    question = textwrap.wrap(answer.question, 42, subsequent_indent="  ", drop_whitespace=False)
    yield from (part.rstrip() for part in question[:-1])
    yield f"{question[-1]:<43}{value:>9}  {interval:<15} {answer.status.value}"
    yield from _wrapped(answer.meaning, "    ")


def _number(value: float | str, unit: str) -> str:
    if isinstance(value, str):
        return value
    return {"rows": f"{value:,.0f}", "layer": f"{value:.0f}", "number": f"{value:.3g}", "strength": f"{value:.3g}",
            "cosine": f"{value:.2f}"}.get(unit, f"{value:.3f}")  # fmt: skip


def _checks(advice: Advice) -> list[str]:
    found = summary(advice.checked)
    lines = [
        f"Held against rows not seen before: {found['confirmed']} of {found['predictions']} predictions CONFIRMED, "
        f"{found['contradicted']} CONTRADICTED, {found['undecided']} UNDECIDED; median error "
        f"{found['median_error']:.3f}, worst {found['worst_error']:.3f}"
    ]
    lines = [*_wrapped(lines[0], "")]
    lines.append(f"{'  prediction':<43}{'predicted':>9}  {'expected in':<15}{'measured':>9}")
    worst = sorted(advice.checked, key=lambda c: c.status is Status.CONFIRMED)
    chosen = [each for each in worst if each.status is not Status.CONFIRMED][: 2 * SHOWN]
    for kind in dict.fromkeys(each.prediction.kind for each in advice.checked):
        chosen += [each for each in advice.checked if each.prediction.kind == kind and each not in chosen][:SHOWN]
    for each in chosen:
        interval = f"[{each.low:.3f}, {each.high:.3f}]"
        name = f"  {each.prediction.name}"
        lines.append(f"{name:<43}{each.prediction.value:>9.3f}  {interval:<15}{each.measured:>9.3f}")
        if each.status is not Status.CONFIRMED:
            lines.append(f"      {each.status.value}")
    if len(chosen) < len(advice.checked):
        lines.append(f"  ... all {len(advice.checked)} in checked.csv")
    return lines


def _wrapped(text: str, start: str) -> list[str]:
    return textwrap.wrap(text, WIDTH, initial_indent=start, subsequent_indent=" " * len(start))
