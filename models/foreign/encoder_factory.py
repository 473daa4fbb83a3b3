"""Anybody's encoder in the trainer: a function that is named "MODULE:FUNCTION", imported, and called without arguments.

It returns a torch.nn.Module that maps images (n, 3, H, W), floats as views have them, to features (n, D). D is its
attribute ``feature_dim``, or what a forward pass over black images has. Weights are drawn under a seed of torch's
generator, so that one configuration gives one encoder; what a factory draws from elsewhere, or reads from files, is its
own business.

Importing runs code. Whoever names a factory on a command line, or in a configuration that they write, has asked for
that; a checkpoint has not, which is a file from anywhere. Files keep the name alone, and reading one imports nothing:
``require_consent`` refuses it unless the reader names the same factory again.
"""

import importlib
import os
import re
import sys
from collections.abc import Callable

import torch
from jaxtyping import Float
from torch import Tensor, nn

from models.devices.modes import evaluating

NAME = re.compile(r"[A-Za-z_]\w*(\.[A-Za-z_]\w*)*:[A-Za-z_]\w*(\.[A-Za-z_]\w*)*", re.ASCII)
LONGEST_NAME = 200
# Rows and pixels of the images that tell D where nothing else does.
PROBE_ROWS, PROBE_SIZE = 2, 32
# The attribute that says D.
FEATURE_DIM = "feature_dim"


def require_name(name: object) -> None:
    """Refuse what cannot name a factory; nothing is imported.

    Raises:
        ValueError: names the setting.
    """
    if not isinstance(name, str) or len(name) > LONGEST_NAME or not NAME.fullmatch(name):
        shown = repr(name)[:80]
        raise ValueError(f"factory: must be MODULE:FUNCTION, such as my_encoders:vit_small, or None, got {shown}")


def require_consent(stored: str | None, named: str | None, where: str) -> None:
    """Refuse to go on with a file whose encoder is made by code that the reader has not named.

    Args:
        stored: the factory that the file names.
        named: the one that the reader names.
        where: the file.

    Raises:
        ValueError: they differ; says how to name it.
    """
    if stored == named:
        return
    if stored is None:
        raise ValueError(f"{where}: its encoder is the toolkit's own, no factory makes it; leave out {named}")
    other = "" if named is None else f", not {named}"
    raise ValueError(
        f"{where}: its encoder is made by code that is not the toolkit's, {stored}{other}, which is not run because a "
        f"file names it; if you trust that code, name it yourself: --encoder-factory {stored} (evaluate, embed) or "
        f"--encoder.factory {stored} (training)"
    )


def made_by_factory(name: str, generator: torch.Generator | None = None, image_size: int | None = None) -> nn.Module:
    """Import the function, call it, and know D: the module, with an attribute ``feature_dim``; on the CPU.

    Args:
        name: "MODULE:FUNCTION"; the module is looked for where Python looks, then in the current folder.
        generator: draws the seed of torch's generator; None leaves that alone.
        image_size: height and width of the images that tell D; None takes 32.

    Raises:
        ValueError: a name that leads to no function, a function that fails or returns no module, parameters that are
            not float32, a state that is not tensors, or features of no known dimension. Names the setting.
    """
    require_name(name)
    function = _imported(name)
    with torch.random.fork_rng(devices=[], enabled=generator is not None):
        if generator is not None:
            torch.manual_seed(int(torch.randint(2**62, (), generator=generator, device="cpu")))
        try:
            encoder = function()
        except Exception as error:  # anybody's code
            raise _refused(name, f"failed with {type(error).__name__}: {error}") from error
        if not isinstance(encoder, nn.Module):
            raise _refused(name, f"must return a torch.nn.Module, returned a {type(encoder).__name__}")
        declared = getattr(encoder, FEATURE_DIM, None)
        if declared is None:
            size = PROBE_SIZE if image_size is None else image_size
            found = features_of(encoder, torch.zeros(PROBE_ROWS, 3, size, size), name)
            # By name: an attribute is a tensor or a module, as far as torch's types know.
            setattr(encoder, FEATURE_DIM, found.shape[1])
        elif type(declared) is not int or declared < 1:
            raise _refused(name, f"feature_dim must be a whole number of at least 1, got {declared!r:.60}")
    _require_trainable(encoder, name)
    return encoder


@torch.no_grad()
def features_of(encoder: nn.Module, images: Float[Tensor, "n 3 H W"], name: str) -> Float[Tensor, "n D"]:
    """What an encoder of a factory makes of images, in evaluation mode, held against what it must be.

    Raises:
        ValueError: it fails, or returns anything but finite floating features (n, D), D its ``feature_dim`` if it has
            one.
    """
    shape = tuple(images.shape)
    try:
        with evaluating(encoder):
            features = encoder(images)
    except Exception as error:  # anybody's code
        hint = "; give the module an attribute feature_dim, or set --data.image-size" if not images.any() else ""
        raise _refused(
            name, f"its module failed on images {shape} with {type(error).__name__}: {error}{hint}"
        ) from error
    if not isinstance(features, Tensor) or not features.is_floating_point():
        found = f"{features.dtype}" if isinstance(features, Tensor) else f"a {type(features).__name__}"
        raise _refused(name, f"its module must return floating features (n, D), returned {found}")
    dim = getattr(encoder, FEATURE_DIM, None)
    if (
        features.ndim != 2
        or len(features) != len(images)
        or 0 in features.shape
        or dim not in (None, features.shape[1])
    ):
        expected = f"({len(images)}, {'D' if dim is None else dim})"
        raise _refused(name, f"its module must make {expected} of images {shape}, made {tuple(features.shape)}")
    if not bool(torch.isfinite(features).all()):
        raise _refused(name, f"its module makes NaN or infinity of images {shape}")
    return features


def _imported(name: str) -> Callable[[], object]:
    module_name, _, path = name.partition(":")
    here = os.getcwd()
    if not {"", here} & set(sys.path):
        # Behind all else, so that nothing there hides what is installed; it stays, for what the module imports later.
        sys.path.append(here)
    try:
        found = importlib.import_module(module_name)
    except Exception as error:  # anybody's code
        told = f"{type(error).__name__}: {error}"
        raise _refused(name, f"{module_name} cannot be imported ({told}); it must be installed or in {here}") from error
    for part in path.split("."):
        if not hasattr(found, part):
            raise _refused(name, f"{module_name} has no {path}")
        found = getattr(found, part)
    if not callable(found):
        raise _refused(name, f"{path} must be a function, is a {type(found).__name__}")
    return found


def _require_trainable(encoder: nn.Module, name: str) -> None:
    """What the optimizer, momentum copies and checkpoints can hold."""
    for each, parameter in encoder.named_parameters():
        if parameter.dtype != torch.float32:
            raise _refused(name, f"parameters must be float32, {each} is {parameter.dtype}")
    for each, value in encoder.state_dict().items():
        if not isinstance(value, Tensor) or value.layout is not torch.strided or value.is_complex():
            raise _refused(name, f"its state must be dense real tensors, which a checkpoint can hold; {each} is not")


def _refused(name: str, why: str) -> ValueError:
    return ValueError(f"encoder.factory {name}: {why}")
