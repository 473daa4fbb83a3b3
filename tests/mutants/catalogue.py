"""All planted bugs."""

from tests.mutants import (
    audit_bugs,
    data_bugs,
    depth_bugs,
    figure_bugs,
    floor_bugs,
    fusion_bugs,
    loss_bugs,
    model_bugs,
    rigorous_bugs,
    slack_bugs,
    synthetic_bugs,
    theory_bugs,
    training_bugs,
    training_figure_bugs,
    trial_bugs,
    verdict_bugs,
)

BUGS = (
    *theory_bugs.BUGS,
    *floor_bugs.BUGS,
    *depth_bugs.BUGS,
    *fusion_bugs.BUGS,
    *data_bugs.BUGS,
    *rigorous_bugs.BUGS,
    *verdict_bugs.BUGS,
    *synthetic_bugs.BUGS,
    *slack_bugs.BUGS,
    *trial_bugs.BUGS,
    *audit_bugs.BUGS,
    *model_bugs.BUGS,
    *loss_bugs.BUGS,
    *training_bugs.BUGS,
    *figure_bugs.BUGS,
    *training_figure_bugs.BUGS,
)
