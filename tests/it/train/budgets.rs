//! A number of evaluations in place of a coefficient: for every kind of penalty.

use fewsteps::{
    Batch, Budget, Error, Global, Learnt, Local, Pointwise, Regularizer, Schedule, StepControl, StepReport, Target,
    Trainer,
};

use super::{classifier, cpu, points};

/// Where a budget may have moved the first coefficient that follows it, after its warm-up.
fn moved(coefficient: f64) -> Learnt {
    let mut learnt = Learnt::default();
    (learnt.budget.steps, learnt.budget.coefficient, learnt.budget.nfe) = (150, coefficient, 40.0);
    learnt
}

/// A training step with what solves have taught so far: its report, parameters, and what they have taught then.
fn step(regularizer: impl Into<Regularizer>, learnt: Learnt) -> (StepReport, Vec<f64>, Learnt) {
    let (inputs, labels) = points(40);
    let inputs: Vec<f64> = inputs.into_iter().map(f64::from).collect();
    let mut trainer = Trainer::<f64>::new(&cpu(), classifier(regularizer)).expect("a valid configuration");
    trainer.set_learnt(learnt).expect("what solves can teach");
    let report = trainer.step(&Batch { inputs: &inputs, target: Target::Labels(&labels) }).expect("a step");
    (report, trainer.parameters().to_vec(), trainer.learnt())
}

#[test]
fn every_penalty_follows_a_budget() {
    let budget = Budget::nfe(15.0);
    let kinds: [(&str, Regularizer, Regularizer); 5] = [
        ("local", Local::unbiased().budget(budget).into(), Local::unbiased().coefficient(0.3).into()),
        ("error", Global::error().budget(budget).into(), Global::error().coefficient(0.3).into()),
        ("stiffness", Global::stiffness().budget(budget).into(), Global::stiffness().coefficient(0.3).into()),
        ("kinetic", Pointwise::kinetic().budget(budget).into(), Pointwise::kinetic().coefficient(0.3).into()),
        (
            "quadrature",
            Pointwise::jacobian().quadrature().budget(budget).into(),
            Pointwise::jacobian().quadrature().coefficient(0.3).into(),
        ),
    ];
    for (name, followed, constant) in kinds {
        assert_eq!(followed.budget(), Some(budget), "{name}");
        let (found, theta, next) = step(followed.clone(), moved(0.3));
        let (expected, other, _) = step(constant, Learnt::default());
        assert_eq!(found.coefficient, 0.3, "{name}");
        assert_eq!((theta, found.loss), (other, expected.loss), "{name}: it weighs what a constant does");
        let [before, gap] = [40.0, next.budget.nfe].map(|nfe: f64| (nfe / 15.0).ln());
        let exponent = 0.03 * gap.clamp(-0.5, 0.5) + 3.0 * (gap - before);
        assert!((next.budget.coefficient / 0.3 - exponent.exp()).abs() < 1e-12 && exponent != 0.0, "{name}: {next:?}");
        // Beside the stages of ideal steps, of which Tsit5 has seven: a twentieth of it joins the mean, which was none.
        let beside = found.nfe as f64 - 7.0 * found.ideal_steps.expect("steps of an ideal controller");
        assert!((next.budget.offset - 0.05 * beside).abs() < 1e-12 && beside > 1.0, "{name}: {beside}, {next:?}");
        // It begins with a tenth of the usual coefficient.
        let (first, _, _) = step(followed, Learnt::default());
        let usual = if name == "kinetic" || name == "quadrature" { 0.01 } else { 0.1 };
        assert!((first.coefficient / usual - 0.1).abs() < 0.2, "{name}: {}", first.coefficient);
    }
}

#[test]
fn penalties_that_follow_together_keep_their_ratio() {
    let budget = Budget::nfe(15.0);
    let mut kinetic = Pointwise::kinetic().coefficient(0.02);
    let mut jacobian = Pointwise::jacobian().coefficient(0.06);
    (kinetic.budget, jacobian.budget) = (Some(budget), Some(budget));
    let fixed = Pointwise::straightness().coefficient(0.5);
    let (found, theta, _) = step(Regularizer::from(kinetic).and(jacobian).and(fixed.clone()), moved(0.1));
    let coefficients: Vec<f64> = found.pointwise.iter().map(|value| value.coefficient).collect();
    let expected = [0.1, 0.1 * (0.06 / 0.02), 0.5];
    assert_eq!(coefficients, expected, "the first one is the multiplier, and what has no budget stays");
    let constants = Regularizer::from(Pointwise::kinetic().coefficient(expected[0]))
        .and(Pointwise::jacobian().coefficient(expected[1]))
        .and(fixed);
    assert_eq!(theta, step(constants, Learnt::default()).1);
    let mut global = Global::error().coefficient(0.01);
    global.budget = Some(budget);
    let mut local = Local::unbiased().coefficient(0.04);
    local.budget = Some(budget);
    let (found, _, _) = step(Regularizer::from(global).and(local), moved(0.2));
    assert_eq!((found.coefficient, found.global_coefficient), (0.2, Some(0.05)), "a penalised step comes first");
}

#[test]
fn what_cannot_follow_is_refused_by_name() {
    let budget = Budget::nfe(15.0);
    let refused = |regularizer: Regularizer, steps: Option<usize>| {
        let mut config = classifier(regularizer);
        if let Some(steps) = steps {
            config.model.options = config.model.options.step_control(StepControl::Fixed { steps });
        }
        let Err(Error::Argument { argument: name, value, remedy }) = Trainer::<f64>::new(&cpu(), config) else {
            panic!("it is refused")
        };
        format!("{name} = {value}: {remedy}")
    };
    let other = Regularizer::from(Global::error().budget(budget)).and(Pointwise::kinetic().budget(Budget::nfe(9.0)));
    let said = refused(other, None);
    assert!(said.starts_with("Pointwise::budget = ") && said.contains("15"), "{said}");
    let mut falling = Global::error().budget(budget);
    falling.coefficient = Schedule::exponential(1.0, 0.1, 100);
    assert!(refused(falling.into(), None).starts_with("Global::coefficient = "));
    let mut none = Pointwise::kinetic().budget(budget);
    none.coefficient = Schedule::Constant(0.0);
    assert!(refused(none.into(), None).starts_with("Pointwise::coefficient = "));
    assert!(refused(Global::error().budget(Budget::nfe(0.0)).into(), None).starts_with("Budget::nfe = 0"));
    let said = refused(Pointwise::kinetic().budget(budget).into(), Some(8));
    assert!(said.starts_with("Pointwise::budget = ") && said.contains("8 equal steps"), "{said}");
}
