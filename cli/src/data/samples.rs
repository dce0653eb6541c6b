//! [`Samples`]: what is trained or tested on, and the batches that are gathered from it.

use fewsteps::{Batch, Scalar, Target, Trace};

use super::irregular::Irregular;

/// Inputs with what the model should make of them.
#[derive(Debug)]
pub(crate) enum Samples {
    /// Images with a label each.
    Images(Images),
    /// Rows of numbers with a class each, or with what should become of them.
    Rows(Rows),
    /// Records of which some cells were observed, which are to be known from what was.
    Irregular(Irregular),
    /// What many paths from one start should have in common.
    Moments(PathMoments),
}

/// Grey images of equal size. Pixels stay bytes until a batch needs them: MNIST is 188 MB as `f32`, 47 MB so.
#[derive(Debug)]
pub(crate) struct Images {
    /// `[image][pixel]`.
    pub(crate) pixels: Vec<u8>,
    /// Pixels in an image.
    pub(crate) width: usize,
    /// What a white pixel counts; inputs are pixels divided by it.
    pub(crate) white: u8,
    /// One an image, counted from 0.
    pub(crate) labels: Vec<u8>,
}

/// Inputs of as many numbers each, and what is wanted of them: the rows of a table, or initial states with their
/// trajectories.
#[derive(Debug)]
pub(crate) struct Rows {
    /// Numbers in an input.
    pub(crate) width: usize,
    /// `[row][width]`.
    pub(crate) inputs: Vec<f64>,
    pub(crate) wanted: Wanted,
    /// The beginning of the interval and the times of the outputs, where samples have some of their own; otherwise empty.
    pub(crate) times: Vec<f64>,
}

/// What the model should make of rows.
#[derive(Debug)]
pub(crate) enum Wanted {
    /// One class a row, counted from 0.
    Classes(Vec<u32>),
    /// As many numbers at each of as many times: `[row][time][width]`. Where not all were observed, each has a weight: 1, or 0
    /// where there is none.
    Numbers { times: usize, width: usize, numbers: Vec<f64>, weights: Vec<f64> },
    /// Nothing: how likely rows are is what is learnt.
    Nothing,
}

/// Trajectories in the plane that begin alike and then follow their own noise: no path is given, only what they should be
/// on average.
#[derive(Clone, Debug)]
pub(crate) struct PathMoments {
    /// Where every path begins.
    pub(crate) start: [f64; 2],
    /// How many there are; each is as good as another.
    pub(crate) paths: usize,
    /// `[time]`.
    pub(crate) means: Vec<[f64; 2]>,
    /// `[time]`.
    pub(crate) variances: Vec<[f64; 2]>,
}

impl Samples {
    pub(crate) fn len(&self) -> usize {
        match self {
            Self::Images(images) => images.labels.len(),
            Self::Rows(rows) => rows.len(),
            Self::Irregular(irregular) => irregular.len(),
            Self::Moments(moments) => moments.paths,
        }
    }

    /// The inputs, one after the other, with the numbers in each, if each of these has a size of its own. Pixels have one
    /// in common.
    pub(crate) fn starts(&self) -> Option<(&[f64], usize)> {
        match self {
            Self::Images(_) | Self::Irregular(_) => None,
            Self::Rows(rows) => Some((&rows.inputs, rows.width)),
            Self::Moments(moments) => Some((&moments.start, moments.start.len())),
        }
    }

    /// How many classes the labels tell apart; 0 where nothing is classified.
    pub(super) fn classes(&self) -> usize {
        match self {
            Self::Images(images) => images.labels.iter().max().map_or(0, |&label| usize::from(label) + 1),
            Self::Rows(Rows { wanted: Wanted::Classes(classes), .. }) => {
                classes.iter().max().map_or(0, |&class| class as usize + 1)
            }
            _ => 0,
        }
    }

    /// Whether each sample has a class.
    pub(crate) const fn classified(&self) -> bool {
        matches!(self, Self::Images(_) | Self::Rows(Rows { wanted: Wanted::Classes(_), .. }))
    }

    /// Whether nothing is wanted of samples but that they are likely.
    pub(crate) const fn of_density(&self) -> bool {
        matches!(self, Self::Rows(Rows { wanted: Wanted::Nothing, .. }))
    }

    /// The beginning of the interval and the times of the outputs, where they need not be the model's.
    pub(crate) fn times(&self) -> Option<&[f64]> {
        match self {
            Self::Rows(rows) if !rows.times.is_empty() => Some(&rows.times),
            _ => None,
        }
    }

    /// Numbers in an input, in an output, and times of outputs. Of classes an output has `classes` numbers, of a density the
    /// state's.
    pub(crate) fn sizes(&self, classes: usize) -> (usize, usize, usize) {
        match self {
            Self::Images(images) => (images.width, classes, 1),
            Self::Rows(rows) => match rows.wanted {
                Wanted::Classes(_) => (rows.width, classes, 1),
                Wanted::Numbers { times, width, .. } => (rows.width, width, times),
                Wanted::Nothing => (rows.width, Trace::of(rows.width).rows(rows.width), 1),
            },
            Self::Irregular(irregular) => irregular.sizes(),
            Self::Moments(moments) => (moments.start.len(), moments.start.len(), moments.means.len()),
        }
    }

    /// The first `count` samples with what is wanted of them at the first `slots` times, but for those of which nothing was
    /// observed then. Inputs stay whole.
    pub(crate) fn up_to(&self, slots: usize, count: usize) -> Self {
        match self {
            Self::Images(images) => Self::Images(images.select(&(0..count).collect::<Vec<_>>())),
            Self::Rows(rows) => Self::Rows(rows.up_to(slots, count)),
            Self::Irregular(irregular) => Self::Irregular(irregular.up_to(slots, count)),
            Self::Moments(moments) => Self::Moments(PathMoments {
                means: moments.means[..slots.min(moments.means.len())].to_vec(),
                variances: moments.variances[..slots.min(moments.variances.len())].to_vec(),
                ..moments.clone()
            }),
        }
    }

    /// How many samples training on batches of `batch` draws from: all, or a batch of paths, of which there are always
    /// more.
    pub(crate) fn pool(&self, batch: usize) -> usize {
        if matches!(self, Self::Moments(_)) { batch } else { self.len() }
    }

    /// How many samples an evaluation takes at once: moments are of all paths together.
    pub(crate) fn at_once(&self, batch: usize) -> usize {
        if matches!(self, Self::Moments(_)) { self.len() } else { batch }
    }
}

impl Rows {
    pub(crate) fn len(&self) -> usize {
        self.inputs.len() / self.width.max(1)
    }

    fn input(&self, i: usize) -> &[f64] {
        &self.inputs[i * self.width..(i + 1) * self.width]
    }

    /// As [`Samples::up_to`].
    fn up_to(&self, slots: usize, count: usize) -> Self {
        let Self { width, wanted, times, .. } = self;
        let inputs = |rows: &[usize]| rows.iter().flat_map(|&i| self.input(i)).copied().collect();
        let every: Vec<usize> = (0..count).collect();
        let (rows, wanted) = match wanted {
            Wanted::Classes(classes) => (every, Wanted::Classes(classes[..count].to_vec())),
            Wanted::Nothing => (every, Wanted::Nothing),
            Wanted::Numbers { times, width, numbers, weights } => {
                let slots = slots.min(*times);
                let first = |all: &'_ [f64], i: usize| all[i * times * width..][..slots * width].to_vec();
                let seen = |i: &usize| weights.is_empty() || first(weights, *i).iter().any(|weight| *weight > 0.0);
                let rows: Vec<usize> = every.into_iter().filter(seen).collect();
                let numbers = rows.iter().flat_map(|&i| first(numbers, i)).collect();
                let weights = if weights.is_empty() {
                    Vec::new()
                } else {
                    rows.iter().flat_map(|&i| first(weights, i)).collect()
                };
                (rows, Wanted::Numbers { times: slots, width: *width, numbers, weights })
            }
        };
        let times = times[..times.len().min(slots + 1)].to_vec();
        Self { width: *width, inputs: inputs(&rows), wanted, times }
    }
}

impl Images {
    /// The images of these indices, in their order.
    pub(super) fn select(&self, indices: &[usize]) -> Self {
        let pixels = indices.iter().flat_map(|&i| self.image(i)).copied().collect();
        let labels = indices.iter().map(|&i| self.labels[i]).collect();
        Self { pixels, labels, ..*self }
    }

    fn image(&self, i: usize) -> &[u8] {
        &self.pixels[i * self.width..(i + 1) * self.width]
    }
}

/// A batch's numbers; its vectors are used again for the next batch.
#[derive(Debug, Default)]
pub(crate) struct BatchBuffer<R> {
    inputs: Vec<R>,
    labels: Vec<u32>,
    states: Vec<R>,
    weights: Vec<R>,
    variances: Vec<R>,
}

impl<R: Scalar> BatchBuffer<R> {
    /// Gathers the samples of these indices.
    pub(crate) fn gather(&mut self, samples: &Samples, indices: &[usize]) -> Batch<'_, R> {
        self.inputs.clear();
        match samples {
            Samples::Images(images) => {
                let white = f64::from(images.white);
                let pixels = indices.iter().flat_map(|&i| images.image(i));
                self.inputs.extend(pixels.map(|&pixel| R::from_f64(f64::from(pixel) / white)));
                self.labels.clear();
                self.labels.extend(indices.iter().map(|&i| u32::from(images.labels[i])));
                Batch { inputs: &self.inputs, target: Target::Labels(&self.labels) }
            }
            Samples::Rows(rows) => {
                self.inputs.extend(indices.iter().flat_map(|&i| rows.input(i)).copied().map(R::from_f64));
                match &rows.wanted {
                    Wanted::Classes(classes) => {
                        self.labels.clear();
                        self.labels.extend(indices.iter().map(|&i| classes[i]));
                        Batch { inputs: &self.inputs, target: Target::Labels(&self.labels) }
                    }
                    Wanted::Numbers { times, width, numbers, weights } => {
                        // From [sample][time][width] to [time][sample][width].
                        let turn = |all: &[f64], turned: &mut Vec<R>| {
                            turned.clear();
                            let row = |time, i| &all[(i * times + time) * width..][..*width];
                            let rows = (0..*times).flat_map(|time| indices.iter().flat_map(move |&i| row(time, i)));
                            turned.extend(rows.copied().map(R::from_f64));
                        };
                        turn(numbers, &mut self.states);
                        if weights.is_empty() {
                            return Batch { inputs: &self.inputs, target: Target::States(&self.states) };
                        }
                        turn(weights, &mut self.weights);
                        let target = Target::Observed { states: &self.states, weights: &self.weights };
                        Batch { inputs: &self.inputs, target }
                    }
                    Wanted::Nothing => Batch { inputs: &self.inputs, target: Target::Nothing },
                }
            }
            Samples::Irregular(irregular) => {
                irregular.inputs(indices, R::from_f64, &mut self.inputs);
                let place = |sample: usize, time: usize| time * indices.len() + sample;
                irregular.targets(indices, R::from_f64, place, [&mut self.states, &mut self.weights]);
                let target = Target::Observed { states: &self.states, weights: &self.weights };
                Batch { inputs: &self.inputs, target }
            }
            Samples::Moments(moments) => {
                self.inputs.extend(indices.iter().flat_map(|_| moments.start).map(R::from_f64));
                for (numbers, given) in [(&mut self.states, &moments.means), (&mut self.variances, &moments.variances)]
                {
                    numbers.clear();
                    numbers.extend(given.iter().flatten().copied().map(R::from_f64));
                }
                Batch {
                    inputs: &self.inputs,
                    target: Target::Moments { means: &self.states, variances: &self.variances },
                }
            }
        }
    }

    /// Gathers all samples, one after the other: states are `[N][times][D]`, as a device holds a data set.
    pub(crate) fn gather_all(&mut self, samples: &Samples) -> Batch<'_, R> {
        let every: Vec<usize> = (0..samples.pool(1)).collect();
        let extend = |list: &mut Vec<R>, numbers: &[f64]| {
            list.clear();
            list.extend(numbers.iter().copied().map(R::from_f64));
        };
        let is_observed = match samples {
            Samples::Rows(Rows { inputs, wanted: Wanted::Numbers { numbers, weights, .. }, .. }) => {
                extend(&mut self.inputs, inputs);
                extend(&mut self.states, numbers);
                extend(&mut self.weights, weights);
                !weights.is_empty()
            }
            Samples::Irregular(irregular) => {
                self.inputs.clear();
                irregular.inputs(&every, R::from_f64, &mut self.inputs);
                let (_, _, times) = irregular.sizes();
                let place = |sample: usize, time: usize| sample * times + time;
                irregular.targets(&every, R::from_f64, place, [&mut self.states, &mut self.weights]);
                true
            }
            _ => return self.gather(samples, &every),
        };
        let target = if is_observed {
            Target::Observed { states: &self.states, weights: &self.weights }
        } else {
            Target::States(&self.states)
        };
        Batch { inputs: &self.inputs, target }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn images_are_scaled_and_labelled() {
        let samples =
            Samples::Images(Images { pixels: vec![0, 16, 8, 4, 16, 16], width: 2, white: 16, labels: vec![7, 1, 9] });
        let mut buffer = BatchBuffer::<f32>::default();
        let batch = buffer.gather(&samples, &[2, 1]);
        assert_eq!(batch.inputs, [1.0, 1.0, 0.5, 0.25], "pixels of images 2 and 1");
        assert!(matches!(batch.target, Target::Labels([9, 1])), "their labels");
    }

    #[test]
    fn a_horizon_leaves_out_what_was_not_seen_in_it() {
        let wanted = Wanted::Numbers {
            times: 3,
            width: 1,
            numbers: (0..9).map(f64::from).collect(),
            weights: vec![1.0, 0.0, 1.0, 0.0, 0.0, 1.0, 0.0, 1.0, 0.0],
        };
        let rows =
            Rows { width: 2, inputs: vec![0.0, 0.5, 1.0, 1.5, 2.0, 2.5], wanted, times: vec![0.0, 0.1, 0.2, 0.3] };
        let samples = Samples::Rows(rows);
        let cut = samples.up_to(2, 3);
        let Samples::Rows(Rows { inputs, wanted: Wanted::Numbers { times, numbers, weights, .. }, .. }) = &cut else {
            panic!("rows")
        };
        assert_eq!((inputs, *times), (&vec![0.0, 0.5, 2.0, 2.5], 2), "of the second one nothing");
        assert_eq!((numbers, weights), (&vec![0.0, 1.0, 6.0, 7.0], &vec![1.0, 0.0, 0.0, 1.0]));
        assert_eq!((cut.times(), cut.sizes(0)), (Some(&[0.0, 0.1, 0.2][..]), (2, 1, 2)));
        assert_eq!(
            (samples.up_to(3, 2).len(), samples.up_to(1, 3).len()),
            (2, 1),
            "but what is held out, and not yet seen"
        );
        let moments =
            PathMoments { start: [2.0, 0.5], paths: 9, means: vec![[1.0; 2]; 4], variances: vec![[0.0; 2]; 4] };
        assert_eq!(Samples::Moments(moments).up_to(3, 9).sizes(0), (2, 2, 3));
    }

    #[test]
    fn paths_begin_alike() {
        let moments = PathMoments {
            start: [2.0, 0.5],
            paths: 9,
            means: vec![[1.0, 2.0], [3.0, 4.0]],
            variances: vec![[0.0; 2]; 2],
        };
        let samples = Samples::Moments(moments);
        let mut buffer = BatchBuffer::<f32>::default();
        let batch = buffer.gather(&samples, &[7, 0]);
        assert_eq!(batch.inputs, [2.0, 0.5, 2.0, 0.5], "a start a path");
        let Target::Moments { means, variances } = batch.target else { panic!("moments") };
        assert_eq!((means, variances), (&[1.0, 2.0, 3.0, 4.0][..], &[0.0; 4][..]), "[times][D]");
        assert_eq!((samples.pool(5), samples.at_once(5)), (5, 9), "trained on batches, tested on all");
    }

    #[test]
    fn states_are_ordered_by_time() {
        let numbers = vec![1.0, 0.0, 1.0, 1.0, 2.0, 0.0, 2.0, 1.0];
        let inputs = vec![1.0, 0.0, 2.0, 0.0];
        let samples = |weights: Vec<f64>| {
            let wanted = Wanted::Numbers { times: 2, width: 2, numbers: numbers.clone(), weights };
            Samples::Rows(Rows { width: 2, inputs: inputs.clone(), wanted, times: Vec::new() })
        };
        let some = samples(vec![1.0, 0.0, 1.0, 1.0, 0.0, 1.0, 1.0, 1.0]);
        let samples = samples(Vec::new());
        let mut buffer = BatchBuffer::<f64>::default();
        let batch = buffer.gather(&samples, &[1, 0]);
        assert_eq!(batch.inputs, [2.0, 0.0, 1.0, 0.0], "starts");
        let Target::States(states) = batch.target else { panic!("paths have states") };
        assert_eq!(states, [2.0, 0.0, 1.0, 0.0, 2.0, 1.0, 1.0, 1.0], "[times][B][D]");
        let Target::States(states) = buffer.gather_all(&samples).target else { panic!("paths have states") };
        assert_eq!(states, [1.0, 0.0, 1.0, 1.0, 2.0, 0.0, 2.0, 1.0], "[N][times][D]");
        let Target::Observed { states, weights } = buffer.gather(&some, &[1, 0]).target else { panic!("weights") };
        assert_eq!(states, [2.0, 0.0, 1.0, 0.0, 2.0, 1.0, 1.0, 1.0], "as without");
        assert_eq!(weights, [0.0, 1.0, 1.0, 0.0, 1.0, 1.0, 1.0, 1.0], "[times][B][D]");
        let Target::Observed { weights, .. } = buffer.gather_all(&some).target else { panic!("weights") };
        assert_eq!(weights, [1.0, 0.0, 1.0, 1.0, 0.0, 1.0, 1.0, 1.0], "[N][times][D]");
    }
}
