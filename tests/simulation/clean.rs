//! How a run is cleaned away, in the order of `do_clean`.

use lockturn::model::ReasonKind;

use super::host::{Content, Disk, Lock, Place, Token, Uncut};
use super::invariants::Effect;
use super::mutants::Mutant;
use super::program::{Done, Shell};
use super::switch;

impl Shell {
    /// What was cut and neither confirmed nor taken back is not for one to clean who does not know that.
    fn is_not_for_cleaning(&self, untouched: bool) -> bool {
        let open = self.see(|host| match *host.disk.token.get() {
            Token::Armed => *host.disk.uncut.get() == Uncut::Emptied,
            Token::Fired => *host.disk.uncut.get() == Uncut::Emptied && !host.disk.gone_back.get(),
            Token::None | Token::Confirmed => false,
        });
        open && (untouched || self.see(|host| host.contents().contains(&Content::New)))
            && !self.world.is(Mutant::CleansWhatWasCut)
    }

    /// `do_clean`
    pub(super) async fn clean(&self, untouched: bool) -> Done {
        if self.see(|host| host.disk.session.get().is_some()) {
            self.ours_over()?;
        }
        if self.is_not_for_cleaning(untouched) {
            self.world.count("a host that was cut was not cleaned");
            return Err(ReasonKind::Changed);
        }
        if self.see(|host| host.broken) {
            return Err(ReasonKind::Denied);
        }
        self.effect(Effect::Cleaned);
        if self.world.is(Mutant::ForgetsToClean) {
            return Ok(());
        }
        self.is_over().await?;
        self.remove().await;
        Ok(())
    }

    /// The lock tells that the run is over, and nothing waits any more.
    async fn is_over(&self) -> Done {
        self.pause().await;
        self.write(|disk| {
            if *disk.lock.get() == Lock::Held {
                disk.lock.put(Lock::Cleaning { confirmed: *disk.token.get() == Token::Confirmed });
            }
        });
        self.pause().await;
        if self.see(|host| host.broken) {
            return Err(ReasonKind::Denied);
        }
        self.write(|disk| {
            if *disk.token.get() == Token::Armed {
                disk.token.set(Token::None);
                disk.sync_dir();
            }
        });
        Ok(())
    }

    /// Nothing of it stays.
    async fn remove(&self) {
        let synced = !self.world.is(Mutant::CleansInMemory);
        for number in 0..self.world.knobs.changes {
            self.pause().await;
            self.write(|disk| {
                if *disk.known[number].get() {
                    forget_beside(disk, number);
                }
            });
            self.pause().await;
            // On the disk before it is forgotten that it was there.
            self.write(|disk| {
                if synced {
                    disk.sync_beside(number, true);
                }
            });
        }
        self.pause().await;
        // `end_switch`
        switch::end_watch(&self.world, self.host);
        self.write(|disk| disk.units.set(false));
        self.pause().await;
        self.write(|disk| {
            if synced {
                disk.units.sync();
            }
        });
        // `rm -rf` of the run's directory, in whatever order; the lock last.
        self.write(|disk| {
            disk.kept.set(false);
            disk.token.set(Token::None);
        });
        self.pause().await;
        self.write(|disk| {
            disk.known.iter_mut().for_each(|known| known.set(false));
            disk.session.set(None);
            disk.gone_back.set(false);
            disk.lease.set(None);
            disk.uncut.set(Uncut::Absent);
            disk.program.set(false);
            disk.lock.set(Lock::Free);
        });
        self.pause().await;
        self.write(|disk| {
            if synced {
                disk.sync_dir();
                disk.lock.sync();
            }
        });
    }
}

/// `remove_beside`
pub(super) fn forget_beside(disk: &mut Disk, number: usize) {
    disk.beside[number].set(false);
    let place = Place { new_beside: false, ..*disk.places[number].get() };
    disk.places[number].set(place);
}
