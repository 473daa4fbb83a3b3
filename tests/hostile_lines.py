"""Command lines that nobody should type, made from the options of every command (test_hostile_lines.py).

A case is a small run that a command would do in a moment, with one option given something else: no number where one is
expected, one that is too small or too large, nothing, a thousand values, another alphabet. Whatever it is, the command
ends within seconds: it does its work, or refuses by name.
"""

import random
import typing
from collections.abc import Callable, Iterator
from dataclasses import dataclass, fields, is_dataclass
from pathlib import Path
from types import UnionType
from typing import Any, Literal

from models.advisor import __main__ as advisor
from models.advisor.coverage import __main__ as coverage
from models.cifar import __main__ as cifar
from models.cifar import compare, embed, evaluate, prospective
from models.cifar.benchmark import __main__ as cifar_benchmark
from paper_checks import __main__ as paper_checks
from synthetic import (
    adversary,
    benchmark,
    certify,
    head_costs,
    large_batches,
    over_fusion,
    phase_diagram,
    sharpening_map,
    sweep_batch,
    sweep_noise,
    tightness,
    train_stack,
    verify,
)

LONG = "a" * 5000
# None of these is a whole number that any option takes, but perhaps 0.
WHOLE = ("", "nan", "inf", "-1", "0", "1e20", str(10**20), str(10**9), "1.5", "x", "∞", "--", "0x10", "1_0 0")
REAL = ("", "nan", "inf", "-inf", "-1", "1e400", "-1e20", "x", "1,5", "½", "∞")
WORDS = ("", "nonsense", "ünïcödé 模型", "-", LONG, "a\nb", "\x1b[31m", "None")
PATHS = ("", "no/such/file.npy", "ünïcödé 模型", LONG, "a\nb", "/proc/self/mem", "/dev/null/x")
# Whatever an option with a number is: years of work, or no such number.
HUGE = ("1e20", str(10**20), str(10**9))


@dataclass(frozen=True)
class Command:
    """A command under test.

    Attributes:
        main: takes the words, returns the status.
        kind: its options.
        small: words of a run that takes a moment; None where there is none, so that only what must be refused is tried.
        skip: options that this battery leaves out.
    """

    main: Callable[[list[str]], int]
    kind: type
    small: tuple[str, ...] | None = None
    positional: tuple[str, ...] = ()
    skip: tuple[str, ...] = ()


def _words(text: str) -> tuple[str, ...]:
    return tuple(text.split())


# None of these writes outside of the folder that a test is in. {} is that folder.
COMMANDS = {
    "sweep_noise": Command(sweep_noise.main, sweep_noise.SweepNoise, _words(
        "--ambient-dims 16 --batch-sizes 8 --geometry.num-clusters 2 --geometry.subspace-dim 2 --trials 2 --depth 1 "
        "--no-controls --noise-levels 0.1 --no-figures"), skip=("adversary",)),
    "sweep_batch": Command(sweep_batch.main, sweep_batch.SweepBatch, _words(
        "--subspace-dims 2 --principal-angles-deg 90 --noise-shares 0 --affinities signed --num-clusters 2 "
        "--ambient-dim 8 --trials 2 --floor-trials 2 --delta 0.4 --no-denoise --no-figures")),
    "phase_diagram": Command(phase_diagram.main, phase_diagram.PhaseDiagram, _words(
        "--noises bounded --coarse 2 --refinements 0 --trials 2 --largest-cluster 8 --ambient-dim 8 --num-clusters 2 "
        "--subspace-dim 2 --no-figures")),
    "sharpening_map": Command(sharpening_map.main, sharpening_map.SharpeningMap, _words(
        "--equiangular-batches 10 --num-clusters 2 --cluster-size 2 --ambient-dim 8 --steps 2 --trials 2 "
        "--no-figures")),
    "over_fusion": Command(over_fusion.main, over_fusion.OverFusion, _words(
        "--num-clusters 2 --cluster-size 2 --ambient-dim 8 --depth 2 --trials 2 --inverse-temperatures 4 "
        "--no-figures")),
    "train_stack": Command(train_stack.main, train_stack.TrainStack, _words(
        "--geometry.num-clusters 2 --geometry.subspace-dim 2 --ambient-dim 8 --batch-sizes 8 --noise-levels 0.1 "
        "--head.width 4 --head.out-dim 4 --head.depth 1 --seeds 1 --optimisation.steps 1 --optimisation.evaluations 0 "
        "--optimisation.evaluation-batches 1 --backend serial --no-figures")),
    "head_costs": Command(head_costs.main, head_costs.HeadCosts, _words(
        "--batch-sizes 4 --feature-dim 4 --width 4 --depth 1 --rounds 1 --no-figures")),
    "tightness": Command(tightness.main, tightness.TightnessOptions, _words(
        "--ambient-dims 8 --num-clusters 2 --cluster-sizes 2 --within-cos 1 --trials 40")),
    "certify": Command(certify.main, certify.CertifyOptions, _words("--quick --kinds alpha")),
    "large_batches": Command(large_batches.main, large_batches.LargeBatchOptions),
    "benchmark": Command(benchmark.main, benchmark.BenchmarkOptions),
    "adversary": Command(adversary.main, adversary.AdversaryOptions),
    "cifar": Command(cifar.main, cifar.CifarRun, _words(
        "--data.limit 12 --epochs 1 --batch-size 8 --encoder.width 4 --data.image-size 8 --no-figures"),
        skip=("compile", "tensorboard")),
    "cifar.benchmark": Command(cifar_benchmark.main, cifar_benchmark.BenchmarkOptions),
    "compare": Command(compare.main, compare.CompareOptions, positional=("{}/nothing",)),
    "embed": Command(embed.main, embed.EmbedOptions, positional=("{}/nothing.pt", "--out", "{}/features.npz")),
    "evaluate": Command(evaluate.main, evaluate.EvaluateOptions, positional=("{}/nothing.pt",)),
    "prospective": Command(prospective.main, prospective.ProspectiveStudy),
    "advisor": Command(advisor.main, advisor.AdvisorRun, _words(
        "--labels {}/labels.npy --depth 1 --batches 2 --no-figures"), ("{}/features.npy",), skip=("demo",)),
    "coverage": Command(coverage.main, coverage.Coverage),
    "verify": Command(verify.main, verify.VerifyOptions, positional=("{}/nothing",)),
    "paper_checks": Command(paper_checks.main, paper_checks.PaperChecks, _words("--list")),
}  # fmt: skip


@dataclass(frozen=True)
class Line:
    """A case: a command and its words; ``refused`` where nothing else than status 2 is right."""

    command: str
    words: tuple[str, ...]
    refused: bool

    def __str__(self) -> str:
        return f"{self.command} {' '.join(word if len(word) < 30 else word[:30] + '...' for word in self.words)}"[-150:]


def options_of(kind: type, prefix: str = "") -> Iterator[tuple[str, Any]]:
    """Name and type of every option, through nested settings."""
    hints = typing.get_type_hints(kind, include_extras=False)
    default = kind() if not any(_required(each) for each in fields(kind)) else None
    for each in fields(kind):
        hint, value = hints[each.name], getattr(default, each.name, None)
        if is_dataclass(value):
            yield from options_of(type(value), f"{prefix}{each.name}.")
        elif "Positional" not in str(typing.get_type_hints(kind, include_extras=True)[each.name]):
            yield f"--{prefix}{each.name}".replace("_", "-"), hint


def _required(field: Any) -> bool:
    import dataclasses

    return field.default is dataclasses.MISSING and field.default_factory is dataclasses.MISSING


def lines() -> list[Line]:
    """All cases, in a fixed order."""
    found = []
    for name, command in COMMANDS.items():
        small = (*command.positional, *(command.small or ()))
        for option, hint in options_of(command.kind):
            if option.removeprefix("--") in command.skip:
                continue
            for values, refused in values_for(option, hint):
                if refused or command.small is not None:
                    found.append(Line(name, _put(small, option, values), refused))
        found.append(Line(name, (*small, "--no-such-option", "1"), True))
        found.append(Line(name, (*small, "stray", "--", "words"), False))
    return [line for line in found if line.refused or COMMANDS[line.command].small is not None]


def values_for(option: str, hint: Any) -> Iterator[tuple[tuple[str, ...], bool]]:
    """Values for an option of this type, and whether each must be refused."""
    arguments = typing.get_args(hint)
    kinds = arguments if isinstance(hint, UnionType) or typing.get_origin(hint) is typing.Union else (hint,)
    kind = next(each for each in kinds if each is not type(None))
    seed = option.endswith("seed")
    if typing.get_origin(kind) is tuple:
        inner = typing.get_args(kind)[0]
        yield (), False
        for values, refused in values_for(option, inner):
            if values:
                yield values, refused
                if inner in (int, float):
                    yield values * 2, refused
        if inner in (int, float):
            yield ("3",) * 3000, False
        return
    if kind is bool:
        yield ("maybe",), True
        return
    if kind is int:
        for value in WHOLE:
            yield (value,), value not in ("0", "1_0 0") and not (seed and value in HUGE)
        yield (), True
    elif kind is float:
        for value in REAL:
            yield (value,), value in ("", "nan", "x", "1,5", "½", "∞")
        yield (), True
    elif typing.get_origin(kind) is Literal:
        # None may be a default, such as processes for all cores.
        yield from (((value,), True) for value in WORDS if value != "None")
    elif kind is Path:
        for value in PATHS:
            yield (value,), False
    else:
        for value in WORDS:
            yield (value,), False


def _put(words: tuple[str, ...], option: str, values: tuple[str, ...]) -> tuple[str, ...]:
    """The words with this option instead of what it was."""
    kept, skipping = [], False
    for word in words:
        if word.startswith("--"):
            skipping = word == option
        if not skipping:
            kept.append(word)
    return (*kept, option, *values)


def sample(count: int, seed: int) -> list[Line]:
    """So many cases, of every command about as many."""
    rng, chosen = random.Random(seed), []
    by_command = {name: [line for line in lines() if line.command == name] for name in COMMANDS}
    for each in by_command.values():
        rng.shuffle(each)
    while len(chosen) < count and any(by_command.values()):
        chosen += [each.pop() for each in by_command.values() if each]
    return chosen[:count]
