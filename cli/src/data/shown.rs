//! [`Shown`]: what a recurrent encoder is shown of series, so that the state that is solved from follows from all of it.

use anyhow::ensure;
use serde::{Deserialize, Serialize};

use super::observations::Observations;
use crate::args::ReadUpTo;
use crate::numbers;

/// How much is shown. Times are as the file has them.
#[derive(Clone, Copy, Debug, PartialEq, Serialize, Deserialize)]
pub(crate) struct Shown {
    /// Observations of a series at most: an input has room for so many, and is padded to them.
    pub(crate) most: usize,
    /// Where all series are solved from.
    #[serde(with = "numbers")]
    pub(crate) begin: f64,
    /// What is observed later is not shown in training and tests; everything is if there is no such time.
    #[serde(default, skip_serializing_if = "Option::is_none", with = "numbers")]
    pub(crate) until: Option<f64>,
}

impl Shown {
    /// What the command line asks for. The rest is known when the data are.
    pub(super) const fn asked(up_to: ReadUpTo) -> Self {
        let until = match up_to {
            ReadUpTo::All => None,
            ReadUpTo::Time(time) => Some(time),
        };
        Self { most: 0, begin: 0.0, until }
    }

    /// Of these observations, of which the first `times` times are trained on: nothing that is tested on is shown.
    pub(super) fn of(self, observed: &Observations, times: usize) -> anyhow::Result<Self> {
        let (begin, all) = (observed.times[0], observed.times.len());
        if let Some(until) = self.until {
            ensure!(
                until >= begin,
                "--read {until}: nothing was observed before {begin}; give that time or a later one"
            );
        }
        let trained = (times < all).then(|| observed.times[times - 1]);
        let until = [self.until, trained].into_iter().flatten().reduce(f64::min);
        let shown = Self { begin, until, ..self };
        let within = shown.within(observed);
        let most = (0..observed.names.len()).map(|s| seen(observed, s, within).count()).max();
        Ok(Self { most: most.unwrap_or(0), ..shown })
    }

    /// All that there is.
    pub(super) const fn whole(self) -> Self {
        Self { until: None, ..self }
    }

    /// How many of the times are shown.
    pub(super) fn within(&self, observed: &Observations) -> usize {
        self.until.map_or(observed.times.len(), |until| observed.times.partition_point(|time| *time <= until))
    }
}

/// Those of the first `within` times at which anything of a series was observed.
pub(super) fn seen(observed: &Observations, series: usize, within: usize) -> impl Iterator<Item = usize> + '_ {
    (0..within).filter(move |&t| observed.is_seen(series, t..t + 1))
}
