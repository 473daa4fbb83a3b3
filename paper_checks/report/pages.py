"""The report of a run: every claim with its rule, its answer, and the numbers and figures behind it.

report.html is one file, for a browser and for paper; report.md says the same, with the figures in pictures/;
results.csv has the numbers.
"""

import base64
import io
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
from paper_checks.report.tables import MISSING, is_number, number_tables
from paper_checks.statistics.decisions import Answer
from paper_checks.statistics.family import Standing, standings
from theory.numerics.whole_files import write_table, write_whole

TEMPLATES = Path(__file__).with_name("templates")
ANSWERS: tuple[Answer, ...] = get_args(Answer)
SIGNS = {"reproduced": "✓", "contradicted": "✗", "undecided": "?", "failed": "!"}
LABELS = {"failed": "not run (failed)"}
# Pictures are embedded no wider than that, in so many colors, and shown at 100 pixels an inch of the figure.
PIXELS, COLORS, SHOWN = 1100, 64, 700
CAPTIONS = {
    "claim_contrasts": "mean differences with 95 % intervals, and the side that the claim is on",
    "claim_curves": "accuracy of every arm",
    "claim_composition": "accuracy of every pair of augmentations",
    "claim_histograms": "densities of positive and negative scores by epoch",
    "claim_moments": "moments of scores, and the gradient's norm, by epoch",
    "claim_blocks": "values by block",
    "claim_turns": "accuracy and critical strength by the strength in training",
    "claim_floor": "accuracy by batch size beside the floors that were predicted",
}
PICTURES = "pictures"


@dataclass(frozen=True)
class Entry:
    """A claim in the report.

    Attributes:
        pictures: figures as PNG.
        folder: of the claim's tables and figures, in the run folder.
        command: that repeats it.
        failures: why it could not be judged, with the last lines of what was said; empty where it was.
    """

    claim: Claim
    finding: Finding
    pictures: tuple[Path, ...]
    folder: str
    command: str
    failures: tuple[str, ...] = ()


@dataclass(frozen=True)
class Meta:
    """What the report says about the run.

    Attributes:
        seeds: trainings of each arm.
        splits: which images a seed draws, in words.
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
    splits: str
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


def standings_of(entries: Sequence[Entry]) -> dict[str, Standing]:
    """By claim, how the trends and comparisons stand over all of them.

    Raises:
        ValueError: one has no p-values.
    """
    family = [entry for entry in entries if entry.claim.kind != "theorem"]
    for entry in family:
        if entry.finding.p_values is None:
            raise ValueError(f"{entry.claim.id}: a {entry.claim.kind} must have p-values")
    return standings({entry.claim.id: (entry.finding.answer, entry.finding.p_values) for entry in family})


def standing_words(entry: Entry, found: Standing | None) -> str:
    """Whether an answer stands; a dash where there is none, and for theorems, which are not in the family."""
    if found is None or entry.finding.answer not in ("reproduced", "contradicted"):
        return MISSING
    return "stands" if found.stands else "does not stand"


def p_words(value: float) -> str:
    """ "= 0.0012", "< 0.0001"."""
    return "< 0.0001" if value < 1e-4 else f"= {value:.2g}"


def family_words(entries: Sequence[Entry], found: dict[str, Standing]) -> str:
    """What "stands" means, and what it covers."""
    words = [standing_words(entry, found.get(entry.claim.id)) for entry in entries]
    decided, theorems = len(words) - words.count(MISSING), len(entries) - len(found)
    text = (
        f"Over all claims: a trend or comparison is decided by a rule that errs in at most 5 % of runs, so that among "
        f"the {len(found)} of this run some answers may be chance. Holm's step-down procedure adjusts p-values for it: "
        "with a probability of 95 % or more none of the answers that stand is wrong, on either side, however claims "
        f"hang together. {words.count('stands')} of {decided} answers stand. The {len(found)} include claims that are "
        "undecided or not run"
    )
    if theorems:
        text += "; claims of the kind theorem are not among them: verdicts decide these, and give no p-values"
    return f"{text}."


def result_rows(entries: Sequence[Entry]) -> list[dict]:
    """One row a number; a claim without numbers has one row too."""
    rows, found = [], standings_of(entries)
    for entry in entries:
        claim, finding, standing = entry.claim, entry.finding, found.get(entry.claim.id)
        own = {"claim": claim.id, "paper": claim.paper, "kind": claim.kind, "answer": finding.answer}
        own |= {"p_value": standing and standing.p_value, "p_over_all_claims": standing and standing.adjusted,
                "stands_over_all_claims": standing and standing.stands}  # fmt: skip
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
    environment.filters |= {"cell": markdown_text, "line": one_line, "p": p_words,
                            "label": lambda answer: LABELS.get(answer, answer)}  # fmt: skip
    found = standings_of(entries)
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
        standings=found,
        stands={entry.claim.id: standing_words(entry, found.get(entry.claim.id)) for entry in entries},
        family=family_words(entries, found) if found else "",
        duration=duration(meta.seconds),
        fooled=fooled,
    )


def counts(entries: Sequence[Entry]) -> dict[str, int]:
    """How many claims have each answer; failed ones only where there are some."""
    found = Counter(entry.finding.answer for entry in entries)
    return {answer: found[answer] for answer in ANSWERS if answer != "failed" or found[answer]}


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


def seed_words(rows: Sequence[dict]) -> str:
    """The seeds that a finding's differences are over; empty where there are none."""
    found = sorted({int(row["seeds"]) for row in rows if is_number(row.get("seeds"))})
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
    answer = max(len(LABELS.get(each, each)) for each in counts(entries))
    room = max(40, shutil.get_terminal_size((120, 24)).columns - widest - answer - 4)
    for entry in entries:
        line = one_line(entry.finding.sentence, room)
        word = LABELS.get(entry.finding.answer, entry.finding.answer)
        print(f"{entry.claim.id:<{widest}}  {word:<{answer}}  {line}".rstrip())
    total, found = len(entries), standings_of(entries)
    words = ", ".join(f"{n} {LABELS.get(name, name)}" for name, n in counts(entries).items())
    print(f"{total} claim{'s' * (total != 1)}: {words}")
    if found:
        kept = [name for name, standing in found.items() if standing.stands]
        print(f"Over all {len(found)} trends and comparisons (Holm, 5 %) stand: {', '.join(kept) or 'none'}")
