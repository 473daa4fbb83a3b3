"""Labels are names: any integers, of any type and order, say the same of a batch; what is no integer is refused."""

from functools import cache

import numpy as np
import pytest
import torch
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from models.cifar.evaluation import probes
from models.cifar.evaluation.features import LabelledFeatures
from models.cifar.evaluation.probes import ProbeConfig, probe
from models.head_output import HeadOutput
from models.losses import Objective
from tests.label_cases import CASES, EXEMPT, INDEX, OUTPUT, TENSORS_ONLY, TOKENS, takes_labels
from tests.models.cifar.evaluation.labelled_features import clusters
from theory.batches.clusters import cluster_layout, index_among, index_labels

WIDTHS = ("int8", "int16", "int32", "int64", "uint8", "uint16", "uint32", "uint64")


@cache
def expected(name):
    return CASES[name].answer(torch.from_numpy(INDEX) if name in TENSORS_ONLY else INDEX)


def answer_in_order(name, labels, names):
    """What a function says, with clusters in the order of INDEX rather than that of their names."""
    found = CASES[name].answer(labels)
    if CASES[name].by_cluster:
        found = np.concatenate([found[:-3], found[-3:][np.argsort(np.argsort(names))]])
    return found


@st.composite
def three_names(draw):
    """(dtype, three different values of it), extremes among them."""
    dtype = draw(st.sampled_from(WIDTHS))
    limits = np.iinfo(dtype)
    low, high = int(limits.min), int(limits.max)
    extremes = st.sampled_from([low, low + 1, high - 1, high, 0, 1, high // 2, high // 2 + 1])
    values = draw(st.lists(st.one_of(extremes, st.integers(low, high)), min_size=3, max_size=3, unique=True))
    return dtype, values


def test_every_public_function_that_takes_labels_is_tried_or_exempt():
    assert takes_labels() - set(CASES) - set(EXEMPT) == set()
    assert set(EXEMPT) <= takes_labels()


@pytest.mark.parametrize("name", CASES)
@settings(max_examples=12, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(three_names(), st.sampled_from(["numpy", "torch", "list"]))
def test_any_names_of_the_clusters_say_the_same(as_users_call, name, names, library):
    dtype, values = names
    labels = np.array(values, dtype=dtype)[INDEX]
    if library == "torch" or name in TENSORS_ONLY:
        labels = torch.from_numpy(labels)
    elif library == "list":
        labels = labels.tolist()
    np.testing.assert_allclose(answer_in_order(name, labels, values), expected(name), rtol=1e-12, atol=1e-12)


@pytest.mark.parametrize("name", sorted(set(CASES) - TENSORS_ONLY))
def test_integers_of_any_size_and_rows_in_class_order(name, as_users_call):
    """Hashes of 256 bits; and rows that stand cluster by cluster, where the order is asked for."""
    names = [2**255, -(2**200), 2**255 + 1]
    labels = [names[i] for i in INDEX]
    for given_as in (labels, np.array(labels, dtype=object)):
        np.testing.assert_allclose(answer_in_order(name, given_as, names), expected(name), rtol=1e-12, atol=1e-12)


@pytest.mark.parametrize("far", [2**62, 2**63 - 1])
def test_rows_in_class_order_with_labels_far_apart(far):
    """Their difference does not fit 64 bits."""
    labels = np.array([far] * 2 + [-far - 1] * 3)
    layout = cluster_layout(labels)
    assert layout.sizes == (3, 2)
    assert layout.order == (2, 3, 4, 0, 1)
    assert cluster_layout(np.array([2**63 + 5] * 2 + [0] * 3, dtype=np.uint64)) == layout
    assert cluster_layout(np.array([-far - 1] * 2 + [far] * 3)).order is None


def test_two_clusters_may_be_named_by_booleans(as_users_call):
    labels = np.array([True, True, False, False, True])
    assert cluster_layout(labels) == cluster_layout(labels.astype(int))
    assert index_labels(torch.from_numpy(labels))[1].tolist() == [1, 1, 0, 0, 1]
    LabelledFeatures(TOKENS[:5], torch.from_numpy(labels))


def test_places_among_values_of_another_type():
    """uint64 and int64 meet in float64, which does not tell 2^63 + 5 from 2^63 + 6."""
    values = index_labels(np.array([2**63 + 5, 2**63 + 6, 7], dtype=np.uint64))[0]
    assert index_among(values, [2**63 + 6, 7]).tolist() == [2, 0]
    assert index_among(values, np.array([7, 7])).tolist() == [0, 0]
    for stranger in (2**63 + 7, -7, 0):
        with pytest.raises(ValueError, match=rf"^test labels: must be among the classes of train, {stranger} is not"):
            index_among(values, [7, stranger], "test labels", of="the classes of train")
    values = index_labels(np.array([2**63 + 5, 2**62], dtype=np.uint64))[0]
    with pytest.raises(ValueError, match=f"{2**62 + 1} is not"):
        index_among(values, np.array([2**62 + 1]))


# --- refusals ---------------------------------------------------------------------------------------------------------

N = len(INDEX)
NO_LABELS = {
    "strings": np.array(["cat", "dog", "cat", "dog", "cat", "dog", "cat"]),
    "a list of strings": ["cat", "dog"] * 3 + ["cat"],
    "floats": INDEX.astype(float),
    "a tensor of floats": torch.from_numpy(INDEX).float(),
    "half precision": torch.from_numpy(INDEX).bfloat16(),
    "NaN": np.where(INDEX == 0, np.nan, INDEX),
    "complex": INDEX * 1j,
    "objects": np.array([None, *INDEX[1:]], dtype=object),
    "a list with a float": [0.5, *INDEX[1:].tolist()],
    "a column": INDEX[:, None],
    "one short": INDEX[:-1],
    "one too many": torch.from_numpy(np.append(INDEX, 0)),
    "ragged": [[0], [0, 1], [1], [1], [2], [2], [0]],
    "a number": 3,
    "none": None,
}
# Functions of labels alone have no number of points to compare with.
ANY_NUMBER = {"one short", "one too many"}
LABELS_ALONE = {
    "theory.affinity.target_affinity", "theory.measurements.chance_sharpness",
    *(f"theory.batches.clusters.{name}"
      for name in ("cluster_layout", "group_rows", "index_labels", "index_among", "like_labels")),
    "models.losses.divergence.target_of_labels",
}  # fmt: skip


def refusal(name, labels):
    try:
        CASES[name].answer(labels)
    except ValueError as error:
        return str(error)
    return "accepted"


@pytest.mark.parametrize("name", CASES)
def test_what_is_no_integer_for_every_point_is_refused_by_name(name, as_users_call):
    tried = {k: v for k, v in NO_LABELS.items() if not (k in ANY_NUMBER and name in LABELS_ALONE)}
    messages = {kind: refusal(name, labels) for kind, labels in tried.items()}
    assert {kind: text for kind, text in messages.items() if not text.startswith("labels: expected ")} == {}


def test_two_views_may_have_any_names(as_users_call):
    legacy = Objective("symnsq_legacy")
    output = HeadOutput(TOKENS[:6], OUTPUT.readings)
    expected = legacy(output, [0, 1, 2, 0, 1, 2])
    assert legacy(output, [2**63 - 1, -(2**63), 7, 2**63 - 1, -(2**63), 7]) == expected
    for pairs in ([0, 1, 2, 0, 2, 1], [0, 0, 1, 0, 0, 1], [0, 1, 2, 3, 4, 4]):
        with pytest.raises(ValueError, match=r"^labels: symnsq_legacy needs two views"):
            legacy(output, pairs)


# --- probes -----------------------------------------------------------------------------------------------------------

NAMES = torch.tensor([-(2**63), 20_000, 10**9])


@pytest.mark.parametrize("config", [ProbeConfig(neighbours=(3, 5)), ProbeConfig("linear", l2_weights=(0.1,))])
def test_probes_do_not_depend_on_the_values_of_labels(config):
    """A table as long as the largest label would hold 10^9 columns."""
    parts = [clusters(n, seed, spread=0.5) for n, seed in ((60, 0), (30, 1), (30, 2))]
    renamed = [LabelledFeatures(part.features, NAMES[part.labels]) for part in parts]
    expected = probe(*parts, config)
    assert probe(*renamed, config) == expected
    assert expected.correct > 15


def test_probe_tables_have_a_column_for_every_class_that_there_is(monkeypatch):
    widths = []
    original = probes._votes
    monkeypatch.setattr(probes, "_votes", lambda *arguments: widths.append(arguments[-1]) or original(*arguments))
    parts = [clusters(n, seed) for n, seed in ((30, 0), (9, 1), (9, 2))]
    probe(*[LabelledFeatures(p.features, NAMES[p.labels]) for p in parts], ProbeConfig(neighbours=(3,)))
    assert set(widths) == {3}
