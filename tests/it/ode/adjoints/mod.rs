//! Adjoints that keep no states, or whose gradients are those of an equation of their own.

mod continuous;
mod reversible;
