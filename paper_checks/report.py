"""The report of a run: every claim with its rule, its answer, and the numbers and figures behind it.

report.html is one file, for a browser and for paper; report.md says the same, with the figures in pictures/;
results.csv has the numbers.
"""

import base64
import io
import math
import shutil
import textwrap
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass
from itertools import groupby
from pathlib import Path
from typing import get_args

import jinja2
from PIL import Image

from paper_checks.claims import Claim, Finding
from paper_checks.decisions import Answer
from theory.whole_files import write_table, write_whole

TEMPLATES = Path(__file__).with_name("templates")
ANSWERS: tuple[Answer, ...] = get_args(Answer)
SIGNS = {"reproduced": "✓", "contradicted": "✗", "undecided": "?"}
# Pictures are embedded no wider than that, in so many colors, and shown at 100 pixels an inch of the figure.
PIXELS, COLORS, SHOWN = 1100, 64, 700
CAPTIONS = {
    "claim_contrasts": "mean differences with 95 % intervals, and the side that the claim is on",
    "claim_curves": "accuracy of every arm",
    "claim_composition": "accuracy of every pair of augmentations",
    "claim_histograms": "densities of positive and negative scores by epoch",
    "claim_moments": "moments of scores, and the gradient's norm, by epoch",
    "claim_blocks": "values by block",
}
# What columns of verdicts are called; others go by their own names.
HEADINGS = {"contrast": "statement", "measure": "about", "side": "verdict"}
MISSING = "–"
PICTURES = "pictures"


@dataclass(frozen=True)
class Entry:
    """A claim in the report.

    Attributes:
        pictures: figures as PNG.
        folder: of the claim's tables and figures, in the run folder.
        command: that repeats it.
    """

    claim: Claim
    finding: Finding
    pictures: tuple[Path, ...]
    folder: str
    command: str


@dataclass(frozen=True)
class Meta:
    """What the report says about the run.

    Attributes:
        seeds: trainings of each arm.
        seconds: that its tasks took, one after the other.
        images: what they are, in words or as a path.
        versions: of software, and the hardware, by name.
        budget: what every training may spend, in words.
        control: none, or the planted error of a control run.
    """

    title: str
    date: str
    tier: str
    command: str
    seeds: int
    seconds: float
    images: str
    versions: dict
    budget: str
    control: str = "none"


def write_report(entries: Sequence[Entry], meta: Meta, folder: Path) -> None:
    """Small copies of the figures, results.csv, report.md and report.html; each is whole or what it was before.

    Raises:
        OSError: a file could not be written; names it.
    """
    # All of it exists before the first file is touched.
    pictures = {entry.claim.id: [shrunk(path, entry.claim.id) for path in entry.pictures] for entry in entries}
    markdown, html = (_render(f"report.{kind}.j2", entries, meta, pictures) for kind in ("md", "html"))
    (folder / PICTURES).mkdir(exist_ok=True)
    for picture in (each for found in pictures.values() for each in found if each.content):
        write_whole(folder / picture.path, picture.content)
    write_table(folder / "results.csv", result_rows(entries))
    write_whole(folder / "report.md", markdown)
    write_whole(folder / "report.html", html)


def result_rows(entries: Sequence[Entry]) -> list[dict]:
    """One row a number; a claim without numbers has one row too."""
    rows = []
    for entry in entries:
        claim, finding = entry.claim, entry.finding
        own = {"claim": claim.id, "paper": claim.paper, "kind": claim.kind, "answer": finding.answer}
        rows += [{**own, **row, **own} for row in finding.rows or [{}]]
    return rows


def _render(template: str, entries: Sequence[Entry], meta: Meta, figures: dict[str, list["Picture"]]) -> str:
    environment = jinja2.Environment(
        loader=jinja2.FileSystemLoader(TEMPLATES),
        autoescape=lambda name: name is not None and name.endswith(".html.j2"),
        undefined=jinja2.StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
        keep_trailing_newline=True,
    )
    environment.filters |= {"cell": markdown_text, "line": one_line}
    fooled = [e.claim.id for e in entries if e.claim.labels and e.finding.answer == "reproduced"]
    return environment.get_template(template).render(
        entries=entries,
        papers=[(paper, list(each)) for paper, each in groupby(entries, lambda entry: entry.claim.paper)],
        meta=meta,
        figures=figures,
        tables={entry.claim.id: number_tables(entry.finding.rows) for entry in entries},
        seeds={entry.claim.id: seed_words(entry.finding.rows) for entry in entries},
        counts=counts(entries),
        signs=SIGNS,
        duration=duration(meta.seconds),
        fooled=fooled,
    )


def counts(entries: Sequence[Entry]) -> dict[str, int]:
    """How many claims have each answer."""
    found = Counter(entry.finding.answer for entry in entries)
    return {answer: found[answer] for answer in ANSWERS}


@dataclass(frozen=True)
class Picture:
    """A figure of the report; without content where its file cannot be read.

    Attributes:
        path: of its copy, from the run folder.
        content: a PNG.
        width, height: at which it is shown where there is room.
    """

    caption: str
    alt: str
    path: str
    content: bytes = b""
    width: int = 0
    height: int = 0

    @property
    def data(self) -> str:
        """As a data URI."""
        return "data:image/png;base64," + base64.b64encode(self.content).decode()


def shrunk(path: Path, claim: str) -> Picture:
    """A figure as the report has it: small enough to be many."""
    caption = _caption(path)
    alt = f"{claim}: {caption}"
    # Two runs of one command have figures of one name.
    run = "" if path.parent.name == claim else f"{path.parent.name}-"
    copy = f"{PICTURES}/{claim}-{run}{path.name}"
    try:
        with Image.open(path) as image:
            image.load()
            full = _on_white(image)
    except OSError:
        # The numbers are worth a page without the figure; the page says that it is missing.
        return Picture(caption, alt, copy)
    # Figures have 200 pixels an inch.
    shown = min(SHOWN, max(1, full.width // 2))
    size = (min(PIXELS, full.width), max(1, round(full.height * min(PIXELS, full.width) / full.width)))
    small = full.resize(size, Image.Resampling.LANCZOS).quantize(COLORS, dither=Image.Dither.NONE)
    data = io.BytesIO()
    small.save(data, format="PNG", optimize=True)
    return Picture(caption, alt, copy, data.getvalue(), shown, max(1, round(full.height * shown / full.width)))


def _on_white(image: Image.Image) -> Image.Image:
    image = image.convert("RGBA")
    return Image.alpha_composite(Image.new("RGBA", image.size, "white"), image).convert("RGB")


def _caption(path: Path) -> str:
    return CAPTIONS.get(path.stem, path.stem.replace("_", " "))


@dataclass(frozen=True)
class NumberTable:
    """A table as it is shown; the first column names the row, and numbers stand on the right."""

    headings: tuple[str, ...]
    rows: tuple[tuple[str, ...], ...]
    numeric: tuple[bool, ...]


def number_tables(rows: Sequence[dict]) -> list[NumberTable]:
    """A finding's numbers: differences with their intervals, and verdicts with the columns that they have."""
    contrasts = [row for row in rows if "difference" in row]
    others = [row for row in rows if "difference" not in row]
    found = []
    if others:
        names = list(dict.fromkeys(name for row in others for name in row))
        numeric = tuple(all(number(row.get(name)) == MISSING or _is_number(row[name]) for row in others)
                        for name in names)  # fmt: skip
        cells = tuple(tuple(number(row.get(name)) for name in names) for row in others)
        found.append(NumberTable(tuple(HEADINGS.get(name, name.replace("_", " ")) for name in names), cells, numeric))
    if contrasts:
        # What matters comes first: on a phone the rest is reached by scrolling.
        headings = ("compared", "difference [95 % interval]", "answer", "first", "second", "measure", "seeds")
        numeric = (False, True, False, True, True, False, True)
        found.append(NumberTable(headings, tuple(_contrast_cells(row) for row in contrasts), numeric))
    return found


def _contrast_cells(row: dict) -> tuple[str, ...]:
    percent = row.get("measure") == "accuracy"
    ends = [row.get(name) for name in ("difference", "low", "high")]
    scale = 100.0 if percent else 1.0
    decimals = 2 if percent else _decimals([*ends, row.get("first"), row.get("second")])
    middle, low, high = (_fixed(end, decimals, scale, sign=True) for end in ends)
    interval = f"[{low}, {high}]" if MISSING not in (low, high) else "[no interval]"
    unit = " points" if percent and middle != MISSING else ""
    arms = [_fixed(row.get(name), 1 if percent else decimals, scale) for name in ("first", "second")]
    if percent:
        arms = [arm if arm == MISSING else f"{arm} %" for arm in arms]
    return (str(row["contrast"]), f"{middle}{unit} {interval}", side_words(row.get("side"), row.get("direction")),
            *arms, str(row.get("measure", MISSING)), number(row.get("seeds")))  # fmt: skip


def side_words(side: str | None, direction: str | None) -> str:
    """Where a difference lies, as seen from the claim."""
    if side not in ("above", "below"):
        return str(side or "undecided")
    return "claimed side" if side == "above" or direction == "differs" else "other side"


def _decimals(values: Sequence[float | None]) -> int:
    """So many that the smallest of the values that matter has two digits, and three of the largest are shown."""
    sizes = [abs(value) for value in values if _is_number(value) and value]
    if not sizes:
        return 0
    large = 2 - math.floor(math.log10(max(sizes)))
    difference = abs(values[0]) if _is_number(values[0]) and values[0] else max(sizes)
    return min(9, max(0, large, 1 - math.floor(math.log10(difference))))


def _fixed(value: float | None, decimals: int, scale: float = 1.0, sign: bool = False) -> str:
    if not _is_number(value):
        return MISSING
    return f"{scale * value:{'+' if sign else ''},.{decimals}f}".replace("-", "−")


def number(value: object) -> str:
    """A cell: whole numbers with separators, others to four digits, nothing as a dash."""
    if isinstance(value, bool):
        return "yes" if value else "no"
    if value is None or (isinstance(value, float) and math.isnan(value)):
        return MISSING
    if not isinstance(value, (int, float)):
        return str(value)
    if math.isinf(value):
        return "∞" if value > 0 else "−∞"
    whole = float(value).is_integer() and abs(value) < 1e15
    return (f"{value:,.0f}" if whole else f"{value:.4g}").replace("-", "−")


def _is_number(value: object) -> bool:
    return isinstance(value, (int, float)) and not isinstance(value, bool) and math.isfinite(value)


def seed_words(rows: Sequence[dict]) -> str:
    """The seeds that a finding's differences are over; empty where there are none."""
    found = sorted({int(row["seeds"]) for row in rows if _is_number(row.get("seeds"))})
    if not found:
        return ""
    return "1 (0)" if found == [1] else " or ".join(f"{each}" for each in found) + f" (0 to {found[-1] - 1})"


def duration(seconds: float) -> str:
    """In words: "1 h 2 min", "3 min 20 s", "45 s"."""
    whole = round(seconds)
    hours, minutes, rest = whole // 3600, whole % 3600 // 60, whole % 60
    if hours:
        return f"{hours} h {minutes} min"
    return f"{minutes} min {rest} s" if minutes else f"{rest} s"


def one_line(text: str, width: int = 130) -> str:
    """The beginning of a sentence, up to a word."""
    return textwrap.shorten(text, width, placeholder=" …")


def markdown_text(text: object) -> str:
    """Text that is not taken for a tag, a column or a new line."""
    plain = " ".join(str(text).split()).replace("\\", "\\\\").replace("&", "&amp;").replace("<", "&lt;")
    for sign in "|*_`[]":
        plain = plain.replace(sign, f"\\{sign}")
    return plain


def print_summary(entries: Sequence[Entry]) -> None:
    """The answers on the terminal, a line each."""
    widest = max((len(entry.claim.id) for entry in entries), default=0)
    answer = max(map(len, ANSWERS))
    room = max(40, shutil.get_terminal_size((120, 24)).columns - widest - answer - 4)
    for entry in entries:
        line = one_line(entry.finding.sentence, room)
        print(f"{entry.claim.id:<{widest}}  {entry.finding.answer:<{answer}}  {line}".rstrip())
    total = len(entries)
    print(f"{total} claim{'s' * (total != 1)}: " + ", ".join(f"{n} {name}" for name, n in counts(entries).items()))
