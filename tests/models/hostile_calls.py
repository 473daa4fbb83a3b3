"""Public functions and settings of models/, with arguments that they accept (test_hostile_calls.py).

What the battery puts in their place, one argument at a time: numbers that are none, or outside every range; rows with
NaN, without numbers, of no size or another; labels of another length or type; words where numbers belong.
"""

import inspect
import math
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch

from models import losses
from models.advisor import AdvisorConfig, AttentionTransformer, advise
from models.cifar.data.images import DataConfig
from models.cifar.data.views import ViewConfig
from models.cifar.evaluation import measure, probes
from models.cifar.evaluation.features import LabelledFeatures
from models.cifar.evaluation.logistic_regression import fit_linear
from models.cifar.methods.settings import MoCo, MoCoFeatureTransform, SimCLR, SupCon, TransFusion
from models.cifar.training.config import TrainConfig
from models.encoders import EncoderConfig, build_encoder
from models.environment import resolve_device
from models.feature_transform import (
    draw_beta,
    draw_partners,
    extrapolate_positives,
    interpolate_negatives,
    interpolate_positives,
)
from models.heads import HeadConfig, build_head
from models.momentum import FeatureQueue, MomentumCopy, moco_loss
from models.optim import Lars, OptimizerConfig, learning_rate, parameter_groups
from models.softmax_fusion import SoftmaxStack
from models.stack import AttentionStack
from synthetic.batches.geometry import Geometry
from synthetic.runs.backends import BackendOptions
from synthetic.sweeps.denoising import DenoisingSettings
from synthetic.training.training import Optimisation

NUMBERS = (math.nan, math.inf, -math.inf, -1, 10**400, -(10**400), 1e300, True, "a", "", None, 1j, [1, 2], object())
WORDS = ("", "nonsense", None, 3, math.nan, ["relu"], b"relu")
MAY_BE_NONE = {"tile_rows", "momentum", "inverse_temperature", "strengths"}
OF_OURS = {"momentum"}
FLAGS = ("yes", 2, None, math.nan)


@dataclass(frozen=True)
class Call:
    """A function, or a class, with arguments that it accepts.

    Attributes:
        keeps: arguments that are not replaced: what they may be is not a matter of values.
    """

    name: str
    call: Callable
    accepted: dict[str, Any]
    keeps: tuple[str, ...] = ()

    @property
    def optional(self) -> set[str]:
        """Arguments that may be None; the battery's own functions pass theirs on."""
        own = inspect.signature(self.call).parameters
        passed = any(each.kind is inspect.Parameter.VAR_KEYWORD for each in own.values())
        named = {name for name, each in own.items() if each.default is None}
        return named | (MAY_BE_NONE if passed or self.name in OF_OURS else set())


def rows(n: int = 8, dim: int = 4, seed: int = 0) -> torch.Tensor:
    return torch.randn(n, dim, generator=torch.Generator().manual_seed(seed))


def hostile_rows(good: torch.Tensor | np.ndarray) -> Iterator[Any]:
    """What looks like the rows but is not."""
    numpy = isinstance(good, np.ndarray)
    tensor = torch.as_tensor(good)
    for value in (math.nan, math.inf, -math.inf):
        bad = tensor.clone().to(tensor.dtype if tensor.is_floating_point() else torch.float32)
        bad[(0,) * bad.ndim] = value
        yield bad.numpy() if numpy else bad
    others = [tensor[:0], tensor[..., :0], tensor[0], tensor[:1], tensor[:-1], tensor[None], torch.zeros_like(tensor),
              tensor.to(torch.complex64), tensor.bool(), (1e38 * tensor.float()), tensor.to(torch.int64)]  # fmt: skip
    yield from (each.numpy() if numpy else each for each in others)
    yield from ("rows", None, 3.0, object(), [["a"]], {})


def hostile_labels(good: Any) -> Iterator[Any]:
    """What looks like the labels but is not."""
    labels = np.asarray(good)
    yield from (labels[:-1], labels[:0], labels[None], labels.astype(float) + 0.5, np.full(len(labels), np.nan),
                labels.astype(complex), np.arange(len(labels)), "abc", None, 3, object(), [object()] * len(labels),
                [[0], [0, 1]])  # fmt: skip


def values_for(name: str, good: Any) -> Iterator[Any]:
    """Hostile values for an argument, by what it accepts."""
    if isinstance(good, bool):
        yield from FLAGS
    elif isinstance(good, int | float):
        yield from NUMBERS
    elif isinstance(good, str):
        yield from WORDS
    elif "labels" in name:
        yield from hostile_labels(good)
    elif isinstance(good, torch.Tensor | np.ndarray):
        yield from hostile_rows(good)
    elif isinstance(good, tuple):
        yield from ((), (math.nan,), ("a",), (-1,), (10**400,), None, 3, "abc", (1.0,) * 1000)


def _call(function: Callable, *, keeps: tuple[str, ...] = (), **accepted: Any) -> Call:
    return Call(function.__name__, function, accepted, keeps)


def _config(settings: type, **changes: Any) -> Call:
    """A settings class, with every field at its default or as changed."""
    instance = settings(**changes)
    names = [n for n in inspect.signature(settings).parameters]
    simple = (bool, int, float, str, tuple)
    accepted = {n: changes.get(n, getattr(instance, n)) for n in names}
    return Call(settings.__name__, settings, {n: v for n, v in accepted.items() if isinstance(v, simple)})


def _part(train: torch.Tensor, labels: torch.Tensor) -> LabelledFeatures:
    return LabelledFeatures(train, labels)


LABELS = torch.tensor([0, 0, 1, 1, 2, 2, 0, 1])
CLASSES = np.repeat(np.arange(3), 20)
FEATURES = 3.0 * np.eye(3, 5)[CLASSES] + np.random.default_rng(0).standard_normal((60, 5))
AFFINITY = losses.target_of_labels(LABELS, dtype=torch.float64)
COSINES = torch.nn.functional.normalize(rows().double(), dim=-1)
COSINES = (COSINES @ COSINES.mT)[None]
WEIGHTS = torch.full((8,), 0.5)
HEAD = build_head(HeadConfig("mlp", out_dim=4, hidden_dim=4), 4)
ENCODER = build_encoder(EncoderConfig("small", width=4, norm="group"))
PART = _part(rows(12, 4, 1), torch.tensor([0, 1, 2] * 4))


def _stack(points: Any, **how: Any) -> Any:
    return AttentionStack(2, **how)(points)


def _measure(points: Any, labels: Any) -> Any:
    return AttentionStack(2, 0.1).measure(points, labels)


def _softmax(points: Any, **how: Any) -> Any:
    return SoftmaxStack(**how).measure(points, LABELS.numpy())


def _head(features: Any, views: Any) -> Any:
    return HEAD(features, views).embeddings


def _objective(name: str) -> Callable:
    head = build_head(HeadConfig("transfusion", depth=1, width=4), 4)

    def loss(features: Any, labels: Any) -> Any:
        return losses.objective_from_name(name)(head(features, 1), labels)

    return loss


def _module(kind: type) -> Callable:
    def loss(embeddings: Any, labels: Any = None, second: Any = None, temperature: Any = 0.5) -> Any:
        return kind(temperature=temperature, check_values=True)(embeddings, second if labels is None else labels)

    return loss


def _queue(features: Any, size: Any, dim: Any) -> Any:
    queue = FeatureQueue(size, dim)
    queue.enqueue(features)
    return queue.features()


def _moved(momentum: Any) -> Any:
    copy = MomentumCopy(HEAD, 0.9)
    copy.update(HEAD, momentum)
    return next(copy.parameters())


def _lars(**how: Any) -> Any:
    weight = torch.nn.Parameter(torch.ones(2, 2))
    weight.grad = torch.ones(2, 2)
    Lars([weight], **how).step()
    return weight


def _advised(**given: Any) -> Any:
    return advise(**given, config=AdvisorConfig(batch_size=8, batches=2, depth=1)).batch_size


def _transformer(X: Any, **how: Any) -> Any:
    return AttentionTransformer(**how).fit(X).transform(X)


def _probe(kind: str) -> Callable:
    def result(train_features: Any, train_labels: Any) -> Any:
        own = LabelledFeatures(train_features, train_labels)
        return probes.probe(own, PART, PART, probes.ProbeConfig(kind, (3,), (0.1,), (0.1,))).accuracy

    return result


CALLS = [
    _config(HeadConfig), _config(HeadConfig, kind="mlp"), _config(EncoderConfig), _config(OptimizerConfig),
    _config(EncoderConfig, factory="own:encoder"),
    _config(AdvisorConfig, batch_size=16), _config(losses.Objective, temperature=0.5), _config(ViewConfig),
    _config(DataConfig, limit=5, limit_seed=0, image_size=32), _config(TrainConfig, chunk=4), _config(SimCLR),
    _config(SupCon), _config(TransFusion), _config(MoCo, queue_size=8), _config(MoCoFeatureTransform),
    _config(probes.ProbeConfig), _config(Geometry), _config(DenoisingSettings), _config(Optimisation),
    _config(BackendOptions, backend="loky", jobs=2, threads=1),
    _call(losses.nt_xent, view_a=rows(), view_b=rows(seed=1), temperature=0.5, normalize=True, tile_rows=4),
    _call(losses.supcon, features=rows(), labels=LABELS, temperature=0.5, normalize=False, tile_rows=4),
    _call(losses.symnsq_legacy, view_a=rows(), view_b=rows(seed=1), temperature=0.5),
    _call(losses.info_nce, positives=rows()[:, 0], negatives=rows(), temperature=0.5),
    _call(losses.affinity_jsd, affinity=AFFINITY, target=AFFINITY),
    _call(losses.affinity_divergence, affinity=AFFINITY, target=AFFINITY, kind="kl_target", smoothing=0.1),
    _call(losses.affinity_jsd_from_points, points=rows().double(), labels=LABELS, threshold=0.1, power=2.0,
          tile_rows=4),
    _call(losses.read_affinity, cosines=COSINES, readout="softmax", temperature=0.5),
    _call(losses.target_of_labels, labels=LABELS),
    _call(losses.view_pair_labels, num_samples=4, views=2),
    _call(losses.objective_from_name, name="jsd"),
    *(Call(f"objective {name}", _objective(name), {"features": rows(), "labels": LABELS}) for name in
      ("jsd", "kl_target", "jsd_softmax", "nt_xent", "supcon")),
    *(Call(f"module {kind.__name__}", _module(kind), {"embeddings": rows(), "labels": LABELS, "temperature": 0.5})
      for kind in (losses.NTXentLoss, losses.SupConLoss, losses.AffinityJSDLoss)),
    Call("module on views", _module(losses.NTXentLoss), {"embeddings": rows(), "second": rows(seed=1)}),
    Call("head", _head, {"features": rows(), "views": 2}),
    _call(build_head, config=HeadConfig(), in_dim=4, keeps=("config",)),
    Call("stack", _stack, {"points": rows().double(), "threshold": 0.1, "mixing": 0.5, "condition": 1.0, "power": 1.0,
                           "tile_rows": 4, "normalize": "input", "device": "cpu", "signed": True}),
    _call(AttentionStack, depth=2, threshold=0.1, mixing=0.5),
    Call("measure", _measure, {"points": rows().double()[None], "labels": LABELS.numpy()}),
    Call("softmax stack", _softmax, {"points": rows().double()[None], "depth": 2, "inverse_temperature": 4.0,
                                     "mixing": 0.5, "normalize": "every", "device": "cpu"}),
    _call(extrapolate_positives, queries=rows(), keys=rows(seed=1), weights=1.0 + WEIGHTS, normalize=True),
    _call(interpolate_positives, queries=rows(), keys=rows(seed=1), weights=WEIGHTS, normalize=True),
    _call(interpolate_negatives, negatives=rows(), weights=WEIGHTS, permutation=torch.arange(8).roll(1),
          normalize=True),
    Call("draw_beta", lambda **how: draw_beta(**how, shape=(3,), generator=torch.Generator().manual_seed(0)),
         {"a": 1.5, "b": 2.0}),
    Call("draw_partners", lambda count: draw_partners(count, torch.Generator().manual_seed(0)), {"count": 5}),
    _call(moco_loss, queries=rows(), keys=rows(seed=1), negatives=rows(seed=2), temperature=0.2, normalize=True),
    Call("queue", _queue, {"features": rows(), "size": 16, "dim": 4}),
    Call("momentum", _moved, {"momentum": 0.9}),
    _call(learning_rate, step=3, total_steps=10, warmup_steps=2, peak=0.1, schedule="cosine"),
    Call("parameter_groups", lambda weight_decay: parameter_groups(HEAD, weight_decay)[0]["weight_decay"],
         {"weight_decay": 0.1}),
    Call("Lars", _lars, {"lr": 0.1, "momentum": 0.9, "weight_decay": 0.1, "eta": 0.001, "nesterov": True}),
    _call(resolve_device, device="cpu"),
    Call("advise", _advised, {"embeddings": FEATURES, "labels": CLASSES}),
    Call("advise views", _advised, {"embeddings": FEATURES, "views": np.stack([FEATURES, FEATURES + 0.1]),
                                    "strengths": (0.0, 1.0)}),
    Call("transformer", _transformer, {"X": FEATURES, "threshold": 0.1, "depth": 2, "mixing": 0.5, "center": True,
                                       "bank_size": 20, "random_state": 0}),
    Call("softmax transformer", _transformer, {"X": FEATURES, "inverse_temperature": 5.0}),
    _call(LabelledFeatures, features=rows(), labels=LABELS),
    *(Call(f"probe {kind}", _probe(kind), {"train_features": rows(12), "train_labels": torch.tensor([0, 1, 2] * 4)})
      for kind in ("knn", "linear")),
    _call(probes.knn_scores, train_features=rows(), train_labels=LABELS, features=rows(3), k=2, temperature=0.1,
          num_classes=3, tile_rows=2),
    _call(fit_linear, train=PART, l2_weight=0.1, num_classes=3, tolerance=1e-6, max_iterations=500, keeps=("train",)),
    _call(measure.score_report, view_a=rows(), view_b=rows(seed=1), bins=5, tile_rows=4),
    _call(measure.view_angles, anchor_features=rows(), view_features=rows(seed=1)),
    _call(measure.class_angles, features=rows(), labels=LABELS, quantile=0.1),
    _call(measure.ceiling_report, anchor_features=rows(), view_features=rows(seed=1), labels=LABELS, quantile=0.1),
    Call("encoder", lambda images: ENCODER(images), {"images": torch.rand(2, 3, 8, 8)}),
]  # fmt: skip
