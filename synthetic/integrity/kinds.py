"""What kinds of run folders there are, told apart by the settings that they keep, and what can be worked out again."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass, fields
from pathlib import Path
from typing import Any, get_args

import pandas as pd

from models.advisor.config import AdvisorConfig
from models.advisor.coverage.table import coverage_rows
from models.advisor.prospective import read_predictions
from models.cifar.training.checkpoint import CHECKPOINT, load_checkpoint
from models.cifar.training.config import TrainConfig
from models.cifar.training.results import RESULTS, disagreement
from models.heads import HeadKind
from synthetic.certify import judge_numbers
from synthetic.head_costs import CostSettings
from synthetic.large_batches import LargeBatchOptions, dense_sizes, shapes
from synthetic.over_fusion import FusionSettings, verdicts_of
from synthetic.phase_diagram import PhaseSettings, with_floors
from synthetic.runs.stored_verdicts import verdict_of_rows
from synthetic.sharpening_map import MapSettings
from synthetic.slack import separation
from synthetic.slack.rows import judge_rows
from synthetic.sweep_batch import BatchSettings
from synthetic.sweeps.denoising import judge_denoising
from synthetic.sweeps.noise_grid import SweepSettings
from synthetic.sweeps.noise_report import summarize_boundaries, summarize_verdicts
from synthetic.sweeps.subspace_model import judge_floors
from synthetic.tightness import PROMISES
from synthetic.train_stack import KEY, TrainSettings
from synthetic.training.report import breakdown_rows
from theory.judging.statements import THEOREM_4
from theory.judging.verdicts import Verdict
from theory.numerics.whole_files import read_json

Rows = list[dict]
# Name of a table -> its rows; none where the folder has no such table.
Tables = Callable[[str], Rows]


@dataclass(frozen=True)
class Again:
    """What follows from the rows of a run: its verdicts, tables by their names, and complaints about other files."""

    verdicts: Sequence[Verdict] = ()
    tables: dict[str, Rows] | None = None
    complaints: Sequence[str] = ()


@dataclass(frozen=True)
class Kind:
    """A kind of run folder.

    Attributes:
        name: for people.
        command: the module that makes such folders.
        settings: that its configuration has; of kinds that fit it is the one with most.
        rows: the table that grows as the run goes on; None: there is none.
        last: the file that a finished run has.
        finished: whether that file, where it grows too, is as long as the run's configuration makes it.
        again: (configuration, tables, folder) -> what follows from the rows of a finished run.
        file: that keeps the configuration.
        check: complaints about files that no manifest names, of a run that is not finished too.
    """

    name: str
    command: str
    settings: frozenset[str]
    rows: str | None
    last: str
    again: Callable[[dict, Tables, Path], Again] = lambda config, tables, folder: Again()
    file: str = "config.json"
    finished: Callable[[dict, Tables], bool] = lambda config, tables: True
    check: Callable[[Path], list[str]] = lambda folder: []


def _noise(config: dict, tables: Tables, folder: Path) -> Again:
    rows, delta = tables("rows"), config["delta"]
    passed = all(row["audit"] == "passed" for row in rows)
    path = folder / "audit.json"
    found = read_json(path)["complaints"] if path.exists() else []
    # Its verdicts follow from rows that its own audit does not believe.
    complaints = [f"audit.json: {each}" for each in found]
    if path.exists() and not found and not passed:
        complaints = ["audit.json: has none of the rows' complaints"]
    return Again(summarize_verdicts(rows, delta), {"boundaries": summarize_boundaries(rows, delta)}, complaints)


def _batch(config: dict, tables: Tables, folder: Path) -> Again:
    found = judge_floors(tables("rows"), config["delta"])
    denoising = [judge_denoising(tables("denoising"), config["denoising"]["delta"])] if config["denoise"] else []
    return Again([*found, *denoising])


def _training(config: dict, tables: Tables, folder: Path) -> Again:
    rows = tables("trainings")
    made = {"breakdowns": breakdown_rows(rows, tables("ideal"))} if config["ablation"] == "none" else {}
    return Again([verdict_of_rows(rows, KEY, THEOREM_4.name)], made)


def _tightness(config: dict, tables: Tables, folder: Path) -> Again:
    if config["bound"] == "separation":
        return Again([separation.judge_rows(tables("tightness"))])
    statement, claim, _ = PROMISES[config["bound"]]
    return Again([judge_rows(statement.name, claim, tables("slack"), config["delta"])])


def _all_costs(config: dict, tables: Tables) -> bool:
    return len(tables("costs")) == len(config["batch_sizes"]) * len(get_args(HeadKind))


def _all_large_batches(config: dict, tables: Tables) -> bool:
    kept = {name: config[name] for name in _names(LargeBatchOptions) - {"out"}}
    settings: dict[str, Any] = {name: tuple(each) if isinstance(each, list) else each for name, each in kept.items()}
    options = LargeBatchOptions(**settings)
    return (len(tables("memory")), len(tables("ratios"))) == (len(shapes(options)), len(dense_sizes(options)))


def _checkpoint(folder: Path) -> list[str]:
    """It is in no manifest, and has checksums of its own."""
    try:
        if (folder / CHECKPOINT).exists():
            load_checkpoint(folder / CHECKPOINT)
    except ValueError as error:
        return [str(error)]
    return []


def _advisor(config: dict, tables: Tables, folder: Path) -> Again:
    complaints = []
    try:
        read_predictions(folder)
    except ValueError as error:
        complaints.append(str(error))
    for row in tables("checked"):
        low, high, value = row["low"], row["high"], row["measured"]
        outside = value < row["wide_low"] or value > row["wide_high"]
        status = "CONFIRMED" if low <= value <= high else "CONTRADICTED" if outside else "UNDECIDED"
        if status != row["status"]:
            complaints.append(f"checked.csv: {row['name']} is {row['status']}, and by its numbers {status}")
    return Again(complaints=complaints)


def _coverage(config: dict, tables: Tables, folder: Path) -> Again:
    rows = pd.DataFrame(tables("outcomes"))
    return Again(tables={"coverage": list(coverage_rows(rows, config["delta"]))})


def _claims(config: dict, tables: Tables, folder: Path) -> Again:
    told = {row["claim"]: row["answer"] for row in tables("results")}
    found = {name: read_json(folder / "claims" / name / "config.json")["answer"] for name in told}
    return Again(complaints=[f"results.csv: {name} is {told[name]}, and its own folder says {answer}"
                             for name, answer in found.items() if answer != told[name]])  # fmt: skip


def _names(kind: type, *others: str) -> frozenset[str]:
    return frozenset({each.name for each in fields(kind)} | {*others})


VERDICTS = "verdicts.json"
KINDS = (
    Kind("noise sweep", "synthetic.sweep_noise", _names(SweepSettings), "rows", "audit.json", _noise),
    Kind("batch sweep", "synthetic.sweep_batch", _names(BatchSettings), "rows", VERDICTS, _batch),
    Kind("phase diagram", "synthetic.phase_diagram", _names(PhaseSettings), "rows", VERDICTS,
         lambda config, tables, folder: Again(judge_floors(with_floors(tables("rows")), config["delta"]))),
    Kind("trained stacks", "synthetic.train_stack", _names(TrainSettings), "trainings", VERDICTS, _training),
    Kind("over-fusion", "synthetic.over_fusion", _names(FusionSettings), "curves", VERDICTS,
         lambda config, tables, folder: Again(verdicts_of(tables("curves")))),
    Kind("sharpening map", "synthetic.sharpening_map", _names(MapSettings), "map", VERDICTS),
    Kind("head costs", "synthetic.head_costs", _names(CostSettings), "costs", "costs.csv",
         finished=_all_costs),
    Kind("tightness", "synthetic.tightness", frozenset({"bound", "delta", "trials"}), "slack", VERDICTS, _tightness),
    Kind("adversary", "synthetic.adversary", frozenset({"random_batches", "restarts", "steps"}), "trials", VERDICTS),
    Kind("large batches", "synthetic.large_batches", frozenset({"sizes", "rounds", "work"}), "memory", "memory.csv",
         finished=_all_large_batches),
    Kind("certified numbers", "synthetic.certify", frozenset({"kinds", "quick"}), "rows", VERDICTS,
         lambda config, tables, folder: Again([judge_numbers(tables("rows"))])),
    Kind("training on images", "models.cifar", _names(TrainConfig), "epochs", RESULTS,
         finished=lambda config, tables: not disagreement(config, tables("epochs"), tables("results")),
         check=_checkpoint),
    Kind("benchmark against peers", "models.cifar.benchmark",
         frozenset({"sizes", "dim", "rounds", "peers", "training"}), "peer_losses", "pipelines.csv"),
    Kind("comparison of trainings", "models.cifar.compare", frozenset({"folders", "names"}), "learning",
         "learning.csv"),
    Kind("advice", "models.advisor", _names(AdvisorConfig, "files"), None, "report.txt", _advisor),
    Kind("coverage", "models.advisor.coverage", frozenset({"sources", "control_trials", "rows", "delta"}), None,
         "coverage.csv", _coverage),
    Kind("prospective study", "models.cifar.prospective", frozenset({"images", "epochs", "share", "limit"}), "checked",
         "checked.csv"),
    Kind("a paper's claim", "paper_checks", frozenset({"claim", "wording", "answer"}), None, "config.json"),
    Kind("the papers' claims", "paper_checks", frozenset({"control", "seeds", "config"}), "results", "report.html",
         _claims, "tier.json"),
)  # fmt: skip
