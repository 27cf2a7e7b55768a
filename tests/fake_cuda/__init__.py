"""A fake CUDA device with two GPUs, for testing the CUDA path on machines without one.

``device.cpp`` makes ``torch.device("cuda", 0 or 1)`` out of host memory. Everything above the
kernels is PyTorch's own: dispatch, autograd with its device threads, autocast, ``GradScaler``.
The numbers are the CPU's, so a test can compare whole training runs with those of the CPU.

Refused, as on a GPU: operands on two devices (except numbers and indices of the host where CUDA
takes them), pinning or ``numpy()`` of device tensors, generators of the host, operations without
a CUDA kernel (only in a PyTorch built with CUDA), waiting for the device while a graph is
captured, fused Adam over moments of another device or layout, and in NCCL host tensors and
tensors of another GPU.

Graphs are operations recorded by a ``TorchDispatchMode``, backward included. They are replayed on
the memory of the capture, which is filled with NaN after it: capturing runs nothing on a GPU.

Not seen: types that a CUDA kernel lacks, races between streams, the rounding of cuDNN, cuSOLVER
and TF32, Triton, running out of memory, timeouts of NCCL.

    PYTHONPATH=tests python -m fake_cuda.run train.py ... --gpu_ids 0
"""
