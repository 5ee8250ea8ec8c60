"""Prints the coefficients of the polynomials in core/compute/src/simd/functions, lowest power first.

Each is the polynomial whose largest weighted error over an interval is least (Remez's algorithm, in 60 digits), its
coefficients then rounded to f32 or f64. Needs mpmath and NumPy: `python docs/coefficients.py`.
"""

import numpy
from mpmath import atanh, cos, erfc, expm1, log, lu_solve, matrix, mp, mpf, pi, polyval, sin, sqrt

mp.dps = 60


def minimax(function, weight, low, high, degree):
    """The coefficients, lowest power first, and the largest weighted error."""
    low, high = mpf(low), mpf(high)
    # Without the ends, where a function may be 0 / 0.
    grid = [(low + high - (high - low) * cos(pi * (i + mpf(1) / 2) / 1000)) / 2 for i in range(1000)]
    values, weights = [function(x) for x in grid], [weight(x) for x in grid]
    nodes = [round(999 * i / (degree + 1)) for i in range(degree + 2)]
    for _ in range(40):
        rows = [[grid[i] ** k for k in range(degree + 1)] + [(-1) ** j / weights[i]] for j, i in enumerate(nodes)]
        *coefficients, level = lu_solve(matrix(rows), matrix([values[i] for i in nodes]))
        errors = [weights[i] * (values[i] - polyval(coefficients[::-1], x)) for i, x in enumerate(grid)]
        # The largest error between two changes of sign is the next node.
        peaks = []
        for i, error in enumerate(errors):
            if peaks and (error > 0) == (errors[peaks[-1]] > 0):
                if abs(error) > abs(errors[peaks[-1]]):
                    peaks[-1] = i
            else:
                peaks.append(i)
        while len(peaks) > degree + 2:
            peaks.pop(0 if abs(errors[peaks[0]]) < abs(errors[peaks[-1]]) else -1)
        if peaks == nodes or len(peaks) < degree + 2:
            break
        nodes = peaks
    return coefficients, max(map(abs, errors))


def show(name, function, weight, low, high, **degrees):
    """Prints one polynomial for f32 and one for f64."""
    for kind, degree in degrees.items():
        coefficients, error = minimax(function, weight, low, high, degree)
        rounded = [str(getattr(numpy, kind)(str(c))) for c in coefficients]
        print(f"{name} {kind}, error 2^{float(log(error, 2)):.1f}", *rounded, sep="\n    ")


def parts(name, value, *bits):
    """Prints the leading bits of a constant, the next ones, and so on."""
    for count in bits:
        exponent = int(mp.floor(log(value, 2)))
        unit = mpf(2) ** (exponent + 1 - count)
        part = mp.floor(value / unit) * unit
        print(f"{name}, {count} bits: {float(part)!r}")
        value -= part


parts("ln 2 float32", log(mpf(2)), 15, 24)
parts("ln 2 float64", log(mpf(2)), 41, 53)
parts("pi / 2", pi / 2, 36, 36, 53)

half = log(mpf(2)) / 2 * mpf("1.001")
show("exp", lambda x: (expm1(x) - x) / x**2, lambda x: x**2 / expm1(abs(x)), -half, half, float32=4, float64=9)

widest = (sqrt(mpf(2)) - 1) / (sqrt(mpf(2)) + 1) * mpf("1.001")
show(
    "log1p, in s²",
    lambda u: 2 * (atanh(sqrt(u)) / sqrt(u) - 1) / u,
    lambda u: u / 2,
    0,
    widest**2,
    float32=2,
    float64=6,
)

eighth = (pi / 4 * mpf("1.001")) ** 2
show("sin, in r²", lambda u: (sin(sqrt(u)) / sqrt(u) - 1) / u, lambda u: u, 0, eighth, float32=2, float64=5)
show("cos, in r²", lambda u: (cos(sqrt(u)) - 1) / u, lambda u: u, 0, eighth, float32=3, float64=6)


def logarithm(x):
    return -log(erfc(x)) / x - 1


# An error of the logarithm counts as much as it changes erf.
def effect(x):
    return x * erfc(x) / (1 - erfc(x))


show("erf", logarithm, effect, 0, mpf("3.95"), float32=8)
show("erf", logarithm, effect, 0, mpf("5.95"), float64=23)
