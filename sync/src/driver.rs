//! The driver: carries out what a replica asks for, with a journal and mailboxes that block.

use std::boxed::Box;
use std::collections::{BTreeMap, BTreeSet, VecDeque};
use std::io;
use std::vec::Vec;

use rand_core::CryptoRng;

use crate::alarm::Alarm;
use crate::carrier::Mailbox;
use crate::id::RecordId;
use crate::replica::{Effect, Event, Replica};

/// More lists of one mailbox in one call are more than any honest one is long.
const LISTS_MAX: u32 = 4096;

/// More names than this a mailbox may not list: an honest relay keeps 200,000 entries of a circle, and each name takes memory
/// for as long as the program runs.
pub const NAMES_MAX: u64 = 1 << 19;

/// Where a replica's records are kept: in order, encrypted, durable when `append` returns.
pub trait Journal {
    /// Adds a record at the end.
    fn append(&mut self, record: &[u8]) -> io::Result<()>;

    /// Puts these in the place of all records: whole or not at all, whenever the power fails, and without a trace of
    /// what was there.
    fn replace(&mut self, records: &[Vec<u8>]) -> io::Result<()>;
}

impl Journal for Vec<Vec<u8>> {
    fn append(&mut self, record: &[u8]) -> io::Result<()> {
        self.push(record.to_vec());
        Ok(())
    }

    fn replace(&mut self, records: &[Vec<u8>]) -> io::Result<()> {
        *self = records.to_vec();
        Ok(())
    }
}

/// Devices within reach, other than through a mailbox. The host says of them [`Event::PeerSeen`] and [`Event::Peer`].
pub trait Peers: Send {
    /// Sends to one of them, as far as that is possible: what does not arrive is noticed at the next greeting.
    fn send(&mut self, peer: u32, bytes: &[u8]);
}

/// What the host should know.
#[derive(Debug)]
#[non_exhaustive]
pub enum Report {
    /// These records are new, changed or gone.
    Changed(Vec<RecordId>),
    /// Whether a record now survives the loss of any one device.
    Backup(RecordId, bool),
    /// Someone joined or left.
    MembersChanged,
    /// A letter was found in a mailbox (`pairing`).
    Letter(Vec<u8>),
    /// Tell the user.
    Alarm(Alarm),
    /// A mailbox could not be reached, and why. Nothing is lost: it is tried again at the next round.
    Unreachable(u8, io::Error),
    /// A mailbox takes this entry at no time, because it is too long for it ([`io::ErrorKind::FileTooLarge`]). It is not
    /// tried again there until the driver begins anew; what comes after it is.
    Refused(u8, io::Error),
}

/// A replica with its journal and its mailboxes.
pub struct Driver<R, J> {
    replica: Replica<R>,
    journal: J,
    mailboxes: Vec<Box<dyn Mailbox>>,
    peers: Option<Box<dyn Peers>>,
    /// Asked for and not done yet. Survives a full disk: what follows a record waits for the record.
    pending: VecDeque<Effect>,
}

impl<R: CryptoRng, J: Journal> Driver<R, J> {
    /// Begins with the effects that founding or joining asked for; none for a replica read back from its journal.
    pub fn new(
        mut replica: Replica<R>,
        first: Vec<Effect>,
        journal: J,
        mailboxes: Vec<Box<dyn Mailbox>>,
    ) -> Self {
        for (number, mailbox) in (0..).zip(&mailboxes) {
            replica.add_mailbox(number, mailbox.order());
            replica.mailbox_is_at(number, mailbox.address());
            replica.mailbox_is_near(number, mailbox.is_near());
            replica.mailbox_is_closed(number, mailbox.is_closed());
        }
        Driver { replica, journal, mailboxes, peers: None, pending: first.into() }
    }

    /// Another mailbox, after those there are: everything is put there at the next round.
    ///
    /// # Panics
    /// With the 257th.
    pub fn add_mailbox(&mut self, mailbox: Box<dyn Mailbox>) {
        let number = u8::try_from(self.mailboxes.len()).expect("nobody has 257 mailboxes");
        self.replica.add_mailbox(number, mailbox.order());
        self.replica.mailbox_is_at(number, mailbox.address());
        self.replica.mailbox_is_near(number, mailbox.is_near());
        self.replica.mailbox_is_closed(number, mailbox.is_closed());
        self.mailboxes.push(mailbox);
    }

    /// Lets the replica speak to peers.
    pub fn set_peers(&mut self, peers: impl Peers + 'static) {
        self.peers = Some(Box::new(peers));
    }

    /// The replica, to be asked.
    pub fn replica(&self) -> &Replica<R> {
        &self.replica
    }

    /// The replica, for a welcome to be made.
    pub fn replica_mut(&mut self) -> &mut Replica<R> {
        &mut self.replica
    }

    /// The journal.
    pub fn journal(&self) -> &J {
        &self.journal
    }

    /// The journal, for what the host keeps in the same place.
    pub fn journal_mut(&mut self) -> &mut J {
        &mut self.journal
    }

    /// Takes one event and carries out what follows from it, until nothing more does.
    ///
    /// # Errors
    /// The journal's: the record and everything behind it are kept and tried again at the next call.
    pub fn handle(&mut self, now_ms: u64, event: Event) -> io::Result<Vec<Report>> {
        let mut reports = Vec::new();
        let polled = if let Event::Poll { mailbox } = event { Some(mailbox) } else { None };
        self.pending.extend(self.replica.handle(now_ms, event));
        self.work(now_ms, &mut reports)?;
        let failed =
            |report: &Report| matches!(report, Report::Unreachable(number, _) if Some(*number) == polled);
        if polled.is_some() && !self.replica.has_heard() && !reports.iter().any(failed) {
            self.pending.extend(self.replica.handle(now_ms, Event::Heard));
            self.work(now_ms, &mut reports)?;
        }
        Ok(reports)
    }

    /// Takes one event as [`handle`](Self::handle) does, and waits for no mailbox: records are kept, and whatever goes to
    /// mailboxes and peers is left for the next call, of [`carry_out`](Self::carry_out) for example.
    pub fn note(&mut self, now_ms: u64, event: Event) -> io::Result<Vec<Report>> {
        let (mut reports, mut index) = (Vec::new(), 0);
        self.pending.extend(self.replica.handle(now_ms, event));
        while let Some(effect) = self.pending.get(index) {
            match effect {
                Effect::Put { .. } | Effect::Get { .. } | Effect::List { .. } | Effect::Send { .. } => {
                    index += 1;
                    continue;
                }
                Effect::Persist(record) => self.journal.append(record)?,
                Effect::Rewrite(records) => self.journal.replace(records)?,
                _ => {}
            }
            if let Some(effect) = self.pending.remove(index) {
                self.perform(effect, &mut BTreeSet::new(), &mut reports);
            }
        }
        Ok(reports)
    }

    /// Carries out what [`note`](Self::note) left.
    pub fn carry_out(&mut self, now_ms: u64) -> io::Result<Vec<Report>> {
        let mut reports = Vec::new();
        self.work(now_ms, &mut reports)?;
        Ok(reports)
    }

    /// One round with every mailbox: what is new comes in, what is missing there goes out.
    ///
    /// # Errors
    /// As [`handle`](Self::handle); a mailbox that fails is a report.
    pub fn sync(&mut self, now_ms: u64) -> io::Result<Vec<Report>> {
        let mut reports = Vec::new();
        for mailbox in 0..self.mailboxes.len() {
            let mailbox = u8::try_from(mailbox).expect("nobody has 256 mailboxes");
            reports.extend(self.handle(now_ms, Event::Poll { mailbox })?);
        }
        Ok(reports)
    }

    fn work(&mut self, now_ms: u64, reports: &mut Vec<Report>) -> io::Result<()> {
        // A mailbox that failed is left alone for the rest of this call: a time-out for each entry helps nobody.
        let mut down = BTreeSet::new();
        let mut lists: BTreeMap<u8, u32> = BTreeMap::new();
        while let Some(effect) = self.pending.front() {
            match effect {
                Effect::Persist(record) => self.journal.append(record)?,
                Effect::Rewrite(records) => self.journal.replace(records)?,
                _ => {}
            }
            let Some(effect) = self.pending.pop_front() else { break };
            if let Effect::List { mailbox, .. } = effect {
                let count = lists.entry(mailbox).or_default();
                *count += 1;
                if *count > LISTS_MAX {
                    down.insert(mailbox);
                    let endless = io::Error::new(io::ErrorKind::InvalidData, "it lists without end");
                    reports.push(Report::Unreachable(mailbox, endless));
                    self.pending.extend(self.replica.handle(now_ms, Event::Failed { mailbox }));
                    continue;
                }
            }
            let Some(event) = self.perform(effect, &mut down, reports) else { continue };
            self.pending.extend(self.replica.handle(now_ms, event));
        }
        Ok(())
    }

    fn perform(
        &mut self,
        effect: Effect,
        down: &mut BTreeSet<u8>,
        reports: &mut Vec<Report>,
    ) -> Option<Event> {
        let (mailbox, result) = match effect {
            Effect::Put { mailbox, name, bytes } => (mailbox, {
                self.reach(mailbox, down)?.put(name, &bytes).map(|()| Some(Event::Stored { mailbox, name }))
            }),
            Effect::Get { mailbox, name } => {
                (mailbox, { self.reach(mailbox, down)?.get(name).map(|bytes| bytes.map(Event::Received)) })
            }
            Effect::List { mailbox, since, request } => (mailbox, {
                self.reach(mailbox, down)?.list(since).and_then(|listing| {
                    let (items, head) = (listing.items, listing.head);
                    if since.saturating_add(items.len() as u64) > NAMES_MAX {
                        let why = "it lists more names than any circle has entries";
                        return Err(io::Error::new(io::ErrorKind::InvalidData, why));
                    }
                    Ok(Some(Event::Listed { mailbox, request, items, head }))
                })
            }),
            Effect::Changed(records) => return Self::report(Report::Changed(records), reports),
            Effect::Backup(record, backed) => return Self::report(Report::Backup(record, backed), reports),
            Effect::MembersChanged => return Self::report(Report::MembersChanged, reports),
            Effect::Letter(letter) => return Self::report(Report::Letter(letter), reports),
            Effect::Alarm(alarm) => return Self::report(Report::Alarm(alarm), reports),
            Effect::Send { peer, bytes } => {
                if let Some(peers) = &mut self.peers {
                    peers.send(peer, &bytes);
                }
                return None;
            }
            // Records were written by the caller.
            Effect::Persist(_) | Effect::Rewrite(_) => return None,
        };
        match result {
            Ok(event) => event,
            Err(error) if error.kind() == io::ErrorKind::FileTooLarge => {
                reports.push(Report::Refused(mailbox, error));
                None
            }
            Err(error) => {
                down.insert(mailbox);
                reports.push(Report::Unreachable(mailbox, error));
                Some(Event::Failed { mailbox })
            }
        }
    }

    fn reach(&mut self, mailbox: u8, down: &BTreeSet<u8>) -> Option<&mut Box<dyn Mailbox>> {
        if down.contains(&mailbox) {
            return None;
        }
        self.mailboxes.get_mut(usize::from(mailbox))
    }

    fn report(report: Report, reports: &mut Vec<Report>) -> Option<Event> {
        reports.push(report);
        None
    }
}
