"""Maps of an outside crate (examples/maps) for TorchDEQ: writes their weights, and times them.

usage: python docs/maps.py write FOLDER            one safetensors file for each map and size, float32
       python docs/maps.py torchdeq FOLDER [--seconds 0.3] [--threads 2] [--only NAME]

The second prints a JSON object a line, as `equilibria-maps FOLDER` does: medians of a solve from 0 to a relative tolerance of 1e-4 by
Anderson's method (TorchDEQ's own memory, 6), and of that with the mean of squares and all gradients by the implicit function theorem.
Needs: numpy, safetensors; torch, torchdeq.
"""
import argparse, json, statistics, sys, time
from pathlib import Path

import numpy as np
from safetensors.numpy import load_file, save_file

SIZES = [(1, 128), (32, 64), (64, 128), (128, 256), (612, 500)]
GROUPS, MODALITIES, TOKENS, TOLERANCE = 4, 2, 2, 1e-4


def linear(rng, name, outputs, inputs, gain=0.7):
    bound = gain / np.sqrt(inputs)
    return {f"{name}.weight": rng.uniform(-bound, bound, (outputs, inputs)), f"{name}.bias": rng.uniform(-bound, bound, (1, outputs))}


def norm(rng, name, width):
    return {f"{name}.weight": 1 + 0.1 * rng.standard_normal((1, width)), f"{name}.bias": 0.1 * rng.standard_normal((1, width))}


def residual(rng, prefix, d):
    t = {}
    for name in ("hat", "tilde"):
        t |= linear(rng, prefix + name, d, d)
    for name in ("gn1", "gn2", "gn3"):
        t |= norm(rng, prefix + name, d)
    return t


def fuse(rng, prefix, d):
    return linear(rng, prefix + "alpha", d, d) | linear(rng, prefix + "fuse", d, d) | norm(rng, prefix + "gn", d)


def weights(rng, name, d):
    """Parameters of a map, and the widths of its inputs."""
    if name == "tanh":
        return linear(rng, "w", d, d) | {"u": linear(rng, "u", d, d)["u.weight"]}, [d]
    if name in ("residual", "masked"):
        return residual(rng, "", d), [d] * (1 if name == "residual" else 2)
    if name == "fuse":
        return fuse(rng, "", d), [d, d]
    if name == "joint":
        t = fuse(rng, "fuse.", d)
        for i in range(MODALITIES):
            t |= residual(rng, f"theta.{i + 1}.", d)
        return t, [d] * (MODALITIES + 1)
    if name == "identity":
        return {}, [d]
    if name == "gated":
        return linear(rng, "a", d, d) | linear(rng, "b", d, d), [d]
    if name == "mlp":
        return linear(rng, "up", 2 * d, d) | linear(rng, "down", d, 2 * d) | norm(rng, "norm", d), [d]
    w = d // TOKENS
    t = norm(rng, "norm", w)
    for part in ("query", "key", "value", "out"):
        t |= linear(rng, part, w, w)
    return t, [d]


NAMES = ("tanh", "residual", "masked", "fuse", "joint", "identity", "gated", "mlp", "attention")


def write(folder):
    folder.mkdir(parents=True, exist_ok=True)
    for name in NAMES:
        for batch, d in SIZES:
            rng = np.random.default_rng(batch * 7919 + d)
            tensors, widths = weights(rng, name, d)
            for index, width in enumerate(widths):
                tensors[f"input.{index}"] = rng.standard_normal((batch, width))
            if name == "masked":
                tensors["input.1"] = (rng.random((batch, d)) > 0.2) / 0.8
            tensors = {key: np.ascontiguousarray(value, dtype=np.float32) for key, value in tensors.items()}
            save_file(tensors, folder / f"map_{name}_b{batch}_d{d}.safetensors")


def in_torch(name, t, x):
    """The map in PyTorch, of the state alone, and the width of the state."""
    import torch
    import torch.nn.functional as F
    d = x[0].shape[1]
    lin = lambda z, key: F.linear(z, t[key + ".weight"], t[key + ".bias"][0])
    gn = lambda z, key: F.group_norm(z, GROUPS, t[key + ".weight"][0], t[key + ".bias"][0])
    ln = lambda z, key: F.layer_norm(z, z.shape[-1:], t[key + ".weight"][0], t[key + ".bias"][0])

    def block(z, x, prefix="", mask=None):
        hat = F.relu(gn(lin(z, prefix + "hat"), prefix + "gn1"))
        hat = hat if mask is None else hat * mask
        return gn(F.relu(gn(lin(hat, prefix + "tilde") + x, prefix + "gn2") + z), prefix + "gn3")

    def fused(z, total, x, n, prefix=""):
        purified = lin(z + total / n, prefix + "alpha") * n * z
        return gn(F.relu(lin(purified, prefix + "fuse") + x), prefix + "gn")

    def joint(z):
        parts = z.split(d, 1)
        u = [block(parts[i], x[i], f"theta.{i + 1}.") for i in range(MODALITIES)]
        return torch.cat([*u, fused(parts[-1], sum(u), x[-1], MODALITIES, "fuse.")], 1)

    def attention(z):
        tokens = z.view(len(z), TOKENS, -1)
        mixed = F.scaled_dot_product_attention(lin(tokens, "query"), lin(tokens, "key"), lin(tokens, "value"))
        return ln(lin(mixed, "out") + x[0].view_as(tokens), "norm").reshape(z.shape)

    maps = {
        "tanh": lambda z: torch.tanh(lin(z, "w") + F.linear(x[0], t["u"])),
        "residual": lambda z: block(z, x[0]),
        "masked": lambda z: block(z, x[0], mask=x[1]),
        "fuse": lambda z: fused(z, x[0], x[1], MODALITIES),
        "joint": joint,
        "identity": lambda z: x[0] + 0 * z,
        "gated": lambda z: 0.5 * z * torch.sigmoid(lin(z, "a") + x[0]) + 0.5 * torch.tanh(lin(z, "b") + x[0]),
        "mlp": lambda z: ln(lin(F.gelu(lin(z, "up")), "down") + x[0], "norm"),
        "attention": attention,
    }
    return maps[name], d * (MODALITIES + 1 if name == "joint" else 1)


def median(job, seconds):
    job()
    start, times = time.perf_counter(), []
    while len(times) < 3 or time.perf_counter() - start < seconds:
        begin = time.perf_counter()
        job()
        times.append(time.perf_counter() - begin)
    return statistics.median(times) * 1e3


def torchdeq(folder, options):
    import torch
    from torchdeq import get_deq
    torch.set_num_threads(options.threads)
    for path in sorted(folder.glob("map_*.safetensors")):
        if options.only not in path.stem:
            continue
        tensors = {key: torch.tensor(value, requires_grad=True) for key, value in load_file(path).items()}
        x = [tensors[f"input.{i}"] for i in range(len(tensors)) if f"input.{i}" in tensors]
        map_, width = in_torch(path.stem.split("_")[1], tensors, x)
        tol = dict(f_tol=TOLERANCE, b_tol=TOLERANCE, f_max_iter=100, b_max_iter=100, f_stop_mode="rel", b_stop_mode="rel")
        deq = get_deq(f_solver="anderson", b_solver="anderson", ift=True, **tol)
        start = torch.zeros(len(x[0]), width)

        def solve():
            with torch.no_grad():
                return deq(map_, start)

        def train():
            z, _ = deq(map_, start)
            z[-1].square().mean().backward()

        print(json.dumps({"map": path.stem, "path": "torchdeq", "solve_ms": median(solve, options.seconds),
                          "train_ms": median(train, options.seconds)}), flush=True)


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("job", choices=["write", "torchdeq"])
    parser.add_argument("folder", type=Path)
    parser.add_argument("--seconds", type=float, default=0.3)
    parser.add_argument("--threads", type=int, default=2)
    parser.add_argument("--only", default="")
    options = parser.parse_args()
    write(options.folder) if options.job == "write" else torchdeq(options.folder, options)
