//! [`Training`]: the training methods by their names, and sums of them.

use std::ffi::OsStr;
use std::fmt;
use std::str::FromStr;

use clap::builder::{PossibleValue, StringValueParser, TypedValueParser};
use clap::{Arg, Command, ValueEnum};
use serde::{Deserialize, Serialize};

/// A training method.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum, Serialize, Deserialize)]
#[serde(try_from = "String", into = "String")]
pub(crate) enum Training {
    /// No regularizer, and the published solver whatever --controller and --first-step say: where the papers begin
    Baseline,
    /// No regularizer
    Vanilla,
    /// One step at a uniform time; step-count measure unless options say otherwise
    LocalUnbiased,
    /// The same at the start of a step the solver took
    LocalBiased,
    /// The paper's code at a uniform time: error measure, fresh initial step, k1 constant; with noise k1 too is
    /// differentiated. Its solver is --controller published
    PublishedUnbiased,
    /// The paper's code at the start of a step the solver took
    PublishedBiased,
    /// The errors of all accepted steps, times their lengths: what local regularization was made to replace
    GlobalError,
    /// The number of steps an ideal controller would need, from all accepted steps
    GlobalStepCount,
    /// The stiffness of all accepted steps, times their lengths; on the native engine
    GlobalStiffness,
    /// A random end of the interval, half an interval about it, and no penalty
    Steer,
    /// `TayNODE`: the second derivative along the trajectory, at a uniform time
    #[value(name = "taynode-2")]
    Taynode2,
    /// `TayNODE`: the third derivative
    #[value(name = "taynode-3")]
    Taynode3,
    /// RNODE: kinetic energy and the Jacobian's norm, at a uniform time
    Rnode,
    /// The distance from a straight trajectory, at a uniform time
    Straightness,
    /// Several of them, whose regularizers are added.
    #[value(skip)]
    Sum(Sum),
}

/// Several methods, a bit each.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Sum(u16);

/// The methods that may be added, in the order in which a sum names them.
const PARTS: [Training; 10] = [
    Training::Steer,
    Training::LocalUnbiased,
    Training::LocalBiased,
    Training::GlobalError,
    Training::GlobalStepCount,
    Training::GlobalStiffness,
    Training::Taynode2,
    Training::Taynode3,
    Training::Rnode,
    Training::Straightness,
];

impl Training {
    /// The methods that it is the sum of; itself, if it is none.
    pub(crate) fn parts(self) -> impl Iterator<Item = Self> {
        let of =
            move |(n, part): (usize, Self)| matches!(self, Self::Sum(Sum(bits)) if bits >> n & 1 == 1).then_some(part);
        let alone = if matches!(self, Self::Sum(_)) { None } else { Some(self) };
        PARTS.into_iter().enumerate().filter_map(of).chain(alone)
    }

    /// The name of one that is no sum.
    fn own_name(self) -> String {
        self.to_possible_value().map_or_else(String::new, |value| value.get_name().to_owned())
    }

    /// Whether the options of a penalised step apply.
    pub(crate) fn takes_options(self) -> bool {
        self.parts().any(|part| matches!(part, Self::LocalUnbiased | Self::LocalBiased))
    }

    /// Whether it measures the dynamics, at a random time or over all steps.
    pub(crate) fn measures_dynamics(self) -> bool {
        let measures = |part| matches!(part, Self::Taynode2 | Self::Taynode3 | Self::Rnode | Self::Straightness);
        self.parts().any(measures)
    }

    /// Whether the options of a penalty's weight apply.
    pub(crate) fn takes_coefficient(self) -> bool {
        let fixed = [Self::Baseline, Self::Vanilla, Self::PublishedUnbiased, Self::PublishedBiased, Self::Steer];
        self.parts().any(|part| !fixed.contains(&part))
    }
}

impl fmt::Display for Training {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.parts().map(Self::own_name).collect::<Vec<_>>().join("+"))
    }
}

impl From<Training> for String {
    fn from(training: Training) -> Self {
        training.to_string()
    }
}

impl TryFrom<String> for Training {
    type Error = String;

    fn try_from(name: String) -> Result<Self, String> {
        name.parse()
    }
}

impl FromStr for Training {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        let single = |name: &str| {
            let found = Self::value_variants().iter().copied().find(|method| method.own_name() == name);
            found.ok_or_else(|| {
                let names: Vec<String> = Self::value_variants().iter().map(|method| method.own_name()).collect();
                format!("there is no method {name:?}: choose of {}, or several with a + between", names.join(", "))
            })
        };
        if !text.contains('+') {
            return single(text);
        }
        let mut sum = 0;
        let (mut local, mut global) = (0, 0);
        for name in text.split('+') {
            let method = single(name)?;
            let Some(place) = PARTS.iter().position(|part| *part == method) else {
                return Err(format!("{name} is a training of its own: it cannot be added to others"));
            };
            if sum >> place & 1 == 1 {
                return Err(format!("{name} is there twice: once is enough, and its coefficient says how much"));
            }
            sum |= 1 << place;
            local += usize::from(matches!(method, Self::LocalUnbiased | Self::LocalBiased));
            global += usize::from(matches!(method, Self::GlobalError | Self::GlobalStepCount | Self::GlobalStiffness));
        }
        if local > 1 || global > 1 {
            return Err(format!("{text} has two of one kind: take one local-*, and one global-*"));
        }
        Ok(Self::Sum(Sum(sum)))
    }
}

/// Reads a method from the command line.
#[derive(Clone, Debug)]
pub(crate) struct Methods;

impl TypedValueParser for Methods {
    type Value = Training;

    fn parse_ref(&self, cmd: &Command, arg: Option<&Arg>, value: &OsStr) -> Result<Training, clap::Error> {
        StringValueParser::new().try_map(|text| text.parse::<Training>()).parse_ref(cmd, arg, value)
    }

    fn possible_values(&self) -> Option<Box<dyn Iterator<Item = PossibleValue> + '_>> {
        Some(Box::new(Training::value_variants().iter().filter_map(ValueEnum::to_possible_value)))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_are_what_they_were_and_come_back() {
        let sums = ["steer+global-error", "steer+local-unbiased", "local-biased+global-error+taynode-2+rnode"];
        let singles = Training::value_variants().iter().map(Training::to_string);
        for name in singles.chain(sums.map(str::to_owned)) {
            let method: Training = name.parse().expect("a method");
            assert_eq!(method.to_string(), name);
            let file = serde_json::to_string(&method).expect("text");
            assert_eq!(file, format!("\"{name}\""));
            assert_eq!(serde_json::from_str::<Training>(&file).expect("the same"), method);
        }
        let [a, b]: [Training; 2] = ["rnode+steer", "steer+rnode"].map(|name| name.parse().expect("a sum"));
        assert_eq!(a, b, "the order does not matter");
        assert!(a.takes_coefficient() && a.measures_dynamics() && !a.takes_options());
        assert!(!Training::Steer.takes_coefficient() && Training::LocalBiased.takes_options());
    }

    #[test]
    fn what_cannot_be_added_is_refused() {
        for (text, part) in [
            ("nothing", "choose of baseline"),
            ("steer+nothing", "no method \"nothing\""),
            ("steer+vanilla", "a training of its own"),
            ("steer+", "no method \"\""),
            ("steer+rnode+steer", "twice"),
            ("local-unbiased+local-biased", "two of one kind"),
            ("global-error+global-step-count+steer", "two of one kind"),
        ] {
            let refused = text.parse::<Training>().expect_err("refused");
            assert!(refused.contains(part), "{text}: {refused}");
        }
    }
}
