//! What the file of the model says of what the command line left open.

use super::file::{ModelFile, Sections};
use crate::args::TrainingArgs;
use crate::method::Training;

/// Lets the file say what the command line left open, and notes the keys of which that came true.
macro_rules! fill {
    ($used:ident, $section:literal: $($key:literal $slot:expr, $value:expr;)*) => {
        $(if $slot.is_none() && $value.is_some() {
            $slot = $value;
            $used.push(($section, $key));
        })*
    };
}

impl TrainingArgs {
    /// Reads the file of the model, and lets it say what the command line leaves open.
    pub(crate) fn read_model(&mut self, regularization: &mut Option<Training>) -> anyhow::Result<()> {
        let Some(path) = &self.model else { return Ok(()) };
        let mut file = ModelFile::read(path)?;
        file.fill(self, regularization)?;
        self.file = Some(file);
        Ok(())
    }
}

impl ModelFile {
    /// Lets the file say what the command line left open.
    fn fill(&mut self, args: &mut TrainingArgs, regularization: &mut Option<Training>) -> anyhow::Result<()> {
        let Sections { solver, optimizer, regularizer, .. } = &self.sections;
        let mut used = Vec::new();
        let (solve, penalise) = (&mut args.solver, &mut args.regularizer);
        fill! { used, "solver":
            "tol" solve.tol, solver.tol;
            "method" solve.method, solver.method;
            "controller" solve.steps.controller, solver.controller;
            "first-step" solve.steps.first_step, solver.first_step;
            "layout" solve.layout, solver.layout;
            "adjoint" solve.adjoint, solver.adjoint;
            "precision" solve.precision, solver.precision;
        }
        fill! { used, "optimizer":
            "steps" args.steps, optimizer.steps;
            "batch" args.batch, optimizer.batch;
            "lr" args.lr, optimizer.lr;
        }
        fill! { used, "regularizer":
            "regularization" *regularization, regularizer.regularization;
            "measure" penalise.measure, regularizer.measure;
            "penalty-step" penalise.penalty_step, regularizer.penalty_step;
            "noise" penalise.noise, regularizer.noise;
            "gradient" penalise.gradient, regularizer.gradient;
            "coefficient" penalise.coefficient, regularizer.coefficient;
            "coefficient-to" penalise.coefficient_to, regularizer.coefficient_to;
            "target-nfe" penalise.target_nfe, regularizer.target_nfe;
            "times" penalise.times, regularizer.times;
            "fraction" penalise.fraction, regularizer.fraction;
        }
        if penalise.target_nfe.is_some() && penalise.coefficient_to.is_some() {
            return Err(self.at(
                "regularizer",
                "target-nfe",
                "a weight follows a target or a schedule: leave out coefficient-to",
            ));
        }
        self.used = used;
        Ok(())
    }
}
