//! Every option of a penalty, method and model.

use super::{Case, GRADIENTS, MEASURES, TOLERANCE, check, options};
use crate::oracle::{LAYOUTS, bits, largest};
use fewsteps::{
    Adjoint, Checkpoints, Loss, Measure, Method, Mlp, PenaltyAt, PenaltyGradient, PenaltyStep, SaveAt, StateMap,
};

#[test]
fn every_penalty() {
    for layout in LAYOUTS {
        for measure in MEASURES {
            for step in [PenaltyStep::FreshInitial, PenaltyStep::Taken, PenaltyStep::Ideal] {
                if step == PenaltyStep::Ideal && measure != Measure::StepCount {
                    continue; // Refused: its length follows that measure.
                }
                for gradient in GRADIENTS {
                    for (at, times) in
                        [PenaltyAt::Unbiased, PenaltyAt::Biased].into_iter().flat_map(|at| [(at, 1), (at, 3)])
                    {
                        let mut case = Case::new().layout(layout);
                        case.local = case.local.measure(measure).step(step).gradient(gradient).times(times).at(at);
                        check("every penalty", &case);
                    }
                }
            }
        }
    }
}

#[test]
fn features_with_absolute_tolerances_of_their_own() {
    for layout in LAYOUTS {
        for measure in [Measure::Error, Measure::StepCount] {
            for step in [PenaltyStep::FreshInitial, PenaltyStep::Taken] {
                let case = |atol: [f64; 3]| {
                    let mut case = Case::new().layout(layout).options(|options| options.atol_per_feature(atol));
                    case.local = case.local.measure(measure).step(step).gradient(PenaltyGradient::Full);
                    case
                };
                check("tolerances of features", &case([1e-2, 1e-3, 1e-4]));
                let each = case([TOLERANCE; 3]);
                let one = each.clone().options(|mut options| {
                    options.atol_per_feature = None;
                    options
                });
                let [each, one] = [each, one].map(|case| case.run(case.local.clone().into()));
                assert_eq!(bits(&each.gradient), bits(&one.gradient), "{layout:?}, {measure:?}, {step:?}");
                assert_eq!(each.report.penalty, one.report.penalty, "{layout:?}, {measure:?}, {step:?}");
            }
        }
    }
}

/// What is held constant matters: otherwise the check above would not tell the options apart.
#[test]
fn what_is_differentiated_changes_the_gradient() {
    for measure in MEASURES {
        let shares = GRADIENTS.map(|gradient| {
            let mut case = Case::new();
            case.local = case.local.measure(measure).gradient(gradient);
            case.run(case.local.clone().into()).gradient
        });
        for (a, b) in [(0, 1), (1, 2), (0, 2)] {
            let change: Vec<f64> = shares[a].iter().zip(&shares[b]).map(|(a, b)| a - b).collect();
            assert!(largest(&change) > 1e-6, "{measure:?}: {:?} and {:?} agree", GRADIENTS[a], GRADIENTS[b]);
        }
    }
}

#[test]
fn other_methods() {
    for layout in LAYOUTS {
        for (method, measures) in [
            (Method::Heun, &[Measure::Error, Measure::StepCount][..]),
            (Method::Bosh3, &[Measure::Error, Measure::StepCount]),
            (Method::Dopri5, &MEASURES),
        ] {
            for &measure in measures {
                for gradient in GRADIENTS {
                    let mut case = Case::new().options(|_| options(method)).layout(layout);
                    case.local = case.local.measure(measure).gradient(gradient).at(PenaltyAt::Biased);
                    check(&format!("{method}"), &case);
                    case.local.at = PenaltyAt::Unbiased;
                    check(&format!("{method}"), &case);
                }
            }
        }
    }
}

#[test]
fn backwards_and_with_few_checkpoints() {
    for layout in LAYOUTS {
        for at in [PenaltyAt::Unbiased, PenaltyAt::Biased] {
            for step in [PenaltyStep::FreshInitial, PenaltyStep::Taken] {
                let adjoint = Adjoint::Discrete { checkpoints: Checkpoints::Stride(3) };
                let mut case = Case::new().layout(layout).options(|o| o.adjoint(adjoint));
                (case.model.problem.t0, case.model.problem.t1) = (1.1, -0.4);
                case.local = case.local.step(step).gradient(PenaltyGradient::Full).times(4).at(at);
                check("backwards", &case);
            }
        }
    }
}

#[test]
fn a_share_of_the_batch() {
    for layout in LAYOUTS {
        for (fraction, rows) in [(0.25, 32), (0.5, 64), (1.0, 70)] {
            for at in [PenaltyAt::Unbiased, PenaltyAt::Biased] {
                for gradient in [PenaltyGradient::Step, PenaltyGradient::Full] {
                    let mut case = Case::new().layout(layout);
                    case.model.problem.field = Mlp::new([2, 3, 2]).into();
                    case.batch = 70;
                    // Of 70 trajectories some end with a short step, whose error is mostly rounding. The step count, a root of
                    // it, would have few digits there; the error itself counts for nothing.
                    let local = case.local.measure(Measure::Error).fraction(fraction).gradient(gradient).times(2);
                    case.local = local.at(at);
                    assert_eq!(case.penalised(), rows, "whole tiles");
                    check("a share of the batch", &case);
                }
            }
        }
    }
}

#[test]
fn whole_models_and_every_loss() {
    for layout in LAYOUTS {
        for loss in [Loss::Mse, Loss::Mae, Loss::CrossEntropy] {
            for (encoder, head) in [(None, None), (Some(4), None), (None, Some(2)), (Some(2), Some(4))] {
                for times in [vec![], vec![0.2, 0.9, 1.7]] {
                    let save_at = if times.is_empty() { SaveAt::End } else { SaveAt::Times(times) };
                    let mut case = Case::new().layout(layout).options(|o| o.save_at(save_at));
                    (case.model.encoder, case.model.head) = (encoder.map(StateMap::from), head.map(StateMap::from));
                    case.loss = loss;
                    case.local = case.local.gradient(PenaltyGradient::Full).times(2);
                    check(&format!("{loss:?} with encoder {encoder:?}, head {head:?}"), &case);
                    case.local.at = PenaltyAt::Biased;
                    check(&format!("{loss:?} with encoder {encoder:?}, head {head:?}"), &case);
                }
            }
        }
    }
}
