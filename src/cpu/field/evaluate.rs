//! [`Field`] on a tile: evaluation and vector-Jacobian product.

use super::code::{Blocks, Code, Place, Step};
use super::compile::{Asked, Sink, compile};
use super::drive::{Drive, Seats};
use super::knots::Knots;
use super::layer::DenseLayer;
use super::rows::{Line, Room, run};
use crate::cpu::kernel::activation::{activate, activate_with_derivative};
use crate::cpu::kernel::aligned::Aligned;
use crate::cpu::kernel::dense::LANES;
use crate::cpu::kernel::interval::Interval;
use crate::cpu::kernel::lanes::{Lanes, cube, cube_bar, multiply, select, stand_in_unless};
use crate::cpu::kernel::scalar::Scalar;
use crate::error::Result;
use crate::problem::program::Program;
use crate::problem::program::operation::{Node, Operation};
use crate::problem::{self, Control, Layer};

/// A field with its current weights.
#[derive(Debug)]
pub(crate) struct Field<R> {
    weights: Vec<DenseLayer<R>>,
    forward: Code,
    backward: Code,
    /// What is the same in all lanes, of either code.
    scalars: [Vec<R>; 2],
    dim: usize,
    /// Rows of its value.
    outputs: usize,
    work: usize,
    /// Whether values may be infinite where nothing is wrong: where a trajectory that was given up stands in.
    has_poles: bool,
    moves_state: bool,
    inlets: Vec<Inlet>,
    drive: Option<Drive<R>>,
}

/// Where a control comes in.
#[derive(Debug)]
struct Inlet {
    name: String,
    /// Its number among the field's controls.
    control: usize,
    /// Its rows in the scratch room.
    at: usize,
    rows: usize,
    /// Its number among the signals of the solve.
    signal: usize,
    /// Numbers in the cotangent of a trajectory's values, where that is asked for.
    knots: Option<usize>,
}

/// What one evaluation works in, and leaves for its vector-Jacobian product.
#[derive(Debug)]
pub(crate) struct Kept<R> {
    rows: Aligned<R>,
    dim: usize,
    /// Of a driven field.
    seats: Option<Box<Seats>>,
}

impl<R: Scalar> Kept<R> {
    /// The state that the field is evaluated at, `[D][LANES]`.
    pub(crate) fn state(&self) -> &[R] {
        &self.rows[..self.dim * LANES]
    }

    pub(crate) fn state_mut(&mut self) -> &mut [R] {
        &mut self.rows[..self.dim * LANES]
    }

    /// Takes lanes of another evaluation; not of a driven field, whose lanes go together.
    pub(crate) fn take_lanes(&mut self, lanes: &[bool; LANES], from: &Self) {
        debug_assert!(self.seats.is_none(), "no seats to take");
        select(&mut self.rows, lanes, &from.rows);
    }

    /// Lets lanes stand in for those of a mask, as [`stand_in_unless`] does.
    pub(crate) fn stand_in_unless(&mut self, mask: &[bool; LANES]) {
        stand_in_unless(&mut self.rows, mask);
    }

    pub(crate) const fn is_driven(&self) -> bool {
        self.seats.is_some()
    }

    /// Says whose the lanes are, and within which steps the times of evaluations lie, or at whose starts.
    pub(crate) fn seat(&mut self, trajectories: &Lanes<u32>, interval: Option<&Interval<R>>) {
        if let Some(seats) = &mut self.seats {
            seats.take(trajectories, interval);
        }
    }
}

/// Room for cotangents on their way back.
#[derive(Debug)]
pub(crate) struct Cotangents<R> {
    rows: Aligned<R>,
    /// Where the cotangents of controls add up; none where nobody asked for them.
    pub(crate) knots: Option<Box<Knots<R>>>,
}

/// The rooms that code runs in.
struct Rooms<'a, R> {
    scratch: &'a mut [R],
    kept: &'a [R],
    bar: &'a [R],
    scalars: &'a [R],
    output: &'a mut [R],
}

/// Where a field's state is.
const STATE: Place = Place { room: Room::Scratch, at: 0 };

impl<R: Scalar> Rooms<'_, R> {
    fn lines(&mut self, lines: &[Line]) {
        run(lines, self.scratch, self.kept, self.bar, self.scalars, self.output);
    }

    /// Rows to read.
    fn read(&self, place: Place) -> &[R] {
        let rows: &[R] = match place.room {
            Room::Scratch => self.scratch,
            Room::Kept => self.kept,
            Room::Bar => self.bar,
            Room::Output => self.output,
            Room::Scalars => self.scalars,
        };
        &rows[place.at * LANES..]
    }

    /// So many rows to write.
    fn write(&mut self, place: Place, rows: usize) -> &mut [R] {
        let room = if place.room == Room::Output { &mut *self.output } else { &mut *self.scratch };
        &mut room[place.at * LANES..][..rows * LANES]
    }

    /// Rows to read, `count` of them, and others to write.
    #[inline(always)]
    fn apart(&mut self, from: Place, count: usize, to: Place, rows: usize) -> (&[R], &mut [R]) {
        let (count, rows) = (count * LANES, rows * LANES);
        let (from_at, to_at) = (from.at * LANES, to.at * LANES);
        match (from.room, to.room) {
            (Room::Scratch, Room::Output) => (&self.scratch[from_at..][..count], &mut self.output[to_at..][..rows]),
            (Room::Output, _) => (&self.output[from_at..][..count], &mut self.scratch[to_at..][..rows]),
            (Room::Scratch, _) if from_at < to_at => {
                let (before, after) = self.scratch.split_at_mut(to_at);
                (&before[from_at..][..count], &mut after[..rows])
            }
            (Room::Scratch, _) => {
                let (before, after) = self.scratch.split_at_mut(from_at);
                (&after[..count], &mut before[to_at..][..rows])
            }
            (room, target) => {
                let read: &[R] = match room {
                    Room::Kept => self.kept,
                    Room::Bar => self.bar,
                    _ => self.scalars,
                };
                let write = if target == Room::Output { &mut *self.output } else { &mut *self.scratch };
                (&read[from_at..][..count], &mut write[to_at..][..rows])
            }
        }
    }
}

impl<R: Scalar> Field<R> {
    /// Compiles a field that the controls drive.
    ///
    /// # Errors
    /// [`Error::Argument`](crate::Error::Argument) for one that does not validate, or whose derivatives are too long.
    pub(crate) fn new(field: &problem::Field, controls: &[Control]) -> Result<Self> {
        Self::compiled(field, controls, &*field.program()?, field.mlp().is_none())
    }

    /// Compiles a program of a field's state.
    ///
    /// # Errors
    /// As [`Field::new`].
    pub(crate) fn measure(field: &problem::Field, program: &Program) -> Result<Self> {
        Self::compiled(field, &[], program, true)
    }

    fn compiled(field: &problem::Field, controls: &[Control], program: &Program, has_poles: bool) -> Result<Self> {
        let dim = field.inputs();
        let asked = |n: usize| knots_of(&field.controls()[n].name, field.controls()[n].rows, controls);
        let linearized = program.linearize_by(&field.frozen(), &|control| asked(control).is_some())?;
        let mut blocks = Blocks::default();
        let (forward, inputs) = compile(&linearized.forward, &Asked::Field { dim }, &mut blocks);
        let state = linearized.state_output();
        let controls_out = linearized.control_outputs().map(|(output, control)| Sink::Control { output, control });
        let sinks: Vec<Sink> = linearized.gradients.iter().copied().map(Sink::Gradient).chain(controls_out).collect();
        let product = Asked::Product {
            forward: &forward,
            inputs: &inputs,
            kept: &linearized.forward.outputs()[1..],
            state,
            sinks: &sinks,
        };
        let (backward, _) = compile(&linearized.backward, &product, &mut blocks);
        let layers = blocks.blocks.iter().zip(&blocks.linear);
        Ok(Self {
            weights: layers.map(|(block, linear)| DenseLayer::new(block.layer()).with_linear(*linear)).collect(),
            inlets: inlets(field, &forward, asked),
            drive: None,
            scalars: [&forward, &backward].map(|code| vec![R::ZERO; scalars(code)]),
            forward,
            backward,
            dim,
            outputs: program.output_rows(),
            work: work(program),
            has_poles,
            moves_state: state.is_some(),
        })
    }

    /// Drives the field with the controls of its names.
    pub(crate) fn drive(&mut self, drive: &Drive<R>) {
        for inlet in &mut self.inlets {
            let found = drive.signals.iter().position(|signal| signal.name() == inlet.name);
            inlet.signal = found.unwrap_or(inlet.signal);
        }
        self.drive = (!self.inlets.is_empty()).then(|| drive.clone());
    }

    pub(crate) const fn dim(&self) -> usize {
        self.dim
    }

    pub(crate) const fn outputs(&self) -> usize {
        self.outputs
    }

    /// Takes the weights from the field's parameters; `backward` also packs them for cotangents.
    pub(crate) fn pack(&mut self, theta: &[R], backward: bool) {
        for layer in &mut self.weights {
            layer.pack(theta, backward);
        }
        for (scalars, code) in self.scalars.iter_mut().zip([&self.forward, &self.backward]) {
            let parameters = code.parameters.iter().flat_map(|range| &theta[range.clone()]).copied();
            let literals = code.literals.iter().map(|number| R::from_f64(number.0));
            for (scalar, number) in scalars.iter_mut().zip(literals.chain(parameters)) {
                *scalar = number;
            }
        }
    }

    /// Multiply-adds of one evaluation for one trajectory, activations counted as ten each.
    pub(crate) const fn work(&self) -> usize {
        self.work
    }

    pub(crate) fn packed_bytes(&self) -> usize {
        self.weights.iter().map(DenseLayer::bytes).sum()
    }

    /// Bytes of a [`Kept`].
    pub(crate) const fn kept_bytes(&self) -> usize {
        self.forward.rows * LANES * size_of::<R>()
    }

    /// Bytes of a [`Cotangents`] without those of controls.
    pub(crate) const fn cotangent_bytes(&self) -> usize {
        self.backward.rows * LANES * size_of::<R>()
    }

    pub(crate) fn kept(&self) -> Kept<R> {
        let mut rows = Aligned::zeros(self.forward.rows * LANES);
        for one in &self.forward.ones {
            rows[one * LANES..][..LANES].fill(R::ONE);
        }
        let seats = (!self.inlets.is_empty()).then(|| Box::new(Seats::new()));
        Kept { rows, dim: self.dim, seats }
    }

    pub(crate) fn cotangents(&self) -> Cotangents<R> {
        let lengths: Vec<usize> = self.inlets.iter().map(|inlet| inlet.knots.unwrap_or(0)).collect();
        let knots = lengths.iter().any(|length| *length > 0).then(|| Box::new(Knots::new(&lengths)));
        Cotangents { rows: Aligned::zeros(self.backward.rows * LANES), knots }
    }

    /// Where a measure looks, if it depends on that.
    pub(crate) fn direction_mut<'k>(&self, kept: &'k mut Kept<R>) -> Option<&'k mut [R]> {
        let at = self.forward.direction?;
        Some(&mut kept.rows[at * LANES..][..self.dim * LANES])
    }

    /// `dydt = f(t, y)` at the kept state; `keep` leaves what [`Field::vjp`] needs.
    pub(crate) fn eval(&self, t: &Lanes<R>, kept: &mut Kept<R>, dydt: &mut [R], keep: bool) {
        for time in &self.forward.times {
            kept.rows[time * LANES..][..LANES].copy_from_slice(t);
        }
        if let (Some(drive), Some(seats)) = (&self.drive, &mut kept.seats) {
            for inlet in self.inlets.iter().filter(|inlet| !drive.is_there(inlet.signal, seats)) {
                drive.fill(inlet.signal, t, seats, &mut kept.rows[inlet.at * LANES..][..inlet.rows * LANES]);
            }
            drive.mark(t, seats);
        }
        let rooms = Rooms { scratch: &mut kept.rows, kept: &[], bar: &[], scalars: &self.scalars[0], output: dydt };
        self.run(&self.forward, rooms, keep, None, |_, _| {});
    }

    /// Whether [`Field::vjp`] needs nothing but the state: of a single layer.
    pub(crate) fn keeps_the_state_alone(&self) -> bool {
        let reads_state =
            |step: &Step| matches!(step, Step::Product { x, target, .. } if *x == STATE && target.room == Room::Output);
        self.forward.instructions.iter().all(|instruction| reads_state(&instruction.step))
    }

    /// Adds `theta_bar += dydt_bar^T df/dtheta` and writes `y_bar = dydt_bar^T df/dy`, at a kept evaluation.
    pub(crate) fn vjp(
        &self,
        kept: &Kept<R>,
        cotangents: &mut Cotangents<R>,
        dydt_bar: &[R],
        theta_bar: Option<&mut [R]>,
        y_bar: Option<&mut [R]>,
    ) {
        // Of a tile whose trajectories were all given up there is nothing to hand on, not even zero times infinity.
        let is_idle = self.has_poles && dydt_bar.iter().all(|bar| *bar == R::ZERO);
        let wants_state = y_bar.is_some();
        let output = y_bar.unwrap_or_default();
        if is_idle || !self.moves_state {
            output.fill(R::ZERO);
        }
        if is_idle {
            return;
        }
        let (Cotangents { rows: scratch, knots }, scalars) = (cotangents, &self.scalars[1]);
        let rooms = Rooms { scratch, kept: &kept.rows, bar: dydt_bar, scalars, output };
        self.run(&self.backward, rooms, wants_state, theta_bar, |control, bar| {
            let inlet = self.inlets.iter().position(|inlet| inlet.control == control);
            if let (Some(n), Some(knots), Some(drive), Some(seats)) = (inlet, &mut *knots, &self.drive, &kept.seats) {
                drive.add(self.inlets[n].signal, seats, bar, knots, n);
            }
        });
    }

    /// Runs code; `add_control` takes the cotangent of a control, by its number.
    fn run(
        &self,
        code: &Code,
        mut rooms: Rooms<'_, R>,
        all: bool,
        mut theta_bar: Option<&mut [R]>,
        mut add_control: impl FnMut(usize, &[R]),
    ) {
        for instruction in code.instructions.iter().filter(|instruction| all || !instruction.extra) {
            match &instruction.step {
                Step::Lines(lines) => rooms.lines(&code.lines[lines.clone()]),
                Step::Product { weights, affine, x, target } => {
                    let layer = &self.weights[*weights];
                    let Layer { inputs, outputs, .. } = layer.layer;
                    let inputs = if *affine { layer.layer.rows() } else { inputs };
                    let (x, z) = rooms.apart(*x, inputs, *target, outputs);
                    if *affine { layer.apply(x, z) } else { layer.apply_linear(x, z) }
                }
                Step::Transposed { weights, z_bar, target } => {
                    let layer = &self.weights[*weights];
                    let Layer { inputs, outputs, .. } = layer.layer;
                    let (z_bar, x_bar) = rooms.apart(*z_bar, outputs, *target, inputs);
                    layer.apply_transposed(z_bar, x_bar);
                }
                Step::Multiply { rows, place, kept } => {
                    let slopes = &rooms.kept[kept * LANES..][..rows * LANES];
                    multiply(rooms.write(*place, *rows), slopes);
                }
                Step::Cube { rows, target } => {
                    let (x, y) = rooms.apart(STATE, *rows, *target, *rows);
                    cube(x, y);
                }
                Step::CubeBar { rows, place } => {
                    let x = &rooms.kept[..rows * LANES];
                    cube_bar(rooms.write(*place, *rows), x);
                }
                Step::Activate { activation, rows, place, slope: Some(slope) } if all => {
                    let slope = Place { room: Room::Scratch, at: *slope };
                    activate_both(&mut rooms, *activation, *rows, *place, slope);
                }
                Step::Activate { activation, rows, place, .. } => activate(*activation, rooms.write(*place, *rows)),
                Step::ActivateBoth { activation, rows, place, slope } => {
                    let slope = Place { room: Room::Scratch, at: *slope };
                    activate_both(&mut rooms, *activation, *rows, *place, slope);
                }
                Step::AddBlock { weights, affine, x, z_bar } => {
                    if let Some(theta_bar) = theta_bar.as_deref_mut() {
                        let x = &rooms.kept[x * LANES..];
                        self.weights[*weights].add_gradient(x, rooms.read(*z_bar), *affine, theta_bar);
                    }
                }
                Step::AddRows { offset, rows, bar } => {
                    if let Some(theta_bar) = theta_bar.as_deref_mut() {
                        let bars = rooms.read(*bar).chunks_exact(LANES).take(*rows);
                        for (theta_bar, bar) in theta_bar[*offset..].iter_mut().zip(bars) {
                            *theta_bar += bar.iter().copied().sum();
                        }
                    }
                }
                Step::AddControl { control, rows, bar } => add_control(*control, &rooms.read(*bar)[..rows * LANES]),
            }
        }
    }
}

fn activate_both<R: Scalar>(
    rooms: &mut Rooms<'_, R>,
    activation: problem::Activation,
    rows: usize,
    place: Place,
    slope: Place,
) {
    let n = rows * LANES;
    let (place_at, slope_at) = (place.at * LANES, slope.at * LANES);
    let (z, slopes) = if place.room == Room::Output {
        (&mut rooms.output[place_at..][..n], &mut rooms.scratch[slope_at..][..n])
    } else if place_at < slope_at {
        let (before, after) = rooms.scratch.split_at_mut(slope_at);
        (&mut before[place_at..][..n], &mut after[..n])
    } else {
        let (before, after) = rooms.scratch.split_at_mut(place_at);
        (&mut after[..n], &mut before[slope_at..][..n])
    };
    activate_with_derivative(activation, z, slopes);
}

/// Numbers in a trajectory's values of a control, if their gradient is asked for.
fn knots_of(name: &str, rows: usize, controls: &[Control]) -> Option<usize> {
    let control = controls.iter().find(|control| control.gradient && control.name == name)?;
    Some(control.times.len() * rows)
}

/// Where the controls that the field looks at come in.
fn inlets(field: &problem::Field, forward: &Code, knots: impl Fn(usize) -> Option<usize>) -> Vec<Inlet> {
    let places = field.controls().iter().zip(forward.controls.iter().copied()).enumerate();
    let seen = places.filter(|(_, (_, at))| *at != usize::MAX);
    let inlets = seen.map(|(n, (control, at))| {
        let (name, rows) = (control.name.clone(), control.rows);
        Inlet { name, control: n, at, rows, signal: 0, knots: knots(n) }
    });
    inlets.collect()
}

fn scalars(code: &Code) -> usize {
    code.literals.len() + code.parameters.iter().map(std::ops::Range::len).sum::<usize>()
}

/// Multiply-adds of an evaluation; functions, and what follows a layer, are counted as ten each.
fn work(program: &Program) -> usize {
    let follows_layer = |x: Node| matches!(program.operation(x), Operation::Dense { .. });
    let work = |(node, operation): (Node, &Operation)| match operation {
        Operation::Dense { block, .. } => block.layer().parameter_count() + 10 * block.outputs,
        Operation::Map(f, x) if f.is_cheap() || follows_layer(*x) => 0,
        Operation::Map(..) | Operation::Slope(..) => 10 * program.rows(node),
        Operation::Zip(..) => program.rows(node),
        Operation::Sum(x) | Operation::Dot(x, _) => program.rows(*x),
        _ => 0,
    };
    program.operations().map(work).sum()
}
