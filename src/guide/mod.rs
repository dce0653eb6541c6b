// The texts of `docs` as modules, so that `cargo doc` builds the book and its snippets are tests. A text defines its links at
// its end, as files; of two definitions the first one wins, so that here, after `links.md`, they lead to modules.
#![doc = include_str!("links.md")]
#![doc = include_str!("../../docs/README.md")]

/// Chapters: their texts, and what of the API each speaks of.
macro_rules! chapters {
    ($($name:ident = $file:literal, $api:literal;)*) => {
        $(
            #[doc = include_str!("links.md")]
            #[doc = include_str!(concat!("../../docs/", $file))]
            #[doc = concat!("\nIn the API: ", $api)]
            pub mod $name {}
        )*
    };
}

chapters! {
    method = "method.md",
        "[`Problem`](crate::Problem), [`Mlp`](crate::Mlp), [`NeuralDe`](crate::NeuralDe), [`Tableau`](crate::Tableau), \
         [`Controller`](crate::Controller), [`Measure`](crate::Measure), [`Stats`](crate::Stats).";
    fields = "fields.md",
        "[`Field`](crate::Field), [`Field::parse`](crate::Field::parse), [`Problem::parse`](crate::Problem::parse), \
         [`Field::build`](crate::Field::build), [`FieldBuilder`](crate::FieldBuilder), [`Value`](crate::Value), \
         [`Group`](crate::Group), [`Bound`](crate::Bound), [`FieldCost`](crate::FieldCost), \
         [`Control`](crate::Control), [`Interpolation`](crate::Interpolation), [`Gradients`](crate::Gradients).";
    choosing_a_solver = "choosing-a-solver.md",
        "[`SolverOptions`](crate::SolverOptions), [`Method`](crate::Method), [`StepControl`](crate::StepControl), \
         [`Controller`](crate::Controller), [`InitialStep`](crate::InitialStep), [`Layout`](crate::Layout), \
         [`SaveAt`](crate::SaveAt), [`DenseSolution`](crate::DenseSolution), [`Status`](crate::Status).";
    tolerances = "tolerances.md",
        "[`Tolerances`](crate::Tolerances), [`SolverOptions::atol_per_feature`](crate::SolverOptions::atol_per_feature()), \
         [`SolverOptions::warning_at`](crate::SolverOptions::warning_at).";
    regularizers = "regularizers.md",
        "[`Regularizer`](crate::Regularizer), [`Local`](crate::Local), [`Measure`](crate::Measure), \
         [`PenaltyAt`](crate::PenaltyAt), [`PenaltyStep`](crate::PenaltyStep), [`PenaltyGradient`](crate::PenaltyGradient), \
         [`PenaltyNoise`](crate::PenaltyNoise), [`Schedule`](crate::Schedule), [`Budget`](crate::Budget).";
    few_steps = "few-steps.md",
        "[`StepControl::prompt`](crate::StepControl::prompt), [`Controller::prompt`](crate::Controller::prompt), \
         [`InitialStep::Carried`](crate::InitialStep::Carried), [`Learnt`](crate::Learnt), [`Deployed`](crate::Deployed), \
         [`Trainer::deployed`](crate::Trainer::deployed).";
    gradients = "gradients.md",
        "[`Solver::gradients`](crate::Solver::gradients), [`Adjoint`](crate::Adjoint), [`Checkpoints`](crate::Checkpoints), \
         [`Trainer::gradients`](crate::Trainer::gradients), [`Trainer::apply`](crate::Trainer::apply), \
         [`Trainer::reconfigure`](crate::Trainer::reconfigure), [`Solver::regularize`](crate::Solver::regularize), \
         [`Workspace`](crate::Workspace), [`Optimizer`](crate::Optimizer), [`FailurePolicy`](crate::FailurePolicy).";
    density = "density.md",
        "[`Field::with_log_density`](crate::Field::with_log_density), [`Trace`](crate::Trace), \
         [`Loss::NegativeLogLikelihood`](crate::Loss::NegativeLogLikelihood), \
         [`Trainer::log_density`](crate::Trainer::log_density), [`Trainer::sample`](crate::Trainer::sample), \
         [`NeuralDe::sampler`](crate::NeuralDe::sampler).";
    series = "series.md",
        "[`Recurrent`](crate::Recurrent), [`LatentGru`](crate::LatentGru), [`FixedStep`](crate::FixedStep), \
         [`Reading`](crate::Reading), [`NeuralDe::encoder`](crate::NeuralDe::encoder), \
         [`Times`](crate::Times), [`Solver::set_times`](crate::Solver::set_times), \
         [`Trainer::set_times`](crate::Trainer::set_times), [`SavedTimes`](crate::SavedTimes).";
    training = "training.md",
        "[`Curriculum`](crate::Curriculum), [`Target::up_to`](crate::Target::up_to), [`Shooting`](crate::Shooting), \
         [`Segments`](crate::Segments), [`EarlyStopping`](crate::EarlyStopping), \
         [`Trainer::reconfigure`](crate::Trainer::reconfigure).";
    noise = "noise.md",
        "[`Diffusion`](crate::Diffusion), [`Noise`](crate::Noise), [`Calculus`](crate::Calculus), [`NoiseTableau`](crate::NoiseTableau), \
         [`Brownian`](crate::Brownian), [`Paths`](crate::Paths), [`Loss::Moments`](crate::Loss::Moments).";
    devices = "devices.md",
        "[`Device`](crate::Device), [`Cpu`](crate::Cpu), [`Gpu`](crate::Gpu), [`Pick`](crate::Pick), \
         [`GpuSolver`](crate::GpuSolver), [`GpuTrainer`](crate::GpuTrainer), [`Learner`](crate::Learner), \
         [`SelfCheck`](crate::SelfCheck).";
    embedding = "embedding.md",
        "[`Gpu::from_wgpu`](crate::Gpu::from_wgpu), [`SolveRecording`](crate::SolveRecording), [`SolveIo`](crate::SolveIo), \
         [`SolveOutcome`](crate::SolveOutcome), [`OUTCOME_WGSL`](crate::OUTCOME_WGSL), \
         [`GpuTrainer::record`](crate::GpuTrainer::record), [`TrainIo`](crate::TrainIo), \
         [`SliceReport`](crate::SliceReport), [`GpuData`](crate::GpuData).";
    command = "command.md",
        "the command uses [`Trainer`](crate::Trainer), [`GpuTrainer`](crate::GpuTrainer) and [`Device`](crate::Device).";
    reproducibility = "reproducibility.md",
        "[`Random`](crate::Random), [`Batches`](crate::Batches), [`Trainer::save`](crate::Trainer::save), \
         [`Trainer::resume`](crate::Trainer::resume), [`CheckpointInfo`](crate::CheckpointInfo), \
         [`NeuralDe::layout`](crate::NeuralDe::layout).";
    benchmarks = "benchmarks.md",
        "[`Device::suits_gpu`](crate::Device::suits_gpu), [`Gpu::profiled`](crate::Gpu::profiled).";
    faq = "faq.md",
        "[`Error`](crate::Error), [`Status`](crate::Status), [`Status::remedy`](crate::Status::remedy).";
    architecture = "ARCHITECTURE.md",
        "[`Solver`](crate::Solver), [`GpuSolver`](crate::GpuSolver), [`Trainer`](crate::Trainer), [`GpuTrainer`](crate::GpuTrainer).";
    contributing = "CONTRIBUTING.md",
        "[`Tableau`](crate::Tableau), [`NoiseTableau`](crate::NoiseTableau), [`Hooks`](crate::Hooks).";
}
