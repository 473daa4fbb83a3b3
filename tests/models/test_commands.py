"""How commands end: their own statuses, and what every error becomes."""

import pytest

from models.commands import BAD_ARGUMENTS, CRASHED, DIVERGED, INTERRUPTED, NOT_WRITTEN, exit_status


class Diverged(ArithmeticError):
    pass


class DivergedFar(Diverged):
    pass


def raising(error):
    def work():
        raise error

    return work


def test_a_command_that_ends_well_has_the_status_that_it_returns():
    assert [exit_status(lambda status=status: status) for status in (0, 1, 6)] == [0, 1, 6]


@pytest.mark.parametrize(
    ("error", "status", "says"),
    [
        (ValueError("epochs: must be"), BAD_ARGUMENTS, "error: epochs: must be"),
        (OSError("no space"), NOT_WRITTEN, "error: cannot write results: no space"),
        (KeyboardInterrupt(), INTERRUPTED, "interrupted"),
        (DivergedFar("at step 3"), DIVERGED, "error: at step 3"),
        (ArithmeticError("of ours"), CRASHED, "ArithmeticError: of ours\nerror: this is an error of the program"),
    ],
)
def test_errors_have_words_and_a_status(error, status, says, capsys):
    assert exit_status(raising(error), {Diverged: DIVERGED}) == status
    assert says in capsys.readouterr().err
