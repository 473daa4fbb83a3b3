"""The losses as modules: against pytorch-metric-learning and plain formulas, in any dtype, and with zero rows."""

import math

import numpy as np
import pytest
import torch
from pytorch_metric_learning import losses as oracle
from torch.nn import functional as F

from models.losses import AffinityJSDLoss, NTXentLoss, SupConLoss, view_pair_labels
from tests.stand_in import DEVICE, PretendDevice
from theory.affinity import affinity_matrix

CLASSES = torch.tensor([2, 0, 2, 1, 0, 2, 1, 5])
PAIRS = torch.tensor([3, 1, 0, 2, 1, 3, 2, 0])
MODULES = {"ntxent": NTXentLoss(), "supcon": SupConLoss(), "jsd": AffinityJSDLoss(), "relu": AffinityJSDLoss("relu")}
LOSSES = pytest.mark.parametrize("loss", MODULES.values(), ids=MODULES)


def normal(n=8, dim=4, seed=0, dtype=torch.float64):
    return torch.randn(n, dim, dtype=dtype, generator=torch.Generator().manual_seed(seed))


def gradient_of(loss, *inputs):
    rows = inputs[0].clone().requires_grad_()
    value = loss(rows, *inputs[1:])
    value.backward()
    return value.detach(), rows.grad


def jsd_by_definition(cosines, labels, power=2.0, cut=1e-10):
    """Row by row, theory.md sections 0 and 4; rows without mass count ln 2, rows alone with their label nothing."""
    rows = []
    for i in range(len(labels)):
        others = [j for j in range(len(labels)) if labels[j] == labels[i] and j != i]
        if not others:
            continue
        raw = [0.0 if j == i else max(float(cosines[i, j]) - cut, 0.0) ** power for j in range(len(labels))]
        if sum(raw) == 0.0:
            rows.append(math.log(2.0))
            continue
        y = [each / sum(raw) for each in raw]
        t = [1.0 / len(others) if j in others else 0.0 for j in range(len(labels))]
        terms = [p * math.log(2 * p / (a + b)) for a, b in zip(y, t) for p in (a, b) if p > 0]
        rows.append(0.5 * sum(terms))
    return sum(rows) / len(rows)


def contrast_by_definition(cosines, labels, temperature):
    """L_out of SupCon, row by row."""
    rows = []
    for i in range(len(labels)):
        positives = [j for j in range(len(labels)) if labels[j] == labels[i] and j != i]
        weights = [math.exp(float(cosines[i, j]) / temperature) for j in range(len(labels)) if j != i]
        if positives:
            rows.append(
                math.log(sum(weights)) - sum(float(cosines[i, j]) for j in positives) / temperature / len(positives)
            )
    return sum(rows) / len(rows)


def by_definition(name, cosines, labels):
    labels = labels.tolist()
    if name in ("jsd", "relu"):
        return jsd_by_definition(cosines, labels, 2.0 if name == "jsd" else 1.0)
    return contrast_by_definition(cosines, labels, {"ntxent": 0.5, "supcon": 0.1}[name])


# --- values and gradients ---------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("mine", "theirs", "labels"),
    [
        (SupConLoss(0.3), oracle.SupConLoss(temperature=0.3), CLASSES),
        (SupConLoss(), oracle.SupConLoss(), PAIRS),
        (NTXentLoss(0.2), oracle.NTXentLoss(temperature=0.2), PAIRS),
    ],
)
def test_pytorch_metric_learning_agrees(mine, theirs, labels):
    value, gradient = gradient_of(mine, normal(), labels)
    expected, expected_gradient = gradient_of(theirs, normal(), labels)
    torch.testing.assert_close(value, expected, rtol=1e-9, atol=0.0)
    torch.testing.assert_close(gradient, expected_gradient, rtol=1e-7, atol=1e-9)


def test_more_than_two_of_a_label_are_supcon_and_not_their_ntxent():
    """As the docstring says."""
    assert torch.equal(NTXentLoss(0.3)(normal(), CLASSES), SupConLoss(0.3)(normal(), CLASSES))
    theirs = oracle.NTXentLoss(temperature=0.3)(normal(), CLASSES)
    assert abs(theirs - NTXentLoss(0.3)(normal(), CLASSES)) > 0.01


def test_two_views_are_cross_entropy_with_the_partner():
    """lightly's NTXentLoss: the mean over all rows of the cross-entropy, the row itself left out."""
    a, b = normal(5), normal(5, seed=1)
    rows = F.normalize(torch.cat([a, b]), dim=1)
    logits = (rows @ rows.mT / 0.2).fill_diagonal_(-math.inf)
    expected = F.cross_entropy(logits, torch.arange(10).roll(5))
    torch.testing.assert_close(NTXentLoss(0.2)(a, b), expected)
    assert NTXentLoss(0.2)(a[:1], b[:1]) == 0.0


@LOSSES
def test_two_views_are_their_rows_with_pair_labels(loss):
    a, b = normal(5), normal(5, seed=1)
    value, gradient = gradient_of(loss, a, b)
    expected, expected_gradient = gradient_of(loss, torch.cat([a, b]), view_pair_labels(5))
    torch.testing.assert_close(value, expected)
    torch.testing.assert_close(gradient, expected_gradient[:5])


@pytest.mark.parametrize("name", MODULES)
def test_values_are_those_of_the_definitions(name):
    rows = normal()
    unit = F.normalize(rows, dim=1)
    found = MODULES[name](rows, CLASSES)
    assert float(found) == pytest.approx(by_definition(name, unit @ unit.mT, CLASSES), abs=1e-12)
    assert torch.autograd.gradcheck(lambda each: MODULES[name](each, CLASSES), normal().requires_grad_())


def test_the_affinity_of_embeddings_is_that_of_the_theory():
    """Squared by default; a TransFusion head's own is another one (the docstring says which)."""
    rows = normal()
    y = affinity_matrix(rows.numpy(), power=2)
    assert float(AffinityJSDLoss()(rows, CLASSES)) == pytest.approx(
        jsd_by_definition(np.where(np.eye(8) == 1, 0, np.sqrt(y)), CLASSES.tolist(), cut=0.0), abs=1e-9
    )


@pytest.mark.parametrize(
    "labels", [CLASSES.numpy(), CLASSES.tolist(), CLASSES.int(), [int(each) * 2**80 for each in CLASSES]]
)
@LOSSES
def test_labels_of_any_kind(loss, labels):
    assert loss(normal(), labels) == loss(normal(), CLASSES)
    two = CLASSES > 1
    assert loss(normal(), two) == loss(normal(), two.long())


@LOSSES
def test_half_precision_is_computed_in_float32(loss):
    for rows in (normal(dtype=torch.bfloat16), normal(dtype=torch.float16)):
        value, gradient = gradient_of(loss, rows, CLASSES)
        expected, expected_gradient = gradient_of(loss, rows.float(), CLASSES)
        assert value.dtype == torch.float32
        assert value == expected
        assert torch.equal(gradient, expected_gradient.to(rows.dtype))
        assert loss(rows, rows.roll(1, 0)) == loss(rows.float(), rows.float().roll(1, 0))
    with torch.autocast("cpu", dtype=torch.bfloat16):
        inside = loss(normal(dtype=torch.float32), CLASSES)
    assert inside == loss(normal(dtype=torch.float32), CLASSES)


# --- what an encoder may do in mid-training ---------------------------------------------------------------------------


@pytest.mark.parametrize("dtype", [torch.float64, torch.bfloat16])
@pytest.mark.parametrize("name", MODULES)
def test_a_row_of_zeros_is_a_row_without_mass(name, dtype):
    rows = normal(dtype=dtype)
    rows[2] = 0.0
    unit = F.normalize(rows.double(), dim=1)
    value, gradient = gradient_of(MODULES[name], rows, CLASSES)
    close = 1e-12 if dtype == torch.float64 else 1e-4
    assert float(value) == pytest.approx(by_definition(name, unit @ unit.mT, CLASSES), abs=close)
    assert bool(torch.isfinite(gradient).all())
    assert not gradient[2].any()
    assert gradient.any()
    labels = view_pair_labels(4)
    torch.testing.assert_close(MODULES[name](rows[:4], rows[4:]), MODULES[name](rows, labels))


@LOSSES
def test_rows_of_zeros_alone(loss):
    value, gradient = gradient_of(loss, torch.zeros(8, 4), CLASSES)
    expected = math.log(2) if isinstance(loss, AffinityJSDLoss) else math.log(7)
    assert float(value) == pytest.approx(expected, abs=1e-6)
    assert not gradient.any()


@LOSSES
def test_without_positives_there_is_nothing_to_learn(loss):
    value, gradient = gradient_of(loss, normal(), torch.arange(8))
    assert value == 0.0
    assert not gradient.any()


@pytest.mark.parametrize("bad", [math.nan, math.inf])
@LOSSES
def test_what_is_not_finite_shows(loss, bad):
    for row, labels in ((0, CLASSES), (7, CLASSES), (3, torch.arange(8))):
        rows = normal()
        rows[row, 1] = bad
        assert math.isnan(loss(rows, labels)), "of an anchor, of a row without positives, without any anchor"


@LOSSES
def test_a_step_waits_for_nothing(loss):
    """By the pretend accelerator's count; with values checked it does wait."""
    expected = loss(normal(), CLASSES)
    with PretendDevice() as log:
        rows, classes, other = (each.to(DEVICE) for each in (normal(), CLASSES, normal(seed=1)))
        rows.requires_grad_()
        log.events.clear()
        found = loss(rows, classes)
        (found + loss(rows, other)).backward()
        assert log.events == []
        NTXentLoss(check_values=True)(rows, classes)
        assert log.waits != []
        torch.testing.assert_close(found.detach().cpu(), expected)


@pytest.mark.parametrize("kind", [NTXentLoss, SupConLoss, AffinityJSDLoss])
def test_checked_values_are_named(kind):
    loss, zero, bad = kind(check_values=True), normal(), normal()
    zero[2], bad[2, 0] = 0.0, math.nan
    for arguments, told in (
        ((zero, CLASSES), "embeddings: contains a zero vector"),
        ((normal(), zero), "labels, the second view: contains a zero vector"),
        ((bad, CLASSES), "embeddings: contains NaN"),
        ((normal(), bad), "labels, the second view: contains NaN"),
        ((normal(), torch.arange(8)), "labels: some label must occur at least twice"),
    ):
        with pytest.raises(ValueError, match=told):
            loss(*arguments)
    assert loss(normal(), CLASSES) == kind()(normal(), CLASSES)


def test_a_norm_without_care_would_be_noticed():
    """The planted violation: plain division by the norm."""
    rows = normal()
    rows[2] = 0.0
    rows.requires_grad_()
    MODULES["ntxent"](rows / rows.norm(dim=1, keepdim=True), CLASSES).backward()
    assert not bool(torch.isfinite(rows.grad).all())


# --- what is refused --------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("embeddings", "labels", "told"),
    [
        (normal(), CLASSES[:7], r"labels: expected integers of shape \(8,\)"),
        (normal(), CLASSES.double(), r"labels: expected integers of shape \(8,\), or a second view"),
        (normal(), normal(7), r"or a second view like the first, \(8, 4\) on cpu; got torch.float64 of shape \(7, 4\)"),
        (normal(), normal().numpy(), "labels: expected integers"),
        (normal(), normal().long(), "labels: expected integers"),
        (normal(), normal().to(torch.complex64), "labels: expected integers"),
        (normal(), None, "labels: expected integers"),
        (normal(8, 8), normal(8, 8).long(), "labels: expected integers"),
        (normal()[0], CLASSES, "embeddings: expected shape"),
        (normal().numpy(), CLASSES, "embeddings: expected a tensor"),
        (CLASSES, CLASSES, "embeddings: expected shape"),
        (normal().long(), CLASSES, "embeddings: expected a floating dtype"),
        (normal(1), CLASSES[:1], "embeddings: must have at least 2 rows"),
        (normal(0), normal(0), "embeddings: must have at least 1 rows"),
    ],
)
def test_everything_else_is_refused_by_name(embeddings, labels, told, as_users_call):
    for loss in MODULES.values():
        with pytest.raises(ValueError, match=told):
            loss(embeddings, labels)


def test_settings_are_checked_and_shown(as_users_call):
    for kind, bad, told in (
        (NTXentLoss, {"temperature": 0.0}, "temperature"),
        (NTXentLoss, {"temperature": None}, "temperature"),
        (SupConLoss, {"temperature": math.nan}, "temperature"),
        (AffinityJSDLoss, {"readout": "cubed"}, "readout"),
        (AffinityJSDLoss, {"temperature": -1.0}, "temperature"),
        (NTXentLoss, {"gather": "yes"}, "gather"),
        (SupConLoss, {"check_values": 1}, "check_values"),
    ):
        with pytest.raises(ValueError, match=f"^{told}"):
            kind(**bad)
    assert repr(NTXentLoss(gather=True)) == "NTXentLoss(temperature=0.5, gather=True)"
    assert repr(AffinityJSDLoss()) == "AffinityJSDLoss(readout='squared_relu')"
    assert list(NTXentLoss().state_dict()) == []
