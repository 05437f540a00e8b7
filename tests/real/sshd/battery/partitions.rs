//! The wire to one host is cut: in, out or both, in each phase, for a moment or until the run has ended; and at every byte that it sends
//! up. The run ends in bounded time with the truth, and `resume` mends what it could not.

use std::io::{BufRead as _, BufReader};
use std::process::{Output, Stdio};
use std::sync::atomic::Ordering::SeqCst;
use std::time::{Duration, Instant};

use super::disks::words;
use super::stack::{Now, Stack};
use super::wire::{Faults, Wire};
use crate::sweep;

const PHASES: [&str; 8] = ["lock", "stage", "arm", "cut", "activate", "verify", "confirm", "clean"];

/// The longest that any run here may take: a host that does not answer is noticed after 40 s, and each step that needs it connects anew
/// for a minute.
const LONGEST: Duration = Duration::from_secs(420);

#[derive(Debug, Clone, Copy)]
enum Direction {
    In,
    Out,
    Both,
}

use Direction::{Both, In, Out};

const DIRECTIONS: [Direction; 3] = [In, Out, Both];

impl Direction {
    fn swallow(self, faults: &Faults) {
        faults.swallows_in.store(matches!(self, In | Both), SeqCst);
        faults.swallows_out.store(matches!(self, Out | Both), SeqCst);
    }
}

/// Two hosts, the second one behind a wire.
pub(super) fn wired() -> (Stack, Wire) {
    let stack = Stack::up();
    let wire = Wire::to(stack.fleet.hosts[1].port);
    let port = wire.port;
    stack.fleet.inventory(|host| match host {
        0 => "identity_file: ed25519".to_owned(),
        _ => format!("identity_file: ed25519, port: {port}"),
    });
    let known = std::fs::read_to_string(stack.fleet.at("known")).unwrap();
    let known = known.replace(&format!(":{} ", stack.fleet.hosts[1].port), &format!(":{port} "));
    std::fs::write(stack.fleet.at("known"), known).unwrap();
    (stack, wire)
}

/// What is true at the end of a run whose wire was cut; it is well again now.
#[track_caller]
pub(super) fn told_truly(stack: &Stack, output: &Output, before: &str, what: &str) -> Option<i32> {
    let (code, said) = (output.status.code(), words(output));
    match code {
        Some(0) => assert_eq!(stack.whole(before, what), Now::New, "{what}: {said}"),
        Some(1) => assert_eq!(stack.whole(before, what), Now::Old, "{what}: {said}"),
        Some(4) => {
            assert_eq!(stack.whole(before, what), Now::Old, "{what}: {said}");
            assert!(said.contains("nothing was changed"), "{what}: {said}");
        }
        Some(6 | 7) => {
            assert!(said.contains("h1") && said.contains(" resume "), "{what}: {said}");
            stack.intents_first(before, what);
            stack.taken_up("resume", before, what);
        }
        code => panic!("{what}: {code:?}: {said}"),
    }
    code
}

/// Cuts the wire when a phase begins; mends it, with a reset, after so long, or else when the run has ended.
fn cut_in(
    stack: &Stack,
    wire: &Wire,
    phase: &str,
    direction: Direction,
    heals: Option<Duration>,
) -> (Option<i32>, Duration) {
    stack.forget();
    let before = stack.held(0);
    let what = format!("the wire is cut ({direction:?}) in `{phase}`, healed after {heals:?}");
    let mut running =
        stack.rotation().args(["--output", "json"]).stdout(Stdio::piped()).stderr(Stdio::piped()).spawn().unwrap();
    let lines = BufReader::new(running.stdout.take().unwrap()).lines();
    let faults = std::sync::Arc::clone(&wire.faults);
    let wanted = format!("\"step\":\"{phase}\"");
    let cutting = std::thread::spawn(move || {
        let mut cut_at = None;
        for line in lines.map_while(Result::ok) {
            if cut_at.is_none() && line.contains("step-began") && line.contains(&wanted) {
                direction.swallow(&faults);
                cut_at = Some(Instant::now());
                if let Some(moment) = heals {
                    std::thread::sleep(moment);
                    faults.heal();
                    faults.reset();
                }
            }
        }
        cut_at
    });
    let output = running.wait_with_output().unwrap();
    let cut_at = cutting.join().unwrap();
    wire.faults.heal();
    let took = cut_at.unwrap_or_else(|| panic!("{what}: `{phase}` never began: {}", words(&output))).elapsed();
    assert!(took < LONGEST, "{what}: it took {took:?}");
    (told_truly(stack, &output, &before, &what), took)
}

#[test]
fn in_each_phase_for_a_moment_and_for_good() {
    let (stack, wire) = wired();
    let mut cuts = 0;
    for (number, phase) in PHASES.into_iter().enumerate() {
        for direction in DIRECTIONS.into_iter().cycle().skip(number).take(sweep::times(3, 1)) {
            cut_in(&stack, &wire, phase, direction, Some(Duration::from_millis(600)));
            cuts += 1;
        }
    }
    sweep::came_through("wires that were cut for a moment", cuts);
    let all = PHASES.into_iter().flat_map(|phase| DIRECTIONS.map(|direction| (phase, direction)));
    for_good(all.take(sweep::times(24, 0)).collect());
}

/// Each takes minutes, which are spent waiting, so all of them wait together.
fn for_good(cases: Vec<(&'static str, Direction)>) {
    let apart = |(phase, direction)| {
        std::thread::spawn(move || {
            let (stack, wire) = wired();
            cut_in(&stack, &wire, phase, direction, None)
        })
    };
    let running: Vec<_> = cases.into_iter().map(apart).collect();
    let took: Vec<Duration> = running.into_iter().map(|one| one.join().unwrap().1).collect();
    if let Some(longest) = took.iter().max() {
        let what = format!("wires that stayed cut until the run had ended ({longest:.0?} at most)");
        sweep::came_through(&what, took.len());
    }
}

#[test]
fn at_every_byte_of_the_upload() {
    let (stack, wire) = wired();
    let before = stack.held(0);
    let output = stack.run(stack.rotation());
    assert_eq!(told_truly(&stack, &output, &before, "a wire that is well"), Some(0));
    let whole = wire.faults.sent.load(SeqCst);
    let (mut points, mut rotated) = (0, 0);
    // A point is so many bytes: each of them is one of a packet that nobody but its receiver can read.
    for point in sweep::points(113, 40) {
        let at = point as u64 * 89;
        if at >= whole {
            break;
        }
        stack.forget();
        let before = stack.held(0);
        let once = point % 3 != 0;
        wire.faults.once.store(once, SeqCst);
        wire.faults.resets_at.store(at, SeqCst);
        let output = stack.run(stack.rotation());
        wire.faults.heal();
        let what = format!("reset after {at} of {whole} bytes, {}", if once { "once" } else { "each time" });
        rotated += usize::from(told_truly(&stack, &output, &before, &what) == Some(0));
        points += 1;
    }
    assert!(points > 3 && rotated > 0 && rotated < points, "{rotated} of {points}");
    sweep::came_through("resets in the upload", points);
}
