"""Everything a training on images depends on, in one place; command lines are made from it."""

from contextlib import AbstractContextManager, nullcontext
from dataclasses import dataclass, field, fields
from typing import Literal, get_args

import torch

from models.cifar.data.images import LARGEST_SIZE, SMALLEST_SIZE, DataConfig
from models.cifar.data.views import ViewConfig
from models.cifar.evaluation.strengths import check_view_strengths
from models.cifar.methods.settings import HEAD_OF, MethodConfig, MoCoFeatureTransform, SimCLR
from models.encoders import EncoderConfig
from models.heads import HeadConfig, HeadKind, HeadSettings
from models.optim import OptimizerConfig
from theory.numerics.inputs import require_choice, require_count, require_flags, require_range
from theory.numerics.limits import LARGEST_BATCH, LARGEST_EPOCHS, LARGEST_SEED

Precision = Literal["float32", "bf16", "fp16"]


@dataclass(frozen=True)
class HeadChoice(HeadSettings):
    """A projection head, or the one that the method is published with."""

    kind: HeadKind | Literal["auto"] = "auto"
    """auto: mlp, but transfusion for transfusion and deepfusion for deepfusion. Else none, linear, mlp, transfusion,
    deepfusion, reluformer or batchformer, with any method."""

    def __post_init__(self) -> None:
        # An automatic head has sizes that must do for every kind.
        self.resolve("transfusion" if self.kind == "auto" else "simclr")

    def resolve(self, method: str) -> HeadConfig:
        """The head for a method, named.

        Raises:
            ValueError: as HeadConfig.
        """
        kind = HEAD_OF.get(method, "mlp") if self.kind == "auto" else self.kind
        return HeadConfig(**{each.name: getattr(self, each.name) for each in fields(HeadConfig)} | {"kind": kind})


@dataclass(frozen=True)
class TrainConfig:
    """A training. The same configuration gives the same weights on one machine and device.

    Raises:
        ValueError: a value out of range, or that goes beyond the epochs; named.
    """

    method: MethodConfig = field(default_factory=SimCLR)
    """What is trained."""
    data: DataConfig = field(default_factory=DataConfig)
    """On which images."""
    encoder: EncoderConfig = field(default_factory=EncoderConfig)
    """The encoder."""
    head: HeadChoice = field(default_factory=HeadChoice)
    """The projection head."""
    view: ViewConfig = field(default_factory=ViewConfig)
    """The augmentations."""
    optimiser: OptimizerConfig = field(
        default_factory=lambda: OptimizerConfig("adamw", learning_rate=1e-3, weight_decay=0.01)
    )
    """The optimizer. By default AdamW, whose steps do not depend on the scale of a loss: gradients of the affinity loss
    are smaller than NT-Xent's (on digits 28 times in the first epoch, 7 times in the last)."""
    epochs: int = 20
    """Passes over the training images."""
    view_sizes: tuple[int, ...] = ()
    """Heights of training views, each for an equal share of the epochs, such as 16 24 32: small views cost less and
    teach much of what large ones do. At most the images' height; the width follows. Of more sizes than epochs the last
    epoch has the last. Probes and nearest neighbors read whole images at their own size; what is measured of views has
    the epoch's. Without sizes: the images' own throughout."""
    batch_size: int = 256
    """Images a step, over all processes; each gives two views. At most the training images."""
    exchange_views: bool = False
    """With several processes: each encodes the second views of the next process's images, so that the batch
    normalization of none sees both views of an image; the loss and every image's views are the same. Not with moco and
    moco_ft. With one process it changes nothing."""
    chunk: int | None = None
    """Views encoded at a time, by gradient caching: large batches on little memory. None: all at once. Exact, but for
    batch normalization, which then sees a chunk at a time (encoder.norm group does not); keys of moco are not cut."""
    precision: Precision = "float32"
    """float32, or autocast to bf16 or (GPU only) fp16."""
    channels_last: bool = True
    """Memory layout of images and convolutions."""
    compile: bool = False
    """torch.compile the encoder: a start of half a minute, faster steps. Needs a C++ compiler."""
    compile_step: bool = False
    """torch.compile encoder, head and loss together, with any method: a longer start, and where the loss asks the host
    for something the graph has a gap. Goes without chunk, and with one process."""
    check_values: bool = False
    """Debugging: losses look for NaN and zero vectors in every step and name what they find; slow on a GPU, which waits
    for each answer. Without it NaN shows in the loss, and a zero vector is a row without affinity to any other."""
    measure_every: int = 1
    """Epochs between measurements of features: kNN on validation images, affinities, scores, angles."""
    measure_images: int = 512
    """Validation images that affinities, scores, angles and the critical strength are measured on; at least two of each
    class."""
    monitor: bool = True
    """kNN of validation images among the measurements. All training images are encoded for it, at full size: of epochs
    of small views it takes half as long again."""
    advise_every: int = 0
    """Epochs between logs of the critical strength, at which the features lose half of their excess affinity sharpness,
    beside the strength of the views; also after the last epoch. 0: never."""
    advise_strengths: tuple[float, ...] = (0.0, 0.125, 0.25, 0.5, 0.75, 1.0)
    """Strengths that the images are embedded at for it, increasing from 0; interpolated between."""
    seed: int = 0
    """Of initialization, order of the images, views and everything else that is drawn."""

    def __post_init__(self) -> None:
        require_flags(self)
        require_choice(self.precision, "precision", get_args(Precision))
        require_count(self.epochs, "epochs", 1, LARGEST_EPOCHS)
        if not isinstance(self.view_sizes, (tuple, list)):
            raise ValueError(f"view_sizes: must be a tuple of whole numbers, got {type(self.view_sizes).__name__}")
        for size in self.view_sizes:
            require_count(size, "view_sizes", SMALLEST_SIZE, LARGEST_SIZE)
        require_count(self.batch_size, "batch_size", 2, LARGEST_BATCH)
        if self.chunk is not None:
            require_count(self.chunk, "chunk", 1, LARGEST_BATCH)
        require_count(self.measure_every, "measure_every", 1, LARGEST_EPOCHS)
        require_count(self.measure_images, "measure_images", 4, LARGEST_BATCH)
        require_count(self.advise_every, "advise_every", 0, LARGEST_EPOCHS)
        check_view_strengths(self.advise_strengths, self.view, "advise_strengths")
        require_range(require_count(self.seed, "seed", 0, LARGEST_SEED), "seed", 0, 2**31 - 1)
        if self.data.validation_share == 0.0:
            raise ValueError("validation_share: must be above 0, the probes choose on validation images")
        if self.encoder.in_channels != 3:
            raise ValueError(f"in_channels: must be 3, images are red, green and blue, got {self.encoder.in_channels}")
        warmup = self.optimiser.warmup_epochs
        if warmup > self.epochs:
            raise ValueError(f"warmup_epochs: must not exceed the {self.epochs} epochs, got {warmup}")
        if isinstance(self.method, MoCoFeatureTransform):
            start = self.method.transform_from_epoch
            if start >= self.epochs:
                raise ValueError(f"transform_from_epoch: must be below the {self.epochs} epochs, got {start}")

    @property
    def own_head(self) -> HeadConfig:
        """The projection head, with its kind named."""
        return self.head.resolve(self.method.name)

    def view_shape(self, epoch: int, height: int, width: int) -> tuple[int, int]:
        """Height and width of the views in an epoch, the first being 0, of images of that height and width."""
        if not self.view_sizes:
            return height, width
        # By the epoch's end, so that the last epoch has the last size, however few there are.
        size = self.view_sizes[-(-(epoch + 1) * len(self.view_sizes) // self.epochs) - 1]
        return size, max(1, round(size * width / height))

    @property
    def memory_format(self) -> torch.memory_format:
        """Of images and convolutions."""
        return torch.channels_last if self.channels_last else torch.contiguous_format

    def autocast(self, device: torch.device) -> AbstractContextManager:
        """What forward passes run in."""
        dtype = {"bf16": torch.bfloat16, "fp16": torch.float16}.get(self.precision)
        return nullcontext() if dtype is None else torch.autocast(device.type, dtype=dtype)
