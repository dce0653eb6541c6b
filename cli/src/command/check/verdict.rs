//! [`judge`]: from what was found of a task to whether local regularization suits it. It knows nothing of how that was
//! found.

use serde::{Deserialize, Serialize};

use crate::numbers;

/// The relative difference of trajectories and fields above which a regularized model is no picture of the system.
const FAITHFUL: f64 = 0.05;

/// The share of NFE above which it has not fallen.
const FALLS: f64 = 0.95;

/// Norm of the penalty's gradient over the task's that says that both count.
const HEALTHY: [f64; 2] = [1e-3, 1.0];

/// Relative errors of derivatives that pass: a wrong one's is of order 1.
const FIELD_ERROR: f64 = 1e-5;
const LOSS_ERROR: f64 = 1e-3;

/// From the best to the worst.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub(super) enum Verdict {
    Suitable,
    WithCare,
    Not,
}

impl Verdict {
    pub(super) const fn words(self) -> &'static str {
        match self {
            Self::Suitable => "suitable",
            Self::WithCare => "with care",
            Self::Not => "not",
        }
    }
}

/// What was found of a task, of two short trainings without and with the regularizer.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub(super) struct Found {
    /// Times of the outputs that the loss sees.
    pub(super) output_times: usize,
    /// Relative difference of trajectories inside the interval, and of the fields along them.
    #[serde(with = "numbers")]
    pub(super) trajectories: f64,
    #[serde(with = "numbers")]
    pub(super) fields: f64,
    /// Without and with.
    #[serde(with = "numbers")]
    pub(super) nfe: [f64; 2],
    /// Without the regularizer: steps of an ideal controller, and the evaluations of one step of the method.
    #[serde(with = "numbers")]
    pub(super) ideal_steps: Option<f64>,
    pub(super) nfe_of_a_step: usize,
    /// The cheapest solver that the model without a regularizer predicts as well with.
    #[serde(with = "numbers")]
    pub(super) nfe_deployed: Option<f64>,
    /// What the regularizer costs in points of accuracy, or in per cent of the loss, and what may be lost.
    #[serde(with = "numbers")]
    pub(super) drop: Option<f64>,
    #[serde(with = "numbers")]
    pub(super) tolerance: f64,
    pub(super) unit: String,
    /// Norm of the gradient of coefficient times penalty over that of the task's loss.
    #[serde(with = "numbers")]
    pub(super) gradient_ratio: f64,
    /// Relative errors of exact derivatives against differences: of the field, and of the loss through the solver.
    #[serde(with = "numbers")]
    pub(super) field_error: f64,
    #[serde(with = "numbers")]
    pub(super) loss_error: f64,
    /// Trajectories that failed, and updates that were left out, in both trainings.
    pub(super) failed: usize,
    pub(super) skipped: usize,
    /// Where the tolerance is near the rounding.
    pub(super) rounding: Option<String>,
}

/// One of the things that were looked at.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub(super) struct Reason {
    pub(super) about: String,
    pub(super) grade: Verdict,
    pub(super) text: String,
}

fn reason(about: &str, grade: Verdict, text: String) -> Reason {
    Reason { about: about.to_owned(), grade, text }
}

/// The verdict, and the grade of each thing that was looked at; the worst is the whole's.
pub(super) fn judge(found: &Found) -> (Verdict, Vec<Reason>) {
    let reasons = vec![
        loss(found),
        faithfulness(found),
        head_room(found),
        quality(found),
        activity(found),
        gradients(found),
        failures(found),
    ];
    (reasons.iter().map(|reason| reason.grade).max().unwrap_or(Verdict::Suitable), reasons)
}

fn loss(found: &Found) -> Reason {
    match found.output_times {
        1 => reason("loss", Verdict::Suitable, "is of the last time only: the way there is free".to_owned()),
        times => reason(
            "loss",
            Verdict::WithCare,
            format!("is of {times} times: the way is fitted too, and a penalty on it is paid in the fit"),
        ),
    }
}

fn faithfulness(found: &Found) -> Reason {
    let Found { trajectories, fields, .. } = found;
    let text = format!(
        "trajectories inside the interval differ by {:.1} % from those without the regularizer, fields by {:.1} %",
        100.0 * trajectories,
        100.0 * fields
    );
    if *trajectories <= FAITHFUL && *fields <= FAITHFUL {
        return reason("faithfulness", Verdict::Suitable, text);
    }
    // Where only the end counts, no way there is truer than another.
    let grade = if found.output_times == 1 { Verdict::Suitable } else { Verdict::Not };
    reason("faithfulness", grade, text + ": do not use for system identification")
}

fn head_room(found: &Found) -> Reason {
    let [before, after] = found.nfe;
    let mut text = format!("NFE {before:.1} without and {after:.1} with the regularizer");
    if let Some(ideal) = found.ideal_steps {
        text += &format!("; {ideal:.2} ideal steps of {} evaluations without", found.nfe_of_a_step);
    }
    if let Some(deployed) = found.nfe_deployed {
        text += &format!("; {deployed:.1} after `fewsteps deploy`");
    }
    let least = before <= 1.5 * found.nfe_of_a_step as f64;
    let falls = after <= FALLS * before;
    let (grade, more) = match (falls, least) {
        (true, _) => (Verdict::Suitable, ""),
        (false, true) => (Verdict::Not, ": there is nothing to save"),
        (false, false) => (Verdict::WithCare, ": it does not fall; look for a coefficient with `fewsteps sweep`"),
    };
    reason("head-room", grade, text + more)
}

fn quality(found: &Found) -> Reason {
    let Found { drop, tolerance, unit, .. } = found;
    match drop {
        None => reason("quality", Verdict::Not, "a training left nothing to compare".to_owned()),
        Some(drop) => {
            let grade = if drop <= tolerance { Verdict::Suitable } else { Verdict::WithCare };
            let more = if drop <= tolerance { "" } else { ": a smaller --coefficient costs less" };
            let text = format!("the regularizer costs {drop:.2} {unit}, of which {tolerance:.2} may be lost");
            reason("quality", grade, text + more)
        }
    }
}

fn activity(found: &Found) -> Reason {
    let ratio = found.gradient_ratio;
    let text =
        format!("the penalty's gradient is {ratio:.1e} of the task's; {:.0e} to {} is healthy", HEALTHY[0], HEALTHY[1]);
    if (HEALTHY[0]..=HEALTHY[1]).contains(&ratio) {
        return reason("penalty", Verdict::Suitable, text);
    }
    let more = match ratio {
        r if r < HEALTHY[0] => ": it does next to nothing, raise --coefficient",
        r if r > HEALTHY[1] => ": it outweighs the task, lower --coefficient",
        _ => ": nothing to compare",
    };
    reason("penalty", Verdict::WithCare, text + more)
}

fn gradients(found: &Found) -> Reason {
    let Found { field_error, loss_error, .. } = found;
    let text =
        format!("differ from differences by {field_error:.1e} (field) and {loss_error:.1e} (loss through the solver)");
    let right = *field_error <= FIELD_ERROR && *loss_error <= LOSS_ERROR;
    let more = if right { "" } else { ": look for a kink or a pole of the field" };
    reason("gradients", if right { Verdict::Suitable } else { Verdict::Not }, text + more)
}

fn failures(found: &Found) -> Reason {
    let Found { failed, skipped, rounding, .. } = found;
    let mut text = format!("{failed} trajectories failed, {skipped} updates were left out");
    if let Some(rounding) = rounding {
        text += &format!("; {rounding}");
    }
    let grade = if failed + skipped == 0 && rounding.is_none() { Verdict::Suitable } else { Verdict::WithCare };
    reason("stability", grade, text)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn found() -> Found {
        Found {
            output_times: 1,
            trajectories: 0.4,
            fields: 0.5,
            nfe: [37.0, 7.0],
            ideal_steps: Some(4.5),
            nfe_of_a_step: 6,
            nfe_deployed: Some(12.0),
            drop: Some(-0.1),
            tolerance: 0.2,
            unit: "points".to_owned(),
            gradient_ratio: 0.1,
            field_error: 1e-9,
            loss_error: 1e-7,
            failed: 0,
            skipped: 0,
            rounding: None,
        }
    }

    /// The verdict, and what was not suitable.
    fn of(found: &Found) -> (Verdict, Vec<String>) {
        let (verdict, reasons) = judge(found);
        let bad = reasons.into_iter().filter(|reason| reason.grade != Verdict::Suitable);
        (verdict, bad.map(|reason| reason.about).collect())
    }

    #[test]
    fn each_fault_has_its_grade_and_its_name() {
        assert_eq!(of(&found()), (Verdict::Suitable, Vec::new()), "another way to the same end");
        let text = judge(&found()).1.swap_remove(1).text;
        assert!(text.contains("do not use for system identification"), "{text}");
        let cases = [
            (Found { output_times: 30, trajectories: 0.01, fields: 0.02, ..found() }, Verdict::WithCare, "loss"),
            (Found { nfe: [37.0, 37.0], ..found() }, Verdict::WithCare, "head-room"),
            (Found { nfe: [8.0, 8.0], ..found() }, Verdict::Not, "head-room"),
            (Found { drop: Some(0.3), ..found() }, Verdict::WithCare, "quality"),
            (Found { drop: None, ..found() }, Verdict::Not, "quality"),
            (Found { gradient_ratio: 1e-4, ..found() }, Verdict::WithCare, "penalty"),
            (Found { gradient_ratio: 3.0, ..found() }, Verdict::WithCare, "penalty"),
            (Found { gradient_ratio: f64::NAN, ..found() }, Verdict::WithCare, "penalty"),
            (Found { field_error: 0.5, ..found() }, Verdict::Not, "gradients"),
            (Found { loss_error: f64::NAN, ..found() }, Verdict::Not, "gradients"),
            (Found { failed: 1, ..found() }, Verdict::WithCare, "stability"),
            (Found { rounding: Some("near".to_owned()), ..found() }, Verdict::WithCare, "stability"),
        ];
        for (found, verdict, about) in cases {
            assert_eq!(of(&found), (verdict, vec![about.to_owned()]), "{found:?}");
        }
        let (verdict, _) = judge(&Found { output_times: 30, ..found() });
        assert_eq!(verdict, Verdict::Not, "where the way is what is learnt, another way is wrong");
    }
}
