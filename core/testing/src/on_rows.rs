//! Calls of a map in rows, for checks.

use std::sync::Arc;

use dfdx::prelude::HasShape;

use equilibria_core::{to_host, Backend, Matrix, RowGradients, RowMap, Scalar, Scratch};

/// A [`RowMap`] with inputs and a record: what a solve keeps, for checks that call the map itself.
///
/// A call covers the first rows, as many as the state that it is given has.
pub struct OnRows<E> {
    map: Arc<dyn RowMap<E>>,
    dim: usize,
    /// Width and values of every matrix.
    given: Vec<(usize, Vec<E>)>,
    record: Vec<(usize, Vec<E>)>,
}

impl<E: Scalar> OnRows<E> {
    /// The map, whose states are `dim` wide, with the injected inputs `x`, each `[batch, width]`.
    pub fn new<D: Backend<E>>(map: Arc<dyn RowMap<E>>, dim: usize, x: &[Matrix<E, D>]) -> Self {
        let batch = x.first().map_or(0, |x| x.shape().0);
        let zeros = |widths: Vec<usize>| -> Vec<(usize, Vec<E>)> {
            let zero = |width: usize| (width, vec![E::zero(); batch * width]);
            widths.into_iter().map(zero).collect()
        };
        let mut given: Vec<_> = x.iter().map(|x| (x.shape().1, to_host(x))).collect();
        let mut constants = zeros(map.constants());
        map.prepare(
            &slices(&given, batch),
            &mut slices_mut(&mut constants, batch),
            &mut Scratch::default(),
        );
        given.extend(constants);
        Self {
            record: zeros(map.record()),
            map,
            dim,
            given,
        }
    }

    /// The same with rounded products, where the map has them.
    pub fn rounded(self) -> Option<Self> {
        let map = self.map.clone().rounded()?;
        Some(Self { map, ..self })
    }

    fn rows(&self, state: &[E]) -> usize {
        state.len() / self.dim
    }

    /// f(z).
    pub fn apply(&self, z: &[E]) -> Vec<E> {
        let (x, mut out) = (slices(&self.given, self.rows(z)), vec![E::nan(); z.len()]);
        self.map.apply(&x, z, &mut out, &mut Scratch::default());
        out
    }

    /// f(z); z becomes the recorded point of its rows.
    pub fn linearize(&mut self, z: &[E]) -> Vec<E> {
        let (rows, mut out) = (self.rows(z), vec![E::nan(); z.len()]);
        let (x, mut record) = (
            slices(&self.given, rows),
            slices_mut(&mut self.record, rows),
        );
        let scratch = &mut Scratch::default();
        self.map.linearize(&x, z, &mut out, &mut record, scratch);
        out
    }

    /// Jᵀu.
    pub fn vjp(&self, u: &[E]) -> Vec<E> {
        let (rows, mut out) = (self.rows(u), vec![E::nan(); u.len()]);
        let (x, record) = (slices(&self.given, rows), slices(&self.record, rows));
        let scratch = &mut Scratch::default();
        self.map.vjp(&x, &record, u, &mut out, scratch);
        out
    }

    /// J v, if the map has such products.
    pub fn jvp(&self, v: &[E]) -> Option<Vec<E>> {
        let (rows, mut out) = (self.rows(v), vec![E::nan(); v.len()]);
        let (x, record) = (slices(&self.given, rows), slices(&self.record, rows));
        let scratch = &mut Scratch::default();
        self.map.tangents()?.jvp(&x, &record, v, &mut out, scratch);
        Some(out)
    }

    /// Adds the gradients of ⟨u, f(z)⟩.
    pub fn pull_back(&self, u: &[E], gradients: &mut RowGradients<E>) {
        let rows = self.rows(u);
        let (x, record) = (slices(&self.given, rows), slices(&self.record, rows));
        let scratch = &mut Scratch::default();
        self.map.pull_back(&x, &record, u, gradients, scratch);
    }

    /// Adds the gradients of ⟨u, f(z)⟩ + ⟨p, J v⟩; `None` if the map has no such products.
    pub fn pull_back_tangent(
        &self,
        u: &[E],
        product: [&[E]; 2],
        gradients: &mut RowGradients<E>,
    ) -> Option<()> {
        let rows = self.rows(u);
        let (x, record) = (slices(&self.given, rows), slices(&self.record, rows));
        let (tangents, scratch) = (self.map.tangents()?, &mut Scratch::default());
        tangents.pull_back_tangent(&x, &record, u, product, gradients, scratch);
        Some(())
    }
}

fn slices<E>(matrices: &[(usize, Vec<E>)], rows: usize) -> Vec<&[E]> {
    let matrices = matrices.iter();
    matrices
        .map(|(width, values)| &values[..rows * width])
        .collect()
}

fn slices_mut<E>(matrices: &mut [(usize, Vec<E>)], rows: usize) -> Vec<&mut [E]> {
    let matrices = matrices.iter_mut();
    matrices
        .map(|(width, values)| &mut values[..rows * *width])
        .collect()
}
