"""All planted bugs."""

from tests.mutants import (
    figure_bugs,
    loss_bugs,
    model_bugs,
    synthetic_bugs,
    theory_bugs,
    training_bugs,
    verdict_bugs,
)

BUGS = (
    *theory_bugs.BUGS,
    *verdict_bugs.BUGS,
    *synthetic_bugs.BUGS,
    *model_bugs.BUGS,
    *loss_bugs.BUGS,
    *training_bugs.BUGS,
    *figure_bugs.BUGS,
)
