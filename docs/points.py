"""Farthest point sampling and ball query beside NumPy and PyTorch: 20 000 points of a room, 2048 chosen, 64 neighbors within 0.2 m.

usage: python docs/points.py [--threads 2] [--rounds 3]

Each round times both in turn, then `cargo bench -p equilibria-fusion --bench points`, on points of the same distribution; prints medians
of all rounds in milliseconds and the ratio to the faster one. Needs: numpy; torch.
"""
import argparse, json, os, statistics, subprocess, time
from pathlib import Path

import numpy as np
import torch

COUNT, CHOSEN, NEIGHBORS, RADIUS = 20_000, 2048, 64, 0.2
ROOT = Path(__file__).resolve().parent.parent


def farthest_numpy(points):
    """The numbers of the chosen points."""
    axes = np.ascontiguousarray(points.T)
    nearest, chosen = np.full(len(points), np.inf, np.float32), np.zeros(CHOSEN, np.int64)
    for place in range(1, CHOSEN):
        difference = axes - axes[:, chosen[place - 1], None]
        np.minimum(nearest, np.einsum("an,an->n", difference, difference), out=nearest)
        chosen[place] = nearest.argmax()
    return chosen


def farthest_torch(points):
    nearest, chosen = torch.full((len(points),), torch.inf), torch.zeros(CHOSEN, dtype=torch.int64)
    axes = points.T.contiguous()
    for place in range(1, CHOSEN):
        difference = axes - axes[:, chosen[place - 1], None]
        torch.minimum(nearest, difference.square_().sum(0), out=nearest)
        chosen[place] = nearest.argmax()
    return chosen


def ball_numpy(points, centers):
    """The first neighbors of each center, some centers at a time; the first of them is repeated."""
    found = []
    for part in np.array_split(centers, 32):
        square = (part**2).sum(1)[:, None] + (points**2).sum(1) - 2 * part @ points.T
        numbers = np.where(square < RADIUS**2, np.arange(len(points)), len(points))
        first = np.sort(np.partition(numbers, NEIGHBORS, axis=1)[:, :NEIGHBORS], axis=1)
        found.append(np.where(first == len(points), first[:, :1], first))
    return np.concatenate(found)


def ball_torch(points, centers):
    found, count = [], len(points)
    numbers = torch.arange(count, dtype=torch.int32)
    for part in centers.chunk(32):
        inside = torch.where(torch.cdist(part, points) < RADIUS, numbers, count)
        first = inside.topk(NEIGHBORS, dim=1, largest=False).values
        found.append(torch.where(first == count, first[:, :1], first))
    return torch.cat(found)


def milliseconds(job):
    start = time.perf_counter()
    result = job()
    return 1e3 * (time.perf_counter() - start), result


def ours(threads):
    """Medians of this repository's bench, by name."""
    command = ["cargo", "bench", "-q", "-p", "equilibria-fusion", "--bench", "points", "--", "farthest|ball"]
    subprocess.run(command, cwd=ROOT, check=True, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL, env=os.environ | {"RAYON_NUM_THREADS": str(threads)})
    target = Path(os.environ.get("CARGO_TARGET_DIR", ROOT / "target"))
    read = lambda name: json.loads((target / "criterion" / "points" / name / "new" / "estimates.json").read_text())
    return {name: read(name)["median"]["point_estimate"] / 1e6 for name in ("farthest-point-sampling", "ball-query")}


def main():
    parser = argparse.ArgumentParser()
    parser.add_argument("--threads", type=int, default=2)
    parser.add_argument("--rounds", type=int, default=3)
    options = parser.parse_args()
    torch.set_num_threads(options.threads)
    points = np.tanh(np.random.default_rng(1).standard_normal((COUNT, 3))).astype(np.float32) * np.float32([2, 2, 1])
    tensor, times = torch.from_numpy(points), {}
    add = lambda system, job, time: times.setdefault(job, {}).setdefault(system, []).append(time)
    for _ in range(options.rounds):
        spent, chosen = milliseconds(lambda: farthest_numpy(points))
        add("NumPy", "farthest-point-sampling", spent)
        spent, same = milliseconds(lambda: farthest_torch(tensor))
        add("PyTorch", "farthest-point-sampling", spent)
        assert (chosen == same.numpy()).mean() > 0.9, "both choose the same points but for rounding"
        centers = points[chosen]
        spent, found = milliseconds(lambda: ball_numpy(points, centers))
        add("NumPy", "ball-query", spent)
        spent, same = milliseconds(lambda: ball_torch(tensor, tensor[torch.from_numpy(chosen)]))
        add("PyTorch", "ball-query", spent)
        assert (found == same.numpy()).mean() > 0.99, "both find the same neighbors but for rounding"
        for job, spent in ours(options.threads).items():
            add("equilibria", job, spent)
    print(f"| ms, {options.threads} threads | equilibria | NumPy {np.__version__} | PyTorch {torch.__version__} | ratio |\n| --- | --- | --- | --- | --- |")
    for job, systems in times.items():
        own, *peers = (statistics.median(systems[name]) for name in ("equilibria", "NumPy", "PyTorch"))
        print(f"| {job} | {own:.1f} | {peers[0]:.1f} | {peers[1]:.1f} | {min(peers) / own:.1f} |")


if __name__ == "__main__":
    main()
