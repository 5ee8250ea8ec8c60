//! What an update works on.

/// What is the same for all parameters in one step.
#[derive(Debug, Clone, Copy)]
pub(super) struct Factors {
    /// Of the learning rate: the schedule.
    pub rate: f64,
    /// Of gradients: clipping.
    pub gradient: f64,
    /// Number of the step, from 1.
    pub steps: i32,
    /// β of the averages.
    pub decay: f64,
}

/// Numbers of a parameter in one share.
pub(super) const SHARE: usize = 1 << 13;

/// Some numbers of a parameter and what belongs to them: what one thread updates at a time.
pub(super) struct Share<'a, E> {
    pub values: &'a mut [E],
    pub gradient: &'a [E],
    /// Running means; empty where the rule has none.
    pub first: &'a mut [E],
    pub second: &'a mut [E],
    /// Empty if no average is taken.
    pub average: &'a mut [E],
}

impl<'a, E> Share<'a, E> {
    /// All numbers in shares.
    pub fn split(mut self) -> impl Iterator<Item = Self> {
        std::iter::from_fn(move || (!self.values.is_empty()).then(|| self.split_off(SHARE)))
    }

    /// Takes the first numbers off, at most `count`.
    fn split_off(&mut self, count: usize) -> Self {
        let (gradient, rest) = self.gradient.split_at(count.min(self.gradient.len()));
        self.gradient = rest;
        Self {
            gradient,
            values: take_first(&mut self.values, count),
            first: take_first(&mut self.first, count),
            second: take_first(&mut self.second, count),
            average: take_first(&mut self.average, count),
        }
    }
}

fn take_first<'a, E>(numbers: &mut &'a mut [E], count: usize) -> &'a mut [E] {
    let all = std::mem::take(numbers);
    let (first, rest) = all.split_at_mut(count.min(all.len()));
    *numbers = rest;
    first
}
