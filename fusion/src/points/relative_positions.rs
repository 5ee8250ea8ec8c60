//! Where neighbors are, seen from a center.

use equilibria_core::{from_host, recorded, to_host, AnyTape, Backend, Matrix, Result, Scalar};

/// `(p_j − c) / r` for every neighbor j of every center c, `[centers · size, 3]`, where `neighbors` has `size` rows of `xyz`, `[points, 3]`,
/// for each row in `centers`. Distances are in units of the radius r.
///
/// On a device the coordinates are looked up on the host: they are few beside the features.
///
/// # Errors
/// [`Error::Device`](equilibria_core::Error::Device) if memory runs out.
pub(super) fn relative_positions<E: Scalar, D: Backend<E>, T: AnyTape<E, D>>(
    xyz: &Matrix<E, D>,
    tape: T,
    centers: &[usize],
    neighbors: &[usize],
    radius: f64,
) -> Result<Matrix<E, D, T>> {
    let size = neighbors.len() / centers.len().max(1);
    let (values, inverse) = (to_host(xyz), E::of(radius.recip()));
    let mut relative = Vec::with_capacity(3 * neighbors.len());
    for (&center, neighbors) in centers.iter().zip(neighbors.chunks_exact(size.max(1))) {
        let center = &values[3 * center..][..3];
        for &neighbor in neighbors {
            let point = values[3 * neighbor..][..3].iter().zip(center);
            relative.extend(point.map(|(&p, &c)| (p - c) * inverse));
        }
    }
    let y = from_host(xyz.device(), relative, (neighbors.len(), 3))?;
    let (xyz, centers, neighbors) = (xyz.clone(), centers.to_vec(), neighbors.to_vec());
    Ok(recorded(y, tape, move |gradients, y_bar| {
        D::add_to_gradient(gradients, &xyz, |x_bar| {
            for (place, (&neighbor, y_bar)) in
                neighbors.iter().zip(y_bar.chunks_exact(3)).enumerate()
            {
                let center = centers[place / size];
                for (axis, &y) in y_bar.iter().enumerate() {
                    x_bar[3 * neighbor + axis] += inverse * y;
                    x_bar[3 * center + axis] -= inverse * y;
                }
            }
        })
    }))
}
