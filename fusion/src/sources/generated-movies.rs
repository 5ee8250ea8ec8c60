//! Generated movies.

use equilibria_core::prelude::*;
use rand::rngs::StdRng;
use rand::{Rng, SeedableRng};
use rand_distr::StandardNormal;

use crate::data::{
    require_sizes, require_total, DataError, DataSet, LabelSets, Split, Table, Targets,
};
use crate::model::DataSource;

plugin! {
    /// Generated movies, to train the backbone `mm-imdb` with no download: text and poster agree on the genres only together.
    ///
    /// Each of eight topics has a center in the text, which two topics share, and one in the poster, which two others share; a movie is
    /// the centers of its topic and noise. The five genres of a topic are no sum of what text and poster say alone, so that one modality
    /// cannot tell them, and a linear map of both cannot either. What it shows is that a model trains and its fusion interacts; it says
    /// nothing about movies.
    pub struct GeneratedMovies: DataSource {
        /// Movies to learn from, from 1 to 1048576.
        pub train: usize = 650,
        /// Movies for the final evaluation, from 1 to 1048576.
        pub test: usize = 250,
        /// Numbers in the text of a movie, from 1 to 1048576.
        pub text: usize = 10,
        /// Numbers in the poster of a movie, from 1 to 1048576.
        pub poster: usize = 14,
        /// Seed of centers and movies.
        pub seed: u64 = 1,
    }
}

const GENRES: usize = 5;

/// Standard deviation of the noise, where that of the centers is 1.
const NOISE: f64 = 0.9;

/// Genres of topic t; text centers are those of t / 2, poster centers of t mod 4.
const TOPICS: [[bool; GENRES]; 8] = {
    const O: bool = false;
    const I: bool = true;
    [
        [O, O, O, I, I],
        [I, O, I, I, O],
        [O, I, O, I, O],
        [I, O, O, I, O],
        [I, O, O, O, I],
        [O, I, I, O, O],
        [I, I, O, O, O],
        [O, O, I, I, I],
    ]
};

#[typetag::serde(name = "generated-movies")]
impl DataSource for GeneratedMovies {
    fn load(&self) -> Result<DataSet, DataError> {
        let sizes = [
            ("train", 1, self.train),
            ("test", 1, self.test),
            ("text", 1, self.text),
            ("poster", 1, self.poster),
        ];
        require_sizes("generated-movies", &sizes)?;
        let columns = self.text + self.poster + GENRES;
        require_total("generated-movies", self.train + self.test, columns)?;
        let mut rng = StdRng::seed_from_u64(self.seed);
        let mut centers = |width: usize| -> Vec<Vec<f64>> {
            let center = |_| (0..width).map(|_| rng.sample(StandardNormal)).collect();
            (0..TOPICS.len() / 2).map(center).collect()
        };
        let centers = [centers(self.text), centers(self.poster)];
        let set = DataSet {
            name: "generated movies".to_owned(),
            classes: (1..=GENRES).map(|genre| format!("genre {genre}")).collect(),
            train: self.movies(self.train, &centers, &mut rng),
            test: self.movies(self.test, &centers, &mut rng),
        };
        set.validate()?;
        Ok(set)
    }

    fn scaled(&self) -> bool {
        false
    }
}

impl GeneratedMovies {
    fn movies(&self, count: usize, centers: &[Vec<Vec<f64>>; 2], rng: &mut StdRng) -> Split {
        let mut values = [Vec::new(), Vec::new()];
        let mut genres = Vec::with_capacity(count * GENRES);
        for _ in 0..count {
            let topic = rng.gen_range(0..TOPICS.len());
            genres.extend(TOPICS[topic]);
            let places = [topic / 2, topic % 4];
            for ((values, centers), place) in values.iter_mut().zip(centers).zip(places) {
                for center in &centers[place] {
                    let noise: f64 = rng.sample(StandardNormal);
                    values.push(center + NOISE * noise);
                }
            }
        }
        let [text, poster] = values;
        let table = |name: &str, columns, values| Table {
            name: name.to_owned(),
            columns,
            values,
        };
        Split {
            modalities: vec![
                table("text", self.text, text),
                table("poster", self.poster, poster),
            ],
            targets: Targets::LabelSets(LabelSets {
                columns: GENRES,
                values: genres,
            }),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn movies_follow_from_the_seed() {
        let source = |seed| GeneratedMovies {
            seed,
            ..GeneratedMovies::default()
        };
        let set = source(1).load().expect("sound");
        assert_eq!((set.train.len(), set.test.len()), (650, 250));
        assert_eq!(set, source(1).load().expect("sound"));
        assert_ne!(set, source(2).load().expect("sound"));
    }

    /// No two topics have the same genres, and for no genre are the eight topics a sum of an effect of the text and one of the poster:
    /// topics 2 m and 2 m + 1 share the text, t and t + 4 the poster, so that the sum over a cycle of both, t, t + 1, t + 5, t + 4, with
    /// changing signs would be 0.
    #[test]
    fn genres_are_no_sum_of_text_and_poster() {
        for (topic, genres) in TOPICS.iter().enumerate() {
            assert!(TOPICS[..topic].iter().all(|other| other != genres));
        }
        let bit = |topic: usize, genre: usize| i32::from(TOPICS[topic][genre]);
        let sum = |t: usize, g| bit(t, g) - bit(t + 1, g) + bit(t + 5, g) - bit(t + 4, g);
        for genre in 0..GENRES {
            assert!([0, 2].iter().any(|&t| sum(t, genre) != 0), "{genre}");
        }
    }
}
