"""Layers beside the code of their authors: writes weights, inputs and solutions, times that code, and compares.

usage: python docs/originals.py write FOLDER CHECKOUTS                     one safetensors file for each layer and size
       python docs/originals.py time FOLDER CHECKOUTS [--seconds 0.3] [--threads 2] [--only NAME]
       python docs/originals.py compare FOLDER CHECKOUTS PROGRAM [--rounds 5]

CHECKOUTS holds the repositories `monotone_op_net` and `deq` of locuslab and `IGNN` of SwiftieH, from which modules and solvers are
imported as they are; nothing of them is here. What they import and do not need is replaced by empty modules, and functions that
PyTorch has dropped by their successors. PROGRAM is `equilibria-maps`, built in release mode.

A file has parameters under the names of the authors, inputs, and, from 64-bit numbers and a tolerance of 1e-10, the equilibrium `z` and
the gradients `grad.*` of its mean of squared differences from a random `target`. The second job prints a JSON object a line, as
`equilibria-maps FOLDER` does: medians of a solve from 0 to 1e-4, by the criterion of the code that is timed, and of that with all
gradients; and relative errors beside the file. The third runs both in turn, several times, and prints medians and ratios as a table.
Needs: numpy, safetensors, scipy; torch.
"""
import argparse, importlib, json, statistics, subprocess, sys, time, types
from pathlib import Path

import numpy as np
import torch
from safetensors import safe_open
from safetensors.numpy import save_file
from torch import nn

TOLERANCE, REFERENCE, BUDGET = 1e-4, 1e-10, 300
IMPLICIT = {"type": "implicit"}


def module(checkouts, repository, folder, name, extra=()):
    """A module of a checkout. Repositories share names such as `utils`: those of the one before are forgotten."""
    shared = {"utils", "train", "mon", "functions", "layers", "normalization", "splitting", "lib", "models", "mdeq_core"}
    for loaded in [key for key in sys.modules if key.split(".")[0] in shared]:
        del sys.modules[loaded]
    root = checkouts / repository
    sys.path[:] = [str(root / folder), *(str(root / path) for path in extra)] + [path for path in sys.path if str(checkouts) not in path]
    for _ in range(40):
        try:
            return importlib.import_module(name)
        except ModuleNotFoundError as error:
            # What is not installed is not needed for a layer.
            empty = types.ModuleType(error.name)
            anything = lambda *arguments, **options: arguments[0] if arguments else None
            empty.__path__, empty.__getattr__ = [], lambda attribute: anything
            sys.modules[error.name] = empty
    raise ImportError(name)


torch.solve = lambda right, matrix: (torch.linalg.solve(matrix, right), None)


class Rows:
    """A layer of the authors with parameters and inputs of a file; states in rows as the file has them."""

    def __init__(self, net, tensors, dtype):
        self.net, self.dtype = net.to(dtype), dtype
        self.inputs = [torch.tensor(tensors[f"input.{i}"]).to(dtype) for i in range(sum(key.startswith("input.") for key in tensors))]
        self.target = torch.tensor(tensors["target"]).to(dtype)
        self.parameters = {name: p for name, p in net.named_parameters() if name in tensors}
        with torch.no_grad():
            for name, parameter in self.parameters.items():
                parameter.copy_(torch.tensor(tensors[name]).reshape(parameter.shape))

    def solve(self):
        with torch.no_grad():
            return self.rows(self.equilibrium())

    def train(self):
        self.net.zero_grad(set_to_none=True)
        z = self.rows(self.equilibrium())
        (z - self.target).square().mean().backward()
        return z

    def gradients(self):
        return {f"grad.{name}": parameter.grad.numpy() for name, parameter in self.parameters.items()}


class MonDeq(Rows):
    """By Peaceman-Rachford splitting, as in the authors' notebook, with the step that their search by halves finds."""

    def __init__(self, checkouts, config, tensors, dtype, tolerance):
        path = ("monotone_op_net", ".")
        mon, splitting = module(checkouts, *path, "mon"), module(checkouts, *path, "splitting")
        state, features = tensors["U.weight"].shape
        super().__init__(mon.MONSingleFc(features, state, m=config["margin"]), tensors, dtype)
        budget = BUDGET if tolerance == TOLERANCE else 100 * BUDGET
        self.deq = splitting.MONPeacemanRachford(self.net, mon.MONReLU(), tol=tolerance, max_iter=budget)
        steps = {}
        for power in range(8):
            self.deq.alpha = 0.5 ** power
            self.solve()
            steps[self.deq.alpha] = self.deq.stats.fwd_iters.val
        self.deq.alpha = min(steps, key=steps.get)

    @staticmethod
    def state(config, tensors):
        return len(tensors["A.weight"])

    def equilibrium(self):
        return self.deq(self.inputs[0])[0]

    def rows(self, z):
        return z

    @staticmethod
    def case(checkouts, rng, batch, features, state, margin):
        path = checkouts / "monotone_op_net" / "mnist_fc_model_trained.pt"
        if state == 87:
            # The authors' model of MNIST, and images with as many dark pixels, scaled as theirs.
            trained = torch.load(path, map_location="cpu", weights_only=True)
            tensors = {name: trained[f"mon.linear_module.{name}"].numpy() for name in ("U.weight", "U.bias", "A.weight", "B.weight")}
            x = rng.random((batch, features)) * (rng.random((batch, features)) < 0.19)
            x = (x - 0.1307) / 0.3081
        else:
            draw = lambda *shape: rng.uniform(-1, 1, shape) / np.sqrt(shape[-1])
            tensors = {"U.weight": draw(state, features), "U.bias": draw(state)}
            tensors |= {"A.weight": draw(state, state), "B.weight": draw(state, state)}
            x = rng.standard_normal((batch, features))
        tensors["input.0"] = x
        config = {"type": "mondeq", "margin": margin, "splitting": "peaceman-rachford", "alpha": 1.0}
        return tensors, config, {"type": "picard"}, IMPLICIT


class Ignn(Rows):
    """Graphs as one union, whose adjacency matrix is sparse; plain iteration, to a largest change of the tolerance times the largest entry
    of what is injected, Ω U A or the gradient: the 3e-6 of the authors is coarser for a mean and finer for a state. Their projection of
    W at every call is left out: it belongs to the optimizer."""

    def __init__(self, checkouts, config, tensors, dtype, tolerance):
        path = ("IGNN", "graphclassification")
        layers, functions = module(checkouts, *path, "layers"), sys.modules["functions"]
        self.nodes, self.width = config["nodes"], config["width"]
        super().__init__(layers.ImplicitGraph(config["features"], self.width, self.nodes, kappa=None), tensors, dtype)
        u, a = (x.unflatten(1, (self.nodes, -1)) for x in self.inputs)
        self.batch, self.there = len(u), (a.abs().sum(2) > 0).flatten()
        union = torch.block_diag(*a)[self.there][:, self.there]
        self.u, self.a = u.flatten(0, 1)[self.there].T.contiguous(), union.to_sparse_coo().coalesce()
        iterate = functions.ImplicitFunction.inn_pred
        scaled = lambda w, x, a, b, phi, **options: iterate(w, x, a, b, phi, tol=tolerance * float(b.abs().max()), **options)
        functions.ImplicitFunction.inn_pred = staticmethod(scaled)

    @staticmethod
    def state(config, tensors):
        return config["nodes"] * config["width"]

    def equilibrium(self):
        return self.net(None, self.a, self.u, torch.relu, fw_mitr=10 * BUDGET, bw_mitr=10 * BUDGET)

    def rows(self, z):
        rows = z.new_zeros(self.batch * self.nodes, self.width)
        rows[self.there] = z.T
        return rows.reshape(self.batch, -1)

    @staticmethod
    def case(checkouts, rng, batch, nodes, width, features):
        adjacency, u = np.zeros((batch, nodes, nodes)), np.zeros((batch, nodes, features))
        for graph in range(batch):
            # Sizes of the molecules of MUTAG, 10 to 28; a tree with some rings.
            count = nodes if batch == 1 else rng.integers(10, nodes + 1)
            a = np.eye(count)
            links = [(node, rng.integers(max(0, node - 3), node)) for node in range(1, count)]
            links += [tuple(rng.integers(0, count, 2)) for _ in range(count // 4)]
            for i, j in links:
                a[i, j] = a[j, i] = 1
            root = np.sqrt(a.sum(1))
            adjacency[graph, :count, :count] = a / np.outer(root, root)
            u[graph, :count] = rng.standard_normal((count, features))
        bound = 1 / np.sqrt(width)
        w, omega = rng.uniform(-bound, bound, (width, width)), rng.uniform(-bound, bound, (width, features))
        w *= np.minimum(1, 0.9 / np.abs(w).sum(1, keepdims=True))
        tensors = {"W": w, "Omega_1": omega, "input.0": u.reshape(batch, -1), "input.1": adjacency.reshape(batch, -1)}
        config = {"type": "ignn", "nodes": nodes, "width": width, "features": features, "normalize": False, "edge_gradients": False}
        return tensors, config, {"type": "anderson"}, IMPLICIT


class Deq(Rows):
    """What repository `deq` has in common: a map, a solver forward and one for the adjoint."""

    def solvers(self, checkouts, tolerance, forward, backward):
        found = module(checkouts, "deq", ".", "lib.solvers")
        exact = tolerance < TOLERANCE
        pick = lambda name: picard if exact else lambda f, start: getattr(found, name)(f, start, threshold=40, eps=tolerance)["result"]
        self.forward, self.backward = pick(forward), pick(backward)

    def equilibrium(self):
        f = self.map()
        with torch.no_grad():
            z = self.forward(f, self.start())
        if not torch.is_grad_enabled():
            return z
        z = z.requires_grad_()
        after = f(z)
        adjoint = lambda v: self.backward(lambda u: torch.autograd.grad(after, z, u, retain_graph=True)[0] + v, torch.zeros_like(v))
        # A node of its own, so that the products of the adjoint solve do not pass through the hook again.
        out = after.clone()
        out.register_hook(adjoint)
        return out


def picard(f, z):
    """Plain iteration to a relative change of the tolerance of references."""
    for _ in range(100 * BUDGET):
        after = f(z)
        if (after - z).norm() <= REFERENCE * after.norm():
            return after
        z = after
    raise ArithmeticError("plain iteration does not converge: these weights are too large")


class Transformer(Deq):
    """Anderson's method forward, Broyden's for the adjoint, as the scripts for WikiText-103 have it."""

    def __init__(self, checkouts, config, tensors, dtype, tolerance):
        models = module(checkouts, "deq", "DEQ-Sequence", "models.deq_transformer", ["."])
        d, heads = config["width"], config["heads"]
        net = nn.Module()
        net.inject_conv = nn.Conv1d(d, 3 * d, kernel_size=1)
        net.func = models.RelPartialLearnableDecoderLayer(heads, d, d // heads, config["inner"], 0.0, pre_lnorm=False)
        super().__init__(net, tensors, dtype)
        self.tokens, self.width = config["tokens"], d
        self.places = models.PositionalEmbedding(d)(torch.arange(self.tokens - 1, -1, -1.0)).to(dtype)
        self.x = self.inputs[0].unflatten(1, (self.tokens, d)).transpose(1, 2).contiguous()
        self.solvers(checkouts, tolerance, "anderson", "broyden")

    @staticmethod
    def state(config, tensors):
        return config["tokens"] * config["width"]

    def start(self):
        return torch.zeros_like(self.x)

    def map(self):
        u, before = self.net.inject_conv(self.x), self.x[:, :, :0]
        return lambda z: self.net.func(z, u, before, self.places)

    def rows(self, z):
        return z.transpose(1, 2).flatten(1)

    @staticmethod
    def case(checkouts, rng, batch, tokens, width, heads, inject, own, out, forward):
        draw = lambda gain, outputs, inputs: gain * rng.standard_normal((outputs, inputs)) / np.sqrt(inputs)
        bias = lambda outputs: 0.1 * rng.standard_normal(outputs)
        part = "func.dec_attn."
        tensors = {
            "inject_conv.weight": draw(inject, 3 * width, width), "inject_conv.bias": bias(3 * width),
            part + "qkv_net.weight": draw(own, 3 * width, width), part + "r_net.weight": draw(own, width, width),
            part + "r_w_bias": bias((1, width)), part + "r_r_bias": bias((1, width)),
            part + "o_net.weight": draw(out, width, width), part + "o_net.bias": bias(width),
        }
        for name, outputs, inputs in (("ff1", 4 * width, width), ("ff2", width, 4 * width)):
            tensors |= {f"func.pos_ff.{name}_net.weight": draw(forward, outputs, inputs), f"func.pos_ff.{name}_net.bias": bias(outputs)}
        tensors["input.0"] = rng.standard_normal((batch, tokens * width))
        config = {"type": "transformer", "tokens": tokens, "width": width, "features": width, "heads": heads, "inner": 4 * width}
        return tensors, config, {"type": "anderson"}, IMPLICIT


class Mdeq(Deq):
    """Broyden's method forward and for the adjoint, as the configurations for CIFAR-10 have it; without weight norm and dropout."""

    def __init__(self, checkouts, config, tensors, dtype, tolerance):
        core = module(checkouts, "deq", "MDEQ-Vision/lib/models", "mdeq_core", ["MDEQ-Vision/lib", "."])
        core.DEQ_EXPAND, core.NUM_GROUPS = config["expansion"], config["groups"]
        channels, side = config["channels"], config["side"]
        net = core.MDEQModule(2, core.BasicBlock, [1, 1], channels, [0, 0], dropout=0.0)
        super().__init__(net, tensors, dtype)
        self.shapes = [(channels[0], side, side), (channels[1], side // 2, side // 2)]
        self.into, self.parts = core.list2vec, core.vec2list
        self.x = [self.inputs[0].unflatten(1, self.shapes[0]), self.inputs[0].new_zeros(len(self.inputs[0]), *self.shapes[1])]
        self.solvers(checkouts, tolerance, "broyden", "broyden")

    @staticmethod
    def state(config, tensors):
        return 5 * config["channels"][0] * config["side"] ** 2 // 4

    def start(self):
        return self.into([torch.zeros_like(x) for x in self.x])

    def map(self):
        return lambda z: self.into(self.net(self.parts(z, self.shapes), self.x))

    def rows(self, z):
        return z[:, :, 0]

    @staticmethod
    def case(checkouts, rng, batch, channels, side, expansion, groups, gain):
        names, c = {}, channels
        conv = lambda outputs, inputs, k, size=1: size * rng.standard_normal((outputs, inputs * k * k)) / np.sqrt(inputs * k * k)
        norm = lambda width, size: (size * (1 + 0.1 * rng.standard_normal(width)), 0.1 * rng.standard_normal(width))

        def add(name, weight, norm_name, size):
            names[name + ".weight"] = weight
            names[norm_name + ".weight"], names[norm_name + ".bias"] = norm(len(weight), size)

        for i in range(2):
            block = f"branches.{i}.blocks.0."
            add(block + "conv1", conv(expansion * c, c, 3), block + "gn1", 1)
            # The injected image is the larger part at the higher resolution, and what comes from there at the lower one, where no
            # image is: else norms keep the state as large as it is, and the map does not contract.
            add(block + "conv2", conv(c, expansion * c, 3, gain), block + "gn2", 1)
            names[block + "gn3.weight"], names[block + "gn3.bias"] = norm(c, gain if i else 1)
            add(f"post_fuse_layers.{i}.conv", conv(c, c, 1), f"post_fuse_layers.{i}.gnorm", gain)
        add("fuse_layers.0.1.net.conv", conv(c, c, 1), "fuse_layers.0.1.net.gnorm", gain)
        add("fuse_layers.1.0.net.0.conv", conv(c, c, 3), "fuse_layers.1.0.net.0.gnorm", 1)
        names["input.0"] = rng.standard_normal((batch, c * side * side))
        config = {"type": "mdeq", "channels": [c, c], "side": side, "expansion": expansion, "groups": groups}
        return names, config, {"type": "anderson"}, IMPLICIT


KINDS = {"mondeq": MonDeq, "ignn": Ignn, "transformer": Transformer, "mdeq": Mdeq}
CASES = {
    "mondeq_784to87_b128": (128, 784, 87, 1.0),
    "mondeq_784to256_b128": (128, 784, 256, 0.1),
    "ignn_28nodes_w32_b1": (1, 28, 32, 32),
    "ignn_28nodes_w32_b32": (32, 28, 32, 32),
    "ignn_300nodes_w32_b1": (1, 300, 32, 32),
    "transformer_32x64_h4_b8": (8, 32, 64, 4, 1, 0.3, 3, 0.3),
    "transformer_64x128_h4_b8": (8, 64, 128, 4, 1, 0.3, 3, 0.3),
    "mdeq_2x24x8x8_b32": (32, 24, 8, 5, 8, 0.3),
    "mdeq_2x24x16x16_b32": (32, 24, 16, 5, 8, 0.3),
}


def write(options):
    options.folder.mkdir(parents=True, exist_ok=True)
    # The transformer rounds scores to 32 bits where it masks them: not so in references.
    torch.Tensor.float = lambda tensor: tensor
    for name, sizes in CASES.items():
        if options.only not in name:
            continue
        kind, rng = KINDS[name.split("_")[0]], np.random.default_rng(7)
        tensors, config, solver, backward = kind.case(options.checkouts, rng, *sizes)
        tensors["target"] = rng.standard_normal((sizes[0], kind.state(config, tensors)))
        tensors = {key: np.ascontiguousarray(value, dtype=np.float32) for key, value in tensors.items()}
        layer = kind(options.checkouts, config, tensors, torch.float64, REFERENCE)
        z = layer.train().detach().numpy()
        results = {"z": z, **layer.gradients()}
        for key, value in results.items():
            like = tensors.get(key.removeprefix("grad."), value)
            tensors[key] = np.ascontiguousarray(value.reshape(like.shape), dtype=np.float32)
        metadata = {"layer": json.dumps(config), "solver": json.dumps(solver), "backward": json.dumps(backward)}
        save_file(tensors, options.folder / f"{name}.safetensors", metadata=metadata)


def distance(a, b):
    return float(np.linalg.norm(a - b) / np.linalg.norm(b))


def median(job, seconds):
    job()
    start, times = time.perf_counter(), []
    while not times or time.perf_counter() - start < seconds:
        begin = time.perf_counter()
        job()
        times.append(time.perf_counter() - begin)
    return statistics.median(times) * 1e3


def timed(options):
    torch.set_num_threads(options.threads)
    for path in sorted(options.folder.glob("*.safetensors")):
        if options.only not in path.stem:
            continue
        with safe_open(path, "numpy") as file:
            tensors, config = {key: file.get_tensor(key) for key in file.keys()}, json.loads(file.metadata()["layer"])
        layer = KINDS[path.stem.split("_")[0]](options.checkouts, config, tensors, torch.float32, TOLERANCE)
        error = distance(layer.train().detach().numpy(), tensors["z"])
        flat = lambda gradients: np.concatenate([value.ravel() for _, value in sorted(gradients.items())])
        gradients = layer.gradients()
        off = distance(flat(gradients), flat({key: tensors[key] for key in gradients}))
        print(json.dumps({"map": path.stem, "path": "original", "solve_ms": median(layer.solve, options.seconds),
                          "train_ms": median(layer.train, options.seconds), "error": error, "gradient_error": off}), flush=True)


def compare(options):
    seconds, threads = str(options.seconds), str(options.threads)
    ours = [options.program, str(options.folder), seconds, threads]
    theirs = [sys.executable, __file__, "time", str(options.folder), str(options.checkouts), "--seconds", seconds, "--threads", threads]
    found = {}
    for _ in range(options.rounds):
        for side in (ours, theirs):
            lines = subprocess.run(side, check=True, stdout=subprocess.PIPE, text=True).stdout.splitlines()
            for line in map(json.loads, lines):
                found.setdefault((line["map"], line["path"]), []).append(line)
    middle = lambda name, path, key: statistics.median(line[key] for line in found[name, path])
    times, errors = "| `{}` ms | original ms | ratio ", "| error, ours | original | gradients, ours | original |"
    print("| layer, size " + times.format("solve") + times.format("train") + errors)
    print("| --- " * 11 + "|")
    for name in CASES:
        cells = [name]
        for key in ("solve_ms", "train_ms"):
            pair = [middle(name, path, key) for path in ("program", "original")]
            cells += [f"{pair[0]:.3g}", f"{pair[1]:.3g}", f"{pair[1] / pair[0]:.1f}×"]
        cells += [f"{middle(name, path, key):.1e}" for key in ("error", "gradient_error") for path in ("program", "original")]
        print("| " + " | ".join(cells) + " |")


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("job", choices=["write", "time", "compare"])
    parser.add_argument("folder", type=Path)
    parser.add_argument("checkouts", type=Path)
    parser.add_argument("program", nargs="?")
    parser.add_argument("--seconds", type=float, default=0.3)
    parser.add_argument("--threads", type=int, default=2)
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--only", default="")
    options = parser.parse_args()
    {"write": write, "time": timed, "compare": compare}[options.job](options)
