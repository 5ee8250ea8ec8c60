#!/usr/bin/env bash
# TorchDEQ 0.1.0 (torch 2.15.0): get_deq(args, **kwargs) writes the keyword arguments into the dict or Namespace it is given. Two models
# that share their arguments share each other's overrides: the second one below asks for nothing and is differentiated implicitly.
# Seen: the dict {'f_tol': 0.0001} is {'f_tol': 0.0001, 'ift': True} afterwards; relative difference of the gradients of get_deq(args)
# before and after 5.0e-01.
set -euo pipefail
folder=$(mktemp -d); trap 'rm -rf "$folder"' EXIT
python3 -m venv "$folder/venv"
"$folder/venv/bin/pip" install --quiet torch==2.15.0 torchdeq==0.1.0 numpy==2.4.6
"$folder/venv/bin/python" - <<'PYTHON'
import torch
from torchdeq import get_deq

args = {"f_tol": 1e-4}


def gradient():
    """dz*/dw of z = w z + 1 at w = 0.5, where z* = 2: 4 in truth, 2 by one application."""
    w = torch.tensor(0.5, requires_grad=True)
    states, _ = get_deq(args).train()(lambda z: w * z + 1, torch.zeros(1, 1))
    states[-1].sum().backward()
    return float(w.grad)


before = gradient()
get_deq(args, ift=True)
after = gradient()
print(args, before, after, f"{abs(after - before) / after:.1e}")
assert args == {"f_tol": 1e-4, "ift": True}
assert abs(before - 2) < 1e-2 and abs(after - 4) < 1e-2
PYTHON
