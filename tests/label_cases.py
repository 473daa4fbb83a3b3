"""Every public function of theory/ and models/ that takes labels, on one small batch (tests/test_labels.py)."""

import importlib
import inspect
import pkgutil
from collections.abc import Callable
from dataclasses import dataclass

import numpy as np
import torch

import models
import theory
from models.cifar.evaluation import measure, probes
from models.cifar.evaluation.features import LabelledFeatures
from models.head_output import HeadOutput, Reading
from models.losses import (
    AffinityJSDLoss,
    Objective,
    SupConLoss,
    affinity_jsd_from_points,
    common,
    supcon,
    target_of_labels,
)
from models.losses.measured import measure_affinity
from models.softmax_fusion import SoftmaxStack
from models.stack import AttentionStack
from theory import measurements
from theory.affinity import affinity_matrix, target_affinity
from theory.batch_law import Weight, batch_laws, expected_sharpness
from theory.batches import clusters
from theory.certified_mean import share_influence
from theory.judging.exact_replay import ExactReplay
from theory.neighbour_floor import neighbour_floor, true_neighbours
from theory.restart import measure_tokens

NAMES = {"labels", "classes", "train_labels", "true_labels", "targets"}
# Labels of the batch: 3 clusters, rows in any order.
INDEX = np.array([1, 0, 2, 2, 1, 0, 0])
POINTS = np.random.default_rng(0).standard_normal((len(INDEX), 4))
TOKENS = torch.from_numpy(POINTS)
AFFINITY = affinity_matrix(POINTS)
OUTPUT = HeadOutput(TOKENS, (Reading.of_tokens(TOKENS),))
CONFIG = probes.ProbeConfig(neighbours=(3,), temperatures=(0.1,))


WEIGHT = Weight("exponential", inverse_temperature=2.0)


@dataclass(frozen=True)
class Case:
    """What a function says of labels of the batch, as a flat array.

    Attributes:
        answer: takes the labels of the seven points.
        by_cluster: the answer's last three entries are one a cluster, in the order of the labels' values.
    """

    answer: Callable
    by_cluster: bool = False


def _flat(*values: object) -> np.ndarray:
    return np.concatenate([np.ravel(np.asarray(v, dtype=float)) for v in values])


def _layout(layout: clusters.ClusterLayout) -> np.ndarray:
    return _flat(layout.within_pairs, layout.cross_pairs, layout.sizes)


def _laws(labels: object) -> np.ndarray:
    """Both ways, with rows that the pool does not have, of classes 0, 1 and 2."""
    answers = []
    for exact in (True, False):
        (law,) = batch_laws(POINTS, labels, [3], [WEIGHT], new_rows=(POINTS, labels), exact=exact)
        answers += [law.lower, law.upper, law.cross_degree]
    return _flat(*answers)


def _tokens(labels: object) -> np.ndarray:
    return _flat(*vars(measure_tokens(POINTS[None, None], labels)).values())


def _sorted_alike(labels: object) -> np.ndarray:
    """Rows in cluster order, and back."""
    layout = clusters.group_rows(labels)
    rows = layout.unsort_rows(layout.sort_rows(np.arange(len(INDEX))))
    return _flat(rows, layout.sizes)


def _replayed(labels: object) -> np.ndarray:
    return _flat(*ExactReplay(lambda trial: POINTS, labels, 0.1, 0.5, 1)(0))


def _report(rows: list[dict]) -> np.ndarray:
    return _flat(*[v for row in rows for v in row.values() if isinstance(v, float) and not np.isnan(v)])


def _probe(labels: object, config: probes.ProbeConfig = CONFIG) -> np.ndarray:
    part = LabelledFeatures(TOKENS, labels)
    result = probes.probe(part, part, part, config)
    return _flat(result.accuracy, result.validation_accuracy, result.correct)


def _among(labels: object) -> np.ndarray:
    values, index = clusters.index_labels(labels)
    return _flat(clusters.index_among(values, labels) == index)


def _alike(index: object) -> np.ndarray:
    index = np.asarray(index)
    return _flat(index[:, None] == index)


def _stored(labels: object) -> np.ndarray:
    return _alike(clusters.index_labels(LabelledFeatures(TOKENS, labels).labels)[1])


def _ceiling(labels: object) -> np.ndarray:
    return _flat(*measure.ceiling_report(TOKENS, TOKENS + 0.1, labels).values())


def _measured(labels: object) -> np.ndarray:
    found = measure_affinity(OUTPUT.readings[0].cosines(), labels)
    return _flat(found.sharpness, found.jsd, found.within.sort().values, found.cross.sort().values)


def _softmax(labels: object) -> np.ndarray:
    return _flat(SoftmaxStack(1, 2.0).measure(TOKENS[None], labels).mass_mean)


def _stack(labels: object) -> np.ndarray:
    return _flat(*vars(AttentionStack(2, 0.1).measure(TOKENS[None], labels)).values())


def _like_labels(labels: object) -> np.ndarray:
    """Of the labels alone: their library, which is no part of the answer."""
    clusters.index_labels(labels)
    return _flat(clusters.like_labels(POINTS, labels))


CASES = {
    "theory.affinity.target_affinity": Case(lambda y: _flat(target_affinity(y))),
    "theory.batch_law.batch_laws": Case(_laws),
    "theory.batch_law.expected_sharpness": Case(lambda y: _flat(*expected_sharpness(POINTS, y, 3, WEIGHT))),
    "theory.certified_mean.share_influence": Case(lambda y: _flat(*share_influence(POINTS, y, WEIGHT))),
    "theory.neighbour_floor.neighbour_floor": Case(lambda y: _flat(neighbour_floor(POINTS, y, 0.1, 0.8))),
    "theory.neighbour_floor.true_neighbours": Case(lambda y: _flat(true_neighbours(POINTS, y, 0.1))),
    "theory.batches.clusters.cluster_layout": Case(lambda y: _layout(clusters.cluster_layout(y)), by_cluster=True),
    "theory.batches.clusters.group_rows": Case(_sorted_alike, by_cluster=True),
    "theory.batches.clusters.index_labels": Case(lambda y: _alike(clusters.index_labels(y)[1])),
    "theory.batches.clusters.index_among": Case(_among),
    "theory.batches.clusters.like_labels": Case(_like_labels),
    "theory.judging.exact_replay.ExactReplay": Case(_replayed),
    "theory.measurements.affinity_sharpness": Case(lambda y: _flat(measurements.affinity_sharpness(AFFINITY, y))),
    "theory.measurements.chance_sharpness": Case(lambda y: _flat(measurements.chance_sharpness(y))),
    "theory.measurements.cluster_integrity": Case(lambda y: _flat(measurements.cluster_integrity(POINTS, y))),
    "theory.measurements.false_edges": Case(lambda y: _flat(measurements.false_edges(AFFINITY, y))),
    "theory.measurements.fragments": Case(lambda y: _flat(measurements.fragments(AFFINITY, y)), by_cluster=True),
    "theory.measurements.pair_extremes": Case(lambda y: _flat(*measurements.pair_extremes(POINTS, y))),
    "theory.measurements.pair_quantiles": Case(lambda y: _flat(*measurements.pair_quantiles(POINTS, y, 0.2))),
    "theory.measurements.recovered": Case(lambda y: _flat(measurements.recovered(AFFINITY, y))),
    "theory.restart.measure_tokens": Case(_tokens),
    "models.cifar.evaluation.features.LabelledFeatures": Case(_stored),
    "models.cifar.evaluation.measure.affinity_report": Case(lambda y: _report(measure.affinity_report(OUTPUT, y))),
    "models.cifar.evaluation.measure.ceiling_report": Case(_ceiling),
    "models.cifar.evaluation.measure.closer_cross_pairs": Case(lambda y: _flat(measure.closer_cross_pairs(TOKENS, y))),
    "models.cifar.evaluation.measure.class_angles": Case(lambda y: _flat(*measure.class_angles(TOKENS, y))),
    "models.cifar.evaluation.probes.probe": Case(_probe),
    "models.losses.affinity.affinity_jsd_from_points": Case(lambda y: _flat(affinity_jsd_from_points(TOKENS, y))),
    "models.losses.common.label_index": Case(lambda y: _alike(common.label_index(y, len(INDEX), "cpu"))),
    "models.losses.common.read_labels": Case(lambda y: _alike(common.read_labels(y, len(INDEX), "cpu").index)),
    "models.losses.common.labels_of_batch": Case(lambda y: _alike(common.labels_of_batch(y, len(INDEX), "cpu").index)),
    "models.losses.contrastive.supcon": Case(lambda y: _flat(supcon(TOKENS, y))),
    "models.losses.modules.BatchLoss": Case(lambda y: _flat(SupConLoss()(TOKENS, y), AffinityJSDLoss()(TOKENS, y))),
    "models.losses.measured.measure_affinity": Case(_measured),
    "models.losses.divergence.target_of_labels": Case(lambda y: _flat(target_of_labels(y))),
    "models.losses.objectives.Objective": Case(lambda y: _flat(Objective("affinity")(OUTPUT, y))),
    "models.softmax_fusion.SoftmaxStack": Case(_softmax),
    "models.stack.AttentionStack": Case(_stack),
}
# Tensors of features with classes: what they are made of is a tensor.
TENSORS_ONLY = {"models.cifar.evaluation.features.LabelledFeatures", "models.cifar.evaluation.probes.probe"}
OR_TEXT = "labels may be text too (tests/models/advisor/inputs/test_features.py)"
EXEMPT = {
    "models.cifar.benchmark.peers.plain_supcon": "what one would write for tensors, and no more",
    "models.cifar.benchmark.peers.plain_affinity": "what one would write for tensors, and no more",
    "models.advisor.answers.advise": OR_TEXT,
    "models.advisor.inputs.checks.check_labels": OR_TEXT,
    "models.advisor.inputs.features.feature_set": OR_TEXT,
    "models.advisor.inputs.features.FeatureSet": "its classes are 0..K-1 by contract, made by feature_set",
    "models.advisor.inputs.features.Sources": "a file's name",
    "models.advisor.pool.Pool": "its classes are a FeatureSet's",
    "theory.certified_mean.fixed_sequence": "its targets are numbers to reach, not labels",
    "models.cifar.evaluation.probes.knn_scores": "its labels are columns of its result, 0..num_classes-1 by contract",
    "models.cifar.data.images.ImageSet": "its labels are indices into its names, checked as such",
    "models.advisor.demo.with_views": "scikit-learn's digits, handed on to feature_set",
    **dict.fromkeys(
        (
            "models.cifar.data.decoded.ImageData",
            "models.cifar.data.decoded.PartImages",
            "models.cifar.data.layout.Layout",
            "models.cifar.data.report.ReportedPart",
            "models.cifar.data.report.data_report",
            "models.cifar.data.splitting.held_out",
            "models.cifar.data.splitting.some_of_each",
        ),
        "labels that folders or archives gave, indices into their names",
    ),
    "models.cifar.methods.learners.Batch": "holds an ImageSet's labels, unread",
    "models.devices.gather.gather_labels": "moves labels between processes, bit by bit (test_gather.py)",
}


def takes_labels() -> set[str]:
    """Public functions and classes of theory/ and models/ that have, or whose public methods have, such a parameter."""
    found = set()
    for package in (theory, models):
        for module in pkgutil.walk_packages(package.__path__, f"{package.__name__}."):
            if module.name.endswith("__main__"):
                continue
            namespace = importlib.import_module(module.name)
            for name, value in vars(namespace).items():
                if name.startswith("_") or getattr(value, "__module__", None) != module.name:
                    continue
                if any(NAMES & set(_parameters(each)) for each in _callables(value)):
                    found.add(f"{module.name}.{name}")
    return found


def _callables(value: object) -> list:
    if inspect.isfunction(value):
        return [value]
    if not inspect.isclass(value):
        return []
    methods = [m for name, m in vars(value).items() if inspect.isfunction(m) and (name[0] != "_" or name == "__call__")]
    return [value, *methods]


def _parameters(function: object) -> list[str]:
    try:
        return list(inspect.signature(function).parameters)
    except (TypeError, ValueError):
        return []
