"""Shapes and types that stand in annotations are checked while the tests run."""

import dataclasses
import inspect
from functools import partial, wraps
from typing import get_args

import jaxtyping
from beartype import BeartypeConf, beartype

# Whole numbers pass where a float is asked for, as Python's own typing rules have it.
typechecked = beartype(conf=BeartypeConf(is_pep484_tower=True))
_shapes_checked = jaxtyping.jaxtyped


def _names_a_shape(annotation: object) -> bool:
    """The annotation needs jaxtyping's memory of axes; so may one that is still a string."""
    if isinstance(annotation, list):
        return any(map(_names_a_shape, annotation))
    if inspect.isclass(annotation) and issubclass(annotation, jaxtyping.AbstractArray):
        return True
    return isinstance(annotation, str) or any(map(_names_a_shape, get_args(annotation)))


def checked(decorated=None, *, typechecker):
    """jaxtyping's decorator, which costs tens of microseconds a call, where an annotation names a shape, and beartype
    alone elsewhere: the same checks, and much of the time of the tests."""
    if decorated is None:
        return partial(checked, typechecker=typechecker)
    if inspect.isclass(decorated):
        # A class without an own initialiser has that of its parent, which is checked already.
        if dataclasses.is_dataclass(decorated) and "__init__" in vars(decorated):
            decorated.__init__ = checked(decorated.__init__, typechecker=typechecker)
        return decorated
    if not inspect.isfunction(decorated) or any(map(_names_a_shape, decorated.__annotations__.values())):
        return _shapes_checked(decorated, typechecker=typechecker)
    fast = typechecker(decorated)

    @wraps(decorated)
    def call(*arguments, **options):
        __tracebackhide__ = True
        return (decorated if jaxtyping.config.jaxtyping_disable else fast)(*arguments, **options)

    return call


# The import hook writes this name before every function.
jaxtyping.jaxtyped = checked
