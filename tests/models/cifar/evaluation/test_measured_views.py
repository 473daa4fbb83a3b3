"""What is measured of views is measured of such views as the epoch was trained on: a head of another size's features
has other affinities."""

from dataclasses import replace

import pytest
import torch

from models.cifar.data.views import ViewConfig, evaluation_view, make_view, make_views
from models.cifar.evaluation.epoch_measures import VIEW_SEED, measure_epoch
from models.cifar.evaluation.measure import affinity_report
from models.cifar.evaluation.strengths import embed_strengths
from models.cifar.training.state import new_learner
from models.cifar.training.train import fit
from tests.models.cifar.tiny import CPU, three_colors, tiny

SMALL = (4, 4)


@pytest.fixture
def seen():
    """Height of what every encoder is given in evaluation mode, in order."""
    heights = []

    def note(module, given):
        if type(module).__name__ == "Encoder" and not module.training:
            heights.append(given[0].shape[-1])

    hook = torch.nn.modules.module.register_module_forward_pre_hook(note)
    yield heights
    hook.remove()


def test_a_trainings_measurements_have_the_size_of_its_views(seen, tmp_path):
    splits = three_colors()
    options = tiny(epochs=2, view_sizes=(4, 6), monitor=False, advise_every=1, advise_strengths=(0.0, 1.0))
    fit(options, splits, CPU, tmp_path)
    # Two views and the images themselves, then strengths 0 and 1 in two batches each.
    assert seen == [4] * 7 + [6] * 7


def test_neighbours_and_measurements_without_a_size_are_of_whole_images(seen):
    splits, learner = three_colors(), new_learner(tiny())
    measure_epoch(learner, splits, ViewConfig(), CPU, 1, 8, 12, monitor=True, size=SMALL)
    assert set(seen[:-3]) == {8}
    assert seen[-3:] == [4, 4, 4]
    seen.clear()
    measure_epoch(learner, splits, ViewConfig(), CPU, 1, 8, 12, monitor=False)
    assert seen == [8, 8, 8]


def test_affinities_are_those_of_the_small_views():
    splits, learner, view = three_colors(), new_learner(tiny()), ViewConfig()
    found = measure_epoch(learner, splits, view, CPU, 1, 8, 12, monitor=False, size=SMALL)
    part = splits.validation
    draws = [torch.Generator().manual_seed(VIEW_SEED + i) for i in range(2)]
    learner.eval()
    with torch.no_grad():
        views = make_views(part.images, view, draws, SMALL)
        output = learner.head(torch.cat([learner.encoder(each) for each in views]), views=2, trace=True)
    expected = affinity_report(output, part.labels.repeat(2), views=2)
    assert {row["view_height"] for row in (*found.layers, found.columns)} == {4}
    assert sharpness(found.layers) == sharpness(expected)
    whole = measure_epoch(learner, splits, view, CPU, 1, 8, 12, monitor=False)
    assert {row["view_height"] for row in (*whole.layers, whole.columns)} == {8}
    assert sharpness(whole.layers) != sharpness(found.layers)


def sharpness(rows):
    return [row["sharpness"] for row in rows]


def test_strengths_are_embedded_at_a_size():
    part, view, learner = three_colors().validation, ViewConfig(), new_learner(tiny())
    small = embed_strengths(learner.encoder, part, view, (0.0, 1.0), 12, CPU, size=SMALL)
    still = make_views(part.images, replace(view, strength=0.0), [torch.Generator()], SMALL)[0]
    with torch.no_grad():
        expected = learner.encoder.eval()(still)
    assert torch.equal(torch.as_tensor(small.embeddings), expected)


def test_views_of_strength_0_are_the_images_themselves():
    part, view = three_colors().validation, ViewConfig(strength=0.0)
    assert torch.equal(make_view(part.images, view, torch.Generator()), evaluation_view(part.images, view))
