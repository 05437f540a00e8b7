//! How densely the battery sweeps: `make battery` tries every point, an ordinary test run tries some of them.

/// Whether every point is tried. Read here and nowhere else.
fn every_point() -> bool {
    std::env::var_os("LOCKTURN_SWEEP").is_some_and(|how| how == "every")
}

/// The points of a sweep: each of them, or one in so many; an ordinary run begins somewhere else each time that `salt` is another.
pub(crate) fn points(stride: usize, salt: usize) -> impl Iterator<Item = usize> {
    let step = if every_point() { 1 } else { stride };
    (1 + salt % step..).step_by(step)
}

/// So many times where everything is tried, and so many otherwise.
pub(crate) fn times(every: usize, some: usize) -> usize {
    if every_point() { every } else { some }
}

/// What a sweep says when it has come through.
#[expect(clippy::print_stderr, reason = "the counts are what a person reads of a battery")]
pub(crate) fn came_through(what: &str, count: usize) {
    eprintln!("{what}: {count}, 0 violations");
}
