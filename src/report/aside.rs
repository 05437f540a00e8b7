//! Speaking on a thread of its own: whoever reads slowly, or stops (`less`, Ctrl-S), holds up no host.
//!
//! **Invariant:** [`Reporter::entry`] never waits. [`Reporter::finish`] does, until all is said: then nothing is under way.

use std::sync::mpsc::{Receiver, Sender, channel};
use std::thread::{Builder, JoinHandle};

use crate::model::Entry;

use super::Reporter;

/// Hands on to another reporter, on a thread of its own.
pub struct Aside {
    tell: Option<Sender<Said>>,
    thread: Option<JoinHandle<()>>,
}

enum Said {
    Entry(Box<Entry>),
    Finish(Sender<()>),
}

impl Aside {
    /// Hands on to this one. Where no thread can be started nobody speaks.
    pub fn new(reporter: Box<dyn Reporter>) -> Self {
        let (tell, told) = channel();
        let thread = Builder::new().name("reporter".to_owned()).spawn(move || speak(reporter, &told));
        Self { tell: Some(tell), thread: thread.ok() }
    }

    fn say(&self, said: Said) {
        // Whoever spoke may have ended in a panic, which it told.
        let _nobody_speaks = self.tell.as_ref().map(|tell| tell.send(said));
    }
}

fn speak(mut reporter: Box<dyn Reporter>, told: &Receiver<Said>) {
    for said in told {
        match said {
            Said::Entry(entry) => reporter.entry(&entry),
            Said::Finish(done) => {
                reporter.finish();
                let _nobody_waits = done.send(());
            }
        }
    }
}

impl Reporter for Aside {
    fn entry(&mut self, entry: &Entry) {
        self.say(Said::Entry(Box::new(entry.clone())));
    }

    fn finish(&mut self) {
        let (done, all_said) = channel();
        self.say(Said::Finish(done));
        let _nobody_speaks = all_said.recv();
    }
}

/// What is said after it comes after all that it had to say.
impl Drop for Aside {
    fn drop(&mut self) {
        self.tell = None;
        let _panicked = self.thread.take().map(JoinHandle::join);
    }
}
