//! The embedded fleet, to try things out.
