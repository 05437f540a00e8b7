//! Lockturn switches a whole fleet to new secrets at the same moment, or not at all, and proves it.
//!
//! ```text
//!         inventory, playbook ──► plan ─────────────┐                     (pure)
//!                                                    ▼
//!  SSH hosts ◄─ effects ─ runtime ◄─ effects ─ coordinator ─ events ─► journal (SQLite)
//!      └────── replies ─────►│ ──── events ───────►                 └► screen, JSON
//! ```
//!
//! The coordinator decides, the runtime acts, the journal remembers, the reporters speak; no room does two of these.
//! The rooms, in the order in which to read them; a room imports only what stands above it:

pub mod model;

pub mod yaml;

pub mod template;

pub mod inventory;

pub mod playbook;

pub mod plan;

pub mod coordinator;

pub mod edit;

pub mod quarantine;

pub mod host;

pub mod ssh;

pub mod probe;

pub mod journal;

pub mod report;

pub mod runtime;

pub mod lab;

pub mod cli;

pub mod docs;
