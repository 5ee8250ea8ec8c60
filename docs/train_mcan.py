"""Trains DEQ fusion in the backbone of MCAN with PyTorch and TorchDEQ: the same model and settings as
examples/configs/generated-questions-mcan.toml, as wide as --width, to compare the time of a training step with that of `equilibria train`.

usage: python docs/train_mcan.py QUESTIONS.safetensors [--threads 2] [--epochs 20] [--width 64] [--heads 8] [--batch 64] [--rows 1000]

QUESTIONS.safetensors has `question` [n, words] with 0 as padding, `image` [n, regions, features], and `annotators` [n, 10], numbers of answers.
Prints one JSON line: the median milliseconds of a training step (outputs, loss, gradients, optimizer), the evaluations of a solve, and the last loss.
Needs: numpy, torch, torchdeq, safetensors.
"""
import argparse, json, statistics, time

import numpy as np
import torch
import torch.nn.functional as F
from safetensors.numpy import load_file
from torch import nn
from torchdeq.solver.anderson import anderson_solver

from torchdeq_fusion import SOLVE, FusionMaps, differentiated

parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
parser.add_argument("questions")
parser.add_argument("--threads", type=int, default=2)
parser.add_argument("--epochs", type=int, default=20)
parser.add_argument("--width", type=int, default=64)
parser.add_argument("--heads", type=int, default=8)
parser.add_argument("--batch", type=int, default=64)
parser.add_argument("--rows", type=int, default=1000)
options = parser.parse_args()

WIDTH, HEADS, GROUPS, LAYERS, EMBEDDING, WORDS, RATE = options.width, options.heads, 4, 2, 16, 18, 2e-3
steps = []


class StandardNorm(nn.Module):
    """a (x - mean) / (unbiased standard deviation + 1e-6) + b."""

    def __init__(self, width):
        super().__init__()
        self.weight, self.bias = nn.Parameter(torch.ones(width)), nn.Parameter(torch.zeros(width))

    def forward(self, x):
        return self.weight * (x - x.mean(-1, keepdim=True)) / (x.std(-1, keepdim=True) + 1e-6) + self.bias


class Attention(nn.Module):
    def __init__(self):
        super().__init__()
        self.query, self.key, self.value, self.merge = (nn.Linear(WIDTH, WIDTH) for _ in range(4))

    def forward(self, x, other, mask):
        split = lambda rows: rows.view(len(rows), -1, HEADS, WIDTH // HEADS).transpose(1, 2)
        q, k, v = split(self.query(x)), split(self.key(other)), split(self.value(other))
        attended = F.scaled_dot_product_attention(q, k, v, attn_mask=~mask[:, None, None, :])
        return self.merge(attended.transpose(1, 2).reshape(x.shape))


class Layer(nn.Module):
    """An attention to the own rows, one to the others' if there are any, and two maps, each with its norm."""

    def __init__(self, attentions):
        super().__init__()
        self.attention = nn.ModuleList(Attention() for _ in range(attentions))
        self.norm = nn.ModuleList(StandardNorm(WIDTH) for _ in range(attentions + 1))
        self.inner, self.outer = nn.Linear(WIDTH, 4 * WIDTH), nn.Linear(4 * WIDTH, WIDTH)

    def forward(self, x, mask, other=None, other_mask=None):
        x = self.norm[0](x + self.attention[0](x, x, mask))
        if other is not None:
            x = self.norm[1](x + self.attention[1](x, other, other_mask))
        return self.norm[-1](x + self.outer(F.relu(self.inner(x))))


class Pool(nn.Module):
    def __init__(self):
        super().__init__()
        self.inner, self.score, self.merge = nn.Linear(WIDTH, WIDTH), nn.Linear(WIDTH, 1), nn.Linear(WIDTH, WIDTH)

    def forward(self, x, mask):
        score = self.score(F.relu(self.inner(x))).squeeze(-1).masked_fill(mask, -1e9)
        return self.merge((score.softmax(-1).unsqueeze(-1) * x).sum(1))


def equilibrium(f, zero):
    """z* = f(z*), with the implicit gradient."""
    with torch.no_grad():
        z, _, information = anderson_solver(f, zero, **SOLVE)
    steps.append(float(information["nstep"].max()))
    at = z.detach().requires_grad_()
    return differentiated(f(z.detach()), at, f(at))


class DeqFusion(FusionMaps):
    """Eqs. 7-13, one equilibrium after the other, as the default `schedule` solves them."""

    def forward(self, xs):
        zero = torch.zeros_like(xs[0])
        us = [equilibrium(lambda z, theta=theta, x=x: theta(z, x), zero) for theta, x in zip(self.theta, xs)]
        return equilibrium(lambda z: self.fused(z, us, xs), zero)


class Model(nn.Module):
    def __init__(self, features, answers):
        super().__init__()
        self.embedding, self.lstm = nn.Embedding(WORDS, EMBEDDING), nn.LSTM(EMBEDDING, WIDTH, batch_first=True)
        self.image = nn.Linear(features, WIDTH)
        self.language = nn.ModuleList(Layer(1) for _ in range(LAYERS))
        self.vision = nn.ModuleList(Layer(2) for _ in range(LAYERS))
        self.pool, self.fusion = nn.ModuleList(Pool() for _ in range(2)), DeqFusion(2, WIDTH, GROUPS)
        self.norm, self.head = StandardNorm(WIDTH), nn.Linear(WIDTH, answers)

    def forward(self, words, image):
        words_mask, image_mask = words == 0, (image == 0).all(-1)
        x, y = self.lstm(self.embedding(words))[0], self.image(image)
        for layer in self.language:
            x = layer(x, words_mask)
        for layer in self.vision:
            y = layer(y, image_mask, x, words_mask)
        return self.head(self.norm(self.fusion([self.pool[0](x, words_mask), self.pool[1](y, image_mask)])))


torch.set_num_threads(options.threads)
torch.manual_seed(1)
data = load_file(options.questions)
words, image = torch.from_numpy(data["question"]).long()[: options.rows], torch.from_numpy(data["image"]).float()[: options.rows]
answers = torch.from_numpy(np.array([np.bincount(row).argmax() for row in data["annotators"]])).long()[: options.rows]
model = Model(image.shape[-1], int(answers.max()) + 1)
optimizer = torch.optim.Adam(model.parameters(), lr=RATE)
total = options.epochs * (len(words) // options.batch)
schedule = torch.optim.lr_scheduler.LinearLR(optimizer, 1.0, 1.0 / total, total)
times = []
for _ in range(options.epochs):
    for rows in torch.randperm(len(words))[: len(words) // options.batch * options.batch].split(options.batch):
        started = time.perf_counter()
        optimizer.zero_grad()
        loss = F.cross_entropy(model(words[rows], image[rows]), answers[rows])
        loss.backward()
        optimizer.step()
        schedule.step()
        times.append(time.perf_counter() - started)
print(json.dumps(dict(system=f"torchdeq-{torch.__version__}", milliseconds=round(1e3 * statistics.median(times), 2), steps=statistics.mean(steps),
                      loss=round(loss.item(), 4), threads=options.threads)))
