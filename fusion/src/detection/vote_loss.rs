//! The loss of votes.

use dfdx::prelude::{HasShape, SplitTape};
use equilibria_core::{
    from_host, recorded, to_host, try_contiguous, AnyTape, Backend, Error, Matrix, Result, Scalar,
};

/// Keeps means over nothing from being NaN.
pub(super) const FEW: f64 = 1e-6;

/// The mean, over seeds inside of a box, of the distance `|v − t|₁` of their vote v from the nearest of three true votes t, in meters: `[1, 1]`.
///
/// Computed on the host in f64, with its gradient.
///
/// # Shapes
/// `votes` `[seeds, 3]`; `truth`, the middles themselves, and `inside`, one for each seed.
///
/// # Errors
/// [`Error::Shape`] where these are not as many as the seeds, [`Error::Device`] if memory runs out.
///
/// Reference: C. R. Qi, O. Litany, K. He, L. J. Guibas, Deep Hough Voting for 3D Object Detection in Point Clouds, ICCV 2019, eq. 1.
pub fn vote_loss<E: Scalar, D: Backend<E>, T: AnyTape<E, D>>(
    votes: Matrix<E, D, T>,
    truth: &[[f64; 9]],
    inside: &[bool],
) -> Result<Matrix<E, D, T>> {
    let (votes, tape) = try_contiguous(votes)?.split_tape();
    let values = to_host(&votes);
    let seeds = values.len() / 3;
    if votes.shape().1 != 3 || truth.len() != seeds || inside.len() != seeds {
        return Err(Error::Shape {
            what: "the votes of seeds".to_owned(),
            expected: format!("[{seeds}, 3], and a truth for each"),
            got: format!("{:?} and {}, {}", votes.shape(), truth.len(), inside.len()),
        });
    }
    let count = inside.iter().filter(|&&inside| inside).count() as f64;
    let share = (count + FEW).recip();
    let (mut loss, mut slopes) = (0.0, vec![E::zero(); values.len()]);
    for (seed, vote) in values
        .chunks_exact(3)
        .enumerate()
        .filter(|(seed, _)| inside[*seed])
    {
        let difference = |target: &[f64]| -> [f64; 3] {
            std::array::from_fn(|axis| vote[axis].wide() - target[axis])
        };
        let length = |from: &[f64; 3]| from.iter().map(|x| x.abs()).sum::<f64>();
        let each = truth[seed].chunks_exact(3).map(difference);
        let nearest = each.reduce(|best, next| match length(&next) < length(&best) {
            true => next,
            false => best,
        });
        let Some(nearest) = nearest else { continue };
        loss += share * length(&nearest);
        for (slope, x) in slopes[3 * seed..].iter_mut().zip(nearest) {
            // The sign, and 0 at 0.
            *slope = E::of(share * f64::from(i8::from(x > 0.0) - i8::from(x < 0.0)));
        }
    }
    let y = from_host(votes.device(), vec![E::of(loss)], (1, 1))?;
    Ok(recorded(y, tape, move |gradients, y_bar| {
        let y_bar = y_bar[0];
        slopes.iter_mut().for_each(|slope| *slope *= y_bar);
        D::put_gradient(gradients, &votes, slopes)
    }))
}
