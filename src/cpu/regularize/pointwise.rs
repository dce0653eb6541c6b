//! Measures of the dynamics at random times, or at every stage: a program's mean square, and its vector-Jacobian product.

use crate::cpu::field::evaluate::{Cotangents, Field, Kept};
use crate::cpu::kernel::dense::LANES;
use crate::cpu::kernel::lanes::{Lanes, add, rest_unless, stand_in_unless};
use crate::cpu::kernel::scalar::Scalar;
use crate::cpu::tile::Tile;
use crate::error::Result;
use crate::method::{PenaltyGradient, PointDraws, PointMeasure, PointPenalty};
use crate::problem;

/// The measures' programs with their current weights, compiled when they are first asked for.
#[derive(Debug)]
pub(crate) struct Measures<R> {
    fields: [Option<Field<R>>; PointMeasure::COUNT],
    asked: [bool; PointMeasure::COUNT],
}

impl<R: Scalar> Measures<R> {
    pub(crate) const fn new() -> Self {
        Self { fields: [const { None }; PointMeasure::COUNT], asked: [false; PointMeasure::COUNT] }
    }

    /// Compiles what is asked for, if it is not there yet.
    ///
    /// # Errors
    /// [`Error::Argument`](crate::Error::Argument) for a field that has no such measure.
    pub(crate) fn check<'a>(
        &mut self,
        field: &problem::Field,
        penalties: impl Iterator<Item = &'a PointPenalty>,
    ) -> Result<()> {
        for PointPenalty { measure, .. } in penalties {
            let compiled = &mut self.fields[measure.index()];
            if compiled.is_none() {
                *compiled = Some(Field::measure(field, &measure.program(field)?)?);
            }
        }
        Ok(())
    }

    /// Makes ready what a solve asks for.
    ///
    /// # Errors
    /// As [`Measures::check`].
    pub(crate) fn ask(&mut self, field: &problem::Field, asked: &[PointDraws]) -> Result<()> {
        self.check(field, asked.iter().map(|draws| &draws.penalty))?;
        self.asked = [false; PointMeasure::COUNT];
        asked.iter().for_each(|draws| self.asked[draws.penalty.measure.index()] = true);
        Ok(())
    }

    /// Takes the weights of those that were asked for from the field's parameters.
    pub(crate) fn pack(&mut self, theta: &[R]) {
        for (field, _) in self.fields.iter_mut().zip(&self.asked).filter(|(_, asked)| **asked) {
            if let Some(field) = field {
                field.pack(theta, true);
            }
        }
    }

    pub(crate) fn get(&self, measure: PointMeasure) -> Option<&Field<R>> {
        self.fields[measure.index()].as_ref()
    }

    /// Bytes of the packed weights.
    pub(crate) fn bytes(&self) -> usize {
        self.fields.iter().flatten().map(Field::packed_bytes).sum()
    }
}

/// What a measure is evaluated and differentiated in.
#[derive(Debug)]
pub(crate) struct PointRoom<R> {
    kept: Kept<R>,
    cotangents: Cotangents<R>,
    /// Its value, then its cotangent; and the state's.
    value: Vec<R>,
    state_bar: Vec<R>,
}

impl<R: Scalar> PointRoom<R> {
    fn new(field: &Field<R>) -> Self {
        let array = |rows: usize| vec![R::ZERO; rows * LANES];
        let (value, state_bar) = (array(field.outputs()), array(field.dim()));
        Self { kept: field.kept(), cotangents: field.cotangents(), value, state_bar }
    }

    /// Puts states there, to be measured.
    pub(crate) fn place(&mut self, states: &[R]) {
        self.kept.state_mut().copy_from_slice(states);
    }

    /// Bytes of a room for that measure.
    pub(crate) fn bytes(field: &Field<R>) -> usize {
        field.kept_bytes() + field.cotangent_bytes() + (field.outputs() + field.dim()) * LANES * size_of::<R>()
    }
}

/// One measure of a backward pass, as every worker sees it.
#[derive(Debug)]
pub(crate) struct Points<'a, R> {
    pub(crate) draws: &'a PointDraws,
    pub(crate) field: &'a Field<R>,
    /// The first of its save slots.
    pub(crate) slot: usize,
    /// Tiles with a smaller index are measured; so many solved trajectories are in them.
    pub(crate) tiles: usize,
    pub(crate) rows: usize,
    /// The shared clock's ends.
    pub(crate) interval: [f64; 2],
}

impl<R: Scalar> Points<'_, R> {
    /// Measures a tile and adds `coefficient dR/dtheta`; with a full gradient the states' cotangents too. The tile's share
    /// of `R` is in `tile.points`.
    pub(crate) fn apply(&self, tile: &mut Tile<R>, rooms: &mut [Option<PointRoom<R>>], theta_bar: &mut [R]) {
        let measure = self.draws.penalty.measure;
        if self.rests(tile) {
            return;
        }
        let room = rooms[measure.index()].get_or_insert_with(|| PointRoom::new(self.field));
        self.direct(tile, room);
        for (n, t) in self.draws.times(self.interval).take(self.draws.points()).enumerate() {
            tile.points[measure.index()] += self.point(n, t, tile, room, theta_bar);
        }
    }

    /// Whether nothing of a tile is measured.
    pub(crate) fn rests(&self, tile: &Tile<R>) -> bool {
        tile.index >= self.tiles || self.rows == 0 || !tile.counted().contains(&true)
    }

    /// What is random or constant in the measure.
    fn direct(&self, tile: &Tile<R>, room: &mut PointRoom<R>) {
        let Some(direction) = self.field.direction_mut(&mut room.kept) else { return };
        if self.draws.penalty.measure == PointMeasure::Straightness {
            let first = self.slot + self.draws.points();
            let spans: Lanes<R> = std::array::from_fn(|l| R::from_f64(tile.clock.span(l)));
            let ends = tile.save(first).iter().zip(tile.save(first + 1));
            for ((chord, (y0, y1)), span) in direction.iter_mut().zip(ends).zip(spans.iter().cycle()) {
                *chord = (*y1 - *y0) / *span;
            }
        } else {
            for lane in 0..LANES {
                let signs = self.draws.signs().signs(tile.index * LANES + lane);
                for (number, sign) in direction[lane..].iter_mut().step_by(LANES).zip(signs) {
                    *number = R::from_f64(sign);
                }
            }
        }
        stand_in_unless(direction, &tile.counted());
    }

    /// One time of the shared clock: its share of `R`.
    fn point(&self, n: usize, t: f64, tile: &mut Tile<R>, room: &mut PointRoom<R>, theta_bar: &mut [R]) -> f64 {
        room.kept.state_mut().copy_from_slice(tile.save(self.slot + n));
        let shares = std::array::from_fn(|l| tile.clock.span(l).abs() / self.draws.penalty.times as f64);
        let times = tile.clock.times(t).map(R::from_f64);
        let value = self.evaluated(&times, &shares, &tile.counted(), room, theta_bar);
        if self.is_full() {
            add(tile.save_bar_mut(self.slot + n), &room.state_bar);
        }
        value
    }

    /// The states' cotangents that [`Points::evaluated`] left, if it did.
    pub(crate) fn state_bar<'r>(&self, room: &'r PointRoom<R>) -> Option<&'r [R]> {
        self.is_full().then_some(&room.state_bar[..])
    }

    fn is_full(&self) -> bool {
        self.draws.penalty.gradient == PenaltyGradient::Full
    }

    /// The measure at the states in the room, of lanes that are `here`, each weighted with its `shares` of time: their part of
    /// `R`. Adds to the parameters' gradient, and leaves the states' in the room if the gradient is full.
    pub(super) fn evaluated(
        &self,
        t: &Lanes<R>,
        shares: &Lanes<f64>,
        here: &[bool; LANES],
        room: &mut PointRoom<R>,
        theta_bar: &mut [R],
    ) -> f64 {
        let PointRoom { kept, cotangents, value, state_bar } = room;
        let penalty = self.draws.penalty;
        stand_in_unless(kept.state_mut(), here);
        self.field.eval(t, kept, value, true);
        rest_unless(value, here);
        let each = penalty.measure.factor() / (self.field.outputs() * self.rows) as f64;
        let weights = shares.map(|share| R::from_f64(2.0 * penalty.coefficient * each * share));
        let mut squares = [0.0; LANES];
        for row in value.chunks_exact_mut(LANES) {
            for (l, g) in row.iter_mut().enumerate() {
                squares[l] += g.to_f64() * g.to_f64();
                *g *= weights[l];
            }
        }
        let state = self.is_full().then_some(&mut state_bar[..]);
        self.field.vjp(kept, cotangents, value, Some(theta_bar), state);
        rest_unless(state_bar, here);
        each * shares.iter().zip(&squares).map(|(share, square)| share * square).sum::<f64>()
    }
}

#[cfg(test)]
mod tests {
    use super::{PointRoom, Points};
    use crate::cpu::field::evaluate::Field;
    use crate::cpu::step::state::Shape;
    use crate::cpu::tile::Tile;
    use crate::method::{PenaltyGradient, PointDraws, PointMeasure, PointPenalty};
    use crate::problem::{self, Activation, Mlp, TimeInput};

    /// `rho` and its gradient of a field at a point, of one trajectory; the measure's own draws.
    fn measured(field: &problem::Field, theta: &[f64], t: f64, y: [f64; 2], measure: PointMeasure) -> (f64, Vec<f64>) {
        let program = measure.program(field).expect("few operations");
        let mut compiled = Field::<f64>::measure(field, &program).expect("a valid program");
        compiled.pack(theta, true);
        let shape = Shape { features: 2, rows: 2, stages: [1, 0], fsal: false };
        let mut tile = Tile::<f64>::new(0, &shape);
        tile.load(&y, 2);
        tile.begin(1, 0);
        let state = tile.state.y.clone();
        tile.saves.copy_from_slice(&state);
        let penalty = PointPenalty {
            measure,
            gradient: PenaltyGradient::Full,
            quadrature: false,
            times: 1,
            fraction: 1.0,
            budget: None,
            coefficient: 1.0,
        };
        let draws = PointDraws::new(penalty, 3, 0);
        let points = Points { draws: &draws, field: &compiled, slot: 0, tiles: 1, rows: 1, interval: [0.0, 1.0] };
        let mut room = PointRoom::new(&compiled);
        points.direct(&tile, &mut room);
        let mut theta_bar = vec![0.0; theta.len()];
        (points.point(0, t, &mut tile, &mut room, &mut theta_bar), theta_bar)
    }

    /// Values of two independent computations: recurrences of Taylor coefficients, and nested derivatives.
    #[test]
    fn derivatives_of_a_network_are_what_they_are_known_to_be() {
        let theta = [
            [0.5, -0.3, 0.8, -0.7, 0.2, 0.4, 0.3, 0.6, -0.5, 0.1, -0.2, 0.05].as_slice(),
            &[0.4, -0.6, 0.9, 0.1, -0.3, 0.7, 0.2, -0.1, -0.05, 0.15],
        ]
        .concat();
        let (second, third) = (PointMeasure::SecondDerivative, PointMeasure::ThirdDerivative);
        for (activation, measure, rho, slope) in [
            (Activation::Tanh, second, 0.609_220_726_487_093_7, -0.130_033_852_819_007_6),
            (Activation::Tanh, third, 0.007_703_299_051_759_167_5, -0.001_543_895_615_031_050_4),
            (Activation::Softplus, second, 0.172_679_786_945_414_2, 0.264_740_250_134_324_1),
            (Activation::Softplus, third, 0.011_056_807_588_797_183, 0.095_668_562_012_360_83),
        ] {
            let field = Mlp::new([2, 3, 2]).activation(activation).time_input(TimeInput::Every).into();
            let (value, theta_bar) = measured(&field, &theta, 0.3, [0.6, -0.4], measure);
            assert!((value - rho).abs() < 1e-14, "{activation:?}, {measure:?}: {value}");
            assert!((theta_bar[0] - slope).abs() < 1e-14, "{activation:?}, {measure:?}: {}", theta_bar[0]);
        }
    }

    /// `y' = A y`: of the signs the first is the second's opposite, or not.
    #[test]
    fn energies_of_a_matrix_are_what_they_are_known_to_be() {
        let field = problem::Field::build(2, |f| {
            let (y, a) = (f.state(), f.parameters("a", &[0.2, -1.0, 0.7, -0.4]));
            f.stack([a.row(0) * y.row(0) + a.row(1) * y.row(1), a.row(2) * y.row(0) + a.row(3) * y.row(1)])
        });
        let (field, theta, y) = (field.expect("a field"), [0.2, -1.0, 0.7, -0.4], [1.0, -2.0]);
        let (kinetic, _) = measured(&field, &theta, 0.0, y, PointMeasure::Kinetic);
        assert!((kinetic - 1.7725).abs() < 1e-14, "{kinetic}");
        let (jacobian, _) = measured(&field, &theta, 0.0, y, PointMeasure::Jacobian);
        // (1, -1) gives 1.325; (1, 1) gives 0.365; 0.845 is their mean, half the squared Frobenius norm.
        assert!((jacobian - 1.325).abs() < 1e-14 || (jacobian - 0.365).abs() < 1e-14, "{jacobian}");
    }
}
