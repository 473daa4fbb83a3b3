"""Whether functions look at the values that they are given, or trust the caller.

Whether a matrix holds NaN is a question that the host asks the device, and waits for the answer. A function that a user
calls asks it; a training that has checked what it trains on, and looks at its loss, need not ask again in every step:

    with values_trusted():
        loss = objective(head(features), labels)

Shapes and types, which the host knows, are checked either way. What is not finite then makes the loss NaN or infinite
instead of raising ValueError. A zero vector that is to be normalized stays zero: a row without affinity to any other
(theory.md, section 4, says what it costs), and without gradient. A batch without any pair of equal labels has loss 0.
"""

from collections.abc import Iterator
from contextlib import contextmanager
from contextvars import ContextVar

_TRUSTED = ContextVar("values_trusted", default=False)


def values_are_checked() -> bool:
    """Whether to look."""
    return not _TRUSTED.get()


@contextmanager
def values_trusted(trusted: bool = True) -> Iterator[None]:
    """Nobody looks inside; ``trusted=False`` has everybody look again."""
    token = _TRUSTED.set(trusted)
    try:
        yield
    finally:
        _TRUSTED.reset(token)
