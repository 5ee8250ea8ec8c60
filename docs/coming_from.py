"""Measures what the page "Coming from TorchDEQ, JAXopt, Optimistix" says of these libraries, and prints each number.

usage: python docs/coming_from.py

Libraries that are not installed are left out. Everything is small and takes seconds; the seed is fixed.
Needs: torch, torchdeq; jax, jaxopt, optimistix. docs/src/coming-from.md names the versions it was written with.
"""
import dataclasses, importlib.util, inspect
from importlib.metadata import version

WIDTH, BATCH = 16, 8


def have(*names):
    return all(importlib.util.find_spec(name) for name in names)


def say(claim, *values):
    print(f"  {claim}:", *(f"{v:.2g}" if isinstance(v, float) else v for v in values))


def torchdeq():
    import torch
    from torchdeq import get_deq, reset_deq
    from torchdeq.core import DEQSliced
    from torchdeq.norm import apply_norm, remove_norm
    from torchdeq.solver import get_solver

    print("TorchDEQ", version("torchdeq"), "with torch", version("torch"))
    torch.manual_seed(0)
    torch.set_default_dtype(torch.float64)
    weight = torch.randn(WIDTH, WIDTH)
    weight = (0.9 * weight / torch.linalg.matrix_norm(weight, 2)).requires_grad_()
    x, v, zero = torch.randn(BATCH, WIDTH), torch.randn(BATCH, WIDTH), torch.zeros(BATCH, WIDTH)
    calls = 0

    def f(z):
        nonlocal calls
        calls += 1
        return torch.tanh(z @ weight.T + x)

    # Defaults.
    deq = get_deq()
    say("default core, f_tol, b_tol, f_max_iter, stop modes", type(deq).__name__, deq.f_tol, deq.b_tol, deq.f_max_iter,
        deq.f_stop_mode, deq.b_stop_mode)
    say("default solvers", deq.f_solver.__name__, deq.b_solver.__name__)
    defaults = inspect.signature(DEQSliced.__init__).parameters
    say("default ift, grad, tau", *(defaults[name].default for name in ("ift", "grad", "tau")))

    # Gradients.
    z = zero
    for _ in range(1000):
        z = f(z)
    exact = torch.autograd.grad((z * v).sum(), weight)[0]

    def error(scale=1.0, **options):
        states, _ = get_deq(**{"f_tol": 1e-12, "f_max_iter": 400, "b_max_iter": 400, **options}).train()(f, zero)
        gradient = torch.autograd.grad(scale * (states[-1] * v).sum(), weight)[0] / scale
        return float((gradient - exact).norm() / exact.norm())

    say("gradient error, default", error())
    say("gradient error, grad=5, tau=0.5", error(grad=5, tau=0.5))
    say("gradient error, ift=True", error(ift=True))
    for scale in (1e-4, 1e-6, 1e-7):
        say(f"gradient error, ift=True, loss times {scale:g}", error(scale, ift=True))

    # Nothing of f is differentiated in eval().
    deq, inner, head = get_deq(), torch.nn.Linear(4, 4), torch.nn.Linear(4, 1)
    for mode in ("train", "eval"):
        inner.weight.grad = None
        getattr(deq, mode)()
        head(deq(lambda z: torch.tanh(0.3 * inner(z) + 1), torch.zeros(2, 4))[0][-1]).sum().backward()
        say(f"parameters of f have a gradient after {mode}()", inner.weight.grad is not None)

    # Norms over the batch, and what nstep counts.
    plain = get_solver("fixed_point_iter")
    rates = torch.tensor([0.1] * 7 + [0.97])[:, None]
    _, _, info = plain(lambda z: rates * z + (1 - rates), torch.zeros(8, 4), max_iter=1000, tol=1e-6)
    say("nstep of 7 easy samples and a hard one", *info["nstep"].int().tolist())
    _, _, info = plain(lambda z: 0.1 * z + 0.9, torch.zeros(1, 4), max_iter=1000, tol=1e-6)
    say("nstep of an easy sample alone", *info["nstep"].int().tolist())
    for name in ("fixed_point_iter", "anderson", "broyden"):
        calls = 0
        _, _, info = get_solver(name)(f, zero, max_iter=40, tol=1e-6)
        say(f"{name}: calls of f, then nstep", calls, *info["nstep"].int().tolist())
    calls = 0
    _, info = get_deq(f_tol=1e-6).train()(f, zero)
    say("get_deq() in training: calls of f, nstep", calls, *info["nstep"].int().tolist())
    _, _, info = get_solver("anderson")(lambda z: 0.5 * z + 1, torch.zeros(1, 2), max_iter=2)
    say("anderson with max_iter=2: abs_lowest, nstep", info["abs_lowest"].item(), info["nstep"].item())
    for tau in (1.0, 0.1, 0.01):
        z, _, info = plain(lambda z: 0.5 * z + 1, torch.zeros(1, 1), max_iter=5000, tol=1e-3, tau=tau)
        say(f"tol 1e-3, tau {tau}: abs_lowest, |f(z) - z|", info["abs_lowest"].item(), abs(1 - 0.5 * z.item()))
    _, info = get_deq(f_max_iter=3).eval()(lambda z: 0.99 * z + 1, torch.zeros(1, 1))
    say("unsolved: keys of info", *info, "abs_lowest", info["abs_lowest"].item())

    # Normalized weights.
    linear, inputs = torch.nn.Linear(4, 4, bias=False), torch.randn(2, 4)
    apply_norm(linear, "weight_norm")
    say("parameters after apply_norm", *(name for name, _ in linear.named_parameters()))
    before = linear.weight.detach().clone()
    linear(inputs).square().sum().backward()
    torch.optim.SGD(linear.parameters(), lr=0.5).step()
    say("change of weight after the optimizer's step", float((linear.weight.detach() - before).abs().max()))
    reset_deq(linear)
    say("change of weight after reset_deq", float((linear.weight.detach() - before).abs().max()))
    linear = torch.nn.Linear(64, 64)
    before = linear.weight.detach().clone()
    apply_norm(linear, "weight_norm", target_norm=0.5)
    say("longest row with target_norm=0.5", float(linear.weight.detach().norm(dim=1).max()),
        "weight changed", not torch.allclose(before, linear.weight))
    linear = torch.nn.Linear(64, 64)
    apply_norm(linear, "weight_norm", target_norm=0.5, learn_scale=False)
    say("and with learn_scale=False", float(linear.weight.detach().norm(dim=1).max()))
    linear = torch.nn.Linear(64, 64)
    apply_norm(linear, "spectral_norm", target_norm=0.9, learn_scale=False)
    say("spectral norm asked for 0.9", float(torch.linalg.matrix_norm(linear.weight.detach(), 2)))
    for _ in range(30):
        reset_deq(linear)
    say("after 30 more calls of reset_deq", float(torch.linalg.matrix_norm(linear.weight.detach(), 2)))

    saved, restored = torch.nn.Linear(4, 4, bias=False), torch.nn.Linear(4, 4, bias=False)
    apply_norm(saved), apply_norm(restored)
    before = restored.weight.detach().clone()
    restored.load_state_dict(saved.state_dict())
    say("change of weight after load_state_dict", float((restored.weight.detach() - before).abs().max()))
    remove_norm(restored)
    say("parameters after remove_norm", *(name for name, _ in restored.named_parameters()),
        "right", torch.allclose(restored.weight, saved.weight))

    # What is not said.
    args = {}
    get_deq(args, ift=True, f_tolerance=1e-8)
    say("get_deq({}, ift=True, f_tolerance=1e-8) is accepted, and leaves in its first argument", args)


def jax_problem():
    import jax, jax.numpy as jnp

    weight = jax.random.normal(jax.random.PRNGKey(0), (WIDTH, WIDTH))
    weight = 0.9 * weight / jnp.linalg.norm(weight, 2)
    return weight, jax.random.normal(jax.random.PRNGKey(1), (1, WIDTH)), lambda z, w, x: jnp.tanh(z @ w.T + x)


def jaxopt():
    import jax, jax.numpy as jnp
    import jaxopt as peer

    print("jaxopt", version("jaxopt"), "with jax", version("jax"))
    for solver in (peer.FixedPointIteration, peer.AndersonAcceleration):
        fields = {field.name: field.default for field in dataclasses.fields(solver)}
        names = ("maxiter", "tol", "implicit_diff", "implicit_diff_solve", "history_size", "beta", "ridge")
        say(solver.__name__, {name: fields[name] for name in names if name in fields})
    weight, x, f = jax_problem()
    for batch in (1, 64, 4096):
        _, state = peer.FixedPointIteration(f).run(jnp.zeros((batch, WIDTH)), weight, jnp.tile(x, (batch, 1)))
        say(f"{batch} equal rows: iterations", int(state.iter_num))
    _, state = peer.FixedPointIteration(f, maxiter=3).run(jnp.zeros((1, WIDTH)), weight, x)
    say("maxiter=3: iterations, error, no exception", int(state.iter_num), float(state.error))
    _, state = peer.AndersonAcceleration(f).run(jnp.zeros((1, WIDTH)), weight, x)
    say("anderson: iter_num, num_fun_eval", int(state.iter_num), int(state.num_fun_eval))
    z, state = peer.AndersonAcceleration(lambda z, c: 0.5 * z + c).run(jnp.zeros(1), jnp.array([100.0]))
    say("anderson of z / 2 + 100: z, error", float(z[0]), float(state.error))

    def loss(weight, solve=None):
        solver = peer.FixedPointIteration(f, tol=1e-6, implicit_diff_solve=solve)
        return solver.run(jnp.zeros((1, WIDTH)), weight, x).params.sum()

    def closed(weight):
        return peer.FixedPointIteration(lambda z: f(z, weight, x)).run(jnp.zeros((1, WIDTH))).params.sum()

    def unrolled(weight):
        z = jnp.zeros((1, WIDTH))
        for _ in range(300):
            z = f(z, weight, x)
        return z.sum()

    gradient, exact = jax.grad(loss)(weight), jax.grad(unrolled)(weight)
    say("gradient error, default", float(jnp.linalg.norm(gradient - exact) / jnp.linalg.norm(exact)))
    normal = jax.grad(lambda weight: loss(weight, peer.linear_solve.solve_normal_cg))(weight)
    say("the default adjoint solve is solve_normal_cg, to the last bit", bool((gradient == normal).all()))
    try:
        jax.grad(closed)(weight)
    except Exception as problem:
        say("parameters in a closure", type(problem).__name__)


def optimistix():
    import jax, jax.numpy as jnp
    import equinox, lineax, optimistix as peer

    print("Optimistix", version("optimistix"), "with jax", version("jax"), "and lineax", version("lineax"))
    fields = {field.name: getattr(field.default, "__name__", field.default) for field in dataclasses.fields(peer.FixedPointIteration)}
    fields = {name: "required" if default is dataclasses.MISSING else default for name, default in fields.items()}
    say("FixedPointIteration", {name: fields[name] for name in ("rtol", "atol", "damp")}, peer.FixedPointIteration(0.0, 1e-3).norm)
    signature = inspect.signature(peer.fixed_point).parameters
    say("fixed_point", {name: signature[name].default for name in ("max_steps", "throw", "adjoint")})
    say("linear solver of ImplicitAdjoint", peer.ImplicitAdjoint().linear_solver)
    say("fixed-point solvers", [name for name in dir(peer) if isinstance(getattr(peer, name), type)
                                and issubclass(getattr(peer, name), peer.AbstractFixedPointSolver) and not name.startswith("Abstract")])
    halve = lambda z, c: 0.5 * z + c
    for damp in (0.0, 0.9, 0.99):
        solver = peer.FixedPointIteration(rtol=0.0, atol=1e-3, damp=damp)
        z = peer.fixed_point(halve, solver, jnp.zeros(1), jnp.ones(1), max_steps=5000).value
        say(f"atol 1e-3, damp {damp}: |f(z) - z|", float(abs(halve(z, 1.0) - z)[0]))
    solver, ends = peer.FixedPointIteration(rtol=1e-3, atol=0.0), jnp.array([0.0, 1.0])
    solution = peer.fixed_point(halve, solver, ends, ends, max_steps=300, throw=False)
    say("atol 0, an entry of z* that is 0: steps of 300, successful", int(solution.stats["num_steps"]),
        bool(solution.result == peer.RESULTS.successful))
    try:
        peer.fixed_point(halve, peer.FixedPointIteration(1e-6, 1e-6), jnp.zeros(1), jnp.ones(1), max_steps=3)
    except equinox.EquinoxRuntimeError as problem:
        say("unsolved, by default", type(problem).__name__)
    weight, x, f = jax_problem()

    def closed(weight):
        solver = peer.FixedPointIteration(1e-6, 1e-6)
        return peer.fixed_point(lambda z, _: f(z, weight, x), solver, jnp.zeros((1, WIDTH))).value.sum()

    say("parameters in a closure: norm of the gradient", float(jnp.linalg.norm(jax.grad(closed)(weight))))
    for batch in (4, 16):
        for name, adjoint in (("default", peer.ImplicitAdjoint()),
                              ("GMRES", peer.ImplicitAdjoint(linear_solver=lineax.GMRES(1e-4, 1e-6)))):
            def loss(x):
                solver = peer.FixedPointIteration(1e-4, 1e-4)
                return peer.fixed_point(lambda z, x: f(z, weight, x), solver, jnp.zeros((batch, WIDTH)), x, adjoint=adjoint).value.sum()
            compiled = jax.jit(jax.grad(loss)).lower(jnp.tile(x, (batch, 1))).compile()
            say(f"gradient of {batch} rows, {name}: bytes of work space", compiled.memory_analysis().temp_size_in_bytes)


if __name__ == "__main__":
    for needs, measure in ((("torch", "torchdeq"), torchdeq), (("jax", "jaxopt"), jaxopt), (("jax", "optimistix"), optimistix)):
        if have(*needs):
            measure()
