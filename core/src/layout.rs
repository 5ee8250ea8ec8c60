//! Where the entries of a matrix on the CPU lie in memory.
//!
//! dfdx permutes and broadcasts without moving a number, and keeps the gradient of such a view in the order of the memory that
//! it looks at. The framework speaks of entries in row-major order alone; what stands here leads from one to the other, and is
//! the only place that does.

use dfdx::prelude::{Cpu, HasShape};

use crate::{Matrix, Scalar};

/// Shape and strides of a matrix.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Layout {
    shape: (usize, usize),
    strides: (usize, usize),
}

impl Layout {
    /// That of `tensor`.
    pub fn of<E: Scalar>(tensor: &Matrix<E, Cpu>) -> Self {
        let shape @ (rows, columns) = *tensor.shape();
        // dfdx does not tell the strides of a tensor; the addresses of neighboring entries do.
        let place = |at: [usize; 2]| std::ptr::from_ref(&tensor[at]) as usize;
        let stride = |at| (place(at) - place([0, 0])) / size_of::<E>();
        let strides = match shape {
            (0, _) | (_, 0) => (columns, 1),
            _ => (
                if rows > 1 { stride([1, 0]) } else { columns },
                if columns > 1 { stride([0, 1]) } else { 1 },
            ),
        };
        Self { shape, strides }
    }

    /// Whether entries lie row after row, each once.
    pub fn is_row_major(&self) -> bool {
        self.strides == (self.shape.1, 1)
    }

    /// Numbers of memory it takes; fewer than there are entries where it is broadcast.
    fn size(&self) -> usize {
        let last = |length: usize, stride: usize| length.saturating_sub(1) * stride;
        match self.shape {
            (0, _) | (_, 0) => 0,
            (rows, columns) => last(rows, self.strides.0) + last(columns, self.strides.1) + 1,
        }
    }

    /// The places of all entries, row after row.
    fn places(self) -> impl Iterator<Item = usize> {
        let (rows, columns) = self.shape;
        let (down, along) = self.strides;
        (0..rows).flat_map(move |row| (0..columns).map(move |column| row * down + column * along))
    }

    /// The entries, row-major, of what lies in `memory`; 0 where it is empty.
    pub fn gather<E: Scalar>(self, memory: &[E]) -> Vec<E> {
        let read = |place: usize| memory.get(place).copied().unwrap_or_else(E::zero);
        self.places().map(read).collect()
    }

    /// Adds row-major `values` to `memory`, which is as long as needed afterwards: entries that share a place add up.
    pub fn scatter<E: Scalar>(self, memory: &mut Vec<E>, values: &[E]) {
        memory.resize(memory.len().max(self.size()), E::zero());
        for (place, &value) in self.places().zip(values) {
            memory[place] += value;
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::from_host;
    use dfdx::prelude::*;

    type Matrix64 = Matrix<f64, Cpu>;

    fn matrix(shape: (usize, usize)) -> Matrix64 {
        let values = (1..=shape.0 * shape.1).map(|value| value as f64);
        from_host(&Cpu::default(), values.collect(), shape).expect("memory")
    }

    /// As dfdx reads them, whatever the view.
    #[test]
    fn entries_are_found_in_every_view() {
        let row: Tensor<(usize,), f64, Cpu> = matrix((1, 3)).reshape_like(&(3,));
        let views: [(Matrix64, &[f64], bool); 5] = [
            (matrix((2, 3)), &[1.0, 2.0, 3.0, 4.0, 5.0, 6.0], true),
            (
                matrix((2, 3)).permute::<_, Axes2<1, 0>>(),
                &[1.0, 2.0, 3.0, 4.0, 5.0, 6.0],
                false,
            ),
            (
                row.clone().broadcast_like::<_, Axis<0>>(&(2, 3)),
                &[1.0, 2.0, 3.0],
                false,
            ),
            (
                row.broadcast_like::<_, Axis<1>>(&(3, 2)),
                &[1.0, 2.0, 3.0],
                false,
            ),
            (
                matrix((1, 3)).permute::<_, Axes2<1, 0>>(),
                &[1.0, 2.0, 3.0],
                true,
            ),
        ];
        for (view, memory, row_major) in views {
            let layout = Layout::of(&view);
            assert_eq!(layout.gather(memory), view.as_vec(), "{layout:?}");
            assert_eq!(layout.size(), memory.len(), "{layout:?}");
            assert_eq!(layout.is_row_major(), row_major, "{layout:?}");
        }
    }

    #[test]
    fn entries_that_share_a_place_add_up() {
        let row: Tensor<(usize,), f64, Cpu> = matrix((1, 3)).reshape_like(&(3,));
        let layout = Layout::of(&row.broadcast_like::<_, Axis<0>>(&(2, 3)));
        let mut memory = vec![10.0];
        layout.scatter(&mut memory, &[1.0, 2.0, 3.0, 4.0, 5.0, 6.0]);
        assert_eq!(memory, [15.0, 7.0, 9.0]);
        let empty: Matrix64 = Cpu::default().zeros_like(&(0, 3));
        assert!(Layout::of(&empty).is_row_major());
        assert!(Layout::of(&empty).gather::<f64>(&[]).is_empty());
    }
}
