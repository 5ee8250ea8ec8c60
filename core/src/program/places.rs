//! Where values lie that are wanted for a while only.

/// A value from where it is made to where it is read last, in the order of operations.
#[derive(Debug, Clone, Copy)]
pub(super) struct Life {
    pub from: usize,
    pub until: usize,
    pub width: usize,
}

/// Places for the given values, so that no two that live at the same time share one, and the width of each place. Values of different
/// widths share none: operations handle a few rows at a time, one after the other.
pub(super) fn share(lives: &[Life]) -> (Vec<usize>, Vec<usize>) {
    let mut order: Vec<usize> = (0..lives.len()).collect();
    order.sort_by_key(|&value| lives[value].from);
    let mut places = vec![usize::MAX; lives.len()];
    // Width of each place, and until when it is taken.
    let mut taken: Vec<(usize, usize)> = Vec::new();
    for value in order {
        let Life { from, until, width } = lives[value];
        let free = (taken.iter()).position(|&(of, last)| of == width && last < from);
        let place = free.unwrap_or_else(|| {
            taken.push((width, until));
            taken.len() - 1
        });
        taken[place].1 = until;
        places[value] = place;
    }
    (places, taken.into_iter().map(|(width, _)| width).collect())
}

#[cfg(test)]
mod tests {
    use super::*;

    /// a lives from 0 to 1, b from 1 to 2 (it is made while a is read), c from 2 to 3, d is of another width.
    #[test]
    fn values_share_a_place_that_do_not_live_at_the_same_time() {
        let life = |from, until, width| Life { from, until, width };
        let (places, widths) = share(&[life(0, 1, 4), life(1, 2, 4), life(2, 3, 4), life(3, 4, 5)]);
        assert_eq!(places, [0, 1, 0, 2]);
        assert_eq!(widths, [4, 4, 5]);
    }
}
