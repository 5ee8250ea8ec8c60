"""DEQ fusion in PyTorch, with the parameter names of `model.safetensors`, and a run folder made by it.

usage: python docs/pytorch_exchange.py OUT_DIR [--dtype float32] [--seed 1]

Writes `model.safetensors` (the state dict, with the metadata `equilibria evaluate` and `predict` ask for), the test rows
`1_te.npy` and `2_te.npy`, and `outputs.safetensors`: `features.K`, `fused` and `logits` of these rows. So

    equilibria predict OUT_DIR --data OUT_DIR --out FILE.csv

predicts what PyTorch does. The other way: build `Model` for the metadata `config` and `columns` of a trained
`model.safetensors`, and `model.load_state_dict(safetensors.torch.load_file(path))`.
Needs: numpy, safetensors, torch.
"""
import argparse, json
from pathlib import Path

import numpy as np
import torch
from safetensors.torch import load_file, save_file
from torch import nn
from torch.nn import functional as F


def numbered(modules):
    """Modules in order, named from 1."""
    return nn.ModuleDict({str(k): module for k, module in enumerate(modules, start=1)})


class Theta(nn.Module):
    """f_theta of one modality, eq. 8."""

    def __init__(self, width, groups):
        super().__init__()
        self.hat, self.tilde = nn.Linear(width, width), nn.Linear(width, width)
        self.gn1, self.gn2, self.gn3 = (nn.GroupNorm(groups, width) for _ in range(3))

    def forward(self, z, x):
        hat = F.relu(self.gn1(self.hat(z)))
        return self.gn3(F.relu(self.gn2(self.tilde(hat) + x)))


class Fuse(nn.Module):
    """f_fuse, eqs. 9-11, and the weights w of eq. 12."""

    def __init__(self, width, modalities, groups):
        super().__init__()
        self.alpha, self.fuse = nn.Linear(width, width), nn.Linear(width, width)
        self.gn = nn.GroupNorm(groups, width)
        self.w = nn.Parameter(torch.ones(modalities))

    def forward(self, z, states, x_fuse):
        purified = sum(self.alpha(z + state) * z for state in states)
        return self.gn(F.relu(self.fuse(purified) + x_fuse))


def rest(f, like):
    """The fixed point of f that plain iteration reaches from 0, eq. 14."""
    z = torch.zeros_like(like)
    for _ in range(1000):
        last, z = z, f(z)
        if (z - last).norm() <= 1e-14 * z.norm():
            return z
    raise RuntimeError("no fixed point in 1000 steps")


class DeqFusion(nn.Module):
    def __init__(self, width, modalities, groups):
        super().__init__()
        self.theta = numbered(Theta(width, groups) for _ in range(modalities))
        self.fuse = Fuse(width, modalities, groups)

    def forward(self, x):
        x_fuse = sum(w * x for w, x in zip(self.fuse.w, x))
        states = [rest(lambda z: f(z, x), x) for f, x in zip(self.theta.values(), x)]
        return rest(lambda z: self.fuse(z, states, x_fuse), x_fuse)


class Encoder(nn.Module):
    """The backbone `encoder`, without its dropout."""

    def __init__(self, columns, width):
        super().__init__()
        self.encoder = numbered(nn.Linear(features, width) for features in columns)

    def forward(self, x):
        return [F.relu(encoder(x)) for encoder, x in zip(self.encoder.values(), x)]


class Model(nn.Module):
    def __init__(self, columns, classes, width, groups):
        super().__init__()
        self.backbone = Encoder(columns, width)
        self.fusion = DeqFusion(width, len(columns), groups)
        self.head = nn.Linear(width, classes)


def main():
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("out", type=Path)
    parser.add_argument("--dtype", choices=["float32", "float64"], default="float32")
    parser.add_argument("--seed", type=int, default=1)
    options = parser.parse_args()
    options.out.mkdir(parents=True, exist_ok=True)
    torch.manual_seed(options.seed)
    dtype = getattr(torch, options.dtype)

    width, groups, columns, classes, rows = 8, 2, [3, 2], ["a", "b", "c"], 6
    model = Model(columns, len(classes), width, groups).to(dtype)
    with torch.no_grad():
        for name, parameter in model.named_parameters():
            # Nothing stays at a special value such as a bias of 0; linear maps inside the equilibria stay small.
            if parameter.dim() == 2 and name.startswith("fusion"):
                parameter.normal_(0, 0.05)
            else:
                parameter.add_(0.2 * torch.randn_like(parameter))
    stop = {"tolerance": {"relative": 3e-7 if dtype == torch.float32 else 1e-14}, "max_evaluations": 200}
    config = {
        "dtype": {torch.float32: "f32", torch.float64: "f64"}[dtype],
        "data": {"type": "folder"},
        "backbone": {"type": "encoder", "hidden": width},
        "fusion": {"type": "deq", "groups": groups, "layer": {"type": "residual-block", "groups": groups}, "stop": stop},
        "training": {"epochs": 1, "batch": 2, "optimizer": {"type": "adam"}},
    }
    scaling = {"modalities": [[{"minimum": 0.0, "range": 1.0}] * features for features in columns]}
    metadata = {"config": config, "columns": columns, "classes": classes, "scaling": scaling}
    metadata = {key: json.dumps(value) for key, value in metadata.items()}
    path = options.out / "model.safetensors"
    save_file(model.state_dict(), path, metadata)
    model.load_state_dict(load_file(path))

    x = [torch.randn(rows, features, dtype=dtype) for features in columns]
    for k, table in enumerate(x, start=1):
        np.save(options.out / f"{k}_te.npy", table.numpy())
    # Whatever the dtype of the parameters, outputs are exact to double precision.
    model = model.double()
    with torch.no_grad():
        features = model.backbone([table.double() for table in x])
        fused = model.fusion(features)
        outputs = {f"features.{k}": feature for k, feature in enumerate(features, start=1)}
        outputs |= {"fused": fused, "logits": model.head(fused)}
    save_file(outputs, options.out / "outputs.safetensors")


if __name__ == "__main__":
    main()
