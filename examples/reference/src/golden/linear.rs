//! Small dense systems, for maps of the reference that hold an inverse.

/// The solution of `M y = v` by elimination with pivots; M is `[n, n]`, row-major. NaN where M is singular.
pub fn solve(matrix: &[f64], right: &[f64]) -> Vec<f64> {
    let n = right.len();
    let mut rows: Vec<Vec<f64>> = matrix.chunks_exact(n).map(<[f64]>::to_vec).collect();
    (rows.iter_mut().zip(right)).for_each(|(row, &v)| row.push(v));
    for column in 0..n {
        let size = |row: &usize| rows[*row][column].abs();
        let pivot = (column..n).max_by(|a, b| size(a).total_cmp(&size(b)));
        rows.swap(column, pivot.unwrap_or(column));
        let (above, below) = rows.split_at_mut(column + 1);
        let pivot = &above[column];
        for row in below {
            let factor = row[column] / pivot[column];
            (row.iter_mut().zip(pivot)).for_each(|(a, p)| *a -= factor * p);
        }
    }
    let mut y = vec![0.0; n];
    for row in (0..n).rev() {
        let known: f64 = (row + 1..n)
            .map(|column| rows[row][column] * y[column])
            .sum();
        y[row] = (rows[row][n] - known) / rows[row][row];
    }
    y
}

/// `A x` for each row x of a batch; A is `[outputs, inputs]`.
pub fn times(matrix: &[f64], x: &[f64], inputs: usize) -> Vec<f64> {
    let product = |x: &[f64]| -> Vec<f64> {
        let rows = matrix.chunks_exact(inputs);
        rows.map(|row| row.iter().zip(x).map(|(a, x)| a * x).sum())
            .collect()
    };
    x.chunks_exact(inputs).flat_map(product).collect()
}

/// `Aᵀ`, with A `[rows, columns]`.
pub fn transposed(matrix: &[f64], columns: usize) -> Vec<f64> {
    let rows = matrix.len() / columns;
    let entry = |index: usize| matrix[index % rows * columns + index / rows];
    (0..matrix.len()).map(entry).collect()
}

/// `I + c A`, with A `[n, n]`.
pub fn identity_plus(matrix: &[f64], n: usize, factor: f64) -> Vec<f64> {
    let entry =
        |(index, a): (usize, &f64)| f64::from(u8::from(index % n == index / n)) + factor * a;
    matrix.iter().enumerate().map(entry).collect()
}
