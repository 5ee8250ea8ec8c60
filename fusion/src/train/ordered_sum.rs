//! Sums whose order, and so whose bits, do not depend on which rank has added up what.

use std::any::Any;
use std::collections::BTreeMap;

use equilibria_core::{simd, Error, Result, Scalar};

use crate::ranks::parcel::{Parcel, Unpacked};
use crate::ranks::Ranks;

/// A node of the binary tree over all parts of a batch: its level, from 0 for single parts, and its number on this level.
type Place = (u32, usize);

/// What the parts below a node add up to.
struct Sum<E> {
    gradient: Vec<E>,
    loss: f64,
}

/// The gradients and losses of the parts of a batch, added up as the nodes of a binary tree: node n of level l is the sum of the nodes 2n
/// and 2n + 1 of the level below, or the first of them where there is no second. A rank adds up what it has all of.
pub(super) struct OrderedSum<E> {
    parts: usize,
    nodes: Vec<(Place, Sum<E>)>,
}

impl<E: Scalar> OrderedSum<E> {
    /// Of so many parts on all ranks together.
    pub fn new(parts: usize) -> Self {
        Self {
            parts,
            nodes: Vec::new(),
        }
    }

    /// Adds the part of this number, which follows on that of the last call.
    pub fn add(&mut self, part: usize, gradient: Vec<E>, loss: f64) {
        self.nodes.push(((0, part), Sum { gradient, loss }));
        while let [.., ((left_level, left), _), ((right_level, right), _)] = self.nodes[..] {
            if left_level != right_level || left % 2 != 0 || right != left + 1 {
                return;
            }
            if let (Some((_, right)), Some((place, sum))) =
                (self.nodes.pop(), self.nodes.last_mut())
            {
                sum.add(&right);
                *place = (left_level + 1, left / 2);
            }
        }
    }

    /// The sum over all parts of all ranks, which is the same on every rank: gradient and loss.
    ///
    /// # Errors
    /// [`Error::Missing`] if a part was not added, and those of [`Ranks::gather`].
    pub fn finish(self, ranks: &dyn Ranks) -> Result<(Vec<E>, f64)> {
        let (parts, mut nodes) = (self.parts, BTreeMap::new());
        if ranks.are_several() {
            for bytes in ranks.gather(&self.pack())? {
                unpack(&bytes, &mut nodes)?;
            }
        } else {
            nodes.extend(self.nodes);
        }
        let top = parts.next_power_of_two().trailing_zeros();
        let sum = sum_below((top, 0), parts, &mut nodes)?;
        Ok((sum.gradient, sum.loss))
    }

    fn pack(&self) -> Vec<u8> {
        let mut parcel = Parcel::default();
        parcel.count(self.nodes.len());
        for ((level, number), sum) in &self.nodes {
            parcel.count(*level as usize);
            parcel.count(*number);
            parcel.number(sum.loss);
            parcel.bytes(&encode(&sum.gradient));
        }
        parcel.into_bytes()
    }
}

impl<E: Scalar> Sum<E> {
    fn add(&mut self, other: &Self) {
        simd::add_scaled(&mut self.gradient, E::one(), &other.gradient);
        self.loss += other.loss;
    }
}

/// The sum of a node, from its own entry or from those below it.
fn sum_below<E: Scalar>(
    place: Place,
    parts: usize,
    nodes: &mut BTreeMap<Place, Sum<E>>,
) -> Result<Sum<E>> {
    if let Some(sum) = nodes.remove(&place) {
        return Ok(sum);
    }
    let (level, number) = place;
    let Some(below) = level.checked_sub(1) else {
        return Err(Error::Missing {
            what: format!("the gradient of part {} of a batch", number + 1),
            remedy: "run the same version of the program on every machine",
        });
    };
    let mut sum = sum_below((below, 2 * number), parts, nodes)?;
    let right = 2 * number + 1;
    if right << below < parts {
        sum.add(&sum_below((below, right), parts, nodes)?);
    }
    Ok(sum)
}

fn unpack<E: Scalar>(bytes: &[u8], nodes: &mut BTreeMap<Place, Sum<E>>) -> Result<()> {
    let mut unpacked = Unpacked::new(bytes);
    for _ in 0..unpacked.count()? {
        let place = (unpacked.count()? as u32, unpacked.count()?);
        let loss = unpacked.number()?;
        let gradient = decode(unpacked.bytes()?);
        nodes.insert(place, Sum { gradient, loss });
    }
    Ok(())
}

/// Numbers to the last bit.
#[allow(clippy::ptr_arg)] // A slice has no type that could be asked for.
fn encode<E: Scalar>(numbers: &Vec<E>) -> Vec<u8> {
    let any: &dyn Any = numbers;
    match any.downcast_ref::<Vec<f32>>() {
        Some(singles) => singles.iter().flat_map(|x| x.to_le_bytes()).collect(),
        None => {
            let doubles = numbers.iter().map(|x| x.wide());
            doubles.flat_map(f64::to_le_bytes).collect()
        }
    }
}

fn decode<E: Scalar>(bytes: &[u8]) -> Vec<E> {
    match size_of::<E>() {
        4 => {
            let singles = bytes.as_chunks().0.iter().copied().map(f32::from_le_bytes);
            singles.map(|x| E::of(f64::from(x))).collect()
        }
        _ => {
            let doubles = bytes.as_chunks().0.iter().copied().map(f64::from_le_bytes);
            doubles.map(E::of).collect()
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::ranks::threads::run;
    use crate::ranks::Alone;

    /// Numbers that another order of adding them up gives other bits.
    fn part(number: usize) -> (Vec<f32>, f64) {
        let x = 1.0 / (number as f32 + 3.0);
        (vec![x, -x * 1e3, 1e-3 * x], f64::from(x))
    }

    fn alone(parts: usize) -> (Vec<f32>, f64) {
        let mut sum = OrderedSum::new(parts);
        for number in 0..parts {
            let (gradient, loss) = part(number);
            sum.add(number, gradient, loss);
        }
        sum.finish(&Alone).expect("all parts are there")
    }

    #[test]
    fn sums_have_the_same_bits_on_any_number_of_ranks() {
        for parts in 1..20 {
            let expected = alone(parts);
            for size in 2..=7 {
                let sums = run::<_, Error>(size, |ranks| {
                    let ranks: &dyn Ranks = ranks;
                    let mut sum = OrderedSum::new(parts);
                    for number in ranks.share(parts) {
                        let (gradient, loss) = part(number);
                        sum.add(number, gradient, loss);
                    }
                    sum.finish(ranks)
                });
                for sum in sums {
                    let (gradient, loss) = sum.expect("all parts are there");
                    assert_eq!(gradient, expected.0, "{parts} on {size}");
                    assert_eq!(loss.to_bits(), expected.1.to_bits());
                }
            }
        }
    }

    #[test]
    fn sums_are_sums() {
        for parts in 1..20 {
            let (gradient, loss) = alone(parts);
            let (mut expected, mut losses) = (0.0, 0.0);
            for number in 0..parts {
                let (gradient, loss) = part(number);
                expected += f64::from(gradient[1]);
                losses += loss;
            }
            // The rounding errors of `parts` additions of numbers of the same sign.
            let bound = parts as f64 * f64::from(f32::EPSILON) * expected.abs();
            assert!((f64::from(gradient[1]) - expected).abs() <= bound);
            assert!((loss - losses).abs() <= 1e-14 * losses);
        }
    }

    #[test]
    fn a_part_that_is_missing_is_named() {
        let mut sum = OrderedSum::new(3);
        sum.add(0, vec![1.0_f64], 1.0);
        sum.add(1, vec![1.0], 1.0);
        let error = sum.finish(&Alone).expect_err("part 3 is missing");
        assert!(error.to_string().contains("part 3 of a batch"), "{error}");
    }
}
