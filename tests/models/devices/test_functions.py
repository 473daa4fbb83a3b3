"""Functions whose forward keeps its signature."""

import inspect

import torch

from models.devices.functions import signed


class Twice(torch.autograd.Function):
    @staticmethod
    def setup_context(ctx, inputs, output):
        ctx.factor = inputs[1]

    @staticmethod
    def forward(x, factor=2.0):
        return x * factor

    @staticmethod
    def backward(ctx, gradient):
        return gradient * ctx.factor, None


def test_calls_and_signature_are_as_before():
    before = inspect.signature(Twice.forward)
    assert signed(Twice) is Twice
    assert Twice.forward.__signature__ == before == inspect.signature(Twice.forward)
    x = torch.tensor(3.0, requires_grad=True)
    assert torch.autograd.grad(Twice.apply(x), x)[0] == 2.0
    assert torch.autograd.grad(Twice.apply(x, 5.0), x)[0] == 5.0
    assert torch.func.grad(Twice.apply)(x) == 2.0
