#!/usr/bin/env bash
# jaxopt 0.8.5 (jax 0.10.2): AndersonAcceleration with its defaults, in f32, returns NaN for z = z / 2 + 100, a contraction of one number.
# Its first history_size steps are plain ones, whose residuals here are multiples of each other; the ridge of 1e-5 is absolute and vanishes
# beside squared residuals of order 1e4, the system is singular, and the loop ends because NaN is not above the tolerance: no error, 6 of
# 100 iterations. FixedPointIteration solves the same equation, and so does AndersonAcceleration of z = z / 2 + 1.
# Seen: anderson, c = 1: z = 2 after 6; c = 100: z = nan after 6, error nan; plain iteration, c = 100: z = 200 after 26.
set -euo pipefail
folder=$(mktemp -d); trap 'rm -rf "$folder"' EXIT
python3 -m venv "$folder/venv"
"$folder/venv/bin/pip" install --quiet jax==0.10.2 jaxopt==0.8.5
"$folder/venv/bin/python" -W ignore - <<'PYTHON'
import jax.numpy as jnp
from jaxopt import AndersonAcceleration, FixedPointIteration


def run(solver, c):
    z, state = solver(lambda z, c: 0.5 * z + c).run(jnp.zeros(1), jnp.array([c]))
    print(solver.__name__, c, float(z[0]), int(state.iter_num), float(state.error))
    return float(z[0]), int(state.iter_num)


assert abs(run(AndersonAcceleration, 1.0)[0] - 2) < 1e-4
assert abs(run(FixedPointIteration, 100.0)[0] - 200) < 1e-2
z, iterations = run(AndersonAcceleration, 100.0)
assert z != z and iterations < 100
PYTHON
