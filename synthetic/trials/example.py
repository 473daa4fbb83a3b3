"""A statement of your own, put on trial: copy this file, change it, and name it with --statements.

    python -m synthetic.adversary --statements MINE.py --out runs/mine       random batches, attack, table, figure
    python -m synthetic.sweep_noise --statements MINE.py                     a verdict on every cell of the sweep
    python -m synthetic.sweep_noise --statements MINE.py --replay FILE.npz   a counterexample that either of them kept

The statement here: one block never moves a point by more than its mixing weight lets it, that is, smallest cosines
inside clusters never fall when no row has a neighbour in another cluster.
"""

import torch

from synthetic.trials import damaged
from synthetic.trials.ascent import SMALL_SIZES, Violation
from synthetic.trials.layers import extremes
from synthetic.trials.registry import register
from synthetic.trials.stacks import BATCH, STACK, measure_stack
from synthetic.trials.theorems import theorem_2a
from synthetic.trials.trial import Trial
from theory.judging.statements import Statement
from theory.judging.verdicts import judge

STATEMENT = Statement(
    name="Closer at every block", title="clusters without false edges never loosen",
    hypotheses="no layer has a false edge", conclusion="alpha_1 >= alpha_0", section="2a", module="persistence",
)  # fmt: skip


def check(cases, layers):
    """1 - alpha behind the first block against 1 - alpha in front of it, where nothing leaks."""
    alpha, clean = layers.alpha, (layers.false_edges == 0).all(axis=0) & (layers.fragments == 1).all(axis=0)
    return judge(STATEMENT.name, 1.0 - alpha[1], 1.0 - alpha[0] + 1e-12, clean, discrete=True)


def excess(parameters, sizes):
    """What the adversary maximizes: how far the smallest cosine falls. Slack and violation, one for each restart."""
    batch = theorem_2a.persistent(parameters, sizes)
    alpha, _ = extremes(batch.cosines_of_layers(), sizes)
    return batch.slack, torch.log((1.0 - alpha[1]).clamp_min(1e-9)) - torch.log((1.0 - alpha[0]).clamp_min(1e-9))


register(
    Trial(
        STATEMENT, "closer_at_every_block", BATCH, STACK, measure_stack, check, draw=theorem_2a.draw,
        violations=(Violation("Closer at every block", SMALL_SIZES, theorem_2a.start_clusters, excess),),
        damaged=damaged.stacks("PushesApart"), on_cells=lambda cell: not cell.mapped,
    )
)  # fmt: skip
