//! Graphs in rows: what layers on them share.

use equilibria_core::{Backend, Scalar, Value};

use crate::Vocabulary;

/// `D^(−1/2) A D^(−1/2)`, D_ii = max(Σ_j |A_ij|, 1), of adjacency matrices in rows.
///
/// Similar to D⁻¹ A, no row of which has a sum of absolute values above 1: so the Perron root of the absolute values is at most 1. Of a graph
/// without weights, whose nodes have edges to themselves, it is the matrix of graph convolutions (T. Kipf, M. Welling, ICLR 2017).
pub fn normalized<E: Scalar, D: Backend<E>>(a: &Value<E, D>, nodes: usize) -> Value<E, D> {
    let degrees = a.abs().tokens(nodes).sum(1).clamp(1.0, f64::INFINITY);
    let scales = 1.0 / degrees.sqrt();
    let by_row = scales.repeat(nodes).into_value();
    a * by_row * scales.into_value().repeat(nodes)
}

/// [`normalized`] of one adjacency matrix, `[nodes, nodes]` row-major, in f64.
pub fn normalized_numbers(a: &[f64], nodes: usize) -> Vec<f64> {
    let degree = |row: &[f64]| row.iter().map(|a| a.abs()).sum::<f64>().max(1.0);
    let scales: Vec<f64> = (a.chunks_exact(nodes))
        .map(|row| degree(row).sqrt().recip())
        .collect();
    let entries = a.iter().enumerate();
    let scaled = entries.map(|(place, a)| a * scales[place / nodes] * scales[place % nodes]);
    scaled.collect()
}
