"""Times PyTorch, and TorchDEQ where it is there, on the equation and the sizes of `times` in fusion/tests/cuda_counts.rs.

usage: python3 examples/gpu_check.py [--cpu]

Prints one JSON object per job: one step of the map; the solve by Anderson acceleration to a relative residual of 1e-4; solve, sum of squares
and all gradients. Weights are random, of the same scale. Without a GPU it says so and does nothing; with --cpu it does the same at a small
size on the processor, which shows that it works, and no more.
"""
import json
import sys
import time

import torch
from torch import nn
from torch.nn import functional as F


class Block(nn.Module):
    """f(z; x) = GN(ReLU(GN(W ReLU(GN(V z + c)) + x + b))), four groups."""

    def __init__(self, width):
        super().__init__()
        self.hat, self.tilde = nn.Linear(width, width), nn.Linear(width, width)
        self.gn = nn.ModuleList(nn.GroupNorm(4, width) for _ in range(3))
        for linear in (self.hat, self.tilde):
            nn.init.normal_(linear.weight, std=0.7 / (2 * width) ** 0.5)
            nn.init.zeros_(linear.bias)

    def forward(self, z, x):
        hat = F.relu(self.gn[0](self.hat(z)))
        return self.gn[2](F.relu(self.gn[1](self.tilde(hat) + x)))


DEVICE = "cpu" if "--cpu" in sys.argv else "cuda"
SIZES = ((16, 32),) if DEVICE == "cpu" else ((128, 256), (612, 500), (1024, 1024))
SECONDS = 0.1 if DEVICE == "cpu" else 3


def finish():
    """Waits until the device has done all it was asked for."""
    if DEVICE == "cuda":
        torch.cuda.synchronize()


def fastest(job):
    """Milliseconds of the fastest of several runs."""
    job()
    begun, best = time.perf_counter(), float("inf")
    while time.perf_counter() - begun < SECONDS:
        finish()
        run = time.perf_counter()
        job()
        finish()
        best = min(best, time.perf_counter() - run)
    return 1e3 * best


def main():
    if DEVICE == "cuda" and not torch.cuda.is_available():
        print("PyTorch sees no GPU")
        return
    try:
        from torchdeq import get_deq
    except ImportError:
        get_deq = None
        print("torchdeq is not installed: the map alone is timed")
    for batch, width in SIZES:
        torch.manual_seed(1)
        block, x = Block(width).to(DEVICE), torch.randn(batch, width, device=DEVICE)

        def tell(job, ms, steps=1):
            line = {"system": f"torch-{torch.__version__}", "batch": batch, "width": width, "job": job, "ms": ms, "steps": steps}
            print(json.dumps(line), flush=True)

        with torch.no_grad():
            z = torch.randn(batch, width, device=DEVICE)
            tell("map", fastest(lambda: block(z, x)))
        if get_deq is None:
            continue
        deq = get_deq(f_solver="anderson", b_solver="anderson", f_max_iter=100, b_max_iter=100, f_tol=1e-4, b_tol=1e-4, ift=True)

        def solve():
            out, info = deq(lambda z: block(z, x), torch.zeros_like(x))
            return out[-1], info

        def train():
            block.zero_grad()
            solve()[0].square().sum().backward()

        deq.eval(), block.eval()
        with torch.no_grad():
            steps = int(solve()[1]["nstep"].max())
            tell("solve", fastest(solve), steps)
        deq.train(), block.train()
        tell("train", fastest(train), steps)


if __name__ == "__main__":
    main()
