"""What a training refuses before it starts: what does not fit the images or the device, and settings without effect.

Nothing reads a setting that another one switches off, such as a min_area without crops. A configuration may hold it, so
that one can serve as a pattern for many trainings (paper_checks/tiers.py); a training refuses it, so that nobody takes
a setting that has no effect for one that was tried.
"""

import warnings
from collections.abc import Iterator
from dataclasses import fields, replace

import torch
from torch import nn
from torch.nn.functional import interpolate

from models.cifar.data.fingerprint import listed
from models.cifar.data.images import Splits
from models.cifar.data.views import evaluation_view
from models.cifar.methods.processes import world_size
from models.cifar.methods.settings import LARGEST_QUEUE, MomentumContrast, SupCon, TransFusion
from models.cifar.training.config import TrainConfig
from models.cifar.training.recipes import fast_lane, recipe
from models.cifar.training.state import new_learner
from models.devices.compiler import require_compiler
from models.devices.modes import evaluating
from models.environment import FLOAT64
from models.foreign.encoder_factory import PROBE_ROWS, features_of
from models.heads import HeadConfig

ATTENTION = ("transfusion", "reluformer", "deepfusion", "batchformer")
# What a view's strength scales, and nothing reads at strength 0.
AUGMENTATIONS = ("crop", "min_area", "flip", "rotation", "color_jitter", "grayscale", "blur", "noise_level")
# Heads that read a setting.
READERS: dict[str, tuple[str, ...]] = {
    "out_dim": ("linear", "mlp", "deepfusion", "reluformer", "batchformer"),
    "hidden_dim": ("mlp", "batchformer"),
    "batch_norm": ("mlp", "batchformer"),
    "width": ("transfusion", "reluformer", "deepfusion"),
    "depth": ("transfusion", "reluformer", "deepfusion"),
    "num_heads": ATTENTION,
    "keep_diagonal": ("transfusion", "reluformer"),
    "attention_bias": ("transfusion", "reluformer"),
    "feed_forward": ATTENTION,
    "dropout": ATTENTION,
    "attention_scope": ATTENTION,
}


def check(config: TrainConfig, splits: Splits, device: torch.device) -> TrainConfig:
    """The configuration with what it left to the data filled in, before anything is written.

    Raises:
        ValueError: settings that do not fit each other, the images or the device, or that nothing reads; named.
    """
    require_no_idle(config)
    if device.type not in ("cpu", "cuda"):
        raise ValueError(f"device: must be cpu or cuda, {FLOAT64}, got {device}")
    if config.precision == "fp16" and device.type != "cuda":
        raise ValueError(f"precision: fp16 needs a GPU, not {device}; bf16 works on both")
    if config.precision == "bf16" and device.type == "cpu" and torch.backends.cpu.get_cpu_capability() == "AVX2":
        # Convolutions fall back to code that is not vectorized: twelve times slower, measured with a small encoder.
        warnings.warn("precision: bf16 on a processor without AVX-512 is many times slower than float32", stacklevel=2)
    _require_labels(config, splits)
    if config.batch_size > len(splits.train):
        raise ValueError(
            f"batch_size: must not exceed the {len(splits.train)} training images, got {config.batch_size}"
        )
    height = splits.train.images.shape[2]
    if max(config.view_sizes, default=0) > height:
        raise ValueError(f"view_sizes: must not exceed the images' height of {height}, got {max(config.view_sizes)}")
    if config.batch_size % world_size():
        raise ValueError(f"batch_size: must be a multiple of the {world_size()} processes, got {config.batch_size}")
    if config.chunk is not None and world_size() > 1:
        raise ValueError("chunk: goes with one process only")
    if config.exchange_views and isinstance(config.method, MomentumContrast):
        why = "compares the two views in one process, before anything is gathered"
        raise ValueError(f"exchange_views: must be False with {config.method.name}, which {why}")
    if isinstance(config.method, MomentumContrast) and config.method.queue_size is None:
        size = max(1, min(LARGEST_QUEUE, len(splits.train) // 2))
        config = replace(config, method=replace(config.method, queue_size=size))
    require_compilable(config, device)
    learner = new_learner(config)
    _try_encoder(config, learner.encoder, splits)
    return config


def _try_encoder(config: TrainConfig, encoder: nn.Module, splits: Splits) -> None:
    """On images as they are, and as large as views will be, before anything is written."""
    own = config.encoder
    if not len(splits.train) or (own.factory is None and own.pool_size is None):
        return
    images = evaluation_view(splits.train.images[:PROBE_ROWS].to("cpu"), config.view)
    for each in (images, *(interpolate(images, size) for size in config.view_sizes)):
        if own.factory is not None:
            features_of(encoder, each, own.factory)
            continue
        with evaluating(encoder), torch.no_grad():
            encoder(each)


def require_compilable(config: TrainConfig, device: torch.device) -> None:
    """Refuse to compile where nothing can, or what is not called as a whole.

    Raises:
        ValueError: no compiler; compile_step with chunk, whose features and loss are apart, or with several processes.
    """
    if config.compile_step and config.chunk is not None:
        raise ValueError("compile_step: goes without chunk, which encodes apart from the loss; compile has the encoder")
    if config.compile_step and world_size() > 1:
        raise ValueError("compile_step: goes with one process only; compile has the encoder")
    for name in ("compile", "compile_step"):
        if getattr(config, name):
            require_compiler(name, device)


def _require_labels(config: TrainConfig, splits: Splits) -> None:
    """Refuse methods that learn from labels where there are none to speak of."""
    method, present = config.method, splits.train.labels.unique().tolist()
    if not isinstance(method, SupCon) and not (isinstance(method, TransFusion) and method.supervised):
        return
    if len(present) < 2:
        name = "method.supervised" if isinstance(method, TransFusion) else "method.name"
        which = listed([splits.train.class_names[label] for label in present]) or "none"
        needed = f"{method.name} learns from labels of at least 2 classes, the training images are of class {which}"
        raise ValueError(f"{name}: {needed}; simclr, moco, moco_ft, transfusion and deepfusion need none")


def idle_settings(config: TrainConfig) -> dict[str, str]:
    """Dotted names of the settings that nothing reads although they are not as they are by default, nor as the recipes
    for these images have them (recipes.py), and why."""
    found, usual = {}, (recipe("auto", config.data.dataset), fast_lane())
    for name, why in _unread(config):
        group, _, setting = name.rpartition(".")
        part, *others = (getattr(each, group) if group else each for each in (config, *usual))
        default = getattr(type(part), setting)
        if getattr(part, setting) not in (default, *(getattr(each, setting, default) for each in others)):
            found[name] = why
    return found


def require_no_idle(config: TrainConfig) -> None:
    """Refuse settings without effect.

    Raises:
        ValueError: names them all, and what switches each off.
    """
    found = [f"{name}: nothing reads it {why}; leave it out" for name, why in idle_settings(config).items()]
    if found:
        raise ValueError("; ".join(found))


def without_idle(config: TrainConfig) -> TrainConfig:
    """The same training, with every setting that nothing reads at its default."""
    for name in idle_settings(config):
        group, _, setting = name.rpartition(".")
        part = getattr(config, group) if group else config
        reset = replace(part, **{setting: getattr(type(part), setting)})
        parts: dict = {group: reset}
        config = replace(config, **parts) if group else reset
    return config


def _unread(config: TrainConfig) -> Iterator[tuple[str, str]]:
    method, head = config.method, config.own_head
    if config.encoder.factory is not None:
        for each in fields(config.encoder):
            if each.name not in ("factory", "in_channels"):
                yield f"encoder.{each.name}", "where encoder.factory makes the encoder"
    behind = f"behind the head {head.kind}"
    for setting, kinds in READERS.items():
        if head.kind not in kinds:
            yield f"head.{setting}", behind
    if head.kind in ("transfusion", "reluformer") and head.feed_forward is None:
        yield "head.dropout", f"{behind} without head.feed_forward"
    if head.kind in ATTENTION and isinstance(method, MomentumContrast) and not method.symmetric:
        yield "head.attention_scope", f"with {method.name}, one view at a time, unless method.symmetric"
    if isinstance(method, TransFusion) and readings_of(head) == 1:
        yield "method.intermediate", f"{behind}, which has one affinity"
    if not config.view.crop:
        yield "view.min_area", "without view.crop"
    if config.view.strength == 0.0:
        yield from ((f"view.{name}", "at view.strength 0") for name in AUGMENTATIONS)
    elif not any(getattr(config.view, name) for name in AUGMENTATIONS if name != "min_area"):
        yield "view.strength", "without any augmentation"
    if config.compile_step:
        yield "compile", "with compile_step, which has the encoder in it"
    if config.advise_every == 0:
        yield "advise_strengths", "without advise_every"
    if config.optimiser.warmup_epochs == config.epochs:
        yield "optimiser.schedule", "where all epochs are warm-up"


def readings_of(head: HeadConfig) -> int:
    """Affinities that a head can be supervised on."""
    return {"transfusion": head.depth + 1, "deepfusion": head.depth}.get(head.kind, 1)
