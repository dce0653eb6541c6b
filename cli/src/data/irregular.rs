//! [`Irregular`]: samples of which some cells were observed, at times that all have in common.

use std::sync::Arc;

/// Records of several features over the same times. What was not observed has no number.
#[derive(Clone, Debug, Default, PartialEq)]
pub(crate) struct Records {
    /// As the model counts them, rising.
    pub(crate) times: Vec<f64>,
    /// Features at a time.
    pub(crate) width: usize,
    /// What each record is called, in their order.
    pub(crate) ids: Vec<u32>,
    /// Where the cells of each record end.
    ends: Vec<usize>,
    /// `time * width + feature`, rising within a record.
    places: Vec<u16>,
    values: Vec<f64>,
}

/// Some of the records, perhaps one of them more than once.
#[derive(Clone, Debug)]
pub(crate) struct Irregular {
    pub(crate) records: Arc<Records>,
    /// Which they are, in their order.
    pub(crate) chosen: Vec<u32>,
    /// How many of the times are wanted of them, the first ones.
    pub(crate) wanted: usize,
}

/// The mean and spread of numbers.
#[derive(Clone, Copy, Debug, PartialEq)]
pub(crate) struct Spread {
    pub(crate) mean: f64,
    /// The square root of the mean squared difference from it.
    pub(crate) deviation: f64,
}

impl Records {
    /// None yet. There may be 2^16 cells in a record.
    pub(crate) fn new(times: Vec<f64>, width: usize) -> Self {
        debug_assert!(times.len() * width <= 1 << 16, "places are u16");
        Self { times, width, ..Self::default() }
    }

    /// Adds a record with its observed cells, in the order of their places.
    pub(crate) fn push(&mut self, id: u32, cells: impl IntoIterator<Item = (u16, f64)>) {
        self.ids.push(id);
        for (place, value) in cells {
            self.places.push(place);
            self.values.push(value);
        }
        self.ends.push(self.values.len());
    }

    pub(crate) const fn len(&self) -> usize {
        self.ids.len()
    }

    /// Cells that were observed.
    pub(crate) const fn observed(&self) -> usize {
        self.values.len()
    }

    /// A record's observed cells.
    pub(crate) fn cells(&self, record: usize) -> impl ExactSizeIterator<Item = (usize, f64)> + '_ {
        let begin = if record == 0 { 0 } else { self.ends[record - 1] };
        let range = begin..self.ends[record];
        self.places[range.clone()].iter().map(|&place| usize::from(place)).zip(self.values[range].iter().copied())
    }

    /// Least and largest value of each feature; 0 and 1 of one that was never observed.
    pub(crate) fn ranges(&self) -> Vec<[f64; 2]> {
        let mut ranges = vec![[f64::INFINITY, f64::NEG_INFINITY]; self.width];
        for (&place, &value) in self.places.iter().zip(&self.values) {
            let [least, largest] = &mut ranges[usize::from(place) % self.width];
            (*least, *largest) = (least.min(value), largest.max(value));
        }
        ranges.into_iter().map(|range| if range[0] <= range[1] { range } else { [0.0, 1.0] }).collect()
    }

    /// Every value `x` of a feature as `(x - least) / largest`: not over the range, as the published code has it. A largest
    /// value of 0 divides nothing.
    pub(crate) fn normalise(&mut self, ranges: &[[f64; 2]]) {
        for (&place, value) in self.places.iter().zip(&mut self.values) {
            let [least, largest] = ranges[usize::from(place) % self.width];
            *value = (*value - least) / if largest == 0.0 { 1.0 } else { largest };
        }
    }

    /// Of all observed values.
    pub(crate) fn spread(&self) -> Spread {
        let count = self.values.len() as f64;
        let mean = self.values.iter().sum::<f64>() / count;
        let squares: f64 = self.values.iter().map(|x| (x - mean) * (x - mean)).sum();
        Spread { mean, deviation: (squares / count).sqrt() }
    }
}

impl Irregular {
    /// Some of the records, wanted at all times.
    pub(crate) fn new(records: &Arc<Records>, chosen: Vec<u32>) -> Self {
        Self { records: Arc::clone(records), chosen, wanted: records.times.len() }
    }

    /// The first `count` of them, wanted at the first `slots` times, but for those of which nothing was observed then. Inputs
    /// stay whole.
    pub(super) fn up_to(&self, slots: usize, count: usize) -> Self {
        let wanted = slots.min(self.records.times.len());
        let seen = |record: &u32| {
            self.records.cells(*record as usize).next().is_some_and(|(place, _)| place / self.records.width < wanted)
        };
        let chosen = self.chosen[..count].iter().copied().filter(seen).collect();
        Self { records: Arc::clone(&self.records), chosen, wanted }
    }

    pub(crate) const fn len(&self) -> usize {
        self.chosen.len()
    }

    /// Numbers in an input, in an output, and times of outputs. An input has at each time the features, 0 where they were not
    /// observed, then 1 for each that was, and how long it is until the next time.
    pub(crate) fn sizes(&self) -> (usize, usize, usize) {
        let Records { times, width, .. } = &*self.records;
        (times.len() * (2 * width + 1), *width, self.wanted)
    }

    /// Appends the inputs of samples: `[sample][time][values, mask, step]`.
    pub(super) fn inputs<R: Copy>(&self, indices: &[usize], number: impl Fn(f64) -> R, out: &mut Vec<R>) {
        let Records { times, width, .. } = &*self.records;
        let (width, row) = (*width, 2 * *width + 1);
        let zero = number(0.0);
        for &index in indices {
            let begin = out.len();
            out.resize(begin + times.len() * row, zero);
            let input = &mut out[begin..];
            for (place, value) in self.records.cells(self.chosen[index] as usize) {
                let (time, feature) = (place / width, place % width);
                input[time * row + feature] = number(value);
                input[time * row + width + feature] = number(1.0);
            }
            for (time, pair) in times.windows(2).enumerate() {
                input[time * row + 2 * width] = number(pair[1] - pair[0]);
            }
        }
    }

    /// Sets `states` and `weights` of samples: 0 where nothing was observed, and `place` says where a sample's time begins.
    pub(super) fn targets<R: Copy>(
        &self,
        indices: &[usize],
        number: impl Fn(f64) -> R,
        place: impl Fn(usize, usize) -> usize,
        [states, weights]: [&mut Vec<R>; 2],
    ) {
        let width = self.records.width;
        for list in [&mut *states, &mut *weights] {
            list.clear();
            list.resize(indices.len() * self.wanted * width, number(0.0));
        }
        for (sample, &index) in indices.iter().enumerate() {
            let cells = self.records.cells(self.chosen[index] as usize);
            for (cell, value) in cells.take_while(|(cell, _)| cell / width < self.wanted) {
                let at = place(sample, cell / width) * width + cell % width;
                (states[at], weights[at]) = (number(value), number(1.0));
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Two features at three times: a record that is seen at the first and the last, and one of a single cell.
    fn records() -> Irregular {
        let mut records = Records::new(vec![0.0, 0.25, 1.0], 2);
        records.push(7, [(0, 3.0), (4, -1.0), (5, 2.0)]);
        records.push(9, [(3, 5.0)]);
        Irregular::new(&Arc::new(records), vec![1, 0, 1])
    }

    #[test]
    fn inputs_have_values_masks_and_steps() {
        let irregular = records();
        let mut found = Vec::new();
        irregular.inputs(&[1, 2], |x| x, &mut found);
        let first = [[3.0, 0.0, 1.0, 0.0, 0.25], [0.0, 0.0, 0.0, 0.0, 0.75], [-1.0, 2.0, 1.0, 1.0, 0.0]];
        let second = [[0.0, 0.0, 0.0, 0.0, 0.25], [0.0, 5.0, 0.0, 1.0, 0.75], [0.0; 5]];
        assert_eq!(found, [first, second].concat().concat());
        assert_eq!((irregular.sizes(), irregular.len()), ((15, 2, 3), 3));
    }

    #[test]
    fn targets_have_no_weight_where_nothing_was_seen() {
        let irregular = records();
        let (mut states, mut weights) = (vec![9.0; 3], Vec::new());
        irregular.targets(&[0, 1], |x| x, |sample, time| time * 2 + sample, [&mut states, &mut weights]);
        // [time][sample][feature]
        assert_eq!(states, [0.0, 0.0, 3.0, 0.0, 0.0, 5.0, 0.0, 0.0, 0.0, 0.0, -1.0, 2.0]);
        assert_eq!(weights, [0.0, 0.0, 1.0, 0.0, 0.0, 1.0, 0.0, 0.0, 0.0, 0.0, 1.0, 1.0]);
    }

    #[test]
    fn a_horizon_wants_less_and_shows_as_much() {
        let cut = records().up_to(1, 3);
        assert_eq!(
            (cut.sizes(), cut.chosen.clone()),
            ((15, 2, 1), vec![0]),
            "the other one was not seen at the first time"
        );
        let [mut whole, mut found] = [Vec::new(), Vec::new()];
        records().inputs(&[1], |x| x, &mut whole);
        cut.inputs(&[0], |x| x, &mut found);
        assert_eq!(found, whole, "the input of that record");
        let (mut states, mut weights) = (Vec::new(), Vec::new());
        cut.targets(&[0], |x| x, |sample, time| time + sample, [&mut states, &mut weights]);
        assert_eq!((states, weights), (vec![3.0, 0.0], vec![1.0, 0.0]));
    }

    #[test]
    fn values_are_taken_over_the_largest() {
        let mut records = Records::new(vec![0.0], 4);
        records.push(1, [(0, -4.0), (1, 3.0)]);
        records.push(2, [(0, 8.0), (1, 3.0), (2, 0.0)]);
        let ranges = records.ranges();
        assert_eq!(ranges, [[-4.0, 8.0], [3.0, 3.0], [0.0, 0.0], [0.0, 1.0]], "one was never seen");
        records.normalise(&ranges);
        let found: Vec<Vec<(usize, f64)>> = (0..2).map(|record| records.cells(record).collect()).collect();
        assert_eq!(found, [vec![(0, 0.0), (1, 0.0)], vec![(0, 1.5), (1, 0.0), (2, 0.0)]], "beyond 1 too");
        assert_eq!((records.observed(), records.len()), (5, 2));
        let Spread { mean, deviation } = records.spread();
        assert!((mean - 0.3).abs() < 1e-15 && (deviation - 0.6).abs() < 1e-15, "{mean} {deviation}");
    }
}
