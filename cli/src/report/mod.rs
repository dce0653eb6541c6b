//! What is told of results: a table on a terminal, a page with figures.

pub(crate) mod followed;
pub(crate) mod html;
pub(crate) mod page;
pub(crate) mod plot;
pub(crate) mod rankings;
pub(crate) mod summary;
pub(crate) mod table;
