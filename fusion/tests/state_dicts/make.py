"""State dicts as PyTorch and safetensors write them, small, and the weights its modules work with in evaluation.

usage: python fusion/tests/state_dicts/make.py

Writes `CASE.safetensors` for every case beside this file, and `expected.safetensors` with `CASE/PARAMETER` in float64 for those
that can be loaded. Written with torch 2.15 and safetensors 0.8. Needs: numpy, safetensors, torch.
"""
from pathlib import Path

import torch
from safetensors.torch import save_file, save_model
from torch import nn
from torch.nn.utils import parametrizations, prune

OUT = Path(__file__).parent
PARAMETERS = [f"{layer}.{kind}" for layer in ("first", "second", "third") for kind in ("weight", "bias")]
expected = {}


class Net(nn.Module):
    def __init__(self):
        super().__init__()
        self.first, self.second, self.third = nn.Linear(3, 4), nn.Linear(4, 4), nn.Linear(4, 4)


def net():
    torch.manual_seed(1)
    return Net().double()


def keep(case, model):
    """What `model` works with: parametrizations and hooks give the effective weights."""
    model.eval()
    # Hooks compute weights when a module is called.
    for layer in (model.first, model.second, model.third):
        layer(torch.zeros(1, layer.in_features, dtype=layer.bias.dtype))
    for name in PARAMETERS:
        layer, kind = name.split(".")
        value = getattr(getattr(model, layer), kind)
        expected[f"{case}/{name}"] = value.detach().double().clone().contiguous()


def write(case, state, metadata=None):
    state = {name: value.detach().clone().contiguous() for name, value in state.items()}
    save_file(state, OUT / f"{case}.safetensors", metadata)


def loaded(case, model, state=None):
    keep(case, model)
    write(case, model.state_dict() if state is None else state)


def stretched(model):
    """No length g is that of its direction, so that a missing factor shows."""
    with torch.no_grad():
        for name, parameter in model.named_parameters():
            if name.endswith(("weight_g", "original0")):
                parameter.mul_(torch.linspace(0.5, 2.0, parameter.numel(), dtype=parameter.dtype).view(parameter.shape))
    return model


# Wrappers.
model = net()
keep("plain", model)
write("plain", model.state_dict())
keep("data_parallel", model)
write("data_parallel", nn.DataParallel(model).state_dict())
keep("compiled", model)
write("compiled", torch.compile(model).state_dict())
keep("compiled_data_parallel", model)
write("compiled_data_parallel", torch.compile(nn.DataParallel(model)).state_dict())
keep("averaged", model)
write("averaged", torch.optim.swa_utils.AveragedModel(model).state_dict())
keep("compiled_inside", model)
inside = net()
inside.second = torch.compile(inside.second)
write("compiled_inside", inside.state_dict())

# Weight normalization: lengths of rows, of columns, of the whole.
for name, dim in (("", 0), ("_columns", 1), ("_whole", None)):
    for kind, norm in (("", parametrizations.weight_norm), ("_hook", nn.utils.weight_norm)):
        model = net()
        norm(model.first, dim=dim), norm(model.second, dim=dim)
        loaded(f"weight_norm{kind}{name}", stretched(model))
wrapped = net()
parametrizations.weight_norm(wrapped.first)
keep("weight_norm_wrapped", stretched(wrapped))
write("weight_norm_wrapped", nn.DataParallel(wrapped).state_dict())

# Spectral normalization, after some power steps in training.
for kind, norm in (("", parametrizations.spectral_norm), ("_hook", nn.utils.spectral_norm)):
    for name, dim in (("", 0), ("_columns", 1)):
        model = net()
        norm(model.first, dim=dim), norm(model.second, dim=dim)
        for _ in range(50):
            model.second(model.first(torch.zeros(1, 3, dtype=torch.float64)))
        loaded(f"spectral_norm{kind}{name}", model)

# One tensor under two names, written once.
tied = net()
tied.third.weight = tied.second.weight
keep("tied", tied)
save_model(tied, str(OUT / "tied.safetensors"))

# Other element types.
for case, dtype in (("half", torch.float16), ("bfloat16", torch.bfloat16), ("single", torch.float32)):
    loaded(case, net().to(dtype))
mask = net()
bits = torch.tensor([[1, 0, 0, 1]] * 4, dtype=torch.bool)
with torch.no_grad():
    mask.second.weight.copy_(bits)
loaded("bits", mask, mask.state_dict() | {"second.weight": bits})

# What must be refused.
state = net().state_dict()
write("additional", state | {"fourth.weight": torch.ones(2, 2), "step": torch.tensor(7)})
write("prefixed", {f"net.{name}": value for name, value in state.items()})
write("misspelled", {name.replace("second.weight", "secnd.weight"): value for name, value in state.items()})
write("quantized", state | {"second.weight": torch.ones(4, 4, dtype=torch.int8)})
broken = state["second.weight"].clone()
broken[1, 2] = float("nan")
write("broken", state | {"second.weight": broken})
write("huge", state | {"second.weight": torch.full((4, 4), 1e300, dtype=torch.float64)})
orthogonal = net()
parametrizations.orthogonal(orthogonal.second)
write("orthogonal", orthogonal.state_dict())
pruned = net()
prune.l1_unstructured(pruned.second, "weight", amount=0.5)
write("pruned", pruned.state_dict())
torch.save(state, OUT / "pickled.safetensors")

save_file(expected, OUT / "expected.safetensors")
