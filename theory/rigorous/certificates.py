"""A number, and the failure probability that is proved at it; numbers that fail move to the safe side until they hold.

Source: theory.md, section 2h.
"""

from collections.abc import Callable
from dataclasses import dataclass

from theory.rigorous.balls import Enclosure

# Moves before a number is given up. Each is twice as long as the one before.
LARGEST_MOVES = 45


@dataclass(frozen=True)
class Certificate:
    """What is proved of a floor, a ceiling or a threshold.

    Attributes:
        number: at which the inequality holds; None where it is proved of none that was tried.
        default: the number that was computed without enclosures.
        failure: the bound on the failure probability at ``number``, enclosed.
        allowed: what it may be.
        moves: how often the number had to move; 0 where the default is certified.
    """

    number: float | int | None
    default: float | int
    failure: Enclosure
    allowed: float
    moves: int = 0

    @property
    def holds(self) -> bool:
        """Whether the whole enclosure lies at or below what is allowed."""
        return self.failure.high <= self.allowed

    @property
    def proved(self) -> float | int:
        """The number.

        Raises:
            ArithmeticError: none was found.
        """
        if self.number is None:
            raise ArithmeticError(f"rigorous: nothing is proved after {self.moves} moves from {self.default:g}")
        return self.number

    @property
    def moved_by(self) -> float:
        """Relative change of the number; infinite where none was found."""
        return abs(self.number / self.default - 1.0) if self.number is not None else float("inf")


def certify(
    default: float, failure: Callable[[float], Enclosure], allowed: float, step: Callable[[float, int], float | None]
) -> Certificate:
    """The default number where its inequality is proved, or the first that it is proved of on the way.

    Args:
        failure: enclosure of the failure probability at a number.
        step: the number after so many moves (from 1 on), or None where there is none.
    """
    number, moves = default, 0
    while True:
        found = failure(number)
        if found.high <= allowed:
            return Certificate(number, default, found, allowed, moves)
        moves += 1
        following = step(default, moves) if moves <= LARGEST_MOVES else None
        if following is None:
            return Certificate(None, default, found, allowed, moves)
        number = following
