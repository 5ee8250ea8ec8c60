//! The `equilibria` program for machines with an NVIDIA GPU.

equilibria::program::main!();
