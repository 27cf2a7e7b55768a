"""What the fake device must refuse and must not: python -m fake_cuda.run -m pytest checks.py"""

import copy
import io

import pytest
import torch
import torch.nn.functional as F
from torch import nn

from fake_cuda.build import load

DEVICE = torch.device("cuda", 0)


def net() -> nn.Sequential:
    torch.manual_seed(0)
    return nn.Sequential(
        nn.ReflectionPad2d(1),
        nn.Conv2d(3, 4, 3),
        nn.InstanceNorm2d(4),
        nn.ReLU(True),
        nn.ConvTranspose2d(4, 3, 3, 2, 1, 1),
        nn.Dropout(0.5),
        nn.Tanh(),
    )


REFUSED = {
    "two devices": lambda x: x + torch.rand(2, 3, 8, 8),
    "two GPUs": lambda x: x + x.to("cuda:1"),
    "weights on the host": lambda x: net()(x),
    "cat": lambda x: torch.cat([x, x.cpu()]),
    "numpy": lambda x: x.numpy(),
    "pinning device memory": lambda x: x.pin_memory(),
    "generator of the host": lambda x: torch.rand(2, device=DEVICE, generator=torch.Generator()),
    "storage of the host": lambda x: x.set_(torch.rand(2).untyped_storage()),
    "no such device": lambda x: x.to("cuda:2"),
    "where": lambda x: torch.where(x > 0, x, torch.zeros(8)),
    "index_select": lambda x: x.index_select(0, torch.tensor([0])),
    "gather": lambda x: x.gather(0, torch.zeros(1, 3, 8, 8, dtype=torch.long)),
    "in place": lambda x: x.mul_(torch.rand(8)),
    "output on the host": lambda x: torch.add(x, x, out=torch.empty(2, 3, 8, 8)),
}


@pytest.mark.parametrize("what", REFUSED)
def test_refused(what):
    with pytest.raises((RuntimeError, TypeError)):
        REFUSED[what](torch.rand(2, 3, 8, 8).to(DEVICE))


ALLOWED = {
    "a number of the host": lambda x: x * torch.tensor(2.0),
    "indices of the host": lambda x: x[:, torch.tensor([0, 1])],
    "copy_ between devices": lambda x: x.copy_(torch.rand(2, 3, 8, 8)),
    "pinning host memory": lambda x: torch.rand(4).pin_memory().to(DEVICE, non_blocking=True),
    "deepcopy": lambda x: copy.deepcopy(nn.BatchNorm2d(3).to(DEVICE))(x),
    "save": lambda x: torch.save(x, io.BytesIO()),
    "eigenvalues": lambda x: torch.linalg.eigvalsh(torch.eye(3, device=DEVICE).double()),
    "a number minus a tensor": lambda x: (1 - x).mean(),
}


@pytest.mark.parametrize("what", ALLOWED)
def test_allowed(what):
    ALLOWED[what](torch.rand(2, 3, 8, 8).to(DEVICE))


@pytest.mark.parametrize("amp", [None, torch.bfloat16])
def test_a_step_is_that_of_the_cpu(amp):
    def step(device):
        n = net().to(device)
        optimizer = torch.optim.Adam(n.parameters(), fused=True)
        torch.manual_seed(1)
        x = torch.rand(2, 3, 8, 8).to(device)
        with torch.autocast(device.type, torch.bfloat16, enabled=amp is not None):
            y = n(x)
        F.mse_loss(y.float(), torch.zeros_like(y, dtype=torch.float32)).backward()
        optimizer.step()
        return [p.detach().cpu() for p in n.parameters()]

    for a, b in zip(step(DEVICE), step(torch.device("cpu")), strict=True):
        torch.testing.assert_close(a, b, rtol=0, atol=0 if amp is None else 2e-3)


def test_graphs():
    stream, x = torch.cuda.Stream(DEVICE), torch.ones(2, device=DEVICE)
    w, out = nn.Parameter(torch.ones(2, device=DEVICE)), []

    def f():
        loss = (x * w).square().sum()
        loss.backward()
        out.append(loss.detach())

    graph = torch.cuda.CUDAGraph()
    with torch.cuda.graph(graph, stream=stream):
        f()
    assert torch.isnan(out[0])  # captured, not run
    graph.replay()
    assert out[0] == 2 and w.grad.sum() == 4
    x.fill_(2)
    graph.replay()
    assert out[0] == 8
    waiting = (
        lambda: x.sum().item(),
        lambda: x.nonzero(),
        lambda: x.cpu(),
        lambda: x.copy_(torch.ones(2)),
        lambda: x[x > 0],
    )
    for wait in waiting:
        again = torch.cuda.graph(torch.cuda.CUDAGraph(), stream=stream)
        with pytest.raises(RuntimeError, match="capturing"), again:
            wait()


def test_memory_and_waiting_are_counted():
    counts = load()
    torch.cuda.synchronize()
    before = torch.cuda.memory_allocated()
    x = torch.zeros(1 << 20, device=DEVICE)
    assert torch.cuda.memory_allocated() - before == 4 << 20
    y = x + 1
    assert counts.pending() > 0
    syncs = counts.syncs()
    y.sum().item()
    assert counts.pending() == 0 and counts.syncs() == syncs + 1
    del x, y
    assert torch.cuda.memory_allocated() == before
    assert torch.cuda.max_memory_allocated() >= before + (8 << 20)


def test_an_operation_without_a_cuda_kernel_is_refused():
    if not load().built_with_cuda():
        pytest.skip("a PyTorch without CUDA does not know which kernels CUDA has")
    with pytest.raises(NotImplementedError):
        torch.ops.aten._mkldnn_transpose(torch.rand(2, 2, device=DEVICE), 0, 1)
