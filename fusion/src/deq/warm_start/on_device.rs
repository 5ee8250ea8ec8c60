//! States in the memory of a device.

use std::collections::HashMap;
use std::fmt;
use std::sync::Mutex;

use equilibria_core::parallel::lock;
use equilibria_core::prelude::*;
use equilibria_core::{from_host, OnDevice};

use crate::layers::optimizer::Kept;

/// One table of states for each part.
pub struct Tables<E>(HashMap<usize, Table<E>>);

/// The states of all samples, one in each row.
struct Table<E> {
    /// The row of a sample.
    rows: HashMap<usize, usize>,
    width: usize,
    states: Kept<E>,
}

/// States that a run was left with, on the host.
type Left<E> = Mutex<HashMap<(usize, usize), Vec<E>>>;

impl<E> Default for Tables<E> {
    fn default() -> Self {
        Self(HashMap::new())
    }
}

impl<E> fmt::Debug for Tables<E> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let rows = |(part, table): (&usize, &Table<E>)| (*part, table.rows.len());
        f.debug_map().entries(self.0.iter().map(rows)).finish()
    }
}

impl<E: Scalar> Tables<E> {
    /// The states of some samples, 0 for a new one; of the shape of `x`.
    pub fn recall<D: Backend<E>>(
        &mut self,
        part: usize,
        (x, samples): (&Matrix<E, D>, &[usize]),
        left: &Left<E>,
        device: &dyn OnDevice<E, D>,
    ) -> Result<Matrix<E, D>> {
        let table = self.table(part, x, left)?;
        let rows = samples.iter().map(|sample| table.rows.get(sample));
        let rows: Vec<usize> = rows.map(|row| row.copied().unwrap_or(usize::MAX)).collect();
        match table.states.matrix_mut::<D>() {
            Some(states) => device.gather_rows(states, &rows),
            None => Err(elsewhere()),
        }
    }

    /// Keeps the states of some samples, those that are finite.
    pub fn remember<D: Backend<E>>(
        &mut self,
        part: usize,
        (z, samples): (&Matrix<E, D>, &[usize]),
        left: &Left<E>,
        device: &dyn OnDevice<E, D>,
    ) -> Result<()> {
        let table = self.table(part, z, left)?;
        let known = table.rows.len();
        for &sample in samples {
            let next = table.rows.len();
            table.rows.entry(sample).or_insert(next);
        }
        let Some(states) = table.states.matrix_mut::<D>() else {
            return Err(elsewhere());
        };
        if table.rows.len() > known {
            // Twice as many as there are, so that it grows seldom; new rows are 0.
            let rows: Vec<usize> = (0..2 * table.rows.len()).collect();
            if rows.len() > 2 * states_rows(states) {
                *states = device.gather_rows(states, &rows)?;
            }
        }
        let rows: Vec<usize> = samples.iter().map(|sample| table.rows[sample]).collect();
        device.scatter_rows(z, &rows, states)
    }

    /// All states, by part and sample.
    pub fn states(&self) -> Vec<((usize, usize), Vec<E>)> {
        let mut all = Vec::new();
        for (&part, table) in &self.0 {
            let states = table.states.to_host();
            for (&sample, &row) in &table.rows {
                let state = &states[row * table.width..][..table.width];
                all.push(((part, sample), state.to_vec()));
            }
        }
        all
    }

    /// The table of a part, of states as wide as `like`; what was left on the host is taken over.
    fn table<D: Backend<E>>(
        &mut self,
        part: usize,
        like: &Matrix<E, D>,
        left: &Left<E>,
    ) -> Result<&mut Table<E>> {
        use dfdx::prelude::HasShape;
        let width = like.shape().1;
        let mut left = lock(left);
        let own: Vec<usize> = (left.keys().filter(|key| key.0 == part))
            .map(|key| key.1)
            .collect();
        if !self.0.contains_key(&part) || !own.is_empty() {
            let (mut rows, mut values) = (HashMap::new(), Vec::new());
            for sample in own {
                let state = left.remove(&(part, sample));
                if let Some(state) = state.filter(|state| state.len() == width) {
                    rows.insert(sample, rows.len());
                    values.extend(state);
                }
            }
            values.resize(values.len().max(width), E::zero());
            let count = values.len() / width;
            let states = from_host(like.device(), values, (count, width))?;
            let states = Kept::on_its_device(states);
            let table = Table {
                rows,
                width,
                states,
            };
            self.0.insert(part, table);
        }
        self.0.get_mut(&part).ok_or_else(elsewhere)
    }
}

fn states_rows<E: Scalar, D: Backend<E>>(states: &Matrix<E, D>) -> usize {
    use dfdx::prelude::HasShape;
    states.shape().0
}

fn elsewhere() -> Error {
    Error::Missing {
        what: "the states of a warm start on this device".to_owned(),
        remedy: "train on one device",
    }
}
