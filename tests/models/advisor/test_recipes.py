"""The recipes of models/advisor/README.md are ten lines of Python, and the one that needs nothing else runs."""

import ast
import re
from pathlib import Path

import numpy as np
import torch

from models.advisor.inputs.arrays import MemoryLimit
from models.advisor.inputs.features import Sources, load_features

TEXT = (Path(__file__).parents[3] / "models/advisor/README.md").read_text()
RECIPES = re.findall(r"```python\n(.*?)```", TEXT, flags=re.DOTALL)


def test_recipes_are_short_and_whole():
    assert len(RECIPES) == 4
    for recipe in RECIPES:
        ast.parse(recipe)
        assert sum(bool(line) and "import" not in line for line in recipe.splitlines()) <= 10


def test_the_plain_one_runs(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    images, labels = torch.randn(12, 1, 4, 4), torch.arange(12) % 3
    data = torch.utils.data.TensorDataset(images, labels)
    names = {"model": torch.nn.Conv2d(1, 2, 3), "loader": torch.utils.data.DataLoader(data, batch_size=5)}
    exec(RECIPES[0], names)
    found = load_features(Sources(Path("features.npy"), Path("labels.npy")), MemoryLimit(0.01))
    assert found.embeddings.shape == (12, 8)
    np.testing.assert_array_equal(found.classes, labels)
    np.testing.assert_allclose(found.embeddings, names["model"](images).flatten(1).detach(), rtol=1e-5)
