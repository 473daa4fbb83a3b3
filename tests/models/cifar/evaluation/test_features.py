import numpy as np
import pytest
import torch
from torch import nn

from models.cifar.evaluation.features import encode_set
from models.heads import HeadConfig, build_head

INDUCTIVE = ["none", "linear", "mlp", "batchformer"]
TRANSDUCTIVE = ["transfusion", "deepfusion", "reluformer"]


def images(count=10):
    return torch.from_numpy(np.random.default_rng(0).integers(0, 256, (count, 3, 4, 4), dtype=np.uint8))


def as_float(batch):
    return batch.float() / 255.0


def networks(kind):
    torch.manual_seed(0)
    encoder = nn.Sequential(nn.Conv2d(3, 4, 3), nn.BatchNorm2d(4), nn.Dropout(0.5), nn.ReLU(), nn.Flatten())
    head = build_head(HeadConfig(kind=kind, width=8, out_dim=5, depth=2, num_heads=2, batch_norm=kind == "mlp"), 16)
    # Running statistics that a few batches have moved, so that evaluation is not the identity.
    for module in (*encoder.modules(), *head.modules()):
        if isinstance(module, nn.BatchNorm1d | nn.BatchNorm2d):
            module.running_mean.normal_()
            module.running_var.uniform_(0.5, 2.0)
    return encoder, head


def encode(kind, batch_size, pixels=None, **options):
    encoder, head = networks(kind)
    pixels = images() if pixels is None else pixels
    return encode_set(encoder, head, pixels, options.get("view", as_float), batch_size, "cpu")


@pytest.mark.parametrize("kind", INDUCTIVE + TRANSDUCTIVE)
def test_features_are_the_encoders_image_by_image(kind):
    encoder, head = networks(kind)
    encoder.eval(), head.eval()
    with torch.no_grad():
        expected = torch.cat([encoder(as_float(image[None])) for image in images()])
    torch.testing.assert_close(encode(kind, 4)["h"], expected)


@pytest.mark.parametrize("kind", INDUCTIVE)
@pytest.mark.parametrize("batch_size", [1, 3, 10, 64])
def test_embeddings_of_single_rows_do_not_depend_on_batches_or_order(kind, batch_size):
    encoder, head = networks(kind)
    encoder.eval(), head.eval()
    with torch.no_grad():
        expected = torch.cat([head(encoder(as_float(image[None]))).embeddings for image in images()])
    torch.testing.assert_close(encode(kind, batch_size)["z"], expected)
    order = torch.from_numpy(np.random.default_rng(1).permutation(10))
    torch.testing.assert_close(encode(kind, batch_size, images()[order])["z"], expected[order])


@pytest.mark.parametrize("kind", TRANSDUCTIVE)
def test_batches_of_transductive_heads_all_have_the_same_size(kind):
    """10 images in batches of 4: rows 0-3, 4-7, and 8-9 as the last two of 6-9."""
    encoder, head = networks(kind)
    encoder.eval(), head.eval()
    with torch.no_grad():
        h = encoder(as_float(images()))
        parts = [head(h[:4]).embeddings, head(h[4:8]).embeddings, head(h[6:]).embeddings[2:]]
        short = head(h[8:]).embeddings
    found = encode(kind, 4)
    torch.testing.assert_close(found["z"], torch.cat(parts))
    assert found["z"].shape[0] == 10
    assert (found["z"][8:] - short).abs().max() > 1e-4, "a last batch of two would be another result"
    torch.testing.assert_close(encode(kind, 5)["z"][5:], encode(kind, 5, images()[5:])["z"])


def test_modes_are_restored_part_by_part_and_nothing_is_learned():
    encoder, head = networks("mlp")
    encoder.train(), head.eval()
    encoder[1].eval()
    state = {name: value.clone() for name, value in encoder.state_dict().items()}
    modes = [part.training for part in (*encoder.modules(), *head.modules())]
    found = encode_set(encoder, head, images(), as_float, 4, "cpu")
    assert [part.training for part in (*encoder.modules(), *head.modules())] == modes
    assert not found["h"].requires_grad
    assert not found["z"].requires_grad
    for name, value in encoder.state_dict().items():
        assert torch.equal(value, state[name])


def test_modes_are_restored_after_an_error():
    encoder, head = networks("linear")
    encoder.train(), head.train()

    def broken(batch):
        assert not encoder.training
        raise RuntimeError("no view")

    with pytest.raises(RuntimeError, match="no view"):
        encode_set(encoder, head, images(), broken, 4, "cpu")
    assert encoder.training
    assert head.training
    assert encoder[1].training


def test_views_see_uint8_batches_in_order():
    seen = []

    def view(batch):
        seen.append(batch)
        return as_float(batch)

    encode("linear", 4, view=view)
    assert [len(batch) for batch in seen] == [4, 4, 2]
    assert torch.equal(torch.cat(seen), images())


@pytest.mark.usefixtures("as_users_call")
class TestRefusals:
    @pytest.mark.parametrize("pixels", [images().float(), images()[0], images()[:0]])
    def test_images(self, pixels):
        with pytest.raises(ValueError, match="images: expected uint8 of shape"):
            encode("linear", 4, pixels)

    def test_batch_sizes(self):
        with pytest.raises(ValueError, match="batch_size: must be a whole number of at least 1"):
            encode("linear", 0)
        with pytest.raises(ValueError, match=r"batch_size: must lie in \[1, 10\]"):
            encode("transfusion", 11)
        assert len(encode("transfusion", 10)["z"]) == 10

    def test_views_and_encoders(self):
        with pytest.raises(ValueError, match="view: must return one row an image, got 8 for 4"):
            encode("linear", 4, view=lambda batch: as_float(torch.cat([batch, batch])))
        head = networks("linear")[1]
        with pytest.raises(ValueError, match=r"encoder: must return features \(4, d_h\)"):
            encode_set(nn.Identity(), head, images(), as_float, 4, "cpu")
