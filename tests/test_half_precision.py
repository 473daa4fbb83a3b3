"""Every public loss, measurement and bound says of half-precision numbers what it says of them in float32 and float64.

The battery is tests/half_precision.py and half_precision_bounds.py. A public function that is neither in it nor exempt,
with a reason, fails here.
"""

import dataclasses
import importlib
import inspect
import pkgutil

import numpy as np
import pytest
import torch

import models.losses
import theory
from tests.half_precision import arrays, losses
from tests.half_precision_bounds import EXEMPT, EXEMPT_MODULES, numbers
from theory.numerics.precision import half_as_float64, widen

HALVES = {"float16": torch.float16, "bfloat16": torch.bfloat16}
LOSS_MODULES = ("affinity", "contrastive", "divergence", "info_nce", "legacy", "modules", "objectives", "readout")
LOSSES, OTHERS = losses(), [*arrays(), *numbers()]
CASES = [*LOSSES, *OTHERS]


def cast(values, library, dtype):
    if library == "torch":
        found = [torch.from_numpy(np.asarray(a)).to(getattr(torch, dtype)) for a in values]
        exact = [f.double().numpy() for f in found]
    else:
        found = [np.asarray(a).astype(dtype)[()] for a in values]
        exact = found
    assert all(np.array_equal(e, a) for e, a in zip(exact, values)), "the battery's numbers should be exact"
    return found


def leaves(value):
    """Numbers of a result in order, and the dtypes of its floating arrays."""
    if dataclasses.is_dataclass(value):
        value = [getattr(value, field.name) for field in dataclasses.fields(value)]
    if isinstance(value, (tuple, list)):
        parts = [leaves(part) for part in value]
        return [n for numbers, _ in parts for n in numbers], set().union(*(dtypes for _, dtypes in parts))
    if isinstance(value, torch.Tensor):
        numbers, dtype = value.detach().double().flatten().tolist(), str(value.dtype).removeprefix("torch.")
    elif value is None or isinstance(value, str) or not isinstance(value, (np.ndarray, np.generic)):
        return [value], set()
    else:
        numbers, dtype = np.ravel(value).tolist(), value.dtype.name
    return numbers, {dtype} if "float" in dtype else set()


def assert_close(found, expected, close):
    assert len(found) == len(expected)
    pairs = [(f, e) for f, e in zip(found, expected) if isinstance(e, float)]
    assert [f for f, e in zip(found, expected) if not isinstance(e, float)] == [
        e for e in expected if not isinstance(e, float)
    ]
    if pairs:
        found, expected = np.array(pairs).T
        finite = np.isfinite(expected)
        np.testing.assert_array_equal(found[~finite], expected[~finite])
        np.testing.assert_allclose(
            found[finite], expected[finite], rtol=close, atol=close * np.abs(expected[finite]).max(initial=0.0)
        )


@pytest.mark.parametrize("case", OTHERS, ids=[case.name for case in OTHERS])
def test_measurements_and_bounds(case, as_users_call):
    values = case.arrays()
    settings = [("numpy", "float16")] if case.kind == "number" else [("numpy", "float16")] + [
        ("torch", half) for half in HALVES
    ]  # fmt: skip
    for library, half in settings:
        found, dtypes = leaves(case.call(*cast(values, library, half)))
        single, _ = leaves(case.call(*cast(values, library, "float32")))
        double, _ = leaves(case.call(*cast(values, library, "float64")))
        assert_close(found, double, 1e-12 if case.kind == "number" else case.close)
        assert_close(found, single, 1e-3 if case.kind == "number" else 1e-6)
        assert dtypes <= {case.dtype}, f"{library} {half}"


@pytest.mark.parametrize("case", LOSSES, ids=[case.name for case in LOSSES])
def test_losses_and_their_gradients(case, as_users_call):
    values = case.arrays()

    def value_and_gradient(dtype):
        first, *rest = cast(values, "torch", dtype)
        first.requires_grad_()
        value = case.call(first, *rest)
        # As loss scaling does, so that gradients over large batches are not subnormal in float16.
        weights = torch.linspace(0.5, 1.5, value.numel()).reshape(value.shape)
        (gradient,) = torch.autograd.grad((value * weights).sum() * len(first), first)
        return value.detach(), gradient

    double, slope = value_and_gradient("float64")
    single, single_slope = value_and_gradient("float32")
    assert slope.abs().max() > 0
    for name, dtype in HALVES.items():
        value, gradient = value_and_gradient(name)
        assert value.dtype == torch.float32
        assert gradient.dtype == dtype
        torch.testing.assert_close(value, single, rtol=1e-6, atol=1e-7)
        torch.testing.assert_close(value.double(), double, rtol=case.close, atol=case.close * float(double.abs().max()))
        # Rounded to the input's dtype once, where the call itself does not round.
        step, scale = torch.finfo(dtype).eps, float(single_slope.abs().max())
        more = (case.roundings - 1) * step * scale + 1e-7
        torch.testing.assert_close(gradient.float(), single_slope, rtol=step, atol=1e-5 * scale + more)
        torch.testing.assert_close(gradient.double(), slope, rtol=step, atol=10 * case.close * scale + more)


def public_names():
    for package, names in ((models.losses, LOSS_MODULES), (theory, None)):
        prefix = "losses." if package is models.losses else ""
        found = (m.name for m in pkgutil.walk_packages(package.__path__, f"{package.__name__}.") if not m.ispkg)
        for path in [f"{package.__name__}.{name}" for name in names] if names else found:
            module, name = importlib.import_module(path), path.rpartition(".")[2]
            for key, value in vars(module).items():
                own = getattr(value, "__module__", None) == module.__name__
                if own and not key.startswith("_") and (inspect.isfunction(value) or inspect.isclass(value)):
                    yield f"{prefix}{name}", f"{prefix}{name}.{key}"


def test_the_battery_is_complete():
    covered = {case.name.split("[")[0] for case in CASES}
    names = {name for module, name in public_names() if module not in EXEMPT_MODULES}
    assert len(names) > 100
    missing = names - covered - set(EXEMPT)
    assert not missing, f"neither in the battery nor exempt: {', '.join(sorted(missing))}"
    stale = {name for name in {*covered, *EXEMPT} if not name.startswith("momentum.")} - names
    assert not stale, f"no longer there: {', '.join(sorted(stale))}"
    assert not covered & set(EXEMPT)
    assert all(EXEMPT.values())
    exported = {f"losses.{getattr(models.losses, n).__module__.split('.')[-1]}.{n}" for n in models.losses.__all__
                if inspect.isfunction(getattr(models.losses, n))}  # fmt: skip
    assert exported <= covered | set(EXEMPT), "an export from a module that the battery does not look at"


@pytest.mark.parametrize("case", [c for c in OTHERS if c.kind == "array"], ids=lambda case: case.name)
def test_other_floating_dtypes_are_refused(case, as_users_call):
    """Eight bits, extended precision and complex numbers, by name."""
    values = case.arrays()
    for given in (
        [torch.from_numpy(np.asarray(a)).to(torch.float8_e4m3fn) for a in values],
        [np.asarray(a).astype(np.longdouble) for a in values],
    ):
        with pytest.raises(ValueError, match=r"expected one of float64, float32, bfloat16, float16, got"):
            case.call(*given)


def test_a_function_that_computes_in_half_precision_is_noticed():
    """Planted: the same norm and the same bound without widening."""
    x = np.float16(0.875)
    assert abs(float((1 - x) / (x + (1 - x) / 7)) - 0.125 / (0.875 + 0.125 / 7)) > 1e-5
    with pytest.raises(AssertionError):
        assert_close([float((1 - x) / (x + (1 - x) / 7))], [0.125 / (0.875 + 0.125 / 7)], 1e-12)


def test_widening():
    assert widen(np.float16([1, 2])).dtype == np.float32
    assert widen(torch.ones(2, dtype=torch.bfloat16)).dtype == torch.float32
    for array in (np.ones(2), np.ones(2, np.float32), np.ones(2, int), torch.ones(2, dtype=torch.bool)):
        assert widen(array) is array
    x = torch.ones(2, dtype=torch.bfloat16, requires_grad=True)
    widen(x).sum().backward()
    assert x.grad.dtype == torch.bfloat16

    @dataclasses.dataclass(frozen=True)
    class Pair:
        first: object
        second: object

    @half_as_float64
    def echo(*args, **options):
        """Kept."""
        return args, options

    assert echo.__doc__ == "Kept."
    pair = Pair(np.float16([0.5]), 3)
    (scalar, tensor, inner, untouched, same), options = echo(
        np.float16(0.5), torch.ones(1).bfloat16(), (pair, "x"), np.float32(0.5), whole := Pair(1.0, [2]), key=[pair]
    )
    assert isinstance(scalar, np.float64)
    assert tensor.dtype == np.float64
    assert inner[0].first.dtype == options["key"][0].first.dtype == np.float64
    assert inner[0].second == 3
    assert untouched.dtype == np.float32
    assert same is whole
