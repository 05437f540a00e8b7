//! The pure state machines of a run and its hosts: what happened in, what to do next out.
