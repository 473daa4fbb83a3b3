"""The report of a run: every claim with its rule, its answer, and the numbers and figures behind it.

report.html is one file, for a browser and for paper; report.md says the same, with the figures in pictures/;
results.csv has the numbers, and readings.csv those of other readings.
"""

import shutil
from collections.abc import Sequence
from dataclasses import replace
from itertools import groupby
from pathlib import Path

import jinja2

from paper_checks.report.entries import LABELS, SIGNS, Entry, Meta, counts, result_rows, share_of, standings_of
from paper_checks.report.forest import forest_rows, forest_words
from paper_checks.report.other_readings import all_reading_rows, fooled, found_words, holds_words, reading_table
from paper_checks.report.pictures import PICTURES, Picture, shrunk
from paper_checks.report.tables import number_tables
from paper_checks.report.words import (
    answer_words,
    cost_words,
    duration,
    family_words,
    looks_words,
    markdown_block,
    markdown_code,
    markdown_text,
    minutes_words,
    one_line,
    outlook_words,
    p_words,
    reading_words,
    seed_words,
    standing_words,
    used_seeds,
    worth_words,
)
from paper_checks.statistics.power import share_words
from theory.numerics.whole_files import write_table, write_whole

# In place of a claim's id.
ALL = "all"
TEMPLATES = Path(__file__).with_name("templates")


def write_report(entries: Sequence[Entry], meta: Meta, folder: Path, overview: Path | None = None) -> None:
    """Small copies of the figures, the tables, report.md and report.html; each is whole or what it was before.

    Args:
        overview: the figure of all claims, as a PNG; None where no claim has a difference to draw.

    Raises:
        OSError: a file could not be written; names it.
    """
    # All of it exists before the first file is touched.
    pictures = {entry.claim.id: [shrunk(path, entry.claim.id) for path in entry.pictures] for entry in entries}
    if overview is not None:
        words = forest_words(forest_rows(result_rows(entries), {entry.claim.id: entry.claim for entry in entries}))
        pictures[ALL] = [replace(shrunk(overview, overview.parent.name), alt=words)]
    markdown, html = (_render(f"report.{kind}.j2", entries, meta, pictures) for kind in ("md", "html"))
    (folder / PICTURES).mkdir(exist_ok=True)
    for picture in (each for found in pictures.values() for each in found if each.content):
        write_whole(folder / picture.path, picture.content)
    write_table(folder / "results.csv", result_rows(entries))
    readings = all_reading_rows(entries)
    if readings:
        write_table(folder / "readings.csv", readings)
    write_whole(folder / "report.md", markdown)
    write_whole(folder / "report.html", html)


def _render(template: str, entries: Sequence[Entry], meta: Meta, figures: dict[str, list["Picture"]]) -> str:
    environment = jinja2.Environment(
        loader=jinja2.FileSystemLoader(TEMPLATES),
        autoescape=lambda name: name is not None and name.endswith(".html.j2"),
        undefined=jinja2.StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
        keep_trailing_newline=True,
    )
    environment.filters |= {"cell": markdown_text, "code": markdown_code, "block": markdown_block,
                            "line": one_line, "p": p_words,
                            "label": lambda answer: LABELS.get(answer, answer),
                            "name": lambda answer: answer.replace(" ", "-")}  # fmt: skip
    found = standings_of(entries)
    return environment.get_template(template).render(
        entries=entries,
        papers=[(paper, list(each)) for paper, each in groupby(entries, lambda entry: entry.claim.paper)],
        meta=meta,
        figures=figures,
        overview=figures.get(ALL, []),
        tables={entry.claim.id: number_tables(entry.finding.rows, share_words(share_of(entry))) for entry in entries},
        answers={entry.claim.id: answer_words(entry) for entry in entries},
        facts={entry.claim.id: _facts(entry) for entry in entries},
        used={entry.claim.id: (used_seeds(entry.finding.rows), minutes_words(entry.seconds)) for entry in entries},
        seeds={entry.claim.id: seed_words(entry.finding.rows) for entry in entries},
        counts=counts(entries),
        signs=SIGNS,
        standings=found,
        stands={entry.claim.id: standing_words(entry, found.get(entry.claim.id)) for entry in entries},
        family=family_words(entries, found) if found else "",
        duration=duration(meta.seconds),
        fooled=fooled(entries),
        holds={entry.claim.id: holds_words(entry) for entry in entries},
        readings={entry.claim.id: reading_table(entry) for entry in entries},
        found_in={entry.claim.id: found_words(entry.readings) for entry in entries},
    )


def _facts(entry: Entry) -> list[tuple[str, str]]:
    """What is said of a claim's design and cost, where there is something to say."""
    facts = (("Read as", reading_words(entry)), ("Smallest effect worth deciding", worth_words(entry.claim)),
             ("Looks", looks_words(entry)), ("What would change the answer", outlook_words(entry)),
             ("Cost", cost_words(entry)))  # fmt: skip
    return [(name, words) for name, words in facts if words]


def print_summary(entries: Sequence[Entry]) -> None:
    """The answers on the terminal, a line each."""
    widest = max((len(entry.claim.id) for entry in entries), default=0)
    answer = max((len(LABELS.get(entry.finding.answer, entry.finding.answer)) for entry in entries), default=0)
    room = max(40, shutil.get_terminal_size((120, 24)).columns - widest - answer - 4)
    for entry in entries:
        line = one_line(entry.finding.sentence, room)
        word = LABELS.get(entry.finding.answer, entry.finding.answer)
        print(f"{entry.claim.id:<{widest}}  {word:<{answer}}  {line}".rstrip())
        if entry.readings:
            print(f"{'':<{widest}}  {holds_words(entry)}")
    total, found = len(entries), standings_of(entries)
    words = ", ".join(f"{n} {LABELS.get(name, name)}" for name, n in counts(entries).items())
    print(f"{total} claim{'s' * (total != 1)}: {words}")
    if found:
        kept = [name for name, standing in found.items() if standing.stands]
        print(f"Over all {len(found)} trends and comparisons (Holm, 5 %) stand: {', '.join(kept) or 'none'}")
