"""What the training scripts train_torchdeq.py and train_mcan.py have of DEQ fusion (arXiv 2306.16645) in PyTorch: parameters, f_θ, and the
implicit gradient by the solver of TorchDEQ."""
import torch
import torch.nn.functional as F
from torch import nn
from torchdeq.solver.anderson import anderson_solver

SOLVE = dict(max_iter=100, tol=1e-4, stop_mode="rel", m=6, lam=1e-4)


class Theta(nn.Module):
    """Eq. 8 without the skip of the authors' code."""

    def __init__(self, width, groups):
        super().__init__()
        self.hat, self.tilde = nn.Linear(width, width), nn.Linear(width, width)
        self.gn1, self.gn2, self.gn3 = (nn.GroupNorm(groups, width) for _ in range(3))

    def forward(self, z, x):
        return self.gn3(F.relu(self.gn2(self.tilde(F.relu(self.gn1(self.hat(z)))) + x)))


class FusionMaps(nn.Module):
    """The maps of eqs. 7-13, with small weights."""

    def __init__(self, modalities, width, groups):
        super().__init__()
        self.theta = nn.ModuleList(Theta(width, groups) for _ in range(modalities))
        self.alpha, self.fuse = nn.Linear(width, width), nn.Linear(width, width)
        self.gn, self.w = nn.GroupNorm(groups, width), nn.Parameter(torch.ones(modalities))
        for linear in (m for m in self.modules() if isinstance(m, nn.Linear)):
            nn.init.normal_(linear.weight, std=0.01), nn.init.zeros_(linear.bias)

    def fused(self, z, us, xs):
        """One step of f_fuse for the states `us` and features `xs` of the modalities."""
        purified = sum(self.alpha(z + u) * z for u in us)
        x_fuse = sum(w * x for w, x in zip(self.w, xs))
        return self.gn(F.relu(self.fuse(purified) + x_fuse))


def differentiated(z, at, value):
    """`z`, one step of a map at its equilibrium, with the gradient of that; `value` is the same step at `at`, where products with the Jacobian
    are taken."""

    def adjoint(v):
        scale = v.abs().mean() + 1e-30  # the absolute ridge needs a scaled right-hand side
        product = lambda u: torch.autograd.grad(value, at, u, retain_graph=True)[0] + v / scale
        return anderson_solver(product, torch.zeros_like(v), **SOLVE)[0] * scale

    z.register_hook(adjoint)
    return z
