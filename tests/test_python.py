"""The surface for Python and notebooks: gan_compression.py."""

import numpy as np
import pytest
import torch
from PIL import Image

import gan_compression as gc
from errors import InputError
from models.generators import GeneratorSpec, count_parameters
from models.layers import init_weights
from models.weights import save_network


def saved(path, netG="resnet_6blocks", **kwargs):
    torch.manual_seed(0)
    spec = GeneratorSpec(netG, **({"ngf": 4} | kwargs))
    save_network(init_weights(spec.build(), gain=0.2), path, spec)
    return path


@pytest.fixture
def pairs(tmp_path):
    """Six pairs of 32x32 in ``val``."""
    (tmp_path / "maps" / "val").mkdir(parents=True)
    random = np.random.default_rng(0)
    for index in range(6):
        pixels = random.integers(0, 256, (32, 64, 3), dtype=np.uint8)
        Image.fromarray(pixels).save(tmp_path / "maps" / "val" / f"{index}.png")
    return tmp_path / "maps"


def test_the_surface_is_small_and_documented():
    assert len(gc.__all__) <= 10
    assert all(getattr(gc, name).__doc__ for name in gc.__all__)


@pytest.mark.parametrize("suffix", [".pth", ".safetensors"])
def test_a_picture_in_a_picture_out(tmp_path, suffix):
    generator = gc.load_generator(saved(tmp_path / "net_G.pth"))
    again = gc.load_generator(gc.save(generator, tmp_path / f"again{suffix}"))
    pixels = np.random.default_rng(1).integers(0, 256, (21, 34, 3), dtype=np.uint8)
    picture = Image.fromarray(pixels)
    picture.save(tmp_path / "in.png")
    made = gc.translate(again, tmp_path / "in.png")
    assert made.size == (34, 21) and made.mode == "RGB"
    assert np.array_equal(made, gc.translate(generator, picture))
    x = torch.from_numpy(pixels).permute(2, 0, 1)[None] / 127.5 - 1
    expected = gc.translate(generator, x)
    assert expected.shape == (1, 3, 21, 34)
    shown = torch.from_numpy(np.asarray(made)).permute(2, 0, 1)[None]
    assert ((expected + 1) * 127.5 - shown).abs().max() <= 1


@pytest.mark.parametrize("bits", [8, 16])
def test_a_picture_is_taken_as_its_file_is(tmp_path, bits):
    """Turned upright, and of 16 bits if it has them."""
    generator, exif = gc.load_generator(saved(tmp_path / "net_G.pth")), Image.Exif()
    exif[0x0112] = 6
    values = np.random.default_rng(1).integers(0, 2**bits, (12, 20), dtype=f"uint{bits}")
    Image.fromarray(values).save(tmp_path / "in.png", exif=exif)
    made = gc.translate(generator, Image.open(tmp_path / "in.png"))
    assert made.size == (12, 20)
    assert np.array_equal(made, gc.translate(generator, tmp_path / "in.png"))


def test_grey_pictures(tmp_path):
    path = saved(tmp_path / "net_G.pth", input_nc=1, output_nc=1)
    made = gc.translate(gc.load_generator(path), Image.new("RGB", (16, 12), (10, 200, 30)))
    assert made.mode == "L" and made.size == (16, 12)


def test_a_supernet_is_cut_and_costs_what_its_subnet_has(tmp_path):
    path = saved(tmp_path / "net_G.pth", "super_mobile_resnet_9blocks", ngf=8)
    supernet = gc.load_generator(path)
    small = gc.cut(supernet, "4_8_4_8_4_8_4_4")
    found = gc.cost(small, 64)
    assert found.parameters == count_parameters(small.net)
    assert found.exact_macs < found.macs < gc.cost(supernet, 64).macs
    assert gc.cost(small, 64, 128).macs == 2 * found.macs
    assert str(small) == "sub_mobile_resnet_9blocks 4_8_4_8_4_8_4_4"
    with pytest.raises(InputError, match="`config`"):
        gc.cut(supernet)
    with pytest.raises(InputError, match="no supernet"):
        gc.cut(small, "4_4_4_4_4_4_4_4")
    # A bare file of such shapes may be either.
    torch.save(supernet.net.state_dict(), tmp_path / "bare.pth")
    bare = gc.load_generator(tmp_path / "bare.pth", supernet=True)
    x = torch.rand(1, 3, 16, 16)
    cut = gc.cut(bare, "4_8_4_8_4_8_4_4")
    assert torch.equal(gc.translate(cut, x), gc.translate(small, x))


def test_measures_are_those_of_test(tmp_path, pairs):
    generator = gc.load_generator(saved(tmp_path / "net_G.pth"))
    how = dict(size=32, features="random", fid_dims=64, direction="BtoA")
    found = gc.evaluate({"one": generator, "two": generator}, pairs, **how)
    assert found["one"]["n"] == 6 and found["one"]["fid"] == pytest.approx(found["two"]["fid"])
    assert {"kid", "l1_real", "psnr", "ssim"} <= set(found["one"])
    assert gc.evaluate({"one": generator}, pairs, images=4, **how)["one"]["n"] == 4


@pytest.mark.parametrize(
    ("setting", "value", "words"),
    [
        ("direction", "btoa", "`direction` btoa: give AtoB or BtoA"),
        ("features", "Random", "`fid_features` Random: give inception or random"),
        ("fid_dims", 100, "`fid_dims` 100: give one of 64, 192, 768, 2048"),
        ("images", 0, "`images` 0: give 1 or more"),
        ("images", -3, "`images` -3: give 1 or more"),
        ("device", "cuda", "`device` cuda: PyTorch .* does not find a CUDA GPU here"),
        ("device", "gpu", "`device` gpu: give one of cpu, cuda, mps, xpu"),
        ("device", "cpu:1", "`device` cpu:1: there is no such device, PyTorch finds 1"),
    ],
)
def test_a_wrong_word_is_no_measure(tmp_path, pairs, monkeypatch, setting, value, words):
    monkeypatch.setattr(torch.cuda, "is_available", lambda: False)
    how = dict(size=32, features="random", fid_dims=64) | {setting: value}
    with pytest.raises(InputError, match=words):
        gc.evaluate({}, pairs, **how)


@pytest.mark.parametrize("setting", [{"direction": "btoa"}, {"device": "gpu"}])
def test_a_wrong_word_starts_no_compression(tmp_path, pairs, setting):
    (tmp_path / "maps" / "val").rename(tmp_path / "maps" / "train")
    with pytest.raises(InputError, match=r"`(direction|device)`"):
        gc.compress(pairs, tmp_path / "out", **setting)
    assert not (tmp_path / "out").exists()


def test_what_is_wrong_is_said(tmp_path):
    with pytest.raises(InputError, match=r"net_G\.pth: no such file"):
        gc.load_generator(tmp_path / "net_G.pth")
    with pytest.raises(InputError, match=r"holds no evaluations\.jsonl"):
        gc.searched(tmp_path)
    generator = gc.load_generator(saved(tmp_path / "net_G.pth"))
    with pytest.raises(InputError, match=r"\.safetensors"):
        gc.save(generator, tmp_path / "net.bin")


def test_large_pictures_in_tiles(tmp_path):
    generator = gc.load_generator(saved(tmp_path / "net_G.pth"))
    x = torch.rand(1, 3, 70, 150) * 2 - 1
    whole = gc.translate(generator, x)
    assert torch.equal(gc.translate(generator, x, tile=152, overlap=16), whole)
    made = gc.translate(generator, x, tile=64, overlap=16)
    assert made.shape == whole.shape and not torch.equal(made, whole)
    exact = gc.translate(generator, x, tile=128, overlap=60, tile_norm="exact")
    assert (exact - whole).abs().max() <= 1e-4
    with pytest.raises(InputError, match="`tile` 65"):
        gc.translate(generator, x, tile=65)
