//! A program in files: version 1 of the language.

use serde::de::Error as _;
use serde::{Deserialize, Deserializer, Serialize, Serializer};

use super::Program;
use super::emitter::Emitter;
use super::operation::{Node, Operation};
use crate::error::{Error, Result};

/// A program as it is written.
#[derive(Serialize, Deserialize)]
struct Written {
    version: u32,
    operations: Vec<Operation>,
    outputs: Vec<Node>,
}

/// The version of the language that this library writes, and the only one so far.
const VERSION: u32 = 1;

impl From<Program> for Written {
    fn from(program: Program) -> Self {
        Self { version: VERSION, operations: program.operations, outputs: program.outputs }
    }
}

impl TryFrom<Written> for Program {
    type Error = Error;

    /// What comes from a file is checked as what comes from a builder.
    fn try_from(written: Written) -> Result<Self> {
        let Written { version, operations, outputs } = written;
        if version != VERSION {
            let remedy = format!("this library reads version {VERSION}: use the one that wrote it, or a later one");
            return Err(Error::argument("Program::version", version, remedy));
        }
        let mut emitter = Emitter::default();
        let mut nodes: Vec<Node> = Vec::with_capacity(operations.len());
        let unknown = |node: Node| {
            let remedy = "an operation takes values of operations before it";
            Error::argument("Program::operations", format!("value {}", node.index()), remedy)
        };
        for operation in operations {
            if let Some(node) = operation.operands().find(|node| node.index() >= nodes.len()) {
                return Err(unknown(node));
            }
            nodes.push(emitter.emit(operation.renamed(|node| nodes[node.index()])));
        }
        let outputs: Result<Vec<Node>> =
            outputs.into_iter().map(|node| nodes.get(node.index()).copied().ok_or_else(|| unknown(node))).collect();
        emitter.finish(&outputs?)
    }
}

impl Serialize for Program {
    fn serialize<S: Serializer>(&self, file: S) -> Result<S::Ok, S::Error> {
        Written::from(self.clone()).serialize(file)
    }
}

impl<'de> Deserialize<'de> for Program {
    fn deserialize<D: Deserializer<'de>>(file: D) -> Result<Self, D::Error> {
        Self::try_from(Written::deserialize(file)?).map_err(D::Error::custom)
    }
}
