#!/usr/bin/env bash
# TorchDEQ 0.1.0 (torch 2.15.0): with ift=True the gradient depends on the scale of the loss. The adjoint solve starts from 0 and stops
# at an absolute 1e-6 by default, so where the cotangent itself is smaller, as after a mean over many rows, its first step is taken for
# the solution: what comes back is the gradient of one application of f, and nothing says so.
# Seen, relative error of dL/dW divided by the scale: 2.4e-08 at scale 1, 2.5e-04 at 1e-4, 4.5e-02 at 1e-6, 3.6e-01 at 1e-7.
set -euo pipefail
folder=$(mktemp -d); trap 'rm -rf "$folder"' EXIT
python3 -m venv "$folder/venv"
"$folder/venv/bin/pip" install --quiet torch==2.15.0 torchdeq==0.1.0 numpy==2.4.6
"$folder/venv/bin/python" - <<'PYTHON'
import torch
from torchdeq import get_deq

torch.manual_seed(0)
torch.set_default_dtype(torch.float64)
weight = torch.randn(16, 16)
weight = (0.9 * weight / torch.linalg.matrix_norm(weight, 2)).requires_grad_()
x, v = torch.randn(8, 16), torch.randn(8, 16)
f = lambda z: torch.tanh(z @ weight.T + x)


def gradient(z, scale=1.0):
    return torch.autograd.grad(scale * (z * v).sum(), weight)[0] / scale


z = torch.zeros(8, 16)
for _ in range(1000):
    z = f(z)
exact, one_step = gradient(z), gradient(f(z.detach()))
distance = lambda a, b: float((a - b).norm() / b.norm())
errors = {}
for scale in (1.0, 1e-4, 1e-6, 1e-7):
    deq = get_deq(ift=True, f_tol=1e-10, f_max_iter=400, b_max_iter=400).train()
    states, info = deq(f, torch.zeros(8, 16))
    assert float(info["abs_lowest"].max()) < 1e-10
    last = gradient(states[-1], scale)
    errors[scale] = distance(last, exact)
    print(f"scale {scale:.0e}: relative error {errors[scale]:.1e}")
assert errors[1.0] < 1e-6 and errors[1e-6] > 1e-2 and errors[1e-7] > 0.1
assert distance(last, one_step) < 1e-6, "at 1e-7 it is no longer the gradient of one application"
PYTHON
