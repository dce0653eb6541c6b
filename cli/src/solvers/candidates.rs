//! The solvers that a model may be deployed with.

use fewsteps::{Adjoint, InitialStep, Method, NeuralDe, SolverOptions, StepControl, Tolerances};

use crate::choice::ControllerName;

/// Equal steps that are tried.
pub(super) const STEPS: [usize; 6] = [1, 2, 3, 4, 6, 8];
const STEPS_WITH_NOISE: [usize; 5] = [1, 2, 4, 8, 16];

/// Tolerances that are tried; errors of paths are larger.
const TOLERANCES: [f64; 4] = [1e-2, 1e-3, 1e-4, 1e-5];
const TOLERANCES_WITH_NOISE: [f64; 3] = [1.0, 0.3, 0.1];

/// Every method that takes the model's noise as it is meant, with equal steps, from the cheapest on.
pub(crate) fn equal_steps(model: &NeuralDe) -> Vec<SolverOptions> {
    let counts: &[usize] = if model.problem.diffusion.is_some() { &STEPS_WITH_NOISE } else { &STEPS };
    let mut candidates: Vec<SolverOptions> = methods(model)
        .flat_map(|method| counts.iter().map(move |&steps| with_steps(other(model, method), steps)))
        .collect();
    candidates.sort_by_key(evaluations);
    candidates
}

/// Methods with an error estimate, with every controller.
pub(crate) fn adaptive(model: &NeuralDe) -> Vec<SolverOptions> {
    let noise = model.problem.diffusion.is_some();
    let tolerances: &[f64] = if noise { &TOLERANCES_WITH_NOISE } else { &TOLERANCES };
    let served = |method: &Method| noise || matches!(method, Method::Bosh3 | Method::Tsit5);
    methods(model)
        .filter(|method| method.tableau().b_error.is_some())
        .filter(served)
        .flat_map(|method| ControllerName::ALL.into_iter().map(move |name| (method, name.of(method))))
        .flat_map(|(method, controller)| {
            tolerances.iter().map(move |&tolerance| {
                other(model, method).step_control(StepControl::Adaptive {
                    tolerances: Tolerances::both(tolerance),
                    controller,
                    initial_step: InitialStep::Automatic,
                })
            })
        })
        .collect()
}

/// The methods of the model's kind. Tsit5 does what Dopri5 does with smaller errors.
fn methods(model: &NeuralDe) -> impl Iterator<Item = Method> {
    let calculus = model.problem.diffusion.as_ref().map(|diffusion| diffusion.calculus);
    let suits = move |method: &Method| method.tableau().noise.map(|noise| noise.calculus) == calculus;
    Method::all().filter(suits).filter(|method| *method != Method::Dopri5)
}

/// The training's options with another method.
fn other(model: &NeuralDe, method: Method) -> SolverOptions {
    model.options.clone().method(method).adjoint(Adjoint::default())
}

/// The same with equal steps, without what belongs to adaptive ones.
pub(crate) fn with_steps(options: SolverOptions, steps: usize) -> SolverOptions {
    let mut options = options.step_control(StepControl::Fixed { steps });
    (options.largest_step, options.stop_at, options.atol_per_feature) = (None, Vec::new(), None);
    options
}

/// About how many evaluations equal steps take.
pub(crate) fn evaluations(options: &SolverOptions) -> usize {
    let tableau = options.method.tableau();
    match options.step_control {
        StepControl::Fixed { steps } => steps * (tableau.stages() - usize::from(tableau.fsal())),
        _ => usize::MAX,
    }
}

/// A solver in few words.
pub(crate) fn name(options: &SolverOptions) -> String {
    let method = options.method;
    match options.step_control {
        StepControl::Fixed { steps: 1 } => format!("{method}, 1 step"),
        StepControl::Fixed { steps } => format!("{method}, {steps} equal steps"),
        StepControl::Adaptive { tolerances, controller, initial_step } => {
            let known = ControllerName::ALL.into_iter().find(|name| name.of(method) == controller);
            let controller = match known {
                Some(ControllerName::Published) => String::new(),
                Some(name) => format!(", controller {}", name.text()),
                None => ", a controller of its own".to_owned(),
            };
            let first = match initial_step {
                InitialStep::Length(length) => format!(", first step {length}"),
                InitialStep::Carried => ", carried".to_owned(),
                _ => String::new(),
            };
            format!("{method} at {:e}{controller}{first}", tolerances.rtol)
        }
        _ => method.to_string(),
    }
}

#[cfg(test)]
mod tests {
    use fewsteps::{Diffusion, Mlp, Problem};

    use super::*;

    #[test]
    fn candidates_are_valid_different_and_in_the_order_of_cost() {
        let field = || Mlp::new([2, 4, 2]);
        let ode = NeuralDe::new(Problem::ode(field(), 0.0, 1.0), SolverOptions::default());
        let sde = |diffusion: fn(Mlp) -> Diffusion, options| {
            NeuralDe::new(Problem::sde(field(), diffusion(Mlp::new([2, 2])), 0.0, 1.0), options)
        };
        let noisy = SolverOptions::sde(Tolerances::both(0.1));
        let heun = noisy.clone().method(Method::StratonovichHeun);
        for (model, equal, controlled) in
            [(ode, 36, 32), (sde(Diffusion::ito, noisy), 20, 24), (sde(Diffusion::stratonovich, heun), 10, 24)]
        {
            let all = [equal_steps(&model), adaptive(&model)];
            assert_eq!([all[0].len(), all[1].len()], [equal, controlled]);
            let mut names: Vec<String> = all.iter().flatten().map(name).collect();
            for options in all.iter().flatten() {
                options.validate::<f32>(&model.problem).unwrap_or_else(|e| panic!("{}: {e}", name(options)));
            }
            names.sort();
            names.dedup();
            assert_eq!(names.len(), equal + controlled, "each its own name");
            assert!(all[0].windows(2).all(|pair| evaluations(&pair[0]) <= evaluations(&pair[1])), "by cost");
        }
    }

    #[test]
    fn names_are_short() {
        let adaptive = |controller: ControllerName, initial_step| {
            name(&SolverOptions::default().step_control(StepControl::Adaptive {
                tolerances: Tolerances::both(1e-5),
                controller: controller.of(Method::Tsit5),
                initial_step,
            }))
        };
        let (published, i) = (ControllerName::Published, ControllerName::I);
        assert_eq!(adaptive(published, InitialStep::Automatic), "tsit5 at 1e-5");
        assert_eq!(adaptive(published, InitialStep::Length(0.5)), "tsit5 at 1e-5, first step 0.5");
        let carried = "tsit5 at 1e-5, controller i, carried";
        assert_eq!(adaptive(i, InitialStep::Carried), carried);
        assert_eq!(name(&with_steps(SolverOptions::default(), 2)), "tsit5, 2 equal steps");
        assert_eq!(name(&with_steps(SolverOptions::default().method(Method::Rk4), 1)), "rk4, 1 step");
    }
}
