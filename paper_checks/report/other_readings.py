"""Other readings of a claim in its report: under which of them it holds, in a line and in numbers."""

from collections.abc import Sequence

from paper_checks.report.entries import LABELS, Entry, ReadingEntry, share_of, standings_of
from paper_checks.report.tables import MISSING, NumberTable, difference_words, number, shown_side
from paper_checks.statistics.decisions import NO_EVIDENCE
from paper_checks.statistics.family import standings
from paper_checks.statistics.power import share_words

# Answers in the order of the line, and what it says of them.
GROUPS = {"reproduced": "Holds under", "contradicted": "Not under", "no difference": "No difference that matters under",
          "undecided": "Open", "failed": "Not run (failed)", "pending": "Not yet run"}  # fmt: skip
MAIN = "main reading"


def holds_words(entry: Entry) -> str:
    """ "Holds under: main reading; normalized again. Not under: momentum .999. Open: one weight a step." Empty where no
    other reading is asked for."""
    if not entry.readings:
        return ""
    answers = [(MAIN, entry.finding.answer)]
    answers += [(each.name, each.finding.answer) for each in entry.readings]
    words = []
    for answer, told in GROUPS.items():
        names = [name for name, found in answers if found == answer]
        if names or answer in ("reproduced", "contradicted", "undecided"):
            # Names have commas.
            words.append(f"{told}: {'; '.join(names) or 'none'}.")
    return " ".join(words)


def reading_rows(entry: Entry) -> list[dict]:
    """The differences of the main reading and of all others, one row each, as contrasts.csv has them, with the reading,
    its answer, and the level of its interval; a reading that is not answered yet has a row without numbers."""
    found = [_rows(MAIN, entry.finding.answer, share_of(entry), entry.finding.rows)]
    found += [_rows(each.name, each.finding.answer, each.share, each.finding.rows)
              for each in entry.readings]  # fmt: skip
    return [row for rows in found for row in rows]


def _rows(name: str, answer: str, share: float, rows: Sequence[dict]) -> list[dict]:
    own = {"reading": name, "answer": answer, "level": share_words(share)}
    return [{**own, **row} for row in rows if "difference" in row] or [own]


def all_reading_rows(entries: Sequence[Entry]) -> list[dict]:
    """The rows of readings.csv: of every claim with other readings."""
    return [{"claim": entry.claim.id, **row} for entry in entries if entry.readings for row in reading_rows(entry)]


def reading_table(entry: Entry) -> NumberTable | None:
    """The differences by reading; None where no other reading is asked for."""
    if not entry.readings:
        return None
    headings = ("reading", "answer", "compared", "difference [interval]", "side", "level", "seeds")
    cells = []
    for row in reading_rows(entry):
        if "difference" in row:
            numbers = (str(row["contrast"]), difference_words(row), shown_side(row), row["level"],
                       number(row.get("seeds")))  # fmt: skip
        else:
            numbers = (MISSING,) * 5
        cells.append((row["reading"], LABELS.get(row["answer"], row["answer"]), *numbers))
    return NumberTable(headings, tuple(cells), (False, False, False, True, False, True, True))


def found_words(readings: Sequence[ReadingEntry]) -> list[tuple[str, str]]:
    """What was seen in each reading that was looked at, by its name."""
    return [(each.name, each.finding.sentence) for each in readings if each.taken]


def fooled(entries: Sequence[Entry]) -> list[str]:
    """Claims about classes that came out as reproduced, and stand so over all claims, or over all other readings.

    Where classes are shuffled each is reproduced by chance in up to 2.5 % of runs, one or more of all in every seventh;
    one that stands is in 5 % at most, and in another 5 % where other readings are asked for.
    """
    about = [entry for entry in entries if entry.claim.labels and entry.claim.kind != "theorem"]
    main = {entry.claim.id: entry.finding for entry in about}
    other = {f"{entry.claim.id} ({each.name})": each.finding for entry in about for each in entry.readings}
    stood = standings_of(entries)
    apart = standings({name: (each.answer, each.p_values or NO_EVIDENCE) for name, each in other.items()})
    found = [name for name, each in main.items() if each.answer == "reproduced" and stood[name].stands]
    return found + [name for name, each in other.items() if each.answer == "reproduced" and apart[name].stands]
