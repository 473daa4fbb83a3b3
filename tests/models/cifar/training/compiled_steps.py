"""Steps of trainings, plain and compiled, as JSON: python -m tests.models.cifar.training.compiled_steps NAME ...

In a process of its own, because the tests check the types of all arguments, and a tensor that is traced has another.
What turns graphs into code is not of this project: here graphs run as they were traced, and are counted.
"""

import json
import sys
from dataclasses import replace

import torch

from models.cifar.benchmark.pipelines import random_images
from models.cifar.methods.settings import METHODS, MoCoFeatureTransform, SupCon
from models.cifar.training.config import TrainConfig
from models.cifar.training.state import start
from models.cifar.training.train import compile_networks, make_batch, training_step
from models.devices import compiler
from tests.stand_in.steps import IMAGES, configuration

CASES = {
    **{name: configuration(name, None, "small") for name in METHODS},
    "supcon, unnormalized": configuration(SupCon(normalize=False), None, "small"),
    "moco_ft, union": configuration(MoCoFeatureTransform(queue_size=13, symmetric=True, union=True), None, "small"),
}
SETTINGS = ("compile", "compile_step")


def trained(config: TrainConfig, steps: int = 3) -> tuple[list[float], list[torch.Tensor]]:
    """Losses of some steps, and the state after them; the views change their size, as view_sizes has them do."""
    device = torch.device("cpu")
    state, found = start(config, device), []
    compile_networks(config, state.learner)
    state.learner.train()
    for step in range(steps):
        images = random_images(IMAGES, 8 if step < 2 else 12)
        found.append(training_step(state, state.learner, make_batch(config, images, torch.arange(IMAGES), step, step)))
    kept = [each.detach().double() for each in state.learner.state_dict().values()]
    return [float(each.loss) for each in found], kept


def compared(config: TrainConfig) -> dict:
    """Losses and the largest difference of the state, and how many operations are in graphs, by setting."""
    graphs: list[int] = []

    def backend(graph: torch.fx.GraphModule, inputs: list) -> object:
        graphs.append(sum(node.op.startswith("call") for node in graph.graph.nodes))
        return graph.forward

    compiler.BACKEND = backend
    losses, weights = trained(config)
    found = {"losses": losses, "operations without": sum(graphs)}
    for setting in SETTINGS:
        graphs.clear()
        torch.compiler.reset()
        own, kept = trained(replace(config, **{setting: True}))
        differences = [float((a - b).abs().max()) for a, b in zip(kept, weights, strict=True) if a.numel()]
        found[setting] = {"losses": own, "difference": max(differences), "operations": sum(graphs)}
    return found


if __name__ == "__main__":
    torch.set_num_threads(1)
    print(json.dumps({name: compared(CASES[name]) for name in sys.argv[1:]}))
