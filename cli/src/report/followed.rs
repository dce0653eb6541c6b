//! How far off the model is where series are tested, in the units of the data.

use crate::data::Own;
use crate::measure::stats::Spread;
use crate::record::{Followed, Results, RunRecord};

/// What is off of each method, with its spread over the seeds; none of tasks that have no series.
pub(crate) fn note(results: &Results) -> Option<String> {
    let of = |training| results.runs.iter().filter(move |run: &&RunRecord| run.settings.training == training);
    let of_method = |training| Some(format!("{training}: {}", off(of(training))?));
    let told: Vec<String> = results.summary.iter().filter_map(|method| of_method(method.training)).collect();
    (!told.is_empty())
        .then(|| format!("off where it is tested, {}", [what(&results.runs[0]), &told.join("; ")].concat()))
}

/// What is off of a run.
pub(crate) fn of_run(run: &RunRecord) -> Option<String> {
    Some(format!("off where it is tested, {}{}", what(run), off([run].into_iter())?))
}

/// Whose numbers these are.
fn what(run: &RunRecord) -> &'static str {
    match &run.settings.own {
        Some(Own::Series(series)) if series.id.is_some() => {
            "root mean squares of the first series in the units of the data: "
        }
        _ => "root mean squares in the units of the data: ",
    }
}

/// The states with what is off of each, in logarithms too where they are taken so.
fn off<'a>(runs: impl Iterator<Item = &'a RunRecord> + Clone) -> Option<String> {
    let first = runs.clone().next()?;
    let Some(Own::Series(series)) = &first.settings.own else { return None };
    let spread = |state: usize, logarithms: bool| {
        let of = |run: &RunRecord| Some(error(run.followed.as_ref()?, state, logarithms));
        let Spread { mean, std } = Spread::of(&runs.clone().map(of).collect::<Option<Vec<f64>>>()?)?;
        let several = runs.clone().nth(1).is_some();
        Some(if several { format!("{mean:.3} ± {std:.3}") } else { format!("{mean:.3}") })
    };
    let of_state = |(state, column): (usize, &crate::data::Column)| {
        let of_logarithm =
            if column.log { format!(" ({} in logarithms)", spread(state, true)?) } else { String::new() };
        Some(format!("{} {}{of_logarithm}", column.name, spread(state, false)?))
    };
    let states = series.states.iter().enumerate().map(of_state);
    states.collect::<Option<Vec<String>>>().map(|states| states.join(", "))
}

/// The root mean square of what is off after the times that were trained on; NaN where nothing was observed then.
fn error(followed: &Followed, state: usize, logarithms: bool) -> f64 {
    let taken = |x: f64| if logarithms { x.ln() } else { x };
    let pairs = followed.states[state].learnt.iter().zip(&followed.states[state].given).skip(followed.trained);
    let seen = pairs.filter(|(_, given)| !given.is_nan());
    let squares: Vec<f64> = seen.map(|(learnt, given)| (taken(*learnt) - taken(*given)).powi(2)).collect();
    (squares.iter().sum::<f64>() / squares.len() as f64).sqrt()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::record::FollowedState;

    #[test]
    fn what_was_trained_on_and_not_observed_does_not_count() {
        let state = FollowedState {
            name: "x".to_owned(),
            learnt: vec![9.0, 2.0, 5.0, 4.0],
            given: vec![1.0, 1.0, f64::NAN, 1.0],
        };
        let followed = Followed { time: "t".to_owned(), times: vec![1.0; 4], trained: 1, states: vec![state] };
        assert_eq!(error(&followed, 0, false), 5f64.sqrt(), "1 and 3");
        let two = 2f64.ln();
        assert!((error(&followed, 0, true) - (2.5f64).sqrt() * two).abs() < 1e-15, "one and two of them");
    }
}
