"""One battery over models/: hostile arguments are refused by name, or have a finite answer; never another error."""

import dataclasses
import math
import re

import numpy as np
import pytest
import torch

from tests.models.hostile_calls import CALLS, Call, values_for
from theory.numerics.inputs import require_array, require_flag, require_flags, require_number, require_values
from theory.numerics.limits import LARGEST_GRID, require_batch, require_grid

pytestmark = [pytest.mark.usefixtures("as_users_call"), pytest.mark.filterwarnings("ignore")]

# What an error may name instead of the argument: what a function makes of it, and the fields of a part of a data set.
MADE_OF_IT = {"cosines", "view", "features", "labels"}
# scikit-learn checks the rows of its estimators in its own words; what a network is given is not checked for NaN.
OWN_WORDS = {("transformer", "X"), ("softmax transformer", "X")}
PASS_NAN = {("head", "features"), ("encoder", "images")}


def numbers_in(result):
    """All numbers of a result, through tuples, dictionaries and dataclasses."""
    if isinstance(result, tuple | list):
        return [number for each in result for number in numbers_in(each)]
    if isinstance(result, dict):
        return numbers_in(list(result.values()))
    if dataclasses.is_dataclass(result):
        return numbers_in([getattr(result, each.name) for each in dataclasses.fields(result)])
    if isinstance(result, torch.Tensor):
        return result.detach().double().reshape(-1).tolist()
    if isinstance(result, int | float | np.ndarray | np.generic):
        return np.ravel(np.asarray(result, dtype=float)).tolist()
    return []


def no_value(value, accepted) -> bool:
    """Whether no function can mean anything by it where it accepts the other."""
    if accepted is True or accepted is False:
        return not isinstance(value, bool)
    if isinstance(accepted, int | float) or "array" in type(accepted).__name__ or isinstance(accepted, torch.Tensor):
        return value is None or isinstance(value, str | bytes | complex | dict) or type(value) is object
    return False


def what_is_wrong(call: Call, name: str, value) -> str | None:
    """None where the value is refused by name, or answered with finite numbers."""
    shown = f"{call.name}({name}={value!r:.40})"
    try:
        found = numbers_in(call.call(**{**call.accepted, name: value}))
    except ArithmeticError as error:
        return None if "probe" in str(error) else f"{shown}: {type(error).__name__} {error}"
    except (ValueError, TypeError) as error:
        named = {*call.accepted, *MADE_OF_IT}
        told = any(re.search(rf"\b{re.escape(each)}\b", str(error)) for each in named)
        return None if told or (call.name, name) in OWN_WORDS else f"{shown}: {type(error).__name__} {error}"
    except Exception as error:
        return f"{shown}: {type(error).__name__} {error}"
    if (call.name, name) not in PASS_NAN and not all(map(math.isfinite, found)):
        return f"{shown} gives {[x for x in found if not math.isfinite(x)][:2]}"
    if no_value(value, call.accepted[name]) and not (value is None and name in call.optional):
        return f"{shown} is accepted"
    return None


def test_the_battery_is_large_and_its_calls_are_right():
    cases = [value for call in CALLS for name, good in call.accepted.items() for value in values_for(name, good)]
    assert len(cases) > 3000
    for call in CALLS:
        assert all(map(math.isfinite, numbers_in(call.call(**call.accepted)))), call.name


@pytest.mark.parametrize("part", range(4))
def test_hostile_arguments_are_named_or_answered(part):
    wrong = [what_is_wrong(call, name, value) for call in CALLS[part::4] for name, good in call.accepted.items()
             if name not in call.keeps for value in values_for(name, good)]  # fmt: skip
    assert [each for each in wrong if each] == []


def test_the_battery_notices_what_is_not_refused():
    """Planted: an argument that is ignored, one that crashes, one that is not named, and one that makes NaN."""
    for function, value in ((lambda x: 1.0, "a"), (lambda x: x.ndim, "a"), (lambda x: float(x), "a"),
                            (lambda x: math.nan, 2.0)):  # fmt: skip
        assert what_is_wrong(Call("planted", function, {"x": 1.0}), "x", value)
    assert what_is_wrong(Call("right", float, {"x": 1.0}), "x", "x") is not None
    assert what_is_wrong(Call("right", lambda x: require_number(x, "x", 0, 1), {"x": 1.0}), "x", "a") is None


# --- the checks themselves -------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    "value", [True, np.True_, [0.5], np.array([0.5]), torch.tensor([0.5]), "a", None, 1j, math.nan]
)
def test_no_numbers(value):
    with pytest.raises(ValueError, match=r"^x: must (be one number|lie) in \[0, 1\)"):
        require_number(value, "x", 0.0, 1.0, closed="left")


def test_numbers_of_any_type():
    for value in (0.5, np.float16(0.5), torch.tensor(0.5), np.array(0.5)):
        assert require_number(value, "x", 0.0, 1.0) == 0.5


def test_flags_arrays_and_lists():
    @dataclasses.dataclass
    class Settings:
        one: bool = True
        other: int = 7

    require_flags(Settings())
    assert require_flag(np.True_, "flag") is True
    with pytest.raises(ValueError, match=r"^one: must be True or False, got 'yes'"):
        require_flags(Settings(one="yes"))
    for values in ("abc", None, 3, (), []):
        with pytest.raises(ValueError, match=r"^values: expected a list of at least one value"):
            require_values(values, "values")
    assert require_values([1, 2], "values") == (1, 2)
    for value in ([1.0], "rows", None, 3.0):
        with pytest.raises(ValueError, match=r"^rows: expected an array or a tensor"):
            require_array(value, "rows")


def test_limits_say_what_they_multiply():
    require_grid(LARGEST_GRID, ("noise_levels", "batch_sizes"))
    with pytest.raises(ValueError, match=r"^noise_levels: with batch_sizes 100,001 cells, at most 100,000"):
        require_grid(LARGEST_GRID + 1, ("noise_levels", "batch_sizes"))
    # A million points go through row tiles; so do sixteen.
    require_batch(2**20, 128, "sizes", depth=4)
    require_batch(2**24, 128, "sizes", depth=4)
    for arguments, message in (((2**24, 1024, "sizes"), "numbers"), ((2**24, 128, "sizes", 1000), "multiplications"),
                               ((2**25, 2, "sizes"), "whole number")):  # fmt: skip
        with pytest.raises(ValueError, match=rf"^sizes: .*{message}"):
            require_batch(*arguments)
