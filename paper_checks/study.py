"""A run's claims: judged, drawn and reported after every stage."""

from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

from figures.drawing import draw_whole
from models.run_folder import whole_folder
from paper_checks.claims import Claim
from paper_checks.other_readings import next_reading, reading_states
from paper_checks.precisions import precision_words, remember_looks, trains
from paper_checks.report.entries import Entry, Meta, ReadingEntry, result_rows
from paper_checks.report.forest import FOREST, forest_rows
from paper_checks.report.other_readings import reading_rows
from paper_checks.report.pages import write_report
from paper_checks.report.pictures import READINGS
from paper_checks.report.words import one_line
from paper_checks.stages import State, Step, costs, next_step, state_of
from paper_checks.statistics.power import share_words
from paper_checks.statistics.sequential import looks
from paper_checks.tasks import TASKS, Results
from paper_checks.tiers import Tier
from theory.numerics.whole_files import read_json, write_json, write_table

CLAIMS, OVERVIEW = "claims", "all"
# Characters of a reading's name beside a difference.
ROOM = 30


class Study:
    """The claims of a run, how far they are, and their report.

    Attributes:
        left: claims, by id, for which nothing more is computed.
        states: by claim.
        readings: by claim, the states of its other readings.
        results: of the tasks.
        drawing: the exit status that the figure of all claims leaves; 0 where it was drawn.
    """

    def __init__(
        self,
        claims: list[Claim],
        tier: Tier,
        folder: Path,
        command: Callable[..., str],
        left: frozenset[str] = frozenset(),
    ) -> None:
        self.claims, self.tier, self.folder, self.command, self.left = claims, tier, folder, command, left
        self.results = Results(folder / TASKS)
        self.states: dict[str, State] = {}
        self.readings: dict[str, tuple[State, ...]] = {}
        # By claim, without and with its other readings.
        self._own: dict[str, Entry] = {}
        self._entries: dict[str, Entry] = {}
        self.drawing = 0

    @property
    def tasks(self) -> int:
        """How many the claims have asked for so far."""
        return len({task for state in (*self.states.values(), *self._other) for task in state.tasks})

    @property
    def _other(self) -> list[State]:
        return [state for states in self.readings.values() for state in states]

    def next_step(self, failures: dict[str, str]) -> Step | None:
        """What to compute next: for claims themselves, and only then for other readings of them."""
        states = [state for name, state in self.states.items() if name not in self.left]
        readings = {name: found for name, found in self.readings.items() if name not in self.left}
        step = next_step(states, self.tier, self.results, failures)
        return step or next_reading(readings, self.states, self.tier, self.results, failures)

    def report(self, failures: dict[str, str]) -> list[Entry]:
        """Find out how far every claim is, and write the report; only claims that have changed are drawn again.

        Args:
            failures: of tasks, by their names.
        """
        for claim in self.claims:
            before, others = self.states.get(claim.id), self.readings.get(claim.id, ())
            if before is None or not before.settled:
                self.states[claim.id] = state_of(claim, self.tier, self.results, failures)
            self.readings[claim.id] = reading_states(claim, self.tier, self.results, failures, others)
            self._judge(claim, before, others)
        looked = [claim for claim in self.claims if trains(claim, self.tier) and self._looked_at(claim.id)]
        remember_looks({claim.id: claim.tasks(self.tier) for claim in looked}, self.folder)
        spent = costs(list(self.states.values()), self.results)
        own = {task for state in self.states.values() for task in state.tasks if state.taken}
        more = {task for state in self._other for task in state.tasks if state.taken} - own
        entries = [replace(self._entries[claim.id], seconds=spent[claim.id][0], own_seconds=spent[claim.id][1])
                   for claim in self.claims]  # fmt: skip
        seconds = sum(own for _, own in spent.values()) + sum(map(self.results.seconds, more))
        meta = meta_of(self.command(None, self.tier.config.precision), self.claims, self.tier, self.folder, seconds)
        picture, self.drawing = overview(entries, self.tier, self.folder)
        write_report(entries, meta, self.folder, picture)
        return entries

    def waiting(self, failures: dict[str, str]) -> list[str]:
        """Claims that are left alone although something is to be computed for them, or for a reading of them.

        Args:
            failures: of tasks, by their names.
        """
        found = []
        for name, state in self.states.items():
            own, others = {name: state}, {name: self.readings[name]}
            if name in self.left and (
                not state.taken
                or next_step([state], self.tier, self.results, failures)
                or next_reading(others, own, self.tier, self.results, failures)
            ):
                found.append(name)
        return found

    def _looked_at(self, name: str) -> bool:
        return any(state.taken for state in (self.states[name], *self.readings[name]))

    def _judge(self, claim: Claim, before: State | None, others: tuple[State, ...]) -> None:
        """Bring a claim's entry up to date; only what has changed is drawn again."""
        state, readings = self.states[claim.id], self.readings[claim.id]
        new = before is None or _progress(before) != _progress(state)
        if new:
            self._own[claim.id] = self._entries[claim.id] = judge(
                state, self.tier, self.folder, self.command(claim.id, claim.precision or self.tier.config.precision)
            )
        if readings and (new or [*map(_progress, others)] != [*map(_progress, readings)]):
            self._entries[claim.id] = with_readings(self._own[claim.id], readings, self.tier, self.folder)


def _progress(state: State) -> tuple:
    return state.taken, state.failures, state.finding.sentence


def judge(state: State, tier: Tier, folder: Path, command: str) -> Entry:
    """A claim's finding, with its tables and figures in a folder of its own, which is made anew."""
    claim, finding = state.claim, state.finding
    own, place = folder / CLAIMS / claim.id, f"{CLAIMS}/{claim.id}"
    entry = Entry(claim, finding, (), place, command, state.failures, state.plan, state.taken, state.look)
    settings = {"claim": claim.id, "wording": claim.wording, "answer": finding.answer, "tier": tier.name,
                "sentence": finding.sentence, "level": share_words(state.share)}  # fmt: skip
    pictures, drawing = _drawn(own, settings, {"contrasts": finding.rows, **finding.tables})
    return replace(entry, pictures=(*pictures, *finding.pictures), drawing=drawing)


def with_readings(entry: Entry, readings: tuple[State, ...], tier: Tier, folder: Path) -> Entry:
    """The entry with other readings, and their differences beside the claim's own in a folder of their own."""
    found = tuple(ReadingEntry(state.claim.main, state.finding, state.share, state.taken, state.failures)
                  for state in readings)  # fmt: skip
    entry = replace(entry, readings=found)
    if not any(state.taken for state in readings):
        return entry
    name = f"{entry.claim.id}{READINGS}"
    settings = {"claim": entry.claim.id, "wording": f"{entry.claim.wording} By reading.", "answer": "",
                "tier": tier.name, "sentence": "", "level": "each reading's"}  # fmt: skip
    rows = reading_rows(entry)
    shown = [{**row, "contrast": f"{one_line(row['reading'], ROOM)}: {row['contrast']}"} for row in rows
             if "contrast" in row]  # fmt: skip
    pictures, drawing = _drawn(folder / CLAIMS / name, settings, {"contrasts": shown, "readings": rows})
    return replace(entry, pictures=(*entry.pictures, *pictures), drawing=max(entry.drawing, drawing))


def overview(entries: list[Entry], tier: Tier, folder: Path) -> tuple[Path | None, int]:
    """The figure of all claims, in a folder of its own, and the exit status that drawing it leaves; no figure where no
    claim has a difference to draw."""
    rows = forest_rows(result_rows(entries), {each.claim.id: each.claim for each in entries})
    settings = {"claim": OVERVIEW, "wording": "All claims at a glance.", "answer": "", "tier": tier.name}
    pictures, drawing = _drawn(folder / CLAIMS / OVERVIEW, settings, {FOREST: rows})
    return next(iter(pictures), None), drawing


def _drawn(own: Path, settings: dict, tables: dict[str, list[dict]]) -> tuple[tuple[Path, ...], int]:
    """A folder with settings, tables and their figures, whole or what it was before; the figures, and the exit status
    that drawing them leaves."""
    with whole_folder(own) as made:
        write_json(made / "config.json", settings)
        for name, rows in tables.items():
            if rows:
                write_table(made / f"{name}.csv", rows)
        paths, drawing = draw_whole(made)
        names = [path.name for path in paths]
    return tuple(own / name for name in names), drawing


def meta_of(command: str, claims: list[Claim], tier: Tier, folder: Path, seconds: float) -> Meta:
    """What the report says of the run: of its last start."""
    last = read_json(folder / "environment.json")["runs"][-1]
    config, data, step = tier.config, tier.config.data, tier.config.optimiser
    sizes = [f"{data.limit} a class" if data.limit else "", f"{data.image_size} pixels" if data.image_size else ""]
    images = ", ".join(["scikit-learn digits" if tier.digits else Path(data.dataset).name, *filter(None, sizes)])
    return Meta(
        title="Claims about contrastive learning, checked",
        date=str(last["started"])[:10],
        tier=tier.name,
        command=command,
        seeds=_seeds(tier),
        splits=_splits(data.limit is not None),
        seconds=seconds,
        images=images,
        versions={name: last[name] for name in ("python", "numpy", "scipy", "torch", "device", "commit")},
        budget=f"{config.encoder.kind} encoder of width {config.encoder.first_width}, {config.epochs} epochs, "
        f"batches of {config.batch_size}, {precision_words(claims, tier)}, {step.kind} at {step.learning_rate:g}",
        control=tier.control,
    )


def _seeds(tier: Tier) -> str:
    if tier.cap == tier.seeds:
        return str(tier.seeds)
    more = ", ".join(map(str, looks(tier.seeds, tier.cap)[1:]))
    return f"{tier.seeds}; for claims that are undecided {more}"


def _splits(limited: bool) -> str:
    used = "the training images that are used, and " if limited else ""
    return (
        f"every seed draws {used}which training images are held out for validation; all arms have the draw of their "
        "seed, so that intervals over seeds cover it; test images are the same in all trainings"
    )
