//! Products with a matrix that is constant during a solve and has few entries, such as the adjacency matrix of a graph.

use std::sync::Arc;

use equilibria_core::simd::multiply_matrices;
use equilibria_core::{vectorized, At, Element, Gradients, Prepared, Reads, RowOperation, Scratch};

use super::{Matmul, Turned};

/// Entries of A for each that is not 0, at least: with more of those, the product with all entries is faster.
const SPARSE: usize = 4;

/// Entries of A from which it pays to look for those that are 0.
const LEAST: usize = 64;

/// `Y = A B` for a matrix A that is constant during a solve, and what is prepared of it; `None` where nothing is.
pub(super) fn prepared<E: Element>(product: Matmul) -> Option<Prepared<E>> {
    let entries = product.rows * product.inner;
    // Places of entries are kept as numbers of E, which are exact up to here in f32.
    let kept = (LEAST..1 << 24).contains(&entries) && !product.transposed;
    kept.then(|| Prepared {
        preparation: Arc::new(Compress(product)),
        width: product.width_compressed(),
        operation: Arc::new(SparseMatmul(product)),
    })
}

impl Matmul {
    /// Entries of A that are kept at most.
    fn most(self) -> usize {
        self.rows * self.inner / SPARSE
    }

    fn width_compressed(self) -> usize {
        1 + self.rows + 2 * self.most()
    }

    /// The numbers of entries of each row of A, and all entries, each as its column and its value; `None` where A is not sparse.
    fn parts<E: Element>(self, compressed: &[E]) -> Option<(&[E], &[E])> {
        let (head, entries) = compressed.split_at(1 + self.rows);
        (head[0] != E::zero()).then(|| (&head[1..], entries))
    }
}

/// The entries of A that are not 0, NaN among them, row by row: `[1 | numbers of entries | columns and values]`, or 0 in front where they
/// are too many.
struct Compress(Matmul);

impl Compress {
    /// Whether all entries that are not 0 had room.
    fn fill<E: Element>(&self, a: &[E], counts: &mut [E], entries: &mut [E]) -> bool {
        /// Entries that are looked at together: most are 0.
        const TOGETHER: usize = 16;
        let mut places = entries.chunks_exact_mut(2);
        for (row, count) in a.chunks_exact(self.0.inner).zip(counts) {
            let mut found = 0;
            for (part, a) in row.chunks(TOGETHER).enumerate() {
                if a.iter().fold(true, |zero, a| zero & (*a == E::zero())) {
                    continue;
                }
                for (column, &a) in a.iter().enumerate() {
                    if a == E::zero() {
                        continue;
                    }
                    let Some(place) = places.next() else {
                        return false;
                    };
                    place.copy_from_slice(&[E::of((part * TOGETHER + column) as f64), a]);
                    found += 1;
                }
            }
            *count = E::of(f64::from(found));
        }
        true
    }
}

impl<E: Element> RowOperation<E> for Compress {
    fn is_constant_in_gradients(&self) -> bool {
        true
    }

    fn apply(&self, x: &[&[E]], y: &mut [E], _: &mut [&mut [E]], _: &mut Scratch<E>) {
        let matrices = x[0].chunks_exact(self.0.rows * self.0.inner);
        let rows = y.chunks_exact_mut(self.0.width_compressed());
        for (a, y) in matrices.zip(rows) {
            let (head, entries) = y.split_at_mut(1 + self.0.rows);
            let sparse = self.fill(a, &mut head[1..], entries);
            head[0] = if sparse { E::one() } else { E::zero() };
        }
    }

    /// A is constant during a solve: it has no tangent.
    fn jvp(&self, _: &At<'_, E>, _: &[Option<&[E]>], y_dot: &mut [E], _: &mut Scratch<E>) {
        y_dot.fill(E::zero());
    }

    fn vjp(&self, _: &At<'_, E>, _: &[E], x_bar: &mut [Option<&mut [E]>], _: &mut Scratch<E>) {
        for x_bar in x_bar.iter_mut().flatten() {
            x_bar.fill(E::zero());
        }
    }
}

/// `Y = A B` of A, B and the compressed A.
struct SparseMatmul(Matmul);

impl SparseMatmul {
    /// `Y = A B`, or `Y = Aᵀ B`, with B as many columns wide as Y.
    fn multiply<E: Element>(
        &self,
        (a, compressed, transposed): (&[E], &[E], bool),
        b: &[E],
        y: &mut [E],
    ) {
        let Matmul {
            rows,
            inner,
            columns,
            ..
        } = self.0;
        let sizes = match transposed {
            false => [rows, inner],
            true => [inner, rows],
        };
        let all = compressed.chunks_exact(self.0.width_compressed());
        let all = all.zip(a.chunks_exact(rows * inner));
        let b = b.chunks_exact(sizes[1] * columns);
        let y = y.chunks_exact_mut(sizes[0] * columns);
        for (((compressed, a), b), y) in all.zip(b).zip(y) {
            match self.0.parts(compressed) {
                Some((counts, entries)) => {
                    y.fill(E::zero());
                    spread(counts, entries, b, y, columns, transposed);
                }
                None => {
                    let turned = if transposed {
                        Turned::Left
                    } else {
                        Turned::Neither
                    };
                    let sizes = [sizes[0], sizes[1], columns];
                    multiply_matrices(super::shapes(turned, sizes), a, b, y, false);
                }
            }
        }
    }
}

vectorized! {
    /// `Y ← Y + A B` by the entries of A, or `Y + Aᵀ B`, in the order of A.
    fn spread<'a, E, S>(
        _simd: S,
        counts: &'a [E],
        entries: &'a [E],
        b: &'a [E],
        y: &'a mut [E],
        columns: usize,
        transposed: bool,
    ) {
        let mut entries = entries.chunks_exact(2);
        for (row, count) in counts.iter().enumerate() {
            for entry in entries.by_ref().take(count.wide() as usize) {
                let column = entry[0].wide() as usize;
                let (from, to) = if transposed { (row, column) } else { (column, row) };
                let b = &b[from * columns..][..columns];
                let y = &mut y[to * columns..][..columns];
                for (y, &b) in y.iter_mut().zip(b) {
                    *y += entry[1] * b;
                }
            }
        }
    }
}

impl<E: Element> RowOperation<E> for SparseMatmul {
    fn reads(&self) -> Reads {
        Reads {
            arguments: true,
            result: false,
        }
    }

    fn apply(&self, x: &[&[E]], y: &mut [E], _: &mut [&mut [E]], _: &mut Scratch<E>) {
        self.multiply((x[0], x[2], false), x[1], y);
    }

    fn jvp(&self, at: &At<'_, E>, x_dot: &[Option<&[E]>], y_dot: &mut [E], _: &mut Scratch<E>) {
        if let Some(b_dot) = x_dot[1] {
            self.multiply((at.x[0], at.x[2], false), b_dot, y_dot);
        }
    }

    fn vjp(
        &self,
        at: &At<'_, E>,
        y_bar: &[E],
        x_bar: &mut [Option<&mut [E]>],
        scratch: &mut Scratch<E>,
    ) {
        if let Some(b_bar) = &mut x_bar[1] {
            self.multiply((at.x[0], at.x[2], true), y_bar, b_bar);
        }
        // The cotangent of A is dense, also where A is sparse.
        let mut of_a = [x_bar[0].as_deref_mut(), None];
        (self.0).cotangents([None, Some(at.x[1])], y_bar, &mut of_a, scratch);
    }

    /// A has no tangent, so that ⟨p, A ẋ⟩ depends on A alone.
    fn bend(
        &self,
        _: &At<'_, E>,
        p: &[E],
        x_dot: &[Option<&[E]>],
        x_bar: &mut [Option<&mut [E]>],
        _: &mut Gradients<'_, E>,
        scratch: &mut Scratch<E>,
    ) -> bool {
        (self.0).cotangents([None, x_dot[1]], p, &mut x_bar[..2], scratch);
        true
    }
}
