"""Parts of a network that somebody has frozen stay as they were."""

import pytest
import torch
from torch import nn

from models.devices.modes import evaluating
from models.foreign.encoder_factory import features_of


def partly_frozen():
    network = nn.Sequential(
        nn.Conv2d(3, 4, 3), nn.BatchNorm2d(4), nn.BatchNorm2d(4), nn.AdaptiveAvgPool2d(1), nn.Flatten()
    )
    network[1].eval()
    return network, [part.training for part in network.modules()]


def test_every_part_is_in_its_own_mode_again():
    network, before = partly_frozen()
    with evaluating(network):
        assert not any(part.training for part in network.modules())
    assert [part.training for part in network.modules()] == before
    with pytest.raises(ZeroDivisionError), evaluating(network):
        raise ZeroDivisionError
    assert [part.training for part in network.modules()] == before


def test_trying_somebodys_encoder_leaves_its_frozen_parts_frozen():
    network, before = partly_frozen()
    features_of(network, torch.rand(2, 3, 8, 8), "planted:encoder")
    assert [part.training for part in network.modules()] == before
    assert int(network[2].num_batches_tracked) == 0
