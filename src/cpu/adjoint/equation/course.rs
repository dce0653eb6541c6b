//! [`Course`]: where the lanes of a solve back are, and what the controller makes of their attempts.

use crate::cpu::kernel::dense::LANES;
use crate::cpu::kernel::interval::Interval;
use crate::cpu::kernel::lanes::Lanes;
use crate::cpu::kernel::scalar::Scalar;
use crate::cpu::solve::control::{Decisions, adapt_lanes};
use crate::cpu::step::ends::{Ends, step_too_small};
use crate::error::Status;
use crate::method::Controller;

/// Where the lanes of a solve back are.
#[derive(Debug)]
pub(super) struct Course<R> {
    pub(super) t: Lanes<f64>,
    /// Signed length of the step that each wishes for.
    h: Lanes<f64>,
    /// That of the last accepted step.
    last: Lanes<f64>,
    memory: [Lanes<R>; 2],
    accepted: Lanes<usize>,
    attempts: Lanes<usize>,
    /// Whether the last attempt was rejected, and whether its error was finite.
    rejected: [bool; LANES],
    finite: [bool; LANES],
    pub(super) status: [Status; LANES],
    /// Whether the slopes at the time are there already.
    pub(super) ready: [bool; LANES],
}

impl<R: Scalar> Course<R> {
    /// From those times in the lanes that are on their way, with first steps of those signed lengths.
    pub(super) fn new(t: Lanes<f64>, moving: &[bool; LANES], h: Lanes<f64>, controller: Option<&Controller>) -> Self {
        let memory = controller.map_or([R::ZERO; 2], |controller| controller.memory().log_errors);
        Self {
            t,
            h,
            last: h,
            memory: memory.map(|e| [e; LANES]),
            accepted: [0; LANES],
            attempts: [0; LANES],
            rejected: [false; LANES],
            finite: [true; LANES],
            status: std::array::from_fn(|l| if moving[l] { Status::Running } else { Status::Done }),
            ready: [false; LANES],
        }
    }

    pub(super) fn running(&self) -> [bool; LANES] {
        self.status.map(|status| status == Status::Running)
    }

    /// Ends of the next attempts, at most at the lanes' stops; lanes that cannot go on get their status and rest.
    pub(super) fn next(&mut self, stops: &Lanes<f64>, [t0, span]: [f64; 2], most: usize, ends: &Ends) -> Interval<R> {
        let mut to = self.t;
        let running = self.running();
        for l in (0..LANES).filter(|&l| running[l]) {
            let (t, stop) = (self.t[l], stops[l]);
            let end = ends.end_before(t, self.h[l].abs().copysign(t0 - t), stop);
            if self.attempts[l] == most {
                self.status[l] = Status::MaxSteps;
            } else if !step_too_small(t, end, stop, span) {
                to[l] = end;
            } else if !self.rejected[l] {
                to[l] = ends.end_before(t, ends.smallest_step(t, span).copysign(t0 - t), stop);
            } else {
                self.status[l] = if self.finite[l] { Status::StepTooSmall } else { Status::NonFinite };
            }
        }
        Interval::new(self.t, to)
    }

    /// Judges the lanes' attempts by their errors. A step that a stop has cut says nothing about the next one: lanes go on
    /// with the step and the memory that they had.
    pub(super) fn judge(
        &mut self,
        controller: &Controller,
        power: f64,
        error: &Lanes<R>,
        interval: &Interval<R>,
        moving: &[bool; LANES],
    ) -> [bool; LANES] {
        let nothing = [R::ZERO; LANES];
        let mut decisions = Decisions { accept: [true; LANES], factor: nothing, reach: nothing, count: nothing };
        let taken: Lanes<f64> = std::array::from_fn(|l| interval.t1[l] - interval.t0[l]);
        let ratio = std::array::from_fn(|l| R::from_f64(taken[l] / self.last[l]));
        let first = self.accepted.map(|accepted| accepted == 0);
        let before = self.memory;
        adapt_lanes(controller, power, &mut self.memory, [error, &ratio], &first, &mut decisions);
        for l in 0..LANES {
            if !moving[l] {
                [self.memory[0][l], self.memory[1][l]] = [before[0][l], before[1][l]];
                continue;
            }
            let next = (taken[l] * decisions.factor[l].to_f64()).abs();
            let wished = self.h[l].abs();
            let is_cut = taken[l].abs() < wished * (1.0 - 1e-9);
            self.attempts[l] += 1;
            self.rejected[l] = !decisions.accept[l];
            self.finite[l] = error[l].is_finite();
            self.h[l] = next;
            if decisions.accept[l] {
                self.accepted[l] += 1;
                if is_cut && next < wished {
                    [self.memory[0][l], self.memory[1][l]] = [before[0][l], before[1][l]];
                    self.h[l] = wished;
                } else {
                    self.last[l] = taken[l];
                }
            }
        }
        std::array::from_fn(|l| moving[l] && decisions.accept[l])
    }

    /// Moves the accepted lanes to the ends of their steps.
    pub(super) fn advance(&mut self, interval: &Interval<R>, accept: &[bool; LANES], t0: f64) {
        for l in (0..LANES).filter(|&l| accept[l]) {
            self.t[l] = interval.t1[l];
            if self.t[l] == t0 {
                self.status[l] = Status::Done;
            }
        }
    }
}
