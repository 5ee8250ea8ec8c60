"""Times Equilibria and its peers on the same workloads, alternately, and writes a page with its chart.

usage: python docs/benchmarks.py PEERS_DIR [--rounds 3] [--seconds 0.3] [--timeout 120] [--results FILE.json] [--page benchmarks]

A page is of one processor: PAGE.md and PAGE.svg in docs/src. That of another one has another name.

PEERS_DIR holds workloads.py, which writes the workload files, and bench_torch.py, bench_jax.py, bench_banax.py,
bench_anchorax.py and bench_optimistix.py, which time TorchDEQ, jaxopt, banax, Anchorax and Optimistix on them; all print one JSON
object per job. A peer that cannot be imported, fails or takes longer than
--timeout seconds on a workload is left out there, and the page says so. What FILE.json has already, workloads and
sections of the page, is not measured again; the rest is added to it. Run it on a machine that does nothing else.
Needs: numpy, safetensors, matplotlib; for the peers torch and torchdeq, jax and jaxopt, banax, anchorax, optimistix. Linux.
"""
import argparse, datetime, importlib.util, json, math, os, platform, statistics, subprocess, sys, tempfile
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path

import matplotlib
from safetensors.numpy import save_file

matplotlib.use("svg")
import matplotlib.pyplot as plt  # noqa: E402

ROOT = Path(__file__).resolve().parent.parent
PROGRAM = ROOT / "target" / "dist" / "equilibria"
JOBS = ("map", "solve", "train")
TOLERANCE = 1e-4
# Where the systems of the paper fuse two modalities row by row: rows, width, modalities, gain.
SLOTS = {
    "attention of MUTAN, 64 questions × 36 regions": (2304, 512, 2, 0.7),
    "joint tower of ImVoteNet, 8 scenes × 1024 seeds": (8192, 256, 2, 0.7),
}

parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
parser.add_argument("peers", type=Path)
parser.add_argument("--rounds", type=int, default=3)
parser.add_argument("--seconds", type=float, default=0.3)
parser.add_argument("--timeout", type=float, default=120)
parser.add_argument("--results", type=Path, default=Path(tempfile.gettempdir()) / "equilibria-benchmarks.json")
parser.add_argument("--threads", type=int, default=2)
parser.add_argument("--page", default="benchmarks")
options = parser.parse_args()


def run(command, environment=None, timeout=...):
    """The JSON lines a command prints; those so far if it fails or takes too long."""
    timeout = options.timeout if timeout is ... else timeout
    try:
        done = subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.DEVNULL, text=True,
                                env={**os.environ, **(environment or {})})
        out, _ = done.communicate(timeout=timeout)
    except subprocess.TimeoutExpired:
        done.kill()
        out, _ = done.communicate()
    return [json.loads(line) for line in out.splitlines() if line.startswith("{")]


def peak_memory(command):
    """Peak resident memory of a command in MiB."""
    code = ("import resource, subprocess, sys; subprocess.run(sys.argv[1:], stdout=subprocess.DEVNULL, "
            "stderr=subprocess.DEVNULL); print(resource.getrusage(resource.RUSAGE_CHILDREN).ru_maxrss / 1024)")
    return float(subprocess.run([sys.executable, "-c", code, *command], capture_output=True, text=True).stdout)


def ours(folder, *extra, threads=None):
    return [str(PROGRAM), "bench", str(folder), "--json", "--threads", str(threads or options.threads), *extra]


def installed(*packages):
    try:
        return ", ".join(f"{name} {version(name)}" for name in packages)
    except PackageNotFoundError:
        return None


def workloads():
    spec = importlib.util.spec_from_file_location("workloads", options.peers / "workloads.py")
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


def write(module, folder, batch, width, modalities, gain):
    meta = dict(batch=batch, width=width, modalities=modalities, groups=module.GROUPS, gain=gain)
    path = folder / f"fusion_b{batch}_d{width}_n{modalities}_g{gain}.safetensors"
    save_file(module.workload(batch, width, modalities, gain), path, {k: str(v) for k, v in meta.items()})
    return path


def medians(rounds):
    """Per job: the line with the median time."""
    result = {}
    for job in JOBS:
        lines = [line for lines in rounds for line in lines if line["job"] == job and math.isfinite(line["ms"])]
        if lines:
            middle = statistics.median_low(line["ms"] for line in lines)
            result[job] = next(line for line in lines if line["ms"] == middle)
    return result


def solved(lines, job):
    line = lines.get("solve") if job == "train" else lines.get(job)
    return job in lines and (job == "map" or line["residual"] <= 1.001 * TOLERANCE)


def ms(value):
    return f"{value:.3g}" if value < 100 else f"{value:.0f}"


def table(header, rows):
    line = lambda cells: "| " + " | ".join(str(cell) for cell in cells) + " |"
    return "\n".join([line(header), line(["---"] * len(header)), *map(line, rows)])


def beside(own, peer):
    """Our time, the peer's and their ratio; `-` for what is missing."""
    shown = [ms(time) if time else "-" for time in (own, peer)]
    return [*shown, f"{peer / own:.1f}×" if own and peer else "-"]


def geometric(values):
    return math.exp(sum(map(math.log, values)) / len(values)) if values else float("nan")


def kept(name, measure):
    """What FILE.json has under a name, or else what is measured now, which is added to it."""
    known = json.loads(options.results.read_text()) if options.results.exists() else {}
    if name not in known:
        known[name] = measure()
        options.results.write_text(json.dumps(known, indent=1))
    return known[name]


def against_peers(folder, systems):
    """Timings by workload and system, measured in turn."""
    results = {}
    for path in sorted(folder.glob("fusion_*.safetensors")):
        results[path.stem] = kept(path.stem, lambda: in_turn(path.stem, systems))
        print(path.stem, {name: {job: round(line["ms"], 3) for job, line in jobs.items()}
                          for name, jobs in results[path.stem].items()}, flush=True)
    return results


def in_turn(workload, systems):
    rounds = {name: [] for name in systems}
    for index in range(options.rounds):
        for name, command in systems.items():
            if rounds[name] or index == 0:  # what has failed once is not waited for again
                lines = run(command(workload), {"OMP_NUM_THREADS": str(options.threads)})
                rounds[name] += [lines] if lines else []
    return {name: medians(lines) for name, lines in rounds.items()}


def peer_section(results, peers):
    parts = []
    for job in JOBS:
        rows, ratios = [], {name: [] for name in peers}
        for workload, systems in results.items():
            own = systems["equilibria"]
            if job not in own:
                continue
            row = [workload.removeprefix("fusion_"), ms(own[job]["ms"])]
            for name in peers:
                lines = systems[name]
                if job not in lines:
                    row += ["-", "-"]
                    continue
                ratio = lines[job]["ms"] / own[job]["ms"]
                both = solved(own, job) and solved(lines, job)
                row += [ms(lines[job]["ms"]), f"{ratio:.1f}×" if both else f"({ratio:.1f}×)"]
                ratios[name] += [ratio] if both else []
            rows.append(row)
        rows.append(["**geometric mean, smallest**", ""] + [cell for name in peers for cell in
                    ("", f"**{geometric(ratios[name]):.1f}×**, {min(ratios[name], default=float('nan')):.1f}×")])
        header = ["workload", "Equilibria ms"] + [cell for name in peers for cell in (f"{name} ms", "ratio")]
        parts.append(f"### `{job}`\n\n{table(header, rows)}\n")
    return "\n".join(parts)


def detail_section(results, peers):
    rows = []
    for workload, systems in results.items():
        own = systems["equilibria"]
        if "train" not in own:
            continue
        share = lambda job: f"{100 * own[job]['product_share']:.0f} %"
        products = own["solve"]["ms"] * own["solve"]["product_share"]
        bound = lambda peer: f"{systems[peer]['solve']['ms'] / products:.1f}×" if "solve" in systems[peer] else "-"
        rows.append([workload.removeprefix("fusion_"), own["solve"]["steps"], f"{own['solve']['mean_steps']:.1f}",
                     f"{own['solve']['residual']:.1e}", f"{own['train']['adjoint_residual']:.1e}", share("map"),
                     share("solve"), *map(bound, peers), f"{own['train']['ms'] / own['solve']['ms']:.2f}"])
    return table(["workload", "evaluations, most", "mean", "residual", "adjoint residual", "products in `map`",
                  "products in `solve`", *(f"`solve`, bound to {peer}" for peer in peers), "`train` / `solve`"], rows)


def scaling(module, folder):
    """Times of `solve` and `train` along five axes, from one file each: {axis: [(value, solve ms, train ms)]}."""
    axes = {
        "batch (width 128)": [(b, (b, 128, 3, 0.7)) for b in (1, 4, 16, 64, 256, 1024)],
        "width (batch 128)": [(d, (128, d, 3, 0.7)) for d in (32, 64, 128, 256, 512)],
        "modalities (128 × 128)": [(n, (128, 128, n, 0.5)) for n in (1, 2, 4, 8)],
    }
    found = {}
    for axis, points in axes.items():
        for value, sizes in points:
            path = write(module, folder, *sizes)
            jobs = medians([run(ours(folder, "--seconds", str(options.seconds), "--only", path.stem))])
            found.setdefault(axis, []).append((value, jobs["solve"]["ms"], jobs["train"]["ms"]))
    path = write(module, folder, 128, 256, 3, 0.7)
    for steps in (5, 10, 20, 50, 100, 200):
        extra = ("--seconds", str(options.seconds), "--only", path.stem, "--tol", "0", "--max-evaluations", str(steps))
        jobs = medians([run(ours(folder, *extra))])
        found.setdefault("solver steps (128 × 256)", []).append((steps, jobs["solve"]["ms"], jobs["train"]["ms"]))
    for threads in range(1, options.threads + 1):
        command = ours(folder, "--seconds", str(options.seconds), "--only", path.stem, threads=threads)
        jobs = medians([run(command)])
        found.setdefault("threads (128 × 256)", []).append((threads, jobs["solve"]["ms"], jobs["train"]["ms"]))
    return found


def chart(found, path):
    plt.rcParams.update({"svg.hashsalt": "equilibria", "font.size": 9, "svg.fonttype": "none"})
    figure, axes = plt.subplots(1, len(found), figsize=(3.1 * len(found), 2.9), constrained_layout=True)
    for axis, (name, points) in zip(axes, found.items()):
        values, solve, train = zip(*points)
        axis.loglog(values, solve, "o-", color="#0072b2", label="solve")
        axis.loglog(values, train, "s-", color="#d55e00", label="train")
        axis.set_xlabel(name)
        axis.set_xticks(values, [str(value) for value in values])
        axis.minorticks_off()
        axis.grid(alpha=0.3)
    axes[0].set_ylabel("ms")
    axes[0].legend()
    figure.savefig(path, facecolor="white", metadata={"Date": None})


def threads_section(folder, names):
    rows = []
    for name in names:
        one, two = ({job: [] for job in JOBS} for _ in range(2))
        for _ in range(options.rounds):
            for into, threads in ((one, 1), (two, 2)):
                for line in run(ours(folder, "--seconds", str(options.seconds), "--only", name, threads=threads), timeout=None):
                    into[line["job"]].append(line["ms"])
        ratio = lambda job: f"{statistics.median(one[job]) / statistics.median(two[job]):.2f}"
        rows.append([name.removeprefix("fusion_"), *map(ratio, JOBS)])
    return rows


def rounding_section(folder, names):
    """Time with early evaluations rounded over time without."""
    rows = []
    for name in names:
        rounded, exact = ({job: [] for job in JOBS[1:]} for _ in range(2))
        for _ in range(2 * options.rounds + 1):
            for into, extra in ((rounded, ()), (exact, ("--exact",))):
                for job in into:
                    seconds = ("--seconds", str(options.seconds), "--only", name, "--job", job)
                    into[job] += [line["ms"] for line in run(ours(folder, *seconds, *extra), timeout=None)]
        rows.append([name.removeprefix("fusion_"), *(f"{min(rounded[job]) / min(exact[job]):.2f}" for job in JOBS[1:])])
    return rows


def slots_section(module, folder, systems):
    """Timings of slots with many rows, by slot and system."""
    names = {name: write(module, folder, *sizes).stem for name, sizes in SLOTS.items()}
    return {name: in_turn(workload, systems) for name, workload in names.items()}


def slots_table(found):
    rows = []
    for name, systems in found.items():
        row = [f"{name}, {SLOTS[name][1]} wide"]
        for job in JOBS[1:]:
            row += beside(*(systems.get(name, {}).get(job, {}).get("ms") for name in ("equilibria", "TorchDEQ")))
        rows.append(row)
    return table(["slot", "`solve` ms", "TorchDEQ ms", "ratio", "`train` ms", "TorchDEQ ms", "ratio"], rows)


def memory_section(folder, name, peers):
    short = ["--seconds", "0", "--only", name, "--job", "train"]
    rows = [["Equilibria, to the tolerance", f"{peak_memory(ours(folder, *short)):.0f}"]]
    for steps in (20, 200):
        extra = ["--tol", "0", "--max-evaluations", str(steps)]
        rows.append([f"Equilibria, {steps} steps", f"{peak_memory(ours(folder, *short, *extra)):.0f}"])
    if "TorchDEQ" in peers:
        command = [sys.executable, str(options.peers / "bench_torch.py"), str(folder), "--only", name, "--seconds", "0"]
        rows.append(["TorchDEQ, to the tolerance", f"{peak_memory(command):.0f}"])
        rows.append(["`import torch` alone", f"{peak_memory([sys.executable, '-c', 'import torch, torchdeq']):.0f}"])
    return rows


def maps_section(folder):
    """Maps that an outside crate writes in the vocabulary, and TorchDEQ on the same maps, in turn: medians by file, system and job."""
    script = [sys.executable, str(ROOT / "docs" / "maps.py")]
    subprocess.run([*script, "write", str(folder)], check=True)
    seconds, threads = str(options.seconds), str(options.threads)
    own = [str(PROGRAM.with_name("equilibria-maps")), str(folder), seconds, threads]
    peer = [*script, "torchdeq", str(folder), "--seconds", seconds, "--threads", threads]
    found = {}
    for _ in range(options.rounds):
        for line in run(own, timeout=None) + run(peer, timeout=None):
            times = found.setdefault(line["map"], {}).setdefault(line["path"], {})
            for job in ("solve", "train", "penalty"):
                if f"{job}_ms" in line:
                    times.setdefault(job, []).append(line[f"{job}_ms"])
    return {name: {path: {job: statistics.median(values) for job, values in jobs.items()} for path, jobs in paths.items()}
            for name, paths in found.items()}


def maps_tables(found):
    parts = []
    for path, title in (("program", "In the vocabulary"), ("dfdx", "In plain dfdx operations")):
        rows, ratios = [], {}
        for name, paths in found.items():
            if path not in paths or "torchdeq" not in paths:
                continue
            row = [name.removeprefix("map_")]
            for job in ("solve", "train"):
                own, peer = paths[path][job], paths["torchdeq"][job]
                ratios.setdefault(job, []).append(peer / own)
                row += beside(own, peer)
            rows.append(row)
        if rows:
            rows.append(["**geometric mean, smallest**"] + [cell for job in ratios for cell in
                        ("", "", f"**{geometric(ratios[job]):.1f}×**, {min(ratios[job]):.1f}×")])
            header = ["map, batch, width", "`solve` ms", "TorchDEQ ms", "ratio", "`train` ms", "TorchDEQ ms", "ratio"]
            parts.append(f"### {title}\n\n{table(header, rows)}\n")
    return "\n".join(parts)


def masked_table(found):
    """What a dropout mask in the map costs a training step with the Jacobian penalty."""
    rows = []
    for name in found:
        plain = found.get(name.replace("masked", "residual"), {}).get("program", {})
        if name.startswith("map_masked") and "penalty" in plain:
            masked = found[name]["program"]["penalty"]
            rows.append([name.removeprefix("map_masked_"), ms(plain["penalty"]), ms(masked), f"{masked / plain['penalty']:.2f}"])
    return table(["residual block, batch, width", "without mask ms", "masked ms", "ratio"], rows)


def processor():
    """Name, family and model, which tell the generation apart where the name does not, and how wide its vectors are."""
    fields = dict(line.split(":", 1) for line in Path("/proc/cpuinfo").read_text().split("\n\n")[0].splitlines() if ":" in line)
    fields = {name.strip(): value.strip() for name, value in fields.items()}
    flags = fields.get("flags", "").split()
    vectors = " with ".join(["AVX-512", "bf16"] if "avx512_bf16" in flags else ["AVX-512"]) if "avx512f" in flags else "no AVX-512"
    if "model name" not in fields:
        return platform.processor()
    return f"{fields['model name']} (family {fields.get('cpu family')}, model {fields.get('model')}), {vectors}"


def main():
    subprocess.run(["cargo", "build", "--profile", "dist", "-p", "equilibria", "-p", "equilibria-maps"], cwd=ROOT, check=True)
    module, script = workloads(), lambda name: [sys.executable, str(options.peers / name)]
    pinned = ["taskset", "-c", ",".join(map(str, range(options.threads)))]
    peers = {
        "TorchDEQ": (installed("torchdeq", "torch"), script("bench_torch.py") + ["--threads", str(options.threads)]),
        "jaxopt": (installed("jaxopt", "jax"), pinned + script("bench_jax.py")),
        "banax": (installed("banax", "jax"), pinned + script("bench_banax.py")),
        "Anchorax": (installed("anchorax", "jax"), pinned + script("bench_anchorax.py")),
        "Optimistix": (installed("optimistix", "jax"), pinned + script("bench_optimistix.py")),
    }
    present = {name: command for name, (versions, command) in peers.items() if versions}
    absent = [name for name in peers if name not in present]
    seconds = ["--seconds", str(options.seconds)]
    with tempfile.TemporaryDirectory() as temporary:
        folder, extra, maps, slots = (Path(temporary) / name for name in ("workloads", "scaling", "maps", "slots"))
        folder.mkdir(), extra.mkdir(), slots.mkdir()
        for sizes in module.SIZES:
            write(module, folder, *sizes)

        def systems(folder, names):
            commands = {"equilibria": lambda only: ours(folder, *seconds, "--only", only)}
            for name in names:
                commands[name] = lambda only, command=present[name]: command + [str(folder), *seconds, "--only", only]
            return commands

        results = against_peers(folder, systems(folder, present))
        own_maps = kept("maps", lambda: maps_section(maps))
        large_slots = kept("slots", lambda: slots_section(module, slots, systems(slots, present.keys() & {"TorchDEQ"})))
        large = [name for name in results if int(name.split("_b")[1].split("_")[0]) >= 128]
        threads = kept("threads", lambda: threads_section(folder, large))
        rounding = kept("rounding", lambda: rounding_section(folder, list(results)))
        memory = kept("memory", lambda: memory_section(folder, "fusion_b612_d500_n3_g0.7", present))
        found = kept("scaling", lambda: scaling(module, extra))
    page = ROOT / "docs" / "src" / options.page
    chart(found, page.with_suffix(".svg"))
    axes = "\n\n".join(table([axis, "`solve` ms", "`train` ms"], [(v, ms(s), ms(t)) for v, s, t in points])
                       for axis, points in found.items())
    versions = [f"{name} ({versions})" for name, (versions, _) in peers.items() if versions]
    page.with_suffix(".md").write_text(f"""# Benchmarks: {processor()}

<!-- Written by docs/benchmarks.py; change that. -->

DEQ fusion on random weights, f32, every sample to a relative residual of {TOLERANCE:g}. Measured on {datetime.date.today()}:
{os.cpu_count()} cores, {options.threads} threads for every system, Equilibria in alternation with
{", ".join(versions) or "no peer"}; {f"absent: {', '.join(absent)}" if absent else "no peer was absent"}. Times are
{"those" if options.rounds == 1 else "the median"} of {"one process, which takes" if options.rounds == 1 else f"{options.rounds} processes, each of which takes"} its fastest run.

Equilibria, TorchDEQ and jaxopt solve by Anderson acceleration, Equilibria with the last four points, the two others with six. banax and
Anchorax solve by the faster of their Anderson and Broyden, Optimistix, which has neither, by the faster of plain and damped Picard
iteration. Equilibria is told that early evaluations may be [rounded](numerics.md#rounded-evaluations), which it does on processors where
that pays.

A workload is named by batch, width, modalities and the gain of its weights. `map` is one application of the joint map,
`solve` the whole equilibrium from 0, `train` a solve, the loss with one probe of the Jacobian penalty, and the gradients of
all parameters and features. Ratios are the peer's time over ours. A ratio in parentheses is one where one of the two
missed the tolerance, and does not count in the mean; `-` is a peer that failed or took more than {options.timeout:g} s.
Equilibria applies the map at the equilibrium, the peers theirs at 0: at 0 our products would be of equal rows, which are
multiplied once.

{peer_section(results, list(present))}
## Maps of your own

Maps that an outside crate, `examples/maps`, writes as any user would. `solve` is from 0 to the tolerance by Anderson's
method (four points, TorchDEQ's six), `train` that with the mean of squares and all gradients by the implicit function theorem.

{maps_tables(own_maps)}
### Training steps with the Jacobian penalty, with and without dropout in the map

{masked_table(own_maps)}

## Slots with many rows

DEQ fusion of two modalities where the paper's systems have a row for each region or seed, beside TorchDEQ; `-` took more than
{options.timeout:g} s or failed.

{slots_table(large_slots)}

## Where the time goes

The share of the products is the time they would take at the rate of one large product in cache on every thread, and at
twice that rate where they are [rounded to bf16](numerics.md#rounded-evaluations). The bound is what the ratio to a peer would
be if nothing but these products took time: it is reached with fewer or cheaper products, not with less around them. Shares
above 100 % mean that the machine was slower while that rate was measured.

{detail_section(results, list(present))}

## Rounded and exact

Time of a job with early evaluations [rounded](numerics.md#rounded-evaluations), over its time without, `bench --exact`. They are the same
where rounding does not pay, by the kind of processor, and is not done.

{table(["workload", *(f"`{job}`" for job in JOBS[1:])], rounding)}

## One thread and two

Time on one thread over time on two.

{table(["workload", *(f"`{job}`" for job in JOBS)], threads)}

## Peak memory of a training step, 612 × 500

Of the whole process, weights and inputs included.

{table(["process", "MiB"], memory)}

## Scaling

![Time of solve and train against batch, width, modalities, solver steps and threads]({options.page}.svg)

{axes}
""")


main()
