//! Random programs as texts: what is printed says the same operations.

use std::collections::HashMap;
use std::ops::Range;

use proptest::prelude::*;

use super::super::Program;
use super::super::operation::{Block, Node, Number, Operation, Source};
use super::random::{Case, Kinds};
use crate::problem::Initialization;
use crate::problem::field::group::{Bound, Group, Initial};
use crate::problem::field::written::{ControlInput, Written};
use crate::problem::field::{Field, Form};

/// The field that a drawn program is, with a group for each of its layers and parameters, one after the other.
fn field(case: &Case) -> Field {
    let mut program = case.folded();
    let mut groups: Vec<Group> = Vec::new();
    let mut places: HashMap<Range<usize>, usize> = HashMap::new();
    let mut place = |range: Range<usize>, initial: &dyn Fn(usize) -> Initial| {
        *places.entry(range.clone()).or_insert_with(|| {
            let offset = groups.last().map_or(0, |group| group.range().end);
            let (name, count) = (format!("p{}", groups.len()), range.len());
            let frozen = range == case.frozen;
            groups.push(Group { name, offset, count, frozen, bound: Bound::None, initial: initial(offset) });
            offset
        })
    };
    for operation in &mut program.operations {
        match operation {
            Operation::Parameter { offset, rows } => {
                let range = *offset..*offset + *rows;
                let numbers = case.theta[range.clone()].iter().copied().map(Number).collect();
                *offset = place(range, &|_| Initial::Numbers(Vec::clone(&numbers)));
            }
            Operation::Dense { block, .. } => {
                let drawn = |offset| Block { offset, ..*block };
                let initialization = Initialization::HeUniform;
                block.offset =
                    place(block.layer().range(), &|at| Initial::Drawn { blocks: vec![drawn(at)], initialization });
            }
            _ => {}
        }
    }
    // Controls are numbered as they are first named.
    let mut controls: Vec<(usize, ControlInput)> = Vec::new();
    for operation in &mut program.operations {
        if let Operation::Input { source: Source::Control(n), rows } = operation {
            let known = controls.iter().position(|(before, _)| before == n);
            let at = known.unwrap_or_else(|| {
                controls.push((*n, ControlInput { name: format!("u{n}"), rows: *rows }));
                controls.len() - 1
            });
            *n = at;
        }
    }
    let controls = controls.into_iter().map(|(_, control)| control).collect();
    let written = Written { inputs: case.state.len(), program, groups, controls };
    written.validate().expect("a field");
    Field(Form::Written(Box::new(written)))
}

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
        let field = field(&case);
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
