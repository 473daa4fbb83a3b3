"""The blocks of models/foreign/README.md run, and do what the page says."""

import ast
import re
from pathlib import Path

import pytest
import torch

from models.cifar.training.checkpoint import CHECKPOINT

TEXT = (Path(__file__).parents[3] / "models/foreign/README.md").read_text()
BLOCKS = dict(re.findall(r"## ([^\n]*)\n(?:(?!\n## ).)*?```python\n(.*?)```", TEXT, flags=re.DOTALL))


def run(title, monkeypatch, folder):
    monkeypatch.setattr("tempfile.tempdir", str(folder))
    torch.manual_seed(0)
    names = {}
    for node in ast.parse(BLOCKS[title]).body:
        exec(ast.get_source_segment(BLOCKS[title], node), names)
    return names


def test_there_is_one_block_under_every_heading():
    headings = re.findall(r"^## (.*)", TEXT, flags=re.MULTILINE)
    assert headings == [*BLOCKS, "What users of other libraries look for"]
    assert len(BLOCKS) == TEXT.count("```python") == 6


@pytest.mark.parametrize("title", ["A plain loop", "A module for Lightning"])
def test_losses_fall(title, monkeypatch, tmp_path):
    losses = run(title, monkeypatch, tmp_path)["losses"]
    assert len(losses) == 10
    assert losses[-1] < losses[0] - 0.2


def test_a_head_with_attention_hands_over_its_affinity(monkeypatch, tmp_path):
    found = run("A head with attention, and its own affinity", monkeypatch, tmp_path)
    found["loss"].backward()
    assert all(each.grad is not None for each in found["head"].query_key.parameters())
    assert torch.equal(found["embeddings"], found["head"].embed(found["backbone"](found["views"]), views=2))


def test_the_queue_fills(monkeypatch, tmp_path):
    found = run("A queue of negatives", monkeypatch, tmp_path)
    assert len(found["queue"]) == 256
    assert torch.isfinite(found["loss"])


def test_features_are_advised_on(monkeypatch, tmp_path):
    found = run("Features of any model into the advisor", monkeypatch, tmp_path)
    assert found["features"].shape == (200, 192)
    assert 0.0 <= found["threshold"] < 1.0
    assert any("threshold" in line for line in found["lines"])


def test_images_are_trained_on(monkeypatch, tmp_path):
    found = run("Your images and your encoder in the trainer", monkeypatch, tmp_path)
    assert found["state"].epoch == 1
    assert len(list(tmp_path.glob(f"*/{CHECKPOINT}"))) == 1
