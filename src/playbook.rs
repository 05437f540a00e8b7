//! Text of a playbook into the model, all errors at once.
