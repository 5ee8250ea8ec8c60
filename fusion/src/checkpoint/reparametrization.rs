//! Weights that PyTorch keeps as parts of a reparametrization: what its module works with in evaluation.

/// Rows and columns of an array of up to two dimensions: a vector is a row.
fn matrix(shape: &[usize]) -> Option<(usize, usize)> {
    match *shape {
        [] => Some((1, 1)),
        [columns] => Some((1, columns)),
        [rows, columns] => Some((rows, columns)),
        _ => None,
    }
}

/// Weight normalization, W = g v / ‖v‖, with one length for each entry of g: of a row for `[rows, 1]` (`dim=0`, the default), of
/// a column for `[1, columns]` (`dim=1`), of all of v for a single one (`dim=None`). `None` where g does not fit v.
///
/// Reference: T. Salimans, D. P. Kingma, Weight Normalization, NeurIPS 2016, eq. 2.
pub(super) fn weight_norm(
    (g, g_shape): (&[f64], &[usize]),
    (v, v_shape): (&[f64], &[usize]),
) -> Option<Vec<f64>> {
    let (lengths, shape) = (matrix(g_shape)?, matrix(v_shape)?);
    let spread = |of: usize, over: usize| of == 1 || of == over;
    let fits = spread(lengths.0, shape.0) && spread(lengths.1, shape.1);
    if !fits || (g_shape.len() == 1 && v_shape.len() == 2) {
        return None;
    }
    let columns = shape.1.max(1);
    let length_of = |entry: usize| {
        let (row, column) = (entry / columns, entry % columns);
        row % lengths.0 * lengths.1 + column % lengths.1
    };
    let mut squares = vec![0.0; g.len()];
    for (entry, v) in v.iter().enumerate() {
        squares[length_of(entry)] += v * v;
    }
    let scaled = |(entry, v): (usize, &f64)| {
        let length = length_of(entry);
        v * (g[length] / squares[length].sqrt())
    };
    Some(v.iter().enumerate().map(scaled).collect())
}

/// Spectral normalization, W = V / σ with σ = uᵀV v of the kept vectors, without another power step. With `dim=1` it is
/// uᵀVᵀv; a state dict does not tell, so that a square V has `dim=0`, the default, unless the other product is clearly larger:
/// at its singular vectors a matrix has the largest product there is. `None` where u and v do not fit V.
///
/// Reference: T. Miyato et al., Spectral Normalization for Generative Adversarial Networks, ICLR 2018, algorithm 1.
pub(super) fn spectral_norm(
    (weight, shape): (&[f64], &[usize]),
    u: &[f64],
    v: &[f64],
) -> Option<Vec<f64>> {
    const CLEARLY: f64 = 1.5;
    let (rows, columns) = matrix(shape)?;
    let sigma = |left: &[f64], right: &[f64]| {
        let fits = left.len() == rows && right.len() == columns;
        let product = |row: &[f64]| row.iter().zip(right).map(|(a, b)| a * b).sum::<f64>();
        let rows = weight.chunks_exact(columns.max(1)).zip(left);
        fits.then(|| rows.map(|(row, left)| left * product(row)).sum::<f64>())
    };
    let sigma = match (sigma(u, v), sigma(v, u)) {
        (Some(rows), Some(columns)) if columns.abs() > CLEARLY * rows.abs() => columns,
        (Some(rows), _) => rows,
        (None, columns) => columns?,
    };
    Some(weight.iter().map(|w| w / sigma).collect())
}

#[cfg(test)]
mod tests {
    use super::*;
    use approx::assert_relative_eq;

    const V: [f64; 4] = [3.0, 4.0, 0.0, 2.0];

    /// Rows of length 5 and 2; columns of length 3 and √20; length √29 in all.
    #[test]
    fn lengths_are_those_of_what_g_has_an_entry_for() {
        let weight = |g: &[f64], g_shape: &[usize], v_shape: &[usize]| {
            weight_norm((g, g_shape), (&V, v_shape)).expect("it fits")
        };
        let rows = weight(&[10.0, -1.0], &[2, 1], &[2, 2]);
        assert_relative_eq!(rows[..], [6.0, 8.0, 0.0, -1.0][..]);
        let columns = weight(&[6.0, 20f64.sqrt()], &[1, 2], &[2, 2]);
        assert_relative_eq!(columns[..], [6.0, 4.0, 0.0, 2.0][..], max_relative = 1e-15);
        let root = 29f64.sqrt();
        for shape in [&[][..], &[1, 1]] {
            let all = weight(&[2.0 * root], shape, &[2, 2]);
            assert_relative_eq!(all[..], [6.0, 8.0, 0.0, 4.0][..], max_relative = 1e-15);
        }
        // One row: `dim=0` has one length.
        let row = weight(&[root], &[1, 1], &[1, 4]);
        assert_relative_eq!(row[..], V[..], max_relative = 1e-15);
        for shape in [&[2][..], &[2, 2, 1], &[3, 1], &[1, 3]] {
            let g = vec![1.0; shape.iter().product()];
            assert!(weight_norm((&g, shape), (&V, &[2, 2])).is_none());
        }
    }

    /// V = [[0, 0, 2], [1, 0, 0]] has σ = 2 with u = (1, 0) and v = (0, 0, 1).
    #[test]
    fn a_matrix_is_divided_by_its_product_with_the_kept_vectors() {
        let matrix = [0.0, 0.0, 2.0, 1.0, 0.0, 0.0];
        let (left, right) = ([1.0, 0.0], [0.0, 0.0, 1.0]);
        let expected = [0.0, 0.0, 1.0, 0.5, 0.0, 0.0];
        let normal = |u: &[f64], v: &[f64]| spectral_norm((&matrix, &[2, 3]), u, v);
        assert_eq!(normal(&left, &right).expect("it fits"), expected);
        assert_eq!(normal(&right, &left).expect("by columns"), expected);
        assert!(normal(&left, &left).is_none());
        // Square: Vᵀ has the singular vectors in the other order.
        let square = |u: &[f64], v: &[f64]| {
            spectral_norm((&[0.0, 4.0, 1.0, 0.0], &[2, 2]), u, v).expect("it fits")
        };
        for (u, v) in [([1.0, 0.0], [0.0, 1.0]), ([0.0, 1.0], [1.0, 0.0])] {
            assert_eq!(square(&u, &v), [0.0, 1.0, 0.25, 0.0]);
        }
    }
}
