"""Gradients of a loss over the whole batch in the memory of a part of it (Gao et al. 2021, arXiv 2101.06983).

A contrastive loss compares all rows of a batch, but it sees features only: the chain rule splits there. The batch is
encoded twice, in chunks. The first pass keeps features and no graph; the loss of all features gives their gradients;
the second pass encodes each chunk again, with a graph, and sends its part of those gradients back. The graph of one
chunk is alive at a time, and the gradient is exact, at the price of one more forward pass.

Exact means: that of the same chunks encoded with all graphs kept. This is the gradient of the whole batch wherever rows
do not see each other in the encoder; with batch normalization each chunk is normalized by itself.

Both passes must do the same:

- Random numbers, such as dropout's, are replayed: the second pass starts each chunk from the states that torch's
  generators had in the first, on the CPU and on GPUs. Afterwards they stand where the first pass and the loss left
  them. Generators that encode holds itself are not known here and not replayed.
- Buffers, such as running statistics of batch normalization, are put back after the first pass, so that each image
  updates them once, in the second. Whatever module encode calls is noticed by a forward hook, which records the
  module's buffers before its first call; modules that are called by .forward(...) alone are missed.
"""

from collections.abc import Callable, Sequence
from typing import Any

import torch
from jaxtyping import Float
from torch import Tensor, nn

RandomState = dict[torch.device, Tensor]


def cached_backward(
    encode: Callable[[Tensor], Tensor], chunks: Sequence[Tensor], loss_of: Callable[[Tensor], Tensor]
) -> Float[Tensor, ""]:
    """Add the gradients of loss_of(cat of encode(chunk)) to every parameter, as loss.backward() would.

    Parameters of the loss itself get theirs too. Under autocast both passes and the loss run as the caller has it, and
    the backward passes outside it, each in the precision of its forward pass.
    DistributedDataParallel averages gradients at every chunk's backward: right, but a message a chunk; to average once,
    encode with the module that it wraps and all-reduce the gradients afterwards.

    Args:
        encode: rows of a chunk to their features, (rows, ...); one result row or more an input row.
        chunks: the batch in parts, of any lengths.
        loss_of: all features, in the order of the chunks, to a scalar.

    Returns:
        The loss, detached.

    Raises:
        ValueError: no chunks; a loss that is no scalar or does not depend on the features; features that differ in
            shape between the passes.
    """
    if not len(chunks):
        raise ValueError("chunks: must hold at least one, got none")
    parts, states = _first_pass(encode, chunks)
    features = torch.cat(parts).requires_grad_()
    lengths = [len(part) for part in parts]
    del parts
    loss = loss_of(features)
    if loss.ndim != 0:
        raise ValueError(f"loss_of: must return a scalar, got shape {tuple(loss.shape)}")
    # Autocast would narrow the gradients of what the loss computes in float32 on purpose.
    plain = torch.autocast(features.device.type, enabled=False)
    if loss.requires_grad:
        with plain:
            loss.backward()
    if features.grad is None:
        raise ValueError("loss_of: the loss does not depend on the features")
    after = _random_state(features.device)
    for chunk, state, gradient in zip(chunks, states, features.grad.split(lengths)):
        _set_random_state(state)
        again = encode(chunk)
        if again.shape != gradient.shape:
            raise ValueError(
                f"encode: the second pass has features of shape {tuple(again.shape)}, the first {tuple(gradient.shape)}"
            )
        with plain:
            again.backward(gradient.to(again.dtype))
    _set_random_state(after)
    return loss.detach()


def _first_pass(encode: Callable[[Tensor], Tensor], chunks: Sequence[Tensor]) -> tuple[list[Tensor], list[RandomState]]:
    """Features of all chunks without a graph, and the random states before each; buffers are as they were."""
    recorded: dict[tuple[int, str], tuple[nn.Module, Tensor, Tensor]] = {}

    def record(module: nn.Module, _inputs: Any) -> None:
        # The parts as well: compiled modules call them without hooks.
        for owner in module.modules():
            for name, buffer in owner.named_buffers(recurse=False):
                # By name: a buffer may be replaced instead of written to.
                if (id(owner), name) not in recorded:
                    recorded[id(owner), name] = (owner, buffer, buffer.clone())

    parts, states = [], []
    hook = nn.modules.module.register_module_forward_pre_hook(record)
    try:
        with torch.no_grad():
            for chunk in chunks:
                states.append(_random_state(chunk.device))
                parts.append(encode(chunk).detach())
    finally:
        hook.remove()
        with torch.no_grad():
            for (_, name), (owner, buffer, saved) in recorded.items():
                buffer.copy_(saved)
                setattr(owner, name, buffer)
    # Autocast keeps narrowed weights. Versions of PyTorch that reuse those of a pass without a graph would cut the
    # second pass off its parameters (PyTorch issue 65766).
    torch.clear_autocast_cache()
    return parts, states


def _random_state(device: torch.device) -> RandomState:
    """States of the generators that work on ``device`` may draw from: the CPU's, and those of GPUs in use."""
    state = {torch.device("cpu"): torch.get_rng_state()}
    if torch.cuda.is_initialized():
        current = torch.device("cuda", torch.cuda.current_device())
        for gpu in {current, device if device.type == "cuda" else current}:
            state[gpu] = torch.cuda.get_rng_state(gpu)
    return state


def _set_random_state(state: RandomState) -> None:
    for device, values in state.items():
        if device.type == "cuda":
            torch.cuda.set_rng_state(values, device)
        else:
            torch.set_rng_state(values)
