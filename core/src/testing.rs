//! Checks for authors of layers, solvers and kernels.
