//! The long documents, for people who run lockturn and for those who change it.
//!
//! Every block of an inventory or a playbook in them is checked by `tests/it/docs.rs`, and so is every word that they define.

#[doc = include_str!("docs/architecture.md")]
pub mod architecture {}

#[doc = include_str!("docs/glossary.md")]
pub mod glossary {}

#[doc = include_str!("docs/states.md")]
pub mod states {}

#[doc = include_str!("docs/formats.md")]
pub mod formats {}

#[doc = include_str!("docs/protocol.md")]
pub mod protocol {}

#[doc = include_str!("docs/failure_modes.md")]
pub mod failure_modes {}

#[doc = include_str!("docs/quarantine.md")]
pub mod quarantine {}

#[doc = include_str!("docs/decisions.md")]
pub mod decisions {}

#[doc = include_str!("docs/performance.md")]
pub mod performance {}

#[doc = include_str!("docs/simulation.md")]
pub mod simulation {}

#[doc = include_str!("docs/track_record.md")]
pub mod track_record {}
