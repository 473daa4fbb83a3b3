"""Sentences and numbers of the report, in words."""

import math
import re
import textwrap
from collections.abc import Sequence

from paper_checks.claims import Claim
from paper_checks.report.entries import LABELS, Entry, share_of
from paper_checks.report.tables import MISSING, is_number, number
from paper_checks.statistics.decisions import DECIDED
from paper_checks.statistics.family import Standing
from paper_checks.statistics.power import MOST_SEEDS, POWER, hopeless, seeds_of_claim, share_words
from paper_checks.statistics.sequential import to_come
from theory.numerics.commands import visible

# Of the error rate: about what the last of several looks has, whose seeds double.
LAST_SHARE = 0.5
POINTS = 100.0
# What would begin a heading, a list, a quotation or a rule in Markdown, at the beginning of a line.
BLOCK_START = re.compile(r"^(\d{0,9})(#{1,6}(?=\s|$)|[.)+](?=\s|$)|-+(?=\s|$)|=+$|>)")


def standing_words(entry: Entry, found: Standing | None) -> str:
    """Whether an answer stands; a dash where there is none, and for theorems, which are not in the family."""
    if found is None or entry.finding.answer not in DECIDED:
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
        "with a probability of 95 % or more none of the answers that stand is wrong, on either side or in denying a "
        "difference that matters, however claims hang together and whichever looks were taken. "
        f"{words.count('stands')} of {decided} answers stand. The {len(found)} include claims that are undecided or "
        "not run"
    )
    if theorems:
        text += "; claims of the kind theorem are not among them: verdicts decide these, and give no p-values"
    return f"{text}."


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
    """Text that is not taken for a tag, a column, a new line, a formula, or a heading, list or quotation."""
    plain = visible(" ".join(str(text).split())).replace("\\", "\\\\").replace("&", "&amp;").replace("<", "&lt;")
    for sign in "|*_`[]~$":
        plain = plain.replace(sign, f"\\{sign}")
    return BLOCK_START.sub(r"\1\\\2", plain)


def markdown_code(text: object) -> str:
    """Text as code inside a line, with a fence that it does not contain."""
    plain = visible(" ".join(str(text).split()))
    fence = "`" * (1 + max((len(run) for run in re.findall("`+", plain)), default=0))
    space = " " if "`" in plain else ""
    return f"{fence}{space}{plain}{space}{fence}"


def markdown_block(text: str) -> str:
    """Lines as a block of code, indented, blank ones too."""
    return "\n".join(f"    {line}" for line in visible(text).splitlines() or [""])


def answer_words(entry: Entry) -> str:
    """The answer as it is shown; of several differences, how many do not matter."""
    answer, rows = entry.finding.answer, entry.finding.rows
    inside = sum(row.get("inside") is True for row in rows)
    part = f" in {inside} of {len(rows)}" if answer == "no difference" and inside < len(rows) else ""
    return f"{LABELS.get(answer, answer)}{part}"


def worth_words(claim: Claim) -> str:
    """The smallest effects worth deciding, and why; empty where the claim names none."""
    sizes = [_points(size) if measure == "accuracy" else f"{number(size)} ({measure})"
             for measure, size in claim.worth.items()]  # fmt: skip
    return f"{', '.join(sizes)}; {claim.why}" if sizes else ""


def _points(size: float) -> str:
    return f"{number(POINTS * size)} {'point' if POINTS * size == 1.0 else 'points'} of accuracy"


def reading_words(entry: Entry) -> str:
    """What the claim's own answer chooses where its paper leaves it open, and what is asked of other choices; empty
    where nothing is open."""
    if not entry.claim.readings:
        return ""
    count = len(entry.claim.readings)
    other = f"{count} other reading{'s' * (count > 1)}"
    if not entry.readings:
        return f"{entry.claim.main} (main reading); {other} not asked for (--readings)"
    share = "another 5 % of error" if count == 1 else f"1/{count} of another 5 % of error each"
    more = "; they get more seeds where these decide at least as likely as not" if len(entry.plan) > 1 else ""
    return f"{entry.claim.main} (main reading); {other} below, by the same rule, with {share}{more}"


def looks_words(entry: Entry) -> str:
    """Which looks were planned, and which one the finding is of; empty where one is all."""
    if len(entry.plan) < 2 or not entry.taken:
        return ""
    planned = ", ".join(map(str, entry.plan))
    level = share_words(share_of(entry))
    return (f"planned with {planned} seeds; {entry.taken} taken; this is number {entry.look + 1}, whose intervals have "
            f"level {level}, so that all looks together have 95 %")  # fmt: skip


def outlook_words(entry: Entry) -> str:
    """What would change the answer: looks that are still to come, and seeds that would be needed at the measured
    deviations; empty for theorems and for what batches decide."""
    finding, worth = entry.finding, entry.claim.worth
    if entry.claim.kind == "theorem" or not finding.contrasts or finding.answer in ("failed", "pending"):
        return ""
    left = to_come(entry.plan, entry.taken)
    words = []
    if finding.answer == "undecided" and left:
        if hopeless(finding.rows, left):
            return "Nothing that is computed here: without the values that are missing more seeds decide nothing."
        words.append(f"looks with {', '.join(str(seeds) for seeds, _ in left)} seeds are to come (--resume)")
    if worth:
        third = entry.claim.equivalence
        needed = seeds_of_claim(finding.rows, LAST_SHARE, third)
        count = f"more than {MOST_SEEDS:,}" if needed is None else f"about {needed:,}"
        if any(not is_number(row.get("deviation")) for row in finding.rows):
            count = "an unknown number of"
        words.append(
            f"at the measured deviations {count} seeds decide with probability {POWER:.0%} if every difference is "
            f"{'none or ' if third else ''}as large as matters; what lies {'between' if third else 'below'} takes more"
        )
    else:
        words.append("its rule was registered with so many seeds and no more")
    text = "; ".join(words)
    return f"{text[0].upper()}{text[1:]}."


def cost_words(entry: Entry) -> str:
    """What the answer cost, and what of that is its own."""
    if not math.isfinite(entry.seconds) or not entry.taken:
        return ""
    whole, own = duration(entry.seconds), duration(entry.own_seconds)
    return f"{whole} of computing; {own} where claims that share a training divide its time"


def minutes_words(seconds: float) -> str:
    """For a column: "12", "0.3"."""
    minutes = seconds / 60.0
    return MISSING if not math.isfinite(minutes) else f"{minutes:.0f}" if minutes >= 9.5 else f"{minutes:.1f}"


def used_seeds(rows: Sequence[dict]) -> str:
    """For a column: seeds that the differences are over."""
    found = sorted({int(row["seeds"]) for row in rows if is_number(row.get("seeds"))})
    return " or ".join(map(str, found)) or MISSING
