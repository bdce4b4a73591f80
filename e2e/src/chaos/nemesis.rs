//! Strikes and heals: what a drawn fault does to the cluster, and how it is taken back.

use std::collections::BTreeMap;

use super::Error;
use super::cluster::{BACK_WITHIN, Cluster};
use super::plan::{Fault, Kind};
use super::switch::Link;
use crate::history::Violation;

/// Struck faults by kind.
pub type Tally = BTreeMap<Kind, u64>;

/// What a strike or its healing came to: an error of the harness, or something that the cluster did wrong.
pub type Struck = Result<Result<(), Violation>, Error>;

impl Cluster {
    /// Does what the fault says. Faults that replace or restart members are over when this returns.
    pub async fn strike(&mut self, fault: &Fault) -> Struck {
        match fault {
            Fault::Partition(side) => {
                let apart = |from: usize, to: usize| side.contains(&from) != side.contains(&to);
                self.change_links(true, |from, to, link| link.cut |= apart(from, to));
            }
            Fault::OneWay { member, sends } => {
                self.change_links(true, |from, to, link| link.cut |= *member == if *sends { from } else { to });
            }
            Fault::Loss(loss) => self.change_links(false, |_, _, link| link.loss = *loss),
            Fault::Delay(least, more) => {
                self.change_links(false, |_, _, link| *link = Link { delay: *least, jitter: *more, ..*link });
            }
            Fault::Kill(members) => members.iter().for_each(|member| self.members[*member].kill()),
            Fault::Terminate(member) => return Ok(self.terminate(*member).await),
            Fault::Pause(members) => {
                for member in members {
                    self.members[*member].pause().await?;
                }
            }
            Fault::PowerCut(members) => self.cut_power(members).await?,
            Fault::DiskStall(member) => self.members[*member].disk().stall()?,
            Fault::SlowDisk(member, writes) => self.members[*member].slow_disk(*writes)?,
            Fault::DiskFull(member) => self.members[*member].fill_disk()?,
            Fault::ClockOffset(member, seconds) => {
                self.members[*member].kill();
                self.members[*member].set_clock_offset(*seconds);
            }
            Fault::Replace(member) => {
                if let Err(violation) = self.all_back().await {
                    return Ok(Err(violation));
                }
                return Ok(match self.replace(*member, BACK_WITHIN).await {
                    Err(late @ Error::Late { .. }) => Err(not_back(&self.members[*member], late.to_string())),
                    replaced => Ok(replaced?),
                });
            }
            Fault::RollingRestart => {
                for member in 0..self.members.len() {
                    let ended = self.terminate(member).await;
                    self.members[member].start()?;
                    let back = match ended {
                        Ok(()) => self.all_back().await.map(|_| ()),
                        violation => violation,
                    };
                    if back.is_err() {
                        return Ok(back);
                    }
                }
            }
        }
        Ok(Ok(()))
    }

    /// Takes a fault back and starts whoever does not run for its sake. A process that ended without a reason is a violation.
    pub async fn heal(&mut self, fault: &Fault) -> Struck {
        match fault {
            Fault::Partition(_) | Fault::OneWay { .. } | Fault::Loss(_) | Fault::Delay(..) => self.mend_links(),
            Fault::Pause(members) => members.iter().for_each(|member| self.members[*member].resume()),
            Fault::PowerCut(members) => {
                for member in members {
                    self.members[*member].disk().restore_power()?;
                }
            }
            Fault::DiskStall(member) => self.members[*member].disk().resume(),
            Fault::SlowDisk(member, _) => self.members[*member].slow_disk(0)?,
            Fault::DiskFull(member) => self.members[*member].empty_disk()?,
            Fault::Kill(_) | Fault::Terminate(_) | Fault::ClockOffset(..) => {}
            Fault::Replace(_) | Fault::RollingRestart => {}
        }
        self.start_all()
    }

    /// Starts every member that does not run. One that ended by itself is a violation.
    pub fn start_all(&mut self) -> Struck {
        for place in 0..self.members.len() {
            if let Err(violation) = self.alive(place) {
                return Ok(Err(violation));
            }
            if !self.members[place].runs() {
                self.members[place].start()?;
            }
        }
        Ok(Ok(()))
    }

    /// SIGTERM must end in exit status 0.
    async fn terminate(&mut self, place: usize) -> Result<(), Violation> {
        self.alive(place)?;
        let member = &mut self.members[place];
        if !member.runs() {
            return Ok(());
        }
        match member.terminate().await {
            Some(status) if status.success() => Ok(()),
            Some(status) => Err(not_back(member, format!("SIGTERM ended it with {status}: {}", member.log_tail()))),
            None => Err(not_back(member, format!("SIGTERM did not end it: {}", member.log_tail()))),
        }
    }

    /// Process and disk end at one moment: the processes stand still before their disks stop, and are gone after.
    async fn cut_power(&mut self, members: &[usize]) -> Result<(), Error> {
        for member in members {
            self.members[*member].pause().await?;
        }
        for member in members {
            self.members[*member].disk().cut_power()?;
        }
        members.iter().for_each(|member| self.members[*member].kill());
        Ok(())
    }
}

fn not_back(member: &super::member::Member, reason: String) -> Violation {
    Violation::NotBack { member: member.name().to_owned(), reason }
}
