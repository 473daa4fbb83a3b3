"""Advice about your own embeddings: batch size, attention, augmentation strength and depth, each with its status.

    python -m models.advisor --demo                                     scikit-learn's digits, 20 s, no file needed
    python -m models.advisor FEATURES.npy --labels LABELS.npy           one row an embedding
    python -m models.advisor FEATURES.npz                               arrays embeddings, labels, views, strengths
    python -m models.advisor TABLE.csv --label-column species           or .parquet; or a .pt of tensors
    python -m models.advisor F.npy --view 0=F.npy --view 0.5=V.npy      without labels the views are the classes
    python -m models.advisor F.npz --check KEPT_ASIDE.npz               predictions against rows that they never saw
    python -m models.advisor F.npz --out runs/a --resume                go on after an interruption

The run folder keeps the table as advice.json, the curves as curves.csv, and predictions.json with its SHA-256, written
before the file of --check is opened.

Exit status: 1 a prediction is CONTRADICTED; others as in all commands (--help). Finished parts are kept.
"""

import hashlib
import sys
from dataclasses import asdict, dataclass, fields, replace
from pathlib import Path
from typing import Annotated

import torch
import tyro
from tqdm import tqdm

from models.advisor.advice import Status
from models.advisor.answers import advice_of
from models.advisor.check_set import CheckSet
from models.advisor.config import AdvisorConfig
from models.advisor.demo import digits
from models.advisor.findings import exact_name, find, keep_in
from models.advisor.inputs.arrays import MemoryLimit
from models.advisor.inputs.features import FeatureSet, Sources, load_features
from models.advisor.prospective import judge, read_predictions, write_predictions
from models.advisor.report import report, write_advice
from models.commands import command, draw
from models.run_folder import differing, open_run_folder
from theory.console.extras import require_extra
from theory.numerics.whole_files import write_whole

Views = Annotated[tuple[str, ...], tyro.conf.UseAppendAction]


@dataclass(frozen=True)
class AdvisorRun(AdvisorConfig):
    """Command line of the advisor: which rows, what is asked, and where the results go."""

    features: Annotated[Path | None, tyro.conf.Positional] = None
    """Embeddings: .npy, .npz, .csv, .parquet, or a .pt of tensors."""
    labels: Path | None = None
    """Labels, one a row: .npy, .pt, .csv, or .txt with one a line."""
    view: Views = ()
    """STRENGTH=FILE: the same rows under augmentation, once for every strength, from 0 upward."""
    label_column: str = "label"
    """The column of labels in .csv and .parquet files."""
    check: Path | None = None
    """Embeddings of rows kept aside, which the predictions are held against."""
    check_labels: Path | None = None
    """Their labels, where they are in a file of their own."""
    check_view: Views = ()
    """STRENGTH=FILE: their views."""
    demo: bool = False
    """Advise about half of scikit-learn's digits, and check with the other half."""
    out: Path | None = None
    """Run folder; by default runs/advisor-DATE-TIME. Must be new or empty, unless --resume."""
    resume: bool = False
    """Go on with the run in --out; finished parts are kept. With --check also of a run that is finished."""
    accept_other_version: bool = False
    """With --resume: go on with a run of another version of the code, NumPy, SciPy or torch; environment.json keeps
    that, and which."""
    figures: bool = True
    """Draw the figures (PNG and PDF) into the run folder."""

    def __post_init__(self) -> None:
        """Settings are checked by ``run``, so that a wrong one is refused as all other arguments are."""


def _views(given: tuple[str, ...], name: str) -> tuple[tuple[float, Path], ...]:
    found = []
    for text in given:
        strength, sign, path = text.partition("=")
        try:
            found.append((float(strength), Path(path)))
        except ValueError as error:
            raise ValueError(f"{name}: expected STRENGTH=FILE, got {text!r}") from error
        if not sign or not path:
            raise ValueError(f"{name}: expected STRENGTH=FILE, got {text!r}")
    return tuple(found)


def sources_of(options: AdvisorRun) -> tuple[Sources | None, Sources | None]:
    """Files of the rows and of those kept aside; None for the demo, or without a check.

    Raises:
        ValueError: no file, files beside --demo or no library that brings its rows, a view that is not STRENGTH=FILE.
    """
    given = (options.features, options.labels, options.view, options.check, options.check_labels, options.check_view)
    if options.demo and any(given):
        raise ValueError("--demo: brings its own rows; give no files beside it")
    if options.demo:
        require_extra("images", "--demo")
        return None, None
    if options.features is None:
        raise ValueError("features: give a file of embeddings, or --demo")
    first = Sources(options.features, options.labels, _views(options.view, "--view"), options.label_column)
    if options.check is None:
        if options.check_labels is not None or options.check_view:
            raise ValueError("--check: give the embeddings that --check-labels and --check-view belong to")
        return first, None
    if not options.check.is_file():
        raise ValueError(f"--check: {options.check}: there is no such file")
    second = Sources(options.check, options.check_labels, _views(options.check_view, "--check-view"),
                     options.label_column)  # fmt: skip
    return first, second


def _load(sources: Sources | None, options: AdvisorRun) -> tuple[FeatureSet, list[list[str]]]:
    """The rows, and what tells them from others: in order, what each file is and its hash."""
    if sources is None:
        return digits(options.seed)[0], [["demo", "digits"]]
    files = [("features", sources.features), *([("labels", sources.labels)] if sources.labels else [])]
    files += [(f"view {exact_name(strength)}", path) for strength, path in sources.views]
    features = load_features(sources, MemoryLimit(options.memory_limit))
    return features, [[role, _digest(path)] for role, path in files]


def _other_run(stored: dict, asked: dict) -> list[str]:
    """What makes the run in --out another one."""
    if "label_column" not in stored:
        # Parts of it would be taken as they are.
        return ["version of the advisor, whose certified answers left out rows of small classes"]
    return sorted(differing(stored, asked))


def _digest(path: Path) -> str:
    with open(path, "rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


def run(options: AdvisorRun) -> int:
    """Advise, print, store, check, draw; returns the exit status.

    Raises:
        ValueError: bad arguments or rows, a folder that cannot be used.
        OSError: a file could not be written.
    """
    config = AdvisorConfig(**{each.name: getattr(options, each.name) for each in fields(AdvisorConfig)})
    sources, kept_aside = sources_of(options)
    features, described = _load(sources, options)
    settings = {**asdict(config), "strengths": features.strengths, "files": described,
                "label_column": options.label_column}  # fmt: skip
    with open_run_folder("advisor", options.out, options.resume, settings, torch.device("cpu"), other=_other_run,
                         accept_other_version=options.accept_other_version) as folder:  # fmt: skip
        return _run_in(folder, features, config, kept_aside, options)


def _run_in(
    folder: Path, features: FeatureSet, config: AdvisorConfig, kept_aside: Sources | None, options: AdvisorRun
) -> int:
    print(f"{features.num_rows:,} rows; results in {folder}", flush=True)
    with tqdm(unit="part", disable=None, leave=False) as bar:

        def progress(name: str, rows: int | None = None) -> None:
            bar.set_description(name if rows is None else f"{name}, {rows:,} rows", refresh=rows is not None)
            bar.update(rows is None)

        try:
            findings = find(features, config, keep_in(folder), progress)
            advice = advice_of(findings, config)
            write_advice(folder, advice)
            # A check that was made before has seen its rows: what was written down then stays.
            if not (folder / "predictions.json").exists():
                write_predictions(folder, advice.predictions)
            if options.demo or kept_aside is not None:
                predictions = read_predictions(folder)
                new = _load_check(kept_aside, features, options)
                check = CheckSet(findings, features, new, config)
                checked = judge(predictions, check.measure(predictions, progress), check.new_size)
                advice = replace(advice, checked=checked)
                write_advice(folder, advice)
        except KeyboardInterrupt:
            again = f"continue with the same command and --out {folder} --resume"
            print(f"\nfinished parts are kept, {again}", file=sys.stderr)
            raise
    text = report(advice)
    write_whole(folder / "report.txt", text + "\n")
    print(f"\n{text}\n\nAll of it: {folder}")
    status = draw(folder) if options.figures else 0
    return int(any(each.status is Status.CONTRADICTED for each in advice.checked)) or status


def _load_check(sources: Sources | None, features: FeatureSet, options: AdvisorRun) -> FeatureSet:
    if sources is None:
        return digits(options.seed)[1]
    names = features.class_names if features.classes is not None else None
    return load_features(sources, MemoryLimit(options.memory_limit), names)


def main(arguments: list[str] | None = None) -> int:
    """The command line."""
    return command(run, AdvisorRun, arguments, "python -m models.advisor", __doc__)


if __name__ == "__main__":
    sys.exit(main())
