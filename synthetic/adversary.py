"""The adversary: gradient ascent on the violation of Theorems 1 to 4 and Proposition 5, and random batches beside it.

    python -m synthetic.adversary                     every claim, the killed ones too, and 100,000 random batches
    python -m synthetic.adversary --random-batches 0  the gradient search alone

Exit status: 0 the theorems stand and the killed statements fall, 1 otherwise, 2 bad arguments, 70 a crash.
"""

import sys
from collections.abc import Iterable
from dataclasses import dataclass, replace
from functools import partial
from pathlib import Path

import numpy as np
import torch
import tyro
from tqdm import tqdm

from synthetic.claims import DEPTH, KILLED_CLAIMS, TRUE_CLAIMS, Claim
from synthetic.commands import exit_status
from synthetic.counterexamples import Counterexample
from synthetic.fusion_claims import FUSION_CLAIMS, KILLED_FUSION_CLAIMS
from synthetic.random_fusion import search_random_fusion
from synthetic.random_search import search_random
from theory.affinity import unit_points
from theory.clusters import contiguous_labels
from theory.inputs import require_count
from theory.precision import RELATIVE_MARGIN
from theory.verdicts import Status, Verdict
from theory.whole_files import write_json

# A killed statement counts as refuted only by a violation well above round-off.
CLEAR_VIOLATION = 1e-6


@dataclass(frozen=True)
class Attack:
    """The best of all restarts against one claim.

    Attributes:
        claim: what was attacked.
        closest: largest violation among restarts that respect the hypothesis (negative: never violated), -inf if none.
        sizes: cluster sizes of that restart.
        parameters: its parameters.
        inside: restarts that ended inside the hypothesis, of ``restarts``.
    """

    claim: Claim
    closest: float
    sizes: tuple[int, ...]
    parameters: dict[str, np.ndarray]
    inside: int
    restarts: int

    @property
    def refuted(self) -> bool:
        """A counterexample was found: beyond round-off for true claims, clearly for killed ones."""
        return self.closest > (RELATIVE_MARGIN if self.claim.true else CLEAR_VIOLATION)

    def verdict(self) -> Verdict:
        """As a verdict on the claim: measured is the closest approach, the bound 0."""
        if not np.isfinite(self.closest):
            return Verdict(
                f"Adversary, {self.claim.name}",
                Status.NOT_APPLICABLE,
                cases=self.restarts,
                detail="no restart satisfies the hypotheses",
            )
        status = Status.VIOLATED if self.refuted else Status.HOLDS
        # At the bound itself the claim is attained, which "<=" allows; round-off can land on either side.
        approach = min(self.closest, 0.0) if status is Status.HOLDS else self.closest
        return Verdict(f"Adversary, {self.claim.name}", status, approach, 0.0, -approach, -approach, self.inside,
                       self.restarts, detail=f"closest approach at sizes {self.sizes}")  # fmt: skip


def attack(claim: Claim, restarts: int = 48, steps: int = 200, seed: int = 0, rate: float = 0.05) -> Attack:
    """Adam on violation - penalty for leaving the hypothesis, all restarts of one size at once.

    The best point of the whole ascent counts, not the last.

    Raises:
        ValueError: fewer than one restart or step.
    """
    require_count(restarts, "restarts", 1)
    require_count(steps, "steps", 1)
    best = Attack(claim, -np.inf, claim.sizes[0], {}, 0, 0)
    for sizes in claim.sizes:
        generator = torch.Generator().manual_seed(seed)
        parameters = {k: v.requires_grad_() for k, v in claim.start(generator, restarts, sizes).items()}
        optimizer = torch.optim.Adam(parameters.values(), lr=rate)
        inside = torch.zeros(restarts, dtype=torch.bool)
        for _ in range(steps):
            slack, violation = claim.evaluate(parameters, sizes)
            valid = (slack > 0.0) & torch.isfinite(violation)
            inside |= valid
            reached = torch.where(valid, violation, -torch.inf).detach()
            where = int(reached.argmax())
            if reached[where].item() > best.closest:
                kept = {k: v[where].detach().numpy().copy() for k, v in parameters.items()}
                best = Attack(claim, reached[where].item(), sizes, kept, best.inside, best.restarts)
            objective = torch.where(torch.isfinite(violation), violation, 0.0) + 10.0 * slack.clamp_max(0.0)
            optimizer.zero_grad()
            (-objective.sum()).backward()
            for value in parameters.values():
                if value.grad is not None:
                    value.grad.nan_to_num_(0.0, 0.0, 0.0)
            optimizer.step()
        best = Attack(
            claim, best.closest, best.sizes, best.parameters, best.inside + int(inside.sum()), best.restarts + restarts
        )
    return best


def settle(result: Attack) -> tuple[Counterexample, Verdict]:
    """The batch that an attack on a true claim ended at, and what the theorem's own check, high precision included,
    says of it. For claims that have a ``replay``."""
    statement, decode = result.claim.replay
    batch = decode({k: torch.from_numpy(v)[None] for k, v in result.parameters.items()}, result.sizes)
    example = Counterexample(
        statement, unit_points(batch.points[0].numpy()), contiguous_labels(result.sizes), float(batch.threshold[0]),
        float(batch.mixing[0]), DEPTH, np.empty((0, 0)), 1.0, np.empty(0), 0.0, 0, 0, 0,
    )  # fmt: skip
    return example, example.replay()


def attack_and_keep(restarts: int, steps: int, seed: int, folder: Path | None) -> list[Verdict]:
    """Verdicts on the true claims; counterexamples that survive high precision go to ``folder``."""
    verdicts = []
    for result in attack_all(TRUE_CLAIMS, restarts, steps, seed):
        verdict = result.verdict()
        example, settled = settle(result) if result.refuted and result.claim.replay else (None, verdict)
        if example is not None and folder is not None and settled.status is not Status.HOLDS:
            example.save(folder / f"counterexample-adversary-{example.statement}.npz")
        if result.refuted and settled.status is Status.HOLDS:
            verdict = replace(verdict, status=Status.HOLDS, measured=0.0, margin=0.0, relative_margin=0.0,
                              detail=f"{verdict.detail}, attained: the excess is round-off")  # fmt: skip
        verdicts.append(verdict)
    return verdicts


def attack_all(claims: Iterable[Claim], restarts: int, steps: int, seed: int) -> list[Attack]:
    """Attack claim after claim, with progress."""
    bar = tqdm(list(claims), disable=None, unit="claim")
    attacks = []
    for claim in bar:
        bar.set_description(claim.name)
        attacks.append(attack(claim, restarts, steps, seed))
    return attacks


@dataclass(frozen=True)
class AdversaryOptions:
    """Command line of the adversary."""

    random_batches: int = 100_000
    """Random batches inside the hypotheses of each: Theorems 1, 2a, 3, 4, the block model, Proposition 5."""
    restarts: int = 48
    """Starting points for each claim and choice of cluster sizes."""
    steps: int = 200
    """Ascent steps of each."""
    seed: int = 0
    """Seed of all searches."""
    out: Path | None = None
    """Also write the verdicts, as JSON, to this file, and random batches that contradict a theorem beside it."""


def run(options: AdversaryOptions) -> int:
    """Search, print and store; returns the exit status.

    Raises:
        ValueError: bad options.
    """
    require_count(options.random_batches, "random_batches", 0)
    require_count(options.seed, "seed", 0)
    claims = (*TRUE_CLAIMS, *FUSION_CLAIMS, *KILLED_CLAIMS, *KILLED_FUSION_CLAIMS)
    attacks = attack_all(claims, options.restarts, options.steps, options.seed)
    found = []
    if options.random_batches:
        folder = None if options.out is None else options.out.parent
        found = search_random(options.random_batches, options.seed)
        found += search_random_fusion(options.random_batches, options.seed, folder)
    if options.out is not None:
        write_json(options.out, [*(a.verdict() for a in attacks), *found])
    print(f"{'claim':<40}  expected   outcome    closest approach (0 = attained, > 0 = broken)")
    for result in attacks:
        expected, outcome = ("stands" if result.claim.true else "falls"), ("fell" if result.refuted else "stood")
        print(
            f"{result.claim.name:<40}  {expected:<9}  {outcome:<9}  {result.closest: .3g} at sizes {result.sizes}, "
            f"{result.inside} of {result.restarts} restarts inside the hypotheses"
        )
    for verdict in found:
        print(verdict)
    if not all(result.refuted for result in attacks if not result.claim.true):
        print("A false statement stood: this search is too weak to say anything; give it more restarts or steps.")
    as_expected = all(result.refuted != result.claim.true for result in attacks)
    return 0 if as_expected and all(verdict.status is not Status.VIOLATED for verdict in found) else 1


def main(arguments: list[str] | None = None) -> int:
    """The command line."""
    return exit_status(
        partial(
            run, tyro.cli(AdversaryOptions, args=arguments, prog="python -m synthetic.adversary", description=__doc__)
        )
    )


if __name__ == "__main__":
    sys.exit(main())
