//! The losses of proposals.

pub(super) mod sums;

use dfdx::prelude::{HasShape, SplitTape};
use equilibria_core::{
    from_host, recorded, to_host, try_contiguous, AnyTape, Backend, Error, Matrix, Result, Scalar,
};

use super::Outputs;
use sums::{Batch, Sums};

/// What is to be said of a true box.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct BoxTarget {
    /// Whether the box is there: scenes are filled up to the same number of rows.
    pub present: bool,
    /// Its middle, in meters. Rows that fill up have one too, and take part where the nearest box is looked for.
    pub center: [f64; 3],
    /// Class of its heading, and the rest in units of half the width of the class.
    pub heading: (usize, f64),
    /// Class of its size, and what it has more than the mean size of that class, in units of that.
    pub size: (usize, [f64; 3]),
    /// Its class.
    pub class: usize,
}

impl BoxTarget {
    /// A row that fills up.
    pub const NOTHING: Self = Self {
        present: false,
        center: [0.0; 3],
        heading: (0, 0.0),
        size: (0, [0.0; 3]),
        class: 0,
    };
}

/// The single losses, without weights.
#[derive(Debug, Clone, Copy, Default, PartialEq)]
pub struct ProposalTerms {
    /// Weighted cross-entropy of whether there is an object, over proposals that count.
    pub objectness: f64,
    /// Squared distances of centers: from objects to the nearest true box, and from true boxes to the nearest proposal; in square meters.
    pub center: f64,
    /// Cross-entropy of the class of the heading, over objects.
    pub heading_class: f64,
    /// Huber loss of its residual, over objects.
    pub heading_residual: f64,
    /// Cross-entropy of the class of the size, over objects.
    pub size_class: f64,
    /// Huber loss of its residual, mean of the three, over objects.
    pub size_residual: f64,
    /// Cross-entropy of the class, over objects.
    pub class: f64,
}

impl ProposalTerms {
    /// `10 (0.5 objectness + center + 0.1 heading class + heading residual + 0.1 size class + size residual + 0.1 class)`.
    pub fn total(&self) -> f64 {
        let headings = 0.1 * self.heading_class + self.heading_residual;
        let sizes = 0.1 * self.size_class + self.size_residual;
        10.0 * (0.5 * self.objectness + self.center + headings + sizes + 0.1 * self.class)
    }
}

/// What proposals are compared with.
#[derive(Debug, Clone, PartialEq)]
pub struct Matching {
    /// Whether a proposal is to be an object.
    pub object: Vec<bool>,
    /// The true box, of its own scene, that each is compared with.
    pub assigned: Vec<usize>,
    /// The terms.
    pub terms: ProposalTerms,
}

/// The [total](ProposalTerms::total) loss of proposals, `[1, 1]`, and how they are matched.
///
/// An object is compared with the true box nearest to the proposal's own place. Computed on the host in f64, with its gradients.
///
/// # Shapes
/// `raw` `[scenes · proposals, outputs]`; `places`, where proposals stand, `[scenes · proposals, 3]` in meters; `targets`, as many boxes for each scene.
///
/// # Errors
/// [`Error::Shape`] where these do not fit together, or a class is none of the outputs; [`Error::Device`] if memory runs out.
///
/// Reference: C. R. Qi, O. Litany, K. He, L. J. Guibas, Deep Hough Voting for 3D Object Detection in Point Clouds, ICCV 2019, section 4.3
/// and appendix A, with the weights of ImVoteNet's program.
pub fn proposal_loss<E: Scalar, D: Backend<E>, T: AnyTape<E, D>>(
    raw: Matrix<E, D, T>,
    places: &Matrix<E, D>,
    targets: &[Vec<BoxTarget>],
    outputs: Outputs,
) -> Result<(Matrix<E, D, T>, Matching)> {
    check((*raw.shape(), *places.shape()), targets, outputs)?;
    let (raw, tape) = try_contiguous(raw)?.split_tape();
    let wide = |matrix: &Matrix<E, D>| to_host(matrix).into_iter().map(E::wide).collect();
    let (values, centers): (Vec<f64>, Vec<f64>) = (wide(&raw), wide(places));
    let sums = Sums::of(Batch {
        raw: &values,
        places: &centers,
        targets,
        outputs,
    });
    let y = from_host(
        raw.device(),
        vec![E::of(sums.matching.terms.total())],
        (1, 1),
    )?;
    let Sums {
        raw_bar,
        place_bar,
        matching,
    } = sums;
    let places = places.clone();
    let loss = recorded(y, tape, move |gradients, y_bar| {
        let scaled = |slopes: Vec<f64>| -> Vec<E> {
            let slopes = slopes.into_iter();
            slopes.map(|slope| E::of(slope) * y_bar[0]).collect()
        };
        D::put_gradient(gradients, &raw, scaled(raw_bar))?;
        D::put_gradient(gradients, &places, scaled(place_bar))
    });
    Ok((loss, matching))
}

fn check(
    (raw, places): ((usize, usize), (usize, usize)),
    targets: &[Vec<BoxTarget>],
    outputs: Outputs,
) -> Result<()> {
    let boxes = targets.first().map_or(0, Vec::len);
    let fits = raw.1 == outputs.width()
        && places == (raw.0, 3)
        && boxes > 0
        && raw.0.is_multiple_of(targets.len())
        && targets.iter().all(|scene| scene.len() == boxes);
    if !fits {
        return Err(Error::Shape {
            what: "the outputs and places of proposals".to_owned(),
            expected: format!(
                "[proposals, {}] and [proposals, 3] for {} scenes of {boxes} boxes",
                outputs.width(),
                targets.len()
            ),
            got: format!("{raw:?} and {places:?}"),
        });
    }
    let stray = targets.iter().flatten().find(|target| {
        target.class >= outputs.classes
            || target.heading.0 >= outputs.headings
            || target.size.0 >= outputs.sizes
    });
    stray.map_or(Ok(()), |target| {
        Err(Error::Shape {
            what: "the classes of a true box".to_owned(),
            expected: format!("those of {outputs:?}"),
            got: format!("{target:?}"),
        })
    })
}
