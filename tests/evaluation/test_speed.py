"""Latency: the fields that make a number comparable, and quantiles in order."""

import torch

from evaluation.speed import measure_side_by_side


class Counted(torch.nn.Conv2d):
    calls = 0

    def forward(self, x):
        self.calls += 1
        assert torch.is_inference_mode_enabled()
        return super().forward(x)


def test_fields_and_order():
    net = Counted(3, 4, 3)
    (found,) = measure_side_by_side([net], torch.zeros(2, 3, 16, 24), times=20, warmup=5)
    assert net.calls == 25
    assert 0 < found["p10_ms"] <= found["median_ms"] <= found["p90_ms"]
    assert (found["times"], found["batch"], found["height"], found["width"]) == (20, 2, 16, 24)
    assert found["device"].startswith("CPU") and found["torch"] == torch.__version__
    assert found["threads"] == torch.get_num_threads()


def test_no_more_warming_up_than_measuring():
    net = Counted(3, 4, 3)
    measure_side_by_side([net], torch.zeros(1, 3, 8, 8), times=1, warmup=10)
    assert net.calls == 2
