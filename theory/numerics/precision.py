"""Floating point, in one place: the smallest cut that means anything, and how close is too close to call.

Source: theory.md, section 0 ("Floating point") and "What verification means here", point 7.

Half precision (float16, bfloat16) is a way to store numbers here, not to compute with them: every loss, measurement and
bound widens it first. Points, cosines and affinities are computed, cut and returned as float32 (``widen``), numbers
that bounds are made of as float64 (``half_as_float64``). What is said of half-precision numbers is therefore what is
said of the same numbers in float32 or float64.
"""

import dataclasses
import functools
import math
from collections.abc import Callable
from typing import Any, TypeVar, cast

import numpy as np
from array_api_compat import array_namespace

# Cosines that are zero in exact arithmetic come out at about 1e-17 in float64, and a row whose only "neighbours" are
# round-off would normalize that round-off to weight 1. Every cut is therefore at least NUMERICAL_THRESHOLD[dtype],
# times the condition number of the query/key map where there is one.
NUMERICAL_THRESHOLD = {"float64": 1e-10, "float32": 1e-5, "bfloat16": 5e-2, "float16": 5e-3}

# A margin (bound minus measured) is too close to call in float64 when it is below RELATIVE of the larger of the two,
# or below ABSOLUTE, about a thousand times the round-off that a trajectory of cosines accumulates.
RELATIVE_MARGIN = 1e-9
ABSOLUTE_MARGIN = 1e-12

# A spread 1 - alpha is a difference of numbers near 1: below this it is round-off, and a smaller bound is compared as
# this. (Theorems about spreads are tested where spreads are geometry; the adversary works on their logarithms.)
SPREAD_FLOOR = 1e-11

# Row sums of normalized affinities are compared with 1 up to the round-off of adding a few thousand terms. What is made
# of such rows, a divergence or a sharpness, is as exact: rows that sum to 1 + d have a divergence of at most
# (1 + d) ln 2, and a mean over thousands of rows adds round-off of its own (in float32 1.5e-5 over 8,192 rows).
UNIT_SUM_TOLERANCE = {"float64": 1e-12, "float32": 1e-4, "bfloat16": 1e-1, "float16": 2e-2}

# Digits of a high-precision re-evaluation, and below which difference its two sides count as equal.
EXACT_DIGITS = 50
EXACT_EQUALITY = 1e-30


# What half precision is computed, and returned, in.
WIDER = {"float16": "float32", "bfloat16": "float32"}

Function = TypeVar("Function", bound=Callable[..., Any])


def dtype_name(dtype: object) -> str:
    """ "float64" for numpy.float64, numpy.dtype("float64") and torch.float64 alike."""
    name = getattr(dtype, "name", None) or getattr(dtype, "__name__", None) or str(dtype)
    return name.removeprefix("torch.")


def rounding_tolerance(values: object) -> float:
    """UNIT_SUM_TOLERANCE of an array's or tensor's dtype; of plain numbers and other dtypes float32's, as they do not
    tell how they were computed."""
    return UNIT_SUM_TOLERANCE.get(dtype_name(getattr(values, "dtype", None)), UNIT_SUM_TOLERANCE["float32"])


def numerical_threshold(dtype: object, condition: float = 1.0) -> float:
    """tau_num: the smallest cut that separates a cosine from round-off (theory.md 0).

    Args:
        dtype: a floating dtype of NumPy or torch.
        condition: condition number of the map applied to the points before the cosine, >= 1.

    Raises:
        ValueError: unknown dtype, or a condition below 1, infinite, or so large that no cut below 1 is left.
    """
    name = dtype_name(dtype)
    if name not in NUMERICAL_THRESHOLD:
        raise ValueError(f"dtype: expected one of {', '.join(NUMERICAL_THRESHOLD)}, got {name}")
    try:
        valid = not isinstance(condition, str) and 1.0 <= float(condition) < math.inf
    except (TypeError, ValueError, OverflowError):
        valid = False
    if not valid:
        raise ValueError(f"condition: must lie in [1, inf), got {str(condition)[:40]}")
    cut = NUMERICAL_THRESHOLD[name] * condition
    if cut >= 1.0:
        raise ValueError(f"condition: {condition:g} leaves no significant digit of a cosine in {name}")
    return cut


def widen(array: Any, name: str = "array") -> Any:
    """Half precision as float32; float32 and float64 as they are, and so are integers and booleans.

    Args:
        array: a NumPy array or a torch tensor; of a tensor the result can be differentiated.
        name: what the array is called in an error.

    Raises:
        ValueError: a floating dtype without a place in NUMERICAL_THRESHOLD (eight bits, extended precision), or a
            complex one.
    """
    dtype = dtype_name(array.dtype)
    if dtype in WIDER:
        xp = array_namespace(array)
        return xp.astype(array, getattr(xp, WIDER[dtype]))
    if dtype not in NUMERICAL_THRESHOLD and dtype.startswith(("float", "complex", "longdouble", "clongdouble")):
        raise ValueError(f"{name}: expected one of {', '.join(NUMERICAL_THRESHOLD)}, got {dtype}")
    return array


def half_as_float64(function: Function) -> Function:
    """Decorator of bounds and checks: half-precision arguments, also in tuples or dataclasses, arrive as float64.

    Arithmetic of NumPy scalars and arrays stays in their own dtype otherwise, and 1 - alpha in float16 has two digits.
    """

    @functools.wraps(function)
    def widened(*args: Any, **options: Any) -> Any:
        return function(*map(_wide, args), **{name: _wide(value) for name, value in options.items()})

    return cast(Function, widened)


def _wide(value: Any) -> Any:
    dtype = getattr(value, "dtype", None)
    if dtype is not None:
        if dtype_name(dtype) not in WIDER:
            return value
        # NumPy has no bfloat16: a tensor is widened before it becomes an array.
        value = value.detach().cpu().double().numpy() if hasattr(value, "detach") else np.asarray(value, np.float64)
        return value if value.ndim else value[()]
    if type(value) in (tuple, list):
        parts = [_wide(part) for part in value]
        return value if all(new is old for new, old in zip(parts, value)) else type(value)(parts)
    if dataclasses.is_dataclass(value) and not isinstance(value, type):
        old = {field.name: getattr(value, field.name) for field in dataclasses.fields(value) if field.init}
        new = {name: _wide(part) for name, part in old.items()}
        changed = {name: part for name, part in new.items() if part is not old[name]}
        return dataclasses.replace(value, **changed) if changed else value
    return value
