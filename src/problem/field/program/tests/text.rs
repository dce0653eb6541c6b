//! Random programs as texts: what is printed says the same operations.

use proptest::prelude::*;

use super::super::Program;
use super::super::operation::{Node, Operation};
use super::random::{Case, Kinds};
use crate::problem::Field;

/// The program with what has no place of its own in a text, inputs, parameters, numbers and rows, in an order of its own.
fn sorted(program: &Program) -> Program {
    let is_leaf = |operation: &Operation| {
        matches!(operation, Operation::Input { .. } | Operation::Parameter { .. } | Operation::Literal(_))
    };
    let mut leaves: Vec<Node> =
        program.operations().filter(|(_, operation)| is_leaf(operation)).map(|(node, _)| node).collect();
    leaves.sort_by_key(|node| format!("{:?}", program.operation(*node)));
    let others = program
        .operations()
        .filter(|(_, operation)| !is_leaf(operation) && !matches!(operation, Operation::Rows { .. }))
        .map(|(node, _)| node);
    let mut order = Vec::new();
    for node in leaves.into_iter().chain(others) {
        order.push(node);
        let mut rows: Vec<(usize, usize, Node)> = program
            .operations()
            .filter_map(|(view, operation)| match operation {
                Operation::Rows { x, first, count } if *x == node => Some((*first, *count, view)),
                _ => None,
            })
            .collect();
        rows.sort_unstable();
        order.extend(rows.into_iter().map(|(_, _, view)| view));
    }
    let mut names = vec![Node::new(0); program.len()];
    for (place, node) in order.iter().enumerate() {
        names[node.index()] = Node::new(place);
    }
    Program {
        operations: order.iter().map(|node| program.operation(*node).renamed(|x| names[x.index()])).collect(),
        rows: order.iter().map(|node| program.rows(*node)).collect(),
        outputs: program.outputs().iter().map(|node| names[node.index()]).collect(),
    }
}

/// Whether a text can say all of it: no slopes, and no layers without bias.
fn is_said(program: &Program) -> bool {
    program
        .operations()
        .all(|(_, operation)| !matches!(operation, Operation::Slope(..) | Operation::Dense { affine: false, .. }))
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(1500))]

    #[test]
    fn random_programs_are_said_by_texts(case in prop_oneof![Case::any(6, Kinds::All), Case::any(14, Kinds::Autonomous)]) {
        let (field, _) = case.field();
        let (program, found) = (field.program().expect("a program"), field.to_text());
        prop_assert_eq!(found.is_ok(), is_said(&program), "{}\n{:?}", field, found);
        if let Ok(text) = found {
            let again = Field::parse(&text).map_err(|error| TestCaseError::fail(format!("{text}\n{error}")))?;
            prop_assert_eq!((again.groups(), again.inputs()), (field.groups(), field.inputs()), "{}", text);
            prop_assert!(again.driven_by().eq(field.driven_by()), "{}", text);
            prop_assert_eq!(sorted(&again.program().expect("a program")), sorted(&program), "{}", text);
            prop_assert_eq!(again.to_text().expect("the same"), text);
        }
    }
}
