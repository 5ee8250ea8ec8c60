"""Writes the folder `written`: small files as pandas, NumPy, SciPy, safetensors and PyTorch write them.

    pip install pandas==3.1.1 numpy==2.4.6 scipy ml_dtypes==0.6.0 safetensors==0.8.0 torch==2.15.0
    python fusion/tests/data/written.py

`base` holds a sound data set. Every other folder holds what one line of code writes in place of some of its files, and
kinds.json says which line that is. The test `written.rs` reads each kind and makes the table of docs/src/own-data.md.
"""

import csv
import json
import shutil
from importlib.metadata import version
from pathlib import Path

import ml_dtypes
import numpy as np
import pandas as pd
import safetensors.numpy
import safetensors.torch
import scipy.sparse
import torch

HERE = Path(__file__).parent / "written"
SPLITS = {"tr": slice(0, 8), "te": slice(8, 12)}

# Eight training and four test rows. Every number is exact with eight binary digits.
rng = np.random.default_rng(7)
REALS = rng.permutation(np.arange(-36, 36, 2) + 1).reshape(12, 3) / 8
COUNTS = rng.integers(0, 100, (12, 2))
BITS = rng.integers(0, 2, (12, 2))
LABELS = np.array([2, 0, 1, 1, 0, 2, 2, 0, 1, 2, 0, 1])
TISSUES = np.array(["blood", "lung", "skin"])[LABELS]
SETS = rng.integers(0, 2, (12, 3))
NUMBERS = rng.permutation(12) / 4 - 1
SAMPLES = np.array([f"S{100 + 7 * i}" for i in range(12)])
ABC = list("abc")
WEATHER = ["rain", "wind", "snow"]
BARE = dict(index=False, header=False)

kinds = []


def kind(name, tool, code, writers, targets="labels"):
    """One kind: `writers` maps the names of files, {} for the split, to functions of the path and the rows."""
    folder = HERE / name
    folder.mkdir()
    for file, write in writers.items():
        for split, rows in SPLITS.items():
            write(folder / file.format(split), rows)
    release = version({"PyTorch": "torch"}.get(tool, tool.lower())).split("+")[0]
    file = next(iter(writers)).format("tr")
    kinds.append({"folder": name, "tool": f"{tool} {release}", "file": file, "code": code, "targets": targets})


def frame(values, columns=None, names=None, **options):
    """Writes rows of an array as a data frame, whose rows have names or not."""

    def write(path, rows):
        index = None if names is None else names[rows]
        pd.DataFrame(values[rows], columns=columns, index=index).to_csv(path, **options)

    return write


def array(save, values):
    """Writes rows of an array by `save(path, rows)`."""
    return lambda path, rows: save(path, values[rows])


def write_base():
    folder = HERE / "base"
    folder.mkdir()
    for split, rows in SPLITS.items():
        for k, table in enumerate([REALS, COUNTS, BITS], 1):
            frame(table, **BARE)(folder / f"{k}_{split}.csv", rows)
        np.savetxt(folder / f"labels_{split}.csv", LABELS[rows], fmt="%d")
        frame(SETS, WEATHER, index=False)(folder / f"multilabels_{split}.csv", rows)
        np.savetxt(folder / f"targets_{split}.csv", NUMBERS[rows], fmt="%g")


def tables_of_pandas():
    def one(name, code, writer, file="1_{}.csv"):
        kind(name, "pandas", code, {file: writer})

    one("bare", "df.to_csv(f, index=False, header=False)", frame(REALS, **BARE))
    one("names", "df.to_csv(f, index=False)  # columns a, b, c", frame(REALS, ABC, index=False))
    one("column-numbers", "df.to_csv(f, index=False)  # unnamed columns", frame(REALS, index=False))
    one("column-choice", "df[[3, 17, 42]].to_csv(f, index=False)", frame(REALS, [3, 17, 42], index=False))
    every = {f"{k}_{{}}.csv": frame(t, index=False) for k, t in enumerate([REALS, COUNTS, BITS], 1)}
    every["labels_{}.csv"] = frame(LABELS, index=False)
    kind("column-numbers-everywhere", "pandas", "x.to_csv(f, index=False)  # every file, unnamed columns", every)
    one("default", "df.to_csv(f)  # unnamed columns", frame(REALS))
    one("default-names", "df.to_csv(f)  # columns a, b, c", frame(REALS, ABC))
    every = {f"{k}_{{}}.csv": frame(t, header=False) for k, t in enumerate([REALS, COUNTS, BITS], 1)}
    kind("row-index", "pandas", "df.to_csv(f, header=False)  # every table", every)
    shuffled = rng.permutation(12)
    every = {f"{k}_{{}}.csv": frame(t, names=shuffled, header=False) for k, t in enumerate([REALS, COUNTS], 1)}
    kind("split-index", "pandas", "train_test_split(df)[0].to_csv(f, header=False)", every)
    one("row-names", "df.to_csv(f, header=False)  # rows named S100, S107, …", frame(REALS, names=SAMPLES, header=False))
    one("semicolons", 'df.to_csv(f, sep=";", index=False, header=False)', frame(REALS, sep=";", **BARE))
    one("german", 'df.to_csv(f, sep=";", decimal=",", index=False, header=False)', frame(REALS, sep=";", decimal=",", **BARE))
    one("tabs", 'df.to_csv(f, sep="\\t", index=False, header=False)', frame(REALS, sep="\t", **BARE))
    one("tsv", 'df.to_csv(f, sep="\\t", index=False, header=False)', frame(REALS, sep="\t", **BARE), "1_{}.tsv")
    one("quotes", "df.to_csv(f, quoting=csv.QUOTE_ALL, index=False)  # columns a, b, c", frame(REALS, ABC, quoting=csv.QUOTE_ALL, index=False))
    one("powers", 'df.to_csv(f, float_format="%.3e", index=False, header=False)', frame(REALS, float_format="%.3e", **BARE))
    one("mark", 'df.to_csv(f, encoding="utf-8-sig", index=False, header=False)', frame(REALS, encoding="utf-8-sig", **BARE))
    one("utf-16", 'df.to_csv(f, encoding="utf-16", index=False, header=False)', frame(REALS, encoding="utf-16", **BARE))
    one("windows", 'df.to_csv(f, lineterminator="\\r\\n", index=False, header=False)', frame(REALS, lineterminator="\r\n", **BARE))
    missing = np.where(REALS == REALS[3, 1], np.nan, REALS)
    one("missing", "df.to_csv(f, index=False, header=False)  # with a NaN", frame(missing, **BARE))
    one("missing-na", 'df.to_csv(f, na_rep="NA", index=False, header=False)  # with a NaN', frame(missing, na_rep="NA", **BARE))
    one("truth", "df.astype(bool).to_csv(f, index=False, header=False)", frame(BITS.astype(bool), **BARE), "3_{}.csv")
    one("gzip", 'df.to_csv(f, index=False, header=False)', frame(REALS, compression={"method": "gzip", "mtime": 1}, **BARE), "1_{}.csv.gz")
    one("capitals", 'df.to_csv(f, index=False, header=False)', frame(REALS, **BARE), "1_{}.CSV")


def samples_of_pandas():
    orders = {split: rng.permutation(rows.stop - rows.start) + rows.start for split, rows in SPLITS.items()}
    order = np.concatenate(list(orders.values()))
    numbers = np.arange(101, 113)
    writers = {
        "1_{}.csv": frame(REALS, names=numbers, header=False),
        "2_{}.csv": frame(COUNTS[order], names=numbers[order], header=False),
    }
    kind("id-columns", "pandas", "df.to_csv(f, header=False)  # rows named 101, 102, … in another order each", writers)
    names = lambda values: frame(values, **BARE)
    writers = {"2_{}.csv": frame(COUNTS[order], **BARE), "2_{}_ids.csv": names(SAMPLES[order]), "samples_{}.csv": names(SAMPLES)}
    code = 'df.to_csv(f, **bare); df.index.to_series().to_csv("2_tr_ids.csv", **bare)  # bare: index=False, header=False'
    kind("ids", "pandas", code, writers)
    other = np.where(SAMPLES == SAMPLES[2], "S999", SAMPLES)
    kind("ids-missing", "pandas", "the same  # one sample stands in no other file", {**writers, "2_{}_ids.csv": names(other[order])})


def labels_of_pandas():
    def one(name, code, writer, stem="labels"):
        kind(name, "pandas", code, {f"{stem}_{{}}.csv": writer}, targets=stem)

    one("labels", "y.to_csv(f, index=False, header=False)", frame(LABELS, **BARE))
    one("labels-name", 'y.rename("subtype").to_csv(f, index=False)', frame(LABELS, ["subtype"], index=False))
    one("labels-unnamed", "y.to_csv(f, index=False)  # unnamed", frame(LABELS, index=False))
    one("labels-index", "y.to_csv(f, header=False)", frame(LABELS, header=False))
    one("labels-float", "y.astype(float).to_csv(f, index=False, header=False)", frame(LABELS.astype(float), **BARE))
    one("labels-half", "(y + 0.5).to_csv(f, index=False, header=False)", frame(LABELS + 0.5, **BARE))
    one("classes", "y.to_csv(f, index=False, header=False)  # names of classes", frame(TISSUES, **BARE))
    one("classes-name", 'y.rename("tissue").to_csv(f, index=False)  # names of classes', frame(TISSUES, ["tissue"], index=False))
    one("label-sets", "df.to_csv(f, index=False)  # 0 and 1, columns named", frame(SETS, WEATHER, index=False), "multilabels")
    one("label-sets-float", "df.astype(float).to_csv(f, index=False)", frame(SETS.astype(float), WEATHER, index=False), "multilabels")
    one("label-sets-truth", "df.astype(bool).to_csv(f, index=False)", frame(SETS.astype(bool), WEATHER, index=False), "multilabels")
    one("numbers", 'y.rename("score").to_csv(f, index=False)', frame(NUMBERS, ["score"], index=False), "targets")


def arrays_of_numpy():
    def one(name, code, values, file="1_{}.npy", save=np.save, targets="labels", tool="NumPy"):
        kind(name, tool, code, {file: array(save, values)}, targets)

    text = lambda **options: lambda path, values: np.savetxt(path, values, **options)
    one("savetxt", 'numpy.savetxt(f, x, delimiter=",")', REALS, "1_{}.csv", text(delimiter=","))
    one("savetxt-spaces", "numpy.savetxt(f, x)", REALS, "1_{}.csv", text())
    one("savetxt-labels", "numpy.savetxt(f, y)", LABELS, "labels_{}.csv", text())
    for name, values, dtype, k in [
        ("f8", REALS, "f8", 1), ("f4", REALS, "f4", 1), ("f2", REALS, "f2", 1), ("big-endian", REALS, ">f8", 1),
        ("i8", COUNTS, "i8", 2), ("i2", COUNTS, "i2", 2), ("u1", COUNTS, "u1", 2), ("bool", BITS, "bool", 3),
        ("long-double", REALS, "longdouble", 1), ("complex", REALS, "c8", 1), ("object", REALS, "object", 1),
    ]:
        one(name, f'numpy.save(f, x.astype("{dtype}"))', values.astype(dtype), f"{k}_{{}}.npy")
    fortran = lambda path, values: np.save(path, np.asfortranarray(values))
    one("fortran", "numpy.save(f, numpy.asfortranarray(x))", REALS, save=fortran)
    one("bfloat16", "numpy.save(f, x.astype(ml_dtypes.bfloat16))", REALS.astype(ml_dtypes.bfloat16))
    one("float8", "numpy.save(f, x.astype(ml_dtypes.float8_e4m3fn))", REALS.astype(ml_dtypes.float8_e4m3fn))
    records = np.array([tuple(row) for row in REALS], dtype=[(c, "f4") for c in ABC])
    one("records", "numpy.save(f, df.to_records(index=False))", records)
    one("npz", "numpy.savez(f, x)", REALS, "1_{}.npz", np.savez)
    one("npz-compressed", "numpy.savez_compressed(f, x)", REALS, "1_{}.npz", np.savez_compressed)
    one("npz-two", "numpy.savez(f, x=x, y=y)", REALS, "1_{}.npz", lambda path, x: np.savez(path, x=x, y=x[:, 0]))
    sparse = lambda path, x: scipy.sparse.save_npz(path, scipy.sparse.csr_matrix(x))
    one("sparse", "scipy.sparse.save_npz(f, x)", REALS, "1_{}.npz", sparse, tool="SciPy")
    one("npy-labels", "numpy.save(f, y)", LABELS, "labels_{}.npy")
    one("npy-labels-f8", 'numpy.save(f, y.astype("f8"))', LABELS.astype("f8"), "labels_{}.npy")
    one("npy-labels-column", "numpy.save(f, y.reshape(-1, 1))", LABELS.reshape(-1, 1), "labels_{}.npy")
    one("npy-classes", "numpy.save(f, y)  # names of classes", TISSUES, "labels_{}.npy")
    one("npy-label-sets", 'numpy.save(f, y.astype("bool"))', SETS.astype(bool), "multilabels_{}.npy", targets="multilabels")
    one("npy-numbers", "numpy.save(f, y)", NUMBERS, "targets_{}.npy", targets="targets")


def arrays_of_safetensors():
    def one(name, code, values, k, dtype, save, tool):
        writer = lambda path, rows: save({"x": values[rows].astype("f4")}, dtype, path)
        kind(name, tool, code, {f"{k}_{{}}.safetensors": writer})

    def with_numpy(arrays, dtype, path):
        safetensors.numpy.save_file({name: a.astype(dtype) for name, a in arrays.items()}, path)

    def with_torch(arrays, dtype, path):
        safetensors.torch.save_file({name: torch.tensor(a).to(dtype) for name, a in arrays.items()}, path)

    for values, k, dtype in [(REALS, 1, "float32"), (REALS, 1, "float16"), (BITS, 3, "bool"), (COUNTS, 2, "int64")]:
        code = f'safetensors.numpy.save_file({{"x": x.astype("{dtype}")}}, f)'
        one(f"safetensors-{dtype}", code, values, k, dtype, with_numpy, "safetensors")
    two = lambda path, rows: safetensors.numpy.save_file({"x": REALS[rows], "y": LABELS[rows]}, path)
    kind("safetensors-two", "safetensors", 'safetensors.numpy.save_file({"x": x, "y": y}, f)', {"1_{}.safetensors": two})
    for values, k, dtype in [
        (REALS, 1, "float32"), (REALS, 1, "float64"), (REALS, 1, "float16"), (REALS, 1, "bfloat16"), (BITS, 3, "bool"),
        (COUNTS, 2, "uint8"), (REALS, 1, "float8_e4m3fn"),
    ]:
        code = f'safetensors.torch.save_file({{"x": x.to(torch.{dtype})}}, f)'
        one(f"torch-{dtype}", code, values, k, getattr(torch, dtype), with_torch, "PyTorch")
    pickled = lambda path, rows: torch.save(torch.tensor(REALS[rows]), path)
    kind("torch-pt", "PyTorch", 'torch.save(x, f)', {"1_{}.pt": pickled})


def what_cannot_be_meant():
    def one(name, code, writer, file="1_{}.csv", tool="pandas"):
        kind(name, tool, code, {file: writer})

    indexed = lambda path, rows: pd.DataFrame(REALS[rows], columns=ABC, index=range(40 + rows.start * 3, 40 + rows.stop * 3, 3)).reset_index().to_csv(path, index=False)
    one("index-reset", "df.reset_index().to_csv(f, index=False)", indexed)
    unnamed = lambda path, rows: pd.DataFrame(REALS[rows], columns=ABC).rename_axis("Unnamed: 0").reset_index().to_csv(path, index=False)
    one("index-read", "pandas.read_csv(g).to_csv(f, index=False)  # g with an index", unnamed)
    one("long-names", "df.to_csv(f, header=False)  # rows named 9007199254740993, …", frame(REALS, names=2**53 + np.arange(12) * 5 % 12, header=False))
    one("gene-numbers", "df[[7157, 1956, 672]].to_csv(f, index=False)", frame(REALS, [7157, 1956, 672], index=False))
    one("wavelengths", "df.to_csv(f, index=False)  # columns 400.0, 400.5, 401.0", frame(REALS, [400.0, 400.5, 401.0], index=False))
    one("names-and-numbers", 'df.to_csv(f, index=False)  # columns "age", 1, 2', frame(REALS, ["age", 1, 2], index=False))
    one("thousands", 'df.map("{:,.2f}".format).to_csv(f, index=False, header=False)', lambda path, rows: pd.DataFrame(1000 * REALS[rows]).map("{:,.2f}".format).to_csv(path, **BARE))
    one("percents", 'df.map("{:.0%}".format).to_csv(f, index=False, header=False)', lambda path, rows: pd.DataFrame(REALS[rows]).map("{:.0%}".format).to_csv(path, **BARE))
    commented = lambda path, rows: np.savetxt(path, REALS[rows], delimiter=",", header="a,b,c")
    one("savetxt-header", 'numpy.savetxt(f, x, delimiter=",", header="a,b,c")', commented, tool="NumPy")
    names = pd.Series(["blood", "lung", "skin"])
    one("classes-heading", "names.to_csv(f, index=False)", lambda path, rows: names.to_csv(path, index=False), "classes.csv")
    one("classes-index", "names.to_csv(f, header=False)", lambda path, rows: names.to_csv(path, header=False), "classes.csv")
    listed = lambda path, rows: np.savetxt(path, SAMPLES[rows], fmt="%s")
    one("ids-text", 'numpy.savetxt(f, samples, fmt="%s")', listed, "1_{}_ids.txt", tool="NumPy")
    one("labels-lists", "y.apply(lambda c: [c]).to_csv(f, index=False, header=False)", lambda path, rows: pd.Series(LABELS[rows]).apply(lambda c: [c]).to_csv(path, **BARE), "labels_{}.csv")
    one("labels-semicolons", 'df[["class", "batch"]].to_csv(f, sep=";", index=False)', lambda path, rows: pd.DataFrame({"class": LABELS[rows], "batch": BITS[rows, 0]}).to_csv(path, sep=";", index=False), "labels_{}.csv")


if __name__ == "__main__":
    shutil.rmtree(HERE, ignore_errors=True)
    HERE.mkdir()
    write_base()
    tables_of_pandas()
    samples_of_pandas()
    labels_of_pandas()
    arrays_of_numpy()
    arrays_of_safetensors()
    what_cannot_be_meant()
    (HERE / "kinds.json").write_text(json.dumps(kinds, indent=1, ensure_ascii=False) + "\n")
