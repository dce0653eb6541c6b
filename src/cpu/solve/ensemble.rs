//! The ensemble layout: a crew's tiles, whose trajectories go each alone.

use super::Solve;
use super::lanewise::{Lanewise, finish};
use crate::cpu::crew::shard::Crew;
use crate::cpu::kernel::dense::LANES;
use crate::cpu::kernel::scalar::Scalar;
use crate::cpu::step::Scheme;
use crate::cpu::tile::Tile;
use crate::error::Status;

/// A solve of an ensemble.
#[derive(Debug)]
pub(crate) struct Ensemble<'a, S: Scheme>(pub(crate) &'a Solve<'a, S>);

impl<S: Scheme> Ensemble<'_, S> {
    /// Solves the crew's tiles from their loaded states.
    pub(crate) fn solve(&self, crew: &mut Crew<S>) {
        let (lanewise, ends) = (Lanewise(self.0), self.0.recording.ends);
        let (tiles, room) = crew.tiles_mut();
        for tile in tiles {
            lanewise.begin(tile, &mut room.desk);
            if ends {
                lanewise.run(tile, &mut room.desk);
            }
        }
        if !ends {
            self.stream(crew);
        }
        crew.tiles_mut().0.for_each(finish);
    }

    /// Integrates started tiles without keeping a tape. Trajectories of a tile arrive after different numbers of steps;
    /// so that no lane waits for the slowest, a working tile takes the next trajectory into each lane that falls free.
    fn stream(&self, crew: &mut Crew<S>) {
        let lanewise = Lanewise(self.0);
        let (tiles, room) = crew.tiles_mut();
        let mut homes: Vec<&mut Tile<S::Real>> = tiles.collect();
        let Some(home) = homes.first() else { return };
        let (slots, clock) = (home.saves.len() / home.features(), &home.clock);
        let working = room.working.take();
        let mut working = working.unwrap_or_else(|| Box::new(Tile::new(0, &self.0.stepper.shape)));
        working.used = LANES;
        working.begin(slots, 0);
        working.clock.begin(clock.ends, clock.scaled);
        working.status = [Status::Done; LANES];
        let mut origin: [Option<(usize, usize)>; LANES] = [None; LANES];
        let mut first_ready = [true; LANES];
        let mut next = (0, 0);
        loop {
            let running = working.running();
            for lane in (0..LANES).filter(|&l| !running[l]) {
                if let Some((tile, home_lane)) = origin[lane].take() {
                    homes[tile].take_lane(home_lane, &working, lane);
                }
                if let Some((tile, home_lane)) = next_running(&homes, &mut next) {
                    working.take_lane(lane, homes[tile], home_lane);
                    (origin[lane], first_ready[lane]) = (Some((tile, home_lane)), true);
                }
            }
            if !lanewise.turn(&mut working, &mut first_ready, &mut room.desk) && origin.iter().all(Option::is_none) {
                break;
            }
        }
        room.working = Some(working);
    }
}

/// The next running trajectory of the homes, as tile and lane.
fn next_running<R: Scalar>(homes: &[&mut Tile<R>], next: &mut (usize, usize)) -> Option<(usize, usize)> {
    while let Some(home) = homes.get(next.0) {
        let (tile, lane) = *next;
        *next = if lane + 1 < home.used { (tile, lane + 1) } else { (tile + 1, 0) };
        if home.alive[lane] && home.status[lane] == Status::Running {
            return Some((tile, lane));
        }
    }
    None
}
