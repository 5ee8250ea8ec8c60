//! Which votes of an image are kept.

use equilibria_core::{Backend, Error, Result, Scalar};
use rand::seq::SliceRandom;
use rand::Rng;
use serde::{Deserialize, Serialize};

use super::{generator, Detector};
use crate::detection::image_cues::VOTES;
use crate::detection::{Pixel, Scene, Seen};
use crate::pass::Pass;

/// Which candidates are taken before all others.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum CandidateMask {
    /// Those that have a vote of the image, as is surely meant.
    Vote,
    /// Those whose last number, the blue of their pixel, is not 0, as the program of the authors has it.
    Blue,
}

/// Candidates that are kept.
pub(super) struct Candidates {
    /// Their numbers in each scene: vote · seeds + seed.
    pub rows: Vec<Vec<usize>>,
    /// What the image says of them, row after row.
    pub cues: Vec<f64>,
}

/// So many of some candidates, in their order: at random of those that are `preferred`; all of these and some of the others where there are
/// fewer.
pub fn choose(preferred: &[bool], count: usize, rng: &mut impl Rng) -> Vec<usize> {
    let (mut first, mut others): (Vec<usize>, Vec<usize>) =
        (0..preferred.len()).partition(|&candidate| preferred[candidate]);
    first.shuffle(rng);
    others.shuffle(rng);
    first.extend(others);
    first.truncate(count);
    first.sort_unstable();
    first
}

impl<E: Scalar, D: Backend<E>> Detector<E, D> {
    /// The candidates of every scene, whose seeds are points of these numbers.
    ///
    /// # Errors
    /// [`Error::Shape`] for a finding of a class that is not known.
    pub(super) fn candidates(
        &self,
        scenes: &[Scene],
        seeds: &[Vec<usize>],
        pass: &Pass<E, D>,
    ) -> Result<Candidates> {
        let mut all = Candidates {
            rows: Vec::with_capacity(scenes.len()),
            cues: Vec::new(),
        };
        for (number, (scene, seeds)) in scenes.iter().zip(seeds).enumerate() {
            self.check_classes(scene, pass.number_of(number))?;
            let mut rng = generator(pass, number);
            let kept: Vec<bool> = (scene.found.iter())
                .map(|_| !pass.trains() || rng.gen_bool(self.config.keep))
                .collect();
            let (mut cues, mut preferred) = (Vec::new(), Vec::new());
            let pixels: Vec<(Pixel, f64)> = (seeds.iter())
                .map(|&seed| pixel(scene, &kept, scene.points[seed]))
                .collect();
            for vote in 0..VOTES {
                for (&seed, (pixel, depth)) in seeds.iter().zip(&pixels) {
                    let color = scene.colors[seed];
                    let seen = Seen {
                        camera: &scene.camera,
                        point: scene.points[seed],
                        depth: *depth,
                        pixel,
                        color,
                    };
                    cues.push(seen.cues(vote, &self.scores(scene, pixel, vote)));
                    preferred.push(match self.config.mask {
                        CandidateMask::Vote => pixel.votes(vote),
                        CandidateMask::Blue => color[2].abs() > 0.0,
                    });
                }
            }
            let rows = choose(&preferred, self.config.kept, &mut rng);
            rows.iter().for_each(|&row| all.cues.extend(&cues[row]));
            all.rows.push(rows);
        }
        Ok(all)
    }

    /// A class that is not known has no score, and votes would be of nothing.
    fn check_classes(&self, scene: &Scene, row: usize) -> Result<()> {
        let known = self.outputs().classes;
        let stray = scene.found.iter().position(|found| found.class >= known);
        stray.map_or(Ok(()), |place| {
            Err(Error::Shape {
                what: format!(
                    "row {row}, the class of finding {} in the image",
                    place + 1
                ),
                expected: format!(
                    "one of the {known} that the model knows, from 0 (rows have 1 more, and 0 where there is no finding)"
                ),
                got: scene.found[place].class.to_string(),
            })
        })
    }

    /// The score at the class of the box that a vote is for; zeros where there is none.
    fn scores(&self, scene: &Scene, pixel: &Pixel, vote: usize) -> Vec<f64> {
        let mut scores = vec![0.0; self.outputs().classes];
        let found = pixel.boxes[vote].checked_sub(1).map(|own| scene.found[own]);
        if let Some(found) = found {
            scores[found.class] = found.score;
        }
        scores
    }
}

/// The pixel of a point, and how far in front of the camera it is; no box says anything of what is behind it.
fn pixel(scene: &Scene, kept: &[bool], point: [f64; 3]) -> (Pixel, f64) {
    let at = scene.camera.project(point);
    let pixel = match at.depth > 0.0 {
        true => Pixel::among(&scene.found, |own| kept[own], [at.u as i64, at.v as i64]),
        false => Pixel::default(),
    };
    (pixel, at.depth)
}

#[cfg(test)]
mod tests {
    use super::*;
    use rand::rngs::StdRng;
    use rand::SeedableRng;

    #[test]
    fn candidates_with_a_vote_come_before_others() {
        let preferred: Vec<bool> = (0..30).map(|candidate| candidate % 3 == 0).collect();
        let rng = &mut StdRng::seed_from_u64(1);
        let few = choose(&preferred, 6, rng);
        assert!(
            few.len() == 6 && few.iter().all(|candidate| candidate % 3 == 0),
            "{few:?}"
        );
        let many = choose(&preferred, 15, rng);
        assert_eq!(many.len(), 15);
        assert!((0..30)
            .step_by(3)
            .all(|candidate| many.contains(&candidate)));
        assert!(many.windows(2).all(|pair| pair[0] < pair[1]));
        assert_ne!(few, choose(&preferred, 6, rng));
    }
}
