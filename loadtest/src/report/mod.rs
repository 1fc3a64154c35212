//! What a person sees and keeps of a run. Everything here renders: it measures nothing, and decides nothing but what to say.
//!
//! [`live`] while it runs, [`table`] when it has ended, [`files`] for later; all of them take their numbers from [`figures`].

pub mod charts;
pub mod csv;
pub mod figures;
pub mod files;
pub mod grid;
pub mod hdr;
pub mod live;
pub mod svg;
pub mod table;
pub mod text;

#[cfg(test)]
pub(crate) mod testing;
