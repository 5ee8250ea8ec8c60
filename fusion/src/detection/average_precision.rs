//! Average precision of predicted boxes.

use std::collections::HashMap;

use super::{overlap, OrientedBox};

/// A predicted box.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Detected {
    /// Number of its scene.
    pub scene: usize,
    /// Number of its class.
    pub class: usize,
    /// The box.
    pub shape: OrientedBox,
    /// How sure it is: more is surer.
    pub score: f64,
}

/// A box that is there.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct True {
    /// Number of its scene.
    pub scene: usize,
    /// Number of its class.
    pub class: usize,
    /// The box.
    pub shape: OrientedBox,
}

/// Average precision of every class, in [0, 1]: the area below the envelope of precision over recall; `None` for a class of which no box is there.
///
/// Predictions of a class are taken from the surest on, equally sure ones in their order. One is right if it overlaps, by more than
/// `threshold`, that true box of its class and scene which it overlaps most, and no surer one was right about the same box. The envelope
/// at a recall is the largest precision at this recall or beyond (M. Everingham et al., The PASCAL Visual Object Classes Challenge,
/// International Journal of Computer Vision 111, 2015, section 4.2, with all points).
pub fn average_precision(
    detected: &[Detected],
    truth: &[True],
    classes: usize,
    threshold: f64,
) -> Vec<Option<f64>> {
    (0..classes)
        .map(|class| of_class(class, detected, truth, threshold))
        .collect()
}

/// The mean over classes of which a box is there; NaN where there is none.
pub fn mean_average_precision(each: &[Option<f64>]) -> f64 {
    let known: Vec<f64> = each.iter().copied().flatten().collect();
    known.iter().sum::<f64>() / known.len() as f64
}

fn of_class(class: usize, detected: &[Detected], truth: &[True], threshold: f64) -> Option<f64> {
    let mut there: HashMap<usize, Vec<(OrientedBox, bool)>> = HashMap::new();
    let mut count = 0_usize;
    for own in truth.iter().filter(|own| own.class == class) {
        there.entry(own.scene).or_default().push((own.shape, false));
        count += 1;
    }
    if count == 0 {
        return None;
    }
    let mut order: Vec<&Detected> = detected.iter().filter(|own| own.class == class).collect();
    order.sort_by(|a, b| sureness(b.score).total_cmp(&sureness(a.score)));
    let (mut right, mut curve) = (0_usize, Vec::with_capacity(order.len()));
    for (number, own) in (1..).zip(order) {
        let mut candidates = there.get_mut(&own.scene);
        let best = candidates.iter_mut().flat_map(|boxes| boxes.iter_mut());
        let best = best.map(|(shape, taken)| (overlap(&own.shape, shape), taken));
        // The first of several that overlap equally.
        let best = best.reduce(|best, next| if next.0 > best.0 { next } else { best });
        if let Some((common, taken)) = best {
            if common > threshold && !*taken {
                *taken = true;
                right += 1;
            }
        }
        curve.push((
            right as f64 / count as f64,
            right as f64 / f64::from(number),
        ));
    }
    Some(area_below_envelope(&curve))
}

/// By which boxes are put in order: NaN is least sure.
pub(super) fn sureness(score: f64) -> f64 {
    match score.is_nan() {
        true => f64::NEG_INFINITY,
        false => score,
    }
}

/// Of points (recall, precision) by rising recall.
fn area_below_envelope(curve: &[(f64, f64)]) -> f64 {
    let (mut area, mut envelope) = (0.0, 0.0_f64);
    for (index, &(recall, precision)) in curve.iter().enumerate().rev() {
        envelope = envelope.max(precision);
        let before = index.checked_sub(1).map_or(0.0, |before| curve[before].0);
        area += (recall - before) * envelope;
    }
    area
}

#[cfg(test)]
mod tests {
    use super::*;

    fn at(x: f64) -> OrientedBox {
        OrientedBox {
            center: [x, 0.0, 0.0],
            size: [1.0; 3],
            heading: 0.0,
        }
    }

    fn found(x: f64, score: f64) -> Detected {
        Detected {
            scene: 0,
            class: 0,
            shape: at(x),
            score,
        }
    }

    fn there(x: f64) -> True {
        True {
            scene: 0,
            class: 0,
            shape: at(x),
        }
    }

    /// Right, wrong, right: precisions 1, 1/2, 2/3 at recalls 1/2, 1/2, 1.
    #[test]
    fn precision_is_that_of_the_envelope() {
        let detected = [found(0.0, 0.9), found(9.0, 0.8), found(3.0, 0.7)];
        let truth = [there(0.0), there(3.0)];
        let ap = average_precision(&detected, &truth, 1, 0.5);
        approx::assert_relative_eq!(
            ap[0].expect("a class"),
            0.5 + 0.5 * 2.0 / 3.0,
            epsilon = 1e-15
        );
    }

    #[test]
    fn a_true_box_is_found_once_and_a_prediction_looks_at_its_best_box_alone() {
        // The second overlaps the second true box by a third, but the first one by more, which is taken.
        let detected = [found(0.0, 0.9), found(0.2, 0.8)];
        let truth = [there(0.0), there(0.7)];
        let ap = average_precision(&detected, &truth, 1, 0.25);
        approx::assert_relative_eq!(ap[0].expect("a class"), 0.5, epsilon = 1e-15);
    }

    #[test]
    fn classes_without_boxes_do_not_count_and_missed_ones_count_as_0() {
        let truth = [
            there(0.0),
            True {
                class: 2,
                ..there(0.0)
            },
        ];
        let elsewhere = Detected {
            scene: 1,
            ..found(0.0, 0.5)
        };
        let ap = average_precision(&[found(0.0, 0.5), elsewhere], &truth, 3, 0.25);
        assert_eq!(ap, [Some(1.0), None, Some(0.0)]);
        approx::assert_relative_eq!(mean_average_precision(&ap), 0.5, epsilon = 1e-15);
        assert!(mean_average_precision(&[None]).is_nan());
    }
}
