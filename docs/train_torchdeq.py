"""Trains DEQ fusion in the MM-Dynamics backbone with PyTorch and TorchDEQ: the same model, data and settings as
examples/configs/brca.toml, to compare wall times with `equilibria train`.

usage: python docs/train_torchdeq.py DATA_DIR [--threads 2] [--epochs 120] [--jacobian 100] [--seed 1]

Prints one JSON line: seconds of training without loading, and the test accuracy of the averaged parameters.
Needs: numpy, torch, torchdeq.
"""
import argparse, copy, json, time
from pathlib import Path

import numpy as np
import torch
import torch.nn.functional as F
from torch import nn
from torchdeq.solver.anderson import anderson_solver

from torchdeq_fusion import SOLVE, FusionMaps, differentiated

parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
parser.add_argument("data", type=Path)
parser.add_argument("--threads", type=int, default=2)
parser.add_argument("--epochs", type=int, default=120)
parser.add_argument("--jacobian", type=float, default=100.0)
parser.add_argument("--seed", type=int, default=1)
options = parser.parse_args()

WIDTH, GROUPS, BATCH, DROPOUT = 128, 4, 64, 0.5


class DeqFusion(FusionMaps):
    """Eqs. 7-13, all states iterated together."""

    def joint(self, z, xs):
        *zs, z_fuse = z.chunk(len(xs) + 1, dim=1)
        us = [theta(z, x) for theta, z, x in zip(self.theta, zs, xs)]
        return torch.cat([*us, self.fused(z_fuse, us, xs)], 1)

    def forward(self, xs):
        with torch.no_grad():
            zero = torch.zeros(len(xs[0]), (len(xs) + 1) * WIDTH)
            z, _, _ = anderson_solver(lambda z: self.joint(z, xs), zero, **SOLVE)
        if not self.training:
            return z[:, -WIDTH:], 0.0
        at = z.detach().requires_grad_()
        value = self.joint(at, xs)
        probe = torch.randn_like(value)
        penalty = torch.autograd.grad(value, at, probe, create_graph=True, retain_graph=True)[0].pow(2).mean()
        z = differentiated(self.joint(z.detach(), xs), at, value)
        return z[:, -WIDTH:], penalty


class Model(nn.Module):
    """MM-Dynamics, the fusion, and a linear classifier."""

    def __init__(self, features, classes):
        super().__init__()
        per_modality = lambda make: nn.ModuleList(map(make, features))
        self.gate, self.encoder = per_modality(lambda n: nn.Linear(n, n)), per_modality(lambda n: nn.Linear(n, WIDTH))
        self.classifier = per_modality(lambda n: nn.Linear(WIDTH, classes))
        self.confidence = per_modality(lambda n: nn.Linear(WIDTH, 1))
        self.head = nn.Linear(WIDTH, classes)
        for linear in (m for m in self.modules() if isinstance(m, nn.Linear)):
            nn.init.xavier_normal_(linear.weight), nn.init.zeros_(linear.bias)
        self.fusion = DeqFusion(len(features), WIDTH, GROUPS)

    def forward(self, xs, y=None):
        loss, scaled = 0.0, []
        for x, gate, encoder, classifier, confidence in zip(
                xs, self.gate, self.encoder, self.classifier, self.confidence):
            s = torch.sigmoid(gate(x))
            h = F.dropout(F.relu(encoder(s * x)), DROPOUT, self.training)
            c = confidence(h)
            if y is not None:
                t = classifier(h)
                truth = F.softmax(t, 1).gather(1, y[:, None])
                loss = loss + s.mean() + F.mse_loss(c, truth) + F.cross_entropy(t, y)
            scaled.append(c * h)
        z, penalty = self.fusion(scaled)
        logits = self.head(z)
        if y is None:
            return logits
        return loss + F.cross_entropy(logits, y) + options.jacobian * penalty


def load(split, count):
    read = lambda name: np.loadtxt(options.data / f"{name}_{split}.csv", delimiter=",", dtype=np.float32, ndmin=2)
    return [torch.from_numpy(read(k)) for k in range(1, count + 1)], torch.from_numpy(read("labels")[:, 0]).long()


torch.set_num_threads(options.threads)
torch.manual_seed(options.seed)
modalities = len((options.data / "modalities.csv").read_text().split("\n")) - 1
(train_x, train_y), (test_x, test_y) = load("tr", modalities), load("te", modalities)
model = Model([x.shape[1] for x in train_x], int(train_y.max()) + 1)
average = copy.deepcopy(model)
optimizer = torch.optim.Adam(model.parameters(), lr=1e-3, weight_decay=1e-4)
schedule = torch.optim.lr_scheduler.StepLR(optimizer, 90, 0.2)
started = time.perf_counter()
for _ in range(options.epochs):
    model.train()
    for rows in torch.randperm(len(train_y)).split(BATCH):
        optimizer.zero_grad()
        model([x[rows] for x in train_x], train_y[rows]).backward()
        nn.utils.clip_grad_norm_(model.parameters(), 30.0)
        optimizer.step()
        with torch.no_grad():
            for mean, new in zip(average.parameters(), model.parameters()):
                mean.lerp_(new, 0.01)
    schedule.step()
seconds = time.perf_counter() - started
average.eval()
with torch.no_grad():
    accuracy = float((average(test_x).argmax(1) == test_y).float().mean())
print(json.dumps(dict(system=f"torchdeq-{torch.__version__}", seconds=round(seconds, 2), accuracy=round(accuracy, 4),
                      epochs=options.epochs, threads=options.threads)))
