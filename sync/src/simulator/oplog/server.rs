//! The mailbox: it keeps what it is given, in the order in which it came. Or it is a bad one.

use std::collections::{BTreeMap, BTreeSet};
use std::vec;
use std::vec::Vec;

use super::super::engine::{Attack, Context, Node};
use super::{Message, OVERHEAD};
use crate::Name;

/// How many entries a server puts into one list.
const PAGE: usize = 512;

/// What the mailbox shows to whom.
pub(super) struct Server {
    /// One; two once it shows half of the devices another.
    histories: Vec<History>,
    attack: Option<Attack>,
    /// Names that only their author is shown, if they are withheld.
    authors: BTreeMap<Name, usize>,
    online: BTreeSet<usize>,
}

#[derive(Clone, Default)]
struct History {
    entries: Vec<(Name, Vec<u8>)>,
    names: BTreeSet<Name>,
}

impl History {
    /// Whether it was new.
    fn keep(&mut self, name: Name, bytes: &[u8]) -> bool {
        let new = self.names.insert(name);
        if new {
            self.entries.push((name, bytes.to_vec()));
        }
        new
    }

    fn forget_the_newest_tenth(&mut self) {
        let kept = self.entries.len() - self.entries.len() / 10 - 1;
        for (name, _) in self.entries.drain(kept..) {
            self.names.remove(&name);
        }
    }
}

impl Default for Server {
    fn default() -> Self {
        Server {
            histories: vec![History::default()],
            attack: None,
            authors: BTreeMap::new(),
            online: BTreeSet::new(),
        }
    }
}

impl Server {
    /// Everything that was ever put here, forks and lost tenths aside.
    pub(super) fn everything(&self) -> &[(Name, Vec<u8>)] {
        &self.histories[0].entries
    }

    /// Whether it holds this, for everyone or for some.
    pub(super) fn has(&self, name: &Name) -> bool {
        self.histories.iter().any(|history| history.names.contains(name))
    }

    /// Keeps something for everyone.
    pub(super) fn keep(&mut self, name: Name, bytes: &[u8]) {
        for history in &mut self.histories {
            history.keep(name, bytes);
        }
    }

    /// Turns bad.
    pub(super) fn turn(&mut self, attack: Attack) {
        self.attack = Some(attack);
        if attack == Attack::Forks && self.histories.len() == 1 {
            self.histories.push(self.histories[0].clone());
        }
        if attack == Attack::RollsBack || attack == Attack::Resurrects {
            self.histories.iter_mut().for_each(History::forget_the_newest_tenth);
        }
    }

    fn history(&self, device: usize) -> usize {
        usize::from(self.attack == Some(Attack::Forks) && device % 2 == 1)
    }

    /// Answers a device.
    pub(super) fn serve(&mut self, cx: &mut Context<'_, Message>, device: usize, message: Message) {
        let to = Node::Device(device);
        self.online.insert(device);
        match message {
            Message::Put { life, name, bytes } => {
                let mine = self.history(device);
                let forks = self.attack == Some(Attack::Forks);
                let mut new = false;
                for (number, history) in self.histories.iter_mut().enumerate() {
                    new |= (!forks || number == mine) && history.keep(name, &bytes);
                }
                let withheld = self.attack == Some(Attack::Withholds);
                if withheld && new {
                    self.authors.insert(name, device);
                }
                cx.send(Node::Server, to, Message::Stored { life, name }, OVERHEAD);
                if new && !withheld {
                    for other in self.online.iter().filter(|other| **other != device && cx.up[**other]) {
                        cx.send(Node::Server, Node::Device(*other), Message::News, OVERHEAD);
                    }
                }
            }
            Message::List { life, since, request } => self.list(cx, device, since, (life, request)),
            _ => {}
        }
    }

    fn list(&self, cx: &mut Context<'_, Message>, device: usize, since: u64, asked: (u32, u32)) {
        let history = &self.histories[self.history(device)].entries;
        let shown: Vec<_> = if self.authors.is_empty() {
            history.iter().skip(since as usize).take(PAGE).collect()
        } else {
            let shown = history.iter().filter(|(name, _)| !self.authors.contains_key(name));
            shown.skip(since as usize).take(PAGE).collect()
        };
        let head = (history.len() - self.authors.len()) as u64;
        let tampers = self.attack == Some(Attack::Tampers);
        let items: Vec<(Name, Vec<u8>)> = shown
            .into_iter()
            .map(|(name, bytes)| {
                let mut bytes = bytes.clone();
                if tampers && bytes[0] == 1 {
                    let last = bytes.len() - 1;
                    bytes[last] ^= 1;
                    return (Name::of(&bytes), bytes);
                }
                (*name, bytes)
            })
            .collect();
        let size = OVERHEAD + items.iter().map(|(_, bytes)| 16 + bytes.len()).sum::<usize>();
        let (life, request) = asked;
        cx.send(Node::Server, Node::Device(device), Message::Listed { life, request, items, head }, size);
    }
}
