import math
from typing import get_args

import numpy as np
import pytest
import torch

from models.head_output import HeadOutput, Reading
from models.heads import HeadConfig, HeadKind, build_head
from models.losses import (
    OBJECTIVES,
    Objective,
    affinity_divergence,
    nt_xent,
    objective_from_name,
    objectives,
    read_affinity,
    supcon,
    symnsq_legacy,
    target_of_labels,
    view_pair_labels,
)
from models.losses.tiled_jsd import TiledDivergence
from tests.stand_in import DEVICE, PretendDevice

N = 6
PAIRS = view_pair_labels(N)
CLASSES = torch.tensor([0, 0, 1, 1, 2, 3, 0, 1, 1, 2, 2, 2])
AFFINITY = [name for name, objective in OBJECTIVES.items() if objective.kind == "affinity"]


def normal(*shape, seed=0):
    return torch.from_numpy(np.random.default_rng(seed).standard_normal(shape))


def reading(seed, heads=2):
    """Queries and keys that differ, of ``heads`` heads."""
    queries, keys = torch.nn.functional.normalize(normal(2, heads, 2 * N, 3, seed=seed), dim=-1)
    return Reading(queries, keys)


def output(seed=0, auxiliary=0):
    streams = tuple(output(seed + 10 * (i + 1)) for i in range(auxiliary))
    x = normal(2 * N, 4, seed=seed)
    return HeadOutput(x, (reading(seed + 1), reading(seed + 2, 1), Reading.of_tokens(x)), auxiliary=streams)


def embedded(x):
    return HeadOutput(x, (Reading.of_tokens(x),))


EXPECTED = {
    "jsd": lambda x, y: affinity_divergence(read_affinity(cosines(x), "squared_relu"), target(y), "jsd"),
    "kl_target": lambda x, y: affinity_divergence(read_affinity(cosines(x), "squared_relu"), target(y), "kl_target"),
    "kl_affinity": lambda x, y: affinity_divergence(read_affinity(cosines(x)), target(y), "kl_affinity"),
    "jsd_relu": lambda x, y: affinity_divergence(read_affinity(cosines(x), "relu"), target(y), "jsd"),
    "jsd_softmax": lambda x, y: affinity_divergence(read_affinity(cosines(x), "softmax"), target(y), "jsd"),
    "jsd_squared": lambda x, y: affinity_divergence(read_affinity(cosines(x), "squared"), target(y), "jsd"),
    "nt_xent": lambda x, y: supcon(x, y, 0.5),
    "nt_xent_unnormalized": lambda x, y: supcon(x, y, 0.5, normalize=False),
    "supcon": lambda x, y: supcon(x, y, 0.1),
    "symnsq_legacy": lambda x, y: symnsq_legacy(x[:N], x[N:]),
}


def cosines(x):
    unit = x / x.norm(dim=1, keepdim=True)
    return (unit @ unit.T)[None]


def target(labels):
    return target_of_labels(labels, dtype=torch.float64)


@pytest.mark.parametrize("labels", [PAIRS, CLASSES], ids=["pairs", "classes"])
@pytest.mark.parametrize("name", list(OBJECTIVES))
def test_presets_are_their_losses(name, labels):
    if name == "symnsq_legacy" and labels is CLASSES:
        pytest.skip("refuses classes")
    x = normal(2 * N, 4)
    value = OBJECTIVES[name](embedded(x), labels)
    torch.testing.assert_close(value, EXPECTED[name](x, labels), rtol=1e-12, atol=0)
    if name == "nt_xent" and labels is PAIRS:
        torch.testing.assert_close(value, nt_xent(x[:N], x[N:]), rtol=1e-12, atol=0)


def test_presets_differ_from_each_other():
    assert set(EXPECTED) == set(OBJECTIVES)
    values = [float(objective(output(), PAIRS)) for objective in OBJECTIVES.values()]
    assert np.diff(sorted(values)).min() > 1e-4


@pytest.mark.parametrize("name", list(OBJECTIVES))
def test_values_are_averaged_over_the_streams(name):
    whole, objective = output(auxiliary=2), OBJECTIVES[name]
    parts = [objective(HeadOutput(s.embeddings, s.readings), PAIRS) for s in (whole, *whole.auxiliary)]
    assert len({float(part) for part in parts}) == 3
    torch.testing.assert_close(objective(whole, PAIRS), sum(parts) / 3)


@pytest.mark.parametrize("name", AFFINITY)
def test_readings_are_weighted(name):
    whole = output()
    first, second, last = (OBJECTIVES[name](HeadOutput(whole.embeddings, (r,)), PAIRS) for r in whole.readings)
    assert abs(first - last) > 1e-3
    torch.testing.assert_close(OBJECTIVES[name](whole, PAIRS), last)
    for weight in (0.25, 1.0, 3.0):
        weighted = (weight * first + weight * second + last) / (1 + 2 * weight)
        torch.testing.assert_close(objective_from_name(name, intermediate=weight)(whole, PAIRS), weighted)


@pytest.mark.parametrize("name", AFFINITY)
def test_heads_with_queries_and_keys(name):
    r = reading(5)
    objective = OBJECTIVES[name]
    y = read_affinity(r.queries @ r.keys.mT, objective.readout)
    expected = affinity_divergence(y, target(CLASSES), objective.divergence)
    torch.testing.assert_close(objective(HeadOutput(normal(2 * N, 4), (r,)), CLASSES), expected, rtol=1e-12, atol=0)


def test_temperature_smoothing_and_normalize_reach_their_losses():
    x = normal(2 * N, 4)
    whole = embedded(x)
    softmax = objective_from_name("jsd_softmax", temperature=0.7)(whole, PAIRS)
    expected = affinity_divergence(read_affinity(cosines(x), "softmax", temperature=0.7), target(PAIRS))
    torch.testing.assert_close(softmax, expected)
    expected = affinity_divergence(read_affinity(cosines(x)), target(PAIRS), "kl_target", 0.2)
    torch.testing.assert_close(objective_from_name("kl_target", smoothing=0.2)(whole, PAIRS), expected)
    value = objective_from_name("supcon", temperature=2, normalize=False)(whole, CLASSES)
    torch.testing.assert_close(value, supcon(x, CLASSES, 2.0, normalize=False))


@pytest.mark.parametrize("name", list(OBJECTIVES))
def test_gradients_are_finite_differences(name):
    objective = objective_from_name(name, intermediate=0.5)

    def value(x):
        return objective(HeadOutput(x, (Reading.of_tokens(x @ mix), Reading.of_tokens(x))), PAIRS[:4] % 2)

    mix = normal(3, 3, seed=7)
    assert torch.autograd.gradcheck(value, (normal(4, 3, seed=3).requires_grad_(),))


@pytest.mark.parametrize("kind", get_args(HeadKind))
@pytest.mark.parametrize("name", list(OBJECTIVES))
def test_every_objective_trains_every_head(name, kind):
    torch.manual_seed(0)
    head = build_head(HeadConfig(kind=kind, width=8, out_dim=6, depth=2), 8)
    features = normal(2 * N, 8).float().requires_grad_()
    value = objective_from_name(name, intermediate=0.5)(head(features, views=2), PAIRS)
    value.backward()
    assert torch.isfinite(value)
    assert torch.isfinite(features.grad).all()
    assert features.grad.abs().max() > 1e-6


@pytest.mark.parametrize("equal", [False, True])
@pytest.mark.parametrize("name", list(OBJECTIVES))
def test_finite_in_bfloat16_at_temperature_005(name, equal):
    x = (torch.ones(2 * N, 4) if equal else normal(2 * N, 4)).bfloat16().requires_grad_()
    objective = objective_from_name(name, temperature=0.05)
    with torch.autocast("cpu", dtype=torch.bfloat16):
        value = objective(embedded(x), PAIRS)
    value.backward()
    wide = x.detach().float()
    assert value.dtype == torch.float32
    # Unit vectors of half precision are good to 2^-8.
    torch.testing.assert_close(
        value, objective(HeadOutput(wide, (Reading.of_tokens(wide),)), PAIRS), rtol=0.1, atol=0.02
    )
    assert torch.isfinite(x.grad).all()


@pytest.mark.parametrize("name", list(OBJECTIVES))
def test_labels_of_any_library(name):
    value = OBJECTIVES[name](output(), PAIRS)
    assert torch.equal(OBJECTIVES[name](output(), PAIRS.numpy()), value)
    assert torch.equal(OBJECTIVES[name](output(), PAIRS.to(torch.int16)), value)


@pytest.mark.parametrize("name", ["jsd", "jsd_relu"])
def test_what_tiles_can_do_goes_in_tiles(name, monkeypatch):
    """On a CPU always, on a device where the matrix would be large."""
    calls = []
    apply = TiledDivergence.apply
    monkeypatch.setattr(TiledDivergence, "apply", lambda *a: calls.append(a[3]) or apply(*a[:-1], 5))

    def value_and_gradient(x):
        value = OBJECTIVES[name](embedded(x), CLASSES)
        (gradient,) = torch.autograd.grad(value, x)
        return value.detach(), gradient

    tiled = value_and_gradient(normal(2 * N, 4).requires_grad_())
    assert calls == [{"jsd": 2.0, "jsd_relu": 1.0}[name]]
    with PretendDevice():
        x = normal(2 * N, 4).to(DEVICE).requires_grad_()
        dense = [each.cpu() for each in value_and_gradient(x)]
        assert len(calls) == 1
        monkeypatch.setattr(objectives, "fits_dense", lambda n, values: n < 2 * N)
        value_and_gradient(x)
        assert len(calls) == 2
    torch.testing.assert_close(tiled, tuple(dense), rtol=1e-12, atol=1e-14)
    # Whatever the tiles cannot do stays a whole matrix.
    for other in ("jsd_softmax", "jsd_squared", "kl_target", "kl_affinity"):
        OBJECTIVES[other](output(), CLASSES)
    two_heads = reading(0).queries
    for each in (reading(1, 1), Reading(two_heads, two_heads)):
        OBJECTIVES[name](HeadOutput(normal(2 * N, 4), (each,)), CLASSES)
    assert len(calls) == 2


@pytest.mark.parametrize(
    ("call", "names"),
    [
        (lambda: objective_from_name("infonce"), "name: must be one of jsd, kl_target"),
        (lambda: objective_from_name("jsd", temprature=1.0), "changes: must be one of kind, readout"),
        (lambda: objective_from_name("jsd", intermediate=-0.1), "intermediate"),
        (lambda: Objective("jsd"), "kind: must be one of affinity"),
        (lambda: Objective(readout="cosine"), "readout: must be one of"),
        (lambda: Objective(divergence="kl"), "divergence: must be one of"),
        (lambda: Objective(temperature=0.0), "temperature"),
        (lambda: Objective(intermediate=math.inf), "intermediate"),
        (lambda: Objective(smoothing=0.0), "smoothing"),
        (lambda: Objective()(output(), PAIRS[:-1]), "labels: expected integers of shape"),
        (lambda: Objective()(output(), torch.arange(2 * N)), "labels: some label must occur"),
        (lambda: Objective()(output(), PAIRS.double()), "labels: expected integers"),
        (lambda: Objective()(HeadOutput(normal(2 * N, 4), ()), PAIRS), "output: has no readings"),
        (lambda: Objective()(embedded(normal(2 * N, 4) * math.nan), PAIRS), "cosines: must lie"),
        (lambda: Objective("supcon")(embedded(normal(2 * N, 4) * math.nan), PAIRS), "features: contains NaN"),
        (lambda: OBJECTIVES["symnsq_legacy"](output(), CLASSES), "labels: symnsq_legacy needs two views"),
        (lambda: OBJECTIVES["symnsq_legacy"](output(), PAIRS.sort()[0]), "labels: symnsq_legacy needs two views"),
        (lambda: OBJECTIVES["symnsq_legacy"](output(), view_pair_labels(4, 3)), "labels: symnsq_legacy needs two"),
        (lambda: OBJECTIVES["symnsq_legacy"](embedded(normal(3, 2)), np.zeros(3, int)), "labels: symnsq_legacy"),
    ],
)
def test_bad_input_is_named(call, names, as_users_call):
    with pytest.raises(ValueError, match=names):
        call()
