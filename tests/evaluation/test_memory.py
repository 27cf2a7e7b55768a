"""What a pass needs, said beforehand; and what happens when it does not do."""

import json
import subprocess
import sys
import warnings
from pathlib import Path

import numpy as np
import pytest
import torch

from deploy.forms import Form
from errors import InputError
from evaluation import memory
from evaluation.memory import Watched
from evaluation.speed import peak_memory
from models.cost import config_values
from models.generators import GeneratorSpec
from models.layers import any_size
from models.tiles import Tiling
from runtime import machine

ROOT = Path(__file__).resolve().parents[2]
SPEC = GeneratorSpec("resnet_6blocks", 4)
CPU = torch.device("cpu")


class Narrow(torch.nn.Module):
    """A network whose passes run out of memory beyond a number of pixels."""

    def __init__(self, most: int = 10**9, error: Exception | None = None):
        super().__init__()
        self.most, self.error = most, error

    def forward(self, x):
        if x.shape[2] * x.shape[3] > self.most:
            raise self.error or torch.OutOfMemoryError("CUDA out of memory. Tried to allocate ...")
        return x


@pytest.fixture
def free(monkeypatch):
    """``free(bytes)``: what the machine says it has."""
    return lambda count: monkeypatch.setattr(memory, "free_memory", lambda device: count)


# --------------------------------------------------------------------------------------------------
# The estimate


NETWORKS = [
    (GeneratorSpec("resnet_6blocks", 16), [(256, 256), (256, 512)]),
    (GeneratorSpec("mobile_resnet_6blocks", 16), [(256, 512)]),
    (GeneratorSpec("mobile_deepest_resnet", 8), [(256, 256)]),
    (GeneratorSpec("unet_128", 16), [(256, 512)]),
]


def peaks() -> list[list[int | None]]:
    """What each of `NETWORKS` needs at each size."""
    found = []
    for spec, sizes in NETWORKS:
        net = spec.build().eval()
        form = Form("eager", True, net, 0.0, 0.0)
        found.append([])
        for height, width in sizes:
            x = torch.rand(1, 3, height, width)
            peak_memory(form, x)
            found[-1].append(peak_memory(form, x))
    return found


def test_the_estimate_is_near_what_is_measured():
    """Within a factor of 2.5 either way: the rest is what the allocator keeps. It is measured in a
    process of its own, since memory that earlier tests left is used first."""
    script = (
        f"import json, sys; sys.path[:0] = {[str(ROOT), str(Path(__file__).parent)]}\n"
        "import test_memory; print(json.dumps(test_memory.peaks()))"
    )
    done = subprocess.run([sys.executable, "-c", script], capture_output=True, text=True)
    measured = json.loads(done.stdout.splitlines()[-1])
    if measured[0][0] is None:
        pytest.skip("this system does not report peak memory")
    for (spec, sizes), found in zip(NETWORKS, measured, strict=True):
        watched = Watched(spec.build(), spec)
        for size, peak in zip(sizes, found, strict=True):
            assert 1 / 2.5 < peak / watched.bytes_of_pass(*size) < 2.5, (spec, size)


@pytest.mark.parametrize("netG", ["resnet_9blocks", "mobile_deepest_resnet", "unet_256"])
def test_the_estimate_grows_with_pixels_and_widths(netG):
    spec = GeneratorSpec(netG, 8)
    small, large = (config_values(spec.config, spec.architecture, 256, w) for w in (256, 512))
    wide = config_values(spec.config.uniform(16), spec.architecture, 256, 256)
    assert small < large <= 2 * small and small < wide < 4 * small


def test_the_estimate_of_many_configurations_at_once():
    costs = SPEC.architecture
    genes = np.array([(4,) * 8, (4, 4, 4, 200, 4, 4, 4, 4), (4, 4, 4, 4, 4, 4, 4, 16)])
    many = costs.values(costs.channels(genes), 64, 64)
    kind = SPEC.kind.config
    assert many.tolist() == [config_values(kind(tuple(g)), costs, 64, 64) for g in genes.tolist()]


def test_what_is_free(tmp_path, monkeypatch):
    path = tmp_path / "meminfo"
    path.write_text("MemTotal: 9 kB\nMemAvailable:    1234 kB\n")
    monkeypatch.setattr(machine, "MEMINFO", path)
    assert machine.free_memory(CPU) == 1234 * 1024
    path.unlink()
    assert machine.free_memory(CPU) is None
    assert machine.free_memory(torch.device("mps")) is None
    card = {"mem_get_info": (500, 900), "memory_reserved": 70, "memory_allocated": 30}
    for name, value in card.items():
        monkeypatch.setattr(torch.cuda, name, lambda device, value=value: value)
    assert machine.free_memory(torch.device("cuda")) == 540


# --------------------------------------------------------------------------------------------------
# What is said


def test_a_pass_that_does_not_fit_is_announced_with_a_tile_that_does(free):
    watched = Watched(Narrow(), SPEC)
    free(watched.bytes_of_pass(1024, 2048) - 1)
    words = "2048x1024 pixels: about .* GB.*free: give `tile`"
    with pytest.warns(UserWarning, match=words) as said:
        watched(torch.zeros(1, 3, 1024, 2048))
    assert len(said) == 1
    tile = int(str(said[0].message).split("`tile` ")[1].split()[0].rstrip(","))
    assert tile % 64 == 0 and watched.bytes_of_pass(1024, 2048, tile) <= limit(watched)
    assert watched.bytes_of_pass(1024, 2048, tile + 64) > limit(watched)
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        watched(torch.zeros(1, 3, 1024, 2048))  # once is enough
        watched(torch.zeros(1, 3, 64, 64))
        in_tiles = Watched(Narrow(), SPEC, Tiling(tile))
        assert any_size(in_tiles, torch.zeros(1, 3, 1023, 2048)).shape == (1, 3, 1023, 2048)


def limit(watched: Watched) -> float:
    return memory.SHARE * (watched.bytes_of_pass(1024, 2048) - 1)


def test_larger_images_are_announced_again(free):
    free(1)
    watched = Watched(Narrow(), SPEC)
    for side, words in ((64, "no tile is small enough"), (512, "512x512")):
        with pytest.warns(UserWarning, match=words):
            watched(torch.zeros(1, 3, side, side))


def test_a_batch_may_be_too_large_where_an_image_is_not(free):
    watched = Watched(Narrow(), SPEC)
    free(watched.bytes_of_pass(256, 256, 192) / memory.SHARE + 1)
    with pytest.warns(UserWarning, match="4 images of 256x256.*`batch_size` 1 and `tile` 192"):
        watched(torch.zeros(4, 3, 256, 256))


def test_u_nets_are_told_an_overlap_that_they_can_have(free):
    spec = GeneratorSpec("unet_128", 4)
    net = spec.build()
    watched = Watched(net, spec)
    free(watched.bytes_of_pass(1024, 1024) - 1)
    with pytest.warns(UserWarning, match="`tile` 640 `overlap` 128"):
        watched(torch.zeros(1, 3, 1024, 1024))
    Watched(net, spec, Tiling(640, 128))


def cpu_allocation_error() -> RuntimeError:
    with pytest.raises(RuntimeError) as caught:
        torch.empty(2**46)
    return RuntimeError(str(caught.value))


@pytest.mark.parametrize(
    "error",
    [torch.OutOfMemoryError("CUDA out of memory."), MemoryError(), cpu_allocation_error()],
    ids=["cuda", "python", "cpu"],
)
def test_memory_that_runs_out_ends_in_the_same_advice(error, free):
    free(None)
    watched = Watched(Narrow(512 * 512, error), SPEC)
    with pytest.raises(InputError, match=r"memory ran out.*give `tile`") as caught:
        watched(torch.zeros(1, 3, 1024, 1024))
    assert caught.value.__cause__ is caught.value.__context__ is None
    tile = int(str(caught.value).split("`tile` ")[1].split(",")[0])
    assert Watched(Narrow(), SPEC, Tiling(tile))(torch.zeros(1, 3, 1024, 1024)).shape[2] == 1024
    smaller = Watched(Narrow(0, error), SPEC, Tiling(tile))
    with pytest.raises(InputError, match=f"in tiles of {tile}: memory ran out.*give `tile`"):
        smaller(torch.zeros(1, 3, 1024, 1024))


def test_other_errors_stay_what_they_are():
    with pytest.raises(RuntimeError, match="shapes"):
        Watched(Narrow(0, RuntimeError("shapes do not fit")), SPEC)(torch.zeros(1, 3, 8, 8))
