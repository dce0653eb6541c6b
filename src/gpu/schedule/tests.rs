//! What schedules come to, by themselves: no device is needed.

use super::compile::Frame;
use super::{Action, Kind, Memory, Part, Place, Product, Schedule, Schedules, Way};
use crate::gpu::fields;
use crate::problem::{Field, InputMap, Mlp, TimeInput};

fn plain(field: &Field) -> Schedule {
    let frame = Frame { way: Way::Forward, rows: field.inputs(), kept: &[], result: true, keeps: false, seats: &[] };
    Schedule::new(&field.program().expect("a program"), frame).expect("a schedule")
}

/// Products as `p`, runs as `r`.
fn kinds(schedule: &Schedule) -> String {
    schedule.actions.iter().map(|action| if matches!(action, Action::Run(_)) { 'r' } else { 'p' }).collect()
}

#[test]
fn a_network_is_products_alone() {
    let mlp = Mlp::new([40, 50, 60, 40]).time_input(TimeInput::Every);
    let field = Field::from(&mlp);
    let schedule = plain(&field);
    assert_eq!(kinds(&schedule), "ppp");
    let products = schedule.actions.iter().filter_map(|action| match action {
        Action::Product(product) => Some(*product),
        Action::Run(_) => None,
    });
    let products: Vec<Product> = products.collect();
    for (product, layer) in products.iter().zip(mlp.layers()) {
        assert_eq!((product.kind, product.layer), (Kind::Affine, layer));
        assert_ne!(product.from.memory, product.to.memory, "it reads what it does not write");
    }
    assert_eq!(products[2].to.memory, Memory::Result);
    // The cube is a run before them.
    assert_eq!(kinds(&plain(&Mlp::new([3, 4, 3]).input_map(InputMap::Cube).into())), "rpp");
}

#[test]
fn runs_are_as_few_as_can_be() {
    let counted = [
        (fields::prey_and_hunters(), "r"),
        (fields::pendulum(), "rppr"),
        (fields::residual(64), "ppr"),
        // The gate's product, and those of the other network, are one phase after the other.
        (fields::gated(40), "pppr"),
        (fields::field(3, |f| f.state()), "r"),
    ];
    for (field, wanted) in counted {
        assert_eq!(kinds(&plain(&field)), wanted, "{}", field.program().expect("a program"));
    }
}

/// No value lies where another one does, none is read where it is written, and what is read has been written.
#[test]
fn values_have_places_of_their_own() {
    for field in fields::written() {
        for schedule in Schedules::new("Problem::field", &field, 0, &[]).expect("schedules").all() {
            let mut written = [vec![false; schedule.widths[0]], vec![false; schedule.widths[1]]];
            written[0][..field.inputs()].fill(true);
            for action in &schedule.actions {
                let Action::Product(product) = action else { continue };
                assert_ne!(product.from.memory, product.to.memory);
                let slope = product.slope.filter(|_| product.kind != Kind::Transposed);
                for place in [Some(product.to), slope].into_iter().flatten() {
                    let Memory::Own(part) = place.memory else { continue };
                    let cells = &mut written[part][place.first..place.first + place.rows];
                    assert!(cells.iter().all(|written| !written), "{product:?}");
                    cells.fill(true);
                }
            }
            for output in &schedule.outputs {
                if let Memory::Own(part) = output.memory {
                    assert!(output.first + output.rows <= schedule.widths[part], "{output:?}");
                }
            }
        }
    }
}

/// What a measure looks at besides lies behind the state, and before anything that is computed.
#[test]
fn a_direction_lies_behind_the_state() {
    let field = Field::from(Mlp::new([3, 5, 3]));
    let [second, _, _, jacobian, straightness] = &fields::measures(&field)[..] else { panic!("five measures") };
    for (measure, first) in [(second, 3), (jacobian, 6), (straightness, 6)] {
        for schedule in [&measure.plain, &measure.kept] {
            let made = schedule.actions.iter().filter_map(|action| match action {
                Action::Product(product) => Some(product.to),
                Action::Run(_) => None,
            });
            let own = made.filter(|place| place.memory == Memory::Own(0)).map(|place| place.first);
            assert!(schedule.widths[0] >= first && own.min().is_none_or(|least| least >= first), "{schedule:?}");
        }
        assert_eq!(measure.ends, [3, 1]);
    }
    // The Jacobian's weights have a gradient by the direction.
    let by_direction = |part: &Part| part.x == Some(Place { memory: Memory::Kept(0), first: 3, rows: 3 });
    assert!(jacobian.back[0].gradients.iter().any(by_direction));
}

/// A head that looks at no state gives it a cotangent of zeros, as wide as the state and not as what it gives.
#[test]
fn no_state_has_a_cotangent_as_wide_as_itself() {
    let head = fields::field(3, |f| f.parameters("a", &[1.0]));
    let [_, with] = Schedules::new("NeuralDe::head", &head, 0, &[]).expect("schedules").back;
    let text: String = with.schedule.texts().collect();
    for row in 0..3 {
        assert!(text.contains(&format!("result[to + {row}u]")), "{text}");
    }
}

#[test]
fn what_a_device_does_not_compute_is_refused() {
    let long = fields::field(20, |f| {
        let x = f.state();
        (0..300).fold(x.clone(), |y, n| (y * (1.0 + f64::from(n) / 1e3) + &x).tanh())
    });
    let error = Schedules::new("Problem::field", &long, 0, &[]).expect_err("a long field");
    assert!(error.to_string().contains("4096"), "{error}");
    let large = fields::field(1, |f| f.state() * 1e39);
    let error = Schedules::new("Problem::field", &large, 0, &[]).expect_err("beyond f32");
    assert!(error.to_string().contains("3.4e38"), "{error}");
}
