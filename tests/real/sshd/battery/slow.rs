//! A wire that carries little, late, or by fits and starts. It takes longer; what is said is true.

use std::sync::atomic::{AtomicBool, Ordering::SeqCst};
use std::time::{Duration, Instant};

use super::disks::words;
use super::partitions::{told_truly, wired};

/// Rotates over a wire that carries so many bytes at a time, after so many milliseconds each; it must come through.
fn over(bytes: u64, pause: u64, at_least: Duration) {
    let (stack, wire) = wired();
    let (before, began) = (stack.held(0), Instant::now());
    wire.faults.at_a_time.store(bytes, SeqCst);
    wire.faults.pause.store(pause, SeqCst);
    let output = stack.run(stack.rotation());
    let what = format!("{bytes} bytes each {pause} ms");
    assert_eq!(told_truly(&stack, &output, &before, &what), Some(0), "{what}: {}", words(&output));
    assert!(began.elapsed() > at_least, "{what}: it was not slow");
}

#[test]
fn ten_kilobytes_a_second_are_enough() {
    over(1_000, 100, Duration::from_secs(5));
}

#[test]
fn two_seconds_there_and_back_are_waited_for() {
    over(64 * 1024, 1_000, Duration::from_secs(20));
}

#[test]
fn a_wire_that_clogs_and_clears_again_ends_in_a_run_that_is_true() {
    let (stack, wire) = wired();
    wire.faults.at_a_time.store(4_000, SeqCst);
    let (over, clogged) = (AtomicBool::new(false), std::cell::Cell::new(0));
    for round in 0..2 {
        stack.forget();
        let before = stack.held(0);
        over.store(false, SeqCst);
        let output = std::thread::scope(|scope| {
            let mut rotation = stack.rotation();
            let over = &over;
            let running = scope.spawn(move || {
                let output = rotation.output().unwrap();
                over.store(true, SeqCst);
                output
            });
            while !over.load(SeqCst) {
                // For three seconds next to nothing passes, then everything for a moment.
                for (pause, lasts) in [(1_500, 3_000), (0, 200)] {
                    wire.faults.pause.store(pause, SeqCst);
                    std::thread::sleep(Duration::from_millis(lasts));
                }
                clogged.set(clogged.get() + 1);
            }
            running.join().unwrap()
        });
        wire.faults.heal();
        told_truly(&stack, &output, &before, &format!("a wire that clogs, round {round}"));
    }
    assert!(clogged.get() > 4, "it was clogged {} times only", clogged.get());
}

#[test]
fn large_packets_that_never_arrive_refuse_the_host_in_bounded_time() {
    let (stack, wire) = wired();
    let (before, began) = (stack.held(0), Instant::now());
    // The handshake is of smaller ones; the program is not.
    wire.faults.largest.store(4_000, SeqCst);
    let output = stack.run(stack.rotation());
    wire.faults.heal();
    assert_eq!(told_truly(&stack, &output, &before, "a black hole"), Some(4));
    assert!(words(&output).contains("h1"), "{}", words(&output));
    assert!(began.elapsed() < Duration::from_secs(180), "it took {:?}", began.elapsed());
}
