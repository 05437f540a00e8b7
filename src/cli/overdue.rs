//! Quarantines that somebody was to look at again by now (`--expires`). Nobody is let out by itself: a clock does not know whether a host is
//! still somebody else's, and an address that is let in again may be another host's by then.

use crate::journal::{Journal, RunSummary};
use crate::model::{HostName, Millis, fold_few};
use crate::runtime::clock;

use super::quarantine::{Standing, is_in, standing};
use super::{CliError, Exit, say};

/// How many names or ranges of names stand on one line.
const NAMES_MAX: usize = 8;

/// When a quarantine was to be looked at again, if that was said.
pub(super) fn until(run: &RunSummary) -> Option<Millis> {
    Some(run.began_unix + run.isolates.as_ref()?.expires?)
}

/// Its hosts that are still in quarantine by it, though its time is over.
fn overdue<'a>(run: &'a RunSummary, standing: &'a Standing) -> impl Iterator<Item = &'a HostName> {
    let over = until(run).is_some_and(|until| until <= clock::unix_now());
    let by_it = |host: &&HostName| is_in(standing, host) && standing[*host].0 == run.run;
    run.isolates.iter().flat_map(|isolates| &isolates.hosts).filter(move |host| over && by_it(host))
}

/// Says which are overdue; how a command that only looks ends because of it.
pub(super) fn look(ledger: &Journal, again: &super::again::Again) -> Result<Exit, CliError> {
    let standing = standing(ledger)?;
    let runs = ledger.runs().map_err(super::session::journal)?;
    let mut exit = Exit::Done;
    for run in &runs {
        let hosts: Vec<HostName> = overdue(run, &standing).cloned().collect();
        let (Some(until), false) = (until(run), hosts.is_empty()) else { continue };
        exit = Exit::Owing;
        let names = fold_few(&hosts, NAMES_MAX);
        let words: String = hosts.iter().map(|host| format!(" {host}")).collect();
        say::err(&again.in_text(&format!(
            "OVERDUE  {names}: in quarantine by {}, to be looked at again by {}; the rules stay\n\
             next: lockturn release{words} if that is over\n",
            run.run,
            clock::iso(until)
        )));
    }
    Ok(exit)
}
