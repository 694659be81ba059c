//! The user, the relying parties, what happens to devices; and the judgement at the end.

use super::*;
use crate::simulator::pin_guesser::told;

impl<F: Fabric> Engine<'_, F> {
    pub(super) fn actions_per_day(&self) -> f64 {
        let load = &self.scenario.load;
        load.create + load.overwrite + load.race + load.rename + load.delete + load.signin
    }

    /// Devices in their owner's hands.
    pub(super) fn usable(&self) -> Vec<usize> {
        let mine = |device: &usize| !self.gone[*device] && !self.stolen[*device] && !self.revoked[*device];
        (0..self.names.len()).filter(mine).collect()
    }

    pub(super) fn live(&self) -> Vec<usize> {
        self.usable()
    }

    pub(super) fn user_acts(&mut self) {
        let mut candidates = self.usable();
        if !self.scenario.load.offline {
            candidates.retain(|device| self.up[*device]);
        }
        if candidates.is_empty() {
            return;
        }
        let device = candidates[self.rng.below(candidates.len() as u64) as usize];
        let load = &self.scenario.load;
        let weights = [load.create, load.overwrite, load.race, load.rename, load.delete, load.signin];
        let mut draw = self.rng.unit() * self.actions_per_day();
        let choice = weights.iter().position(|weight| {
            draw -= weight;
            draw < 0.0
        });
        match choice {
            Some(0) => {
                let account = self.accepted.len() as Account;
                self.accepted.insert(account, BTreeSet::new());
                self.create(device, account);
            }
            Some(1) => {
                if let Some((account, _)) = self.some_passkey(device) {
                    self.create(device, account);
                }
            }
            Some(2) => {
                let other = candidates[self.rng.below(candidates.len() as u64) as usize];
                let account = self.accepted.len() as Account;
                self.accepted.insert(account, BTreeSet::new());
                self.create(device, account);
                let at = self.now + self.rng.below(60_000);
                self.schedule(at, What::Race { account, device: other });
            }
            Some(3) => {
                if let Some((_, credential)) = self.some_passkey(device) {
                    let value = self.rng.below(256) as u8;
                    self.do_or_count(device, Action::Rename { credential, value });
                }
            }
            Some(4) => self.delete(device),
            _ => self.sign_in(device),
        }
    }

    /// A passkey that this device offers.
    fn some_passkey(&mut self, device: usize) -> Option<(Account, Credential)> {
        let accounts = self.accepted.len() as u64;
        for _ in 0..4 {
            let account = self.rng.below(accounts) as Account;
            if let Some(first) = self.fabric.offered(device, account).first() {
                return Some((account, *first));
            }
        }
        None
    }

    fn do_or_count(&mut self, device: usize, action: Action) -> bool {
        let done = self.with(|fabric, cx| fabric.act(cx, device, action));
        self.outcome.blocked += u64::from(!done);
        self.say(|engine| {
            format!("{} {action:?}{}", engine.names[device], if done { "" } else { ": refused, off the net" })
        });
        done
    }

    pub(super) fn create(&mut self, device: usize, account: Account) {
        let credential = self.known.len() as Credential;
        let awaited =
            self.usable().into_iter().filter(|other| *other != device && self.up[*other] && self.up[device]);
        let shut_out = |other: &usize| self.stolen[*other] && self.revoked[*other];
        let mut shut_out = (0..self.names.len()).filter(shut_out);
        let known = Known {
            account,
            made_at: self.now,
            awaited: awaited.collect(),
            been_on: BTreeSet::from([device]),
            maker_aware: shut_out.all(|thief| self.fabric.knows_of_the_loss(device, thief)),
            deleted: false,
            unheard: false,
            claimed: false,
        };
        self.known.insert(credential, known);
        if !self.do_or_count(device, Action::Create { credential, account }) {
            self.known.get_mut(&credential).expect("inserted above").deleted = true;
            return;
        }
        self.outcome.created += 1;
        if self.rng.chance(self.scenario.load.lost_registration) {
            return;
        }
        let accepted = self.accepted.entry(account).or_default();
        if !accepted.is_empty() && self.rng.chance(0.5) {
            // Some relying parties keep one key an account.
            accepted.clear();
        }
        accepted.insert(credential);
        self.with(|fabric, cx| fabric.act(cx, device, Action::Used { credential }));
    }

    fn delete(&mut self, device: usize) {
        let Some((account, credential)) = self.some_passkey(device) else { return };
        if self.do_or_count(device, Action::Delete { credential }) {
            self.known.get_mut(&credential).expect("the device offered it").deleted = true;
            self.accepted.entry(account).or_default().remove(&credential);
        }
    }

    fn sign_in(&mut self, device: usize) {
        let held = || self.accepted.iter().filter(|(_, keys)| !keys.is_empty());
        let count = held().count() as u64;
        if count == 0 {
            return;
        }
        let chosen = self.rng.below(count) as usize;
        let (account, _) = held().nth(chosen).expect("it is below their number");
        let account = *account;
        self.outcome.signins += 1;
        if !self.up[device] && !self.fabric.signs_in_offline() {
            self.outcome.offline += 1;
            return;
        }
        let accepted = &self.accepted[&account];
        let offered = self.fabric.offered(device, account);
        if let Some(credential) = offered.iter().copied().find(|credential| accepted.contains(credential)) {
            self.outcome.signed_in += 1;
            self.with(|fabric, cx| fabric.act(cx, device, Action::Used { credential }));
            return;
        }
        let others = self.live().into_iter().any(|other| {
            let offered = self.fabric.offered(other, account);
            offered.iter().any(|credential| accepted.contains(credential))
        });
        if others || self.up[device] && self.fabric.catches_up(device) {
            self.outcome.not_yet += 1;
        } else {
            let announced = accepted.iter().all(|credential| self.went_with_its_maker(*credential));
            self.outcome.lockouts += 1;
            self.outcome.announced += u64::from(announced);
            self.say(|engine| {
                let how = if announced { ", as announced" } else { "" };
                format!("{} is locked out of account {account}{how}", engine.names[device])
            });
        }
    }

    /// Whether a passkey has only ever been on devices that are lost now, and nobody had said that it is backed up.
    fn went_with_its_maker(&self, credential: Credential) -> bool {
        let known = &self.known[&credential];
        let kept = |device: &usize| !self.gone[*device] && !self.stolen[*device] && !self.revoked[*device];
        !known.claimed && !known.been_on.iter().any(kept)
    }

    /// A device is lost, or its word stops counting: what it deleted and told none of these is not deleted.
    fn note_unheard(&mut self, device: usize, by: &[usize], server: bool) {
        for credential in self.fabric.unheard(device, by, server) {
            if let Some(known) = self.known.get_mut(&credential) {
                known.unheard = true;
            }
        }
    }

    pub(super) fn script(&mut self, event: &Event, index: usize) {
        self.say(|_| format!("event {index}: {event:?}"));
        let position = |engine: &Self, name: &Option<String>| {
            name.as_ref().and_then(|name| engine.names.iter().position(|known| known == name))
        };
        if let Some(attack) = event.relay.as_deref().and_then(Attack::parse) {
            if attack == Attack::Colludes {
                self.colludes = true;
            } else {
                self.attacked.insert("relay");
                self.attacked_at.get_or_insert(self.now);
            }
            self.with(|fabric, cx| fabric.attack(cx, attack));
        }
        if let Some(device) = position(self, &event.theft) {
            self.stolen[device] = true;
            let after = event.noticed_after.as_deref().map_or(Ok(0), duration_ms);
            self.schedule(self.now + after.expect("the scenario was checked"), What::Notice(index));
        }
        if let Some(device) = position(self, &event.destroy) {
            self.destroy(device);
        }
        if let Some(device) = position(self, &event.restore) {
            let back = event.back.as_deref().map_or(Ok(DAY), duration_ms).expect("the scenario was checked");
            self.attacked.insert("restore");
            self.attacked_at.get_or_insert(self.now);
            self.restored[device] = true;
            self.with(|fabric, cx| fabric.restore(cx, device, back));
        }
        if let Some([one, other]) = &event.duel {
            let (one, other) = (position(self, &Some(one.clone())), position(self, &Some(other.clone())));
            if let (Some(one), Some(other)) = (one, other) {
                self.attacked.insert("duel");
                self.note_unheard(one.max(other), &[one.min(other)], false);
                self.with(|fabric, cx| fabric.act(cx, one, Action::Revoke { device: other }));
                self.with(|fabric, cx| fabric.act(cx, other, Action::Revoke { device: one }));
                // The scenario's devices are in the order of their names; so is seniority.
                self.revoked[one.max(other)] = true;
            }
        }
        if let (Some(device), Some(by)) = (position(self, &event.join), position(self, &event.by)) {
            self.up[device] = true;
            self.gone[device] = !self.with(|fabric, cx| fabric.act(cx, by, Action::Admit { device }));
            self.up[device] = !self.gone[device];
            self.schedule_toggle(device);
        }
        if let Some(guesses) = event.pin_guesses {
            self.guess_at_the_pin(guesses, event.sets_back);
        }
        if event.burn {
            self.burn();
        }
    }

    pub(super) fn notice(&mut self, event: &Event) {
        let thief = event.theft.as_ref().and_then(|name| self.names.iter().position(|known| known == name));
        let by = event.by.as_ref().and_then(|name| self.names.iter().position(|known| known == name));
        let (Some(thief), Some(by)) = (thief, by) else { return };
        self.note_unheard(thief, &[by], false);
        self.revoked[thief] = true;
        self.revoked_at.get_or_insert(self.now);
        self.attacked.insert("theft");
        self.do_or_count(by, Action::Revoke { device: thief });
    }

    fn destroy(&mut self, device: usize) {
        let live = self.live();
        let claimed: Vec<Credential> = self
            .known
            .iter()
            .filter(|(_, known)| !known.deleted)
            .map(|(credential, _)| *credential)
            .filter(|credential| live.iter().any(|other| self.fabric.claims_backup(*other, *credential)))
            .collect();
        self.gone[device] = true;
        self.up[device] = false;
        self.note_unheard(device, &self.live(), true);
        for credential in claimed {
            if !self.fabric.survives_without(device, credential, &self.live()) {
                self.outcome.lies += 1;
            }
        }
    }

    fn guess_at_the_pin(&mut self, guesses: u64, sets_back: bool) {
        let Some(escrow) = &mut self.escrow else { return };
        let attacked = escrow.attack(guesses, sets_back, self.now);
        self.outcome.pins_guessed += u64::from(attacked.opened);
        self.outcome.escrows_destroyed += u64::from(escrow.is_destroyed());
        let told = told(&attacked, escrow);
        self.say(|_| told);
    }

    fn burn(&mut self) {
        let new = self.names.len() - 1;
        for device in self.live() {
            self.note_unheard(device, &[], true);
            if self.scenario.pin.is_none() {
                self.destroy(device);
            }
            // Without a key on paper BS has promised that one device may go, not all.
            (self.gone[device], self.up[device]) = (true, false);
        }
        self.gone[new] = false;
        self.up[new] = true;
        let now = self.now;
        let opens = self.escrow.as_mut().is_none_or(|escrow| escrow.opens_for_the_user(now));
        if !opens || !self.with(|fabric, cx| fabric.recover(cx, new)) {
            self.gone[new] = true;
        }
    }

    pub(super) fn note_arrival(&mut self, device: usize, credential: Credential) {
        let Some(known) = self.known.get_mut(&credential) else { return };
        known.been_on.insert(device);
        if known.awaited.remove(&device) {
            self.outcome.convergence_ms.push(self.now - known.made_at);
        }
    }

    pub(super) fn note_claim(&mut self, device: usize, credential: Credential) {
        // Before a theft is noticed nobody can know that a holder is in other hands.
        let there = |other: &usize| !self.gone[*other] && !self.revoked[*other];
        let live: Vec<usize> = (0..self.names.len()).filter(there).collect();
        let Some(known) = self.known.get_mut(&credential) else { return };
        if !known.claimed {
            known.claimed = true;
            self.outcome.claim_ms.push(self.now - known.made_at);
        }
        let deleted = known.deleted;
        let true_now = deleted || self.fabric.survives_without(device, credential, &live);
        let believed = |other: &usize| {
            *other != device
                && !self.fabric.knows_of_the_loss(device, *other)
                && self.fabric.has_word_of(device, *other, credential)
        };
        let unknown = |other: &usize| !there(other) && believed(other);
        let thought: Vec<usize> =
            (0..self.names.len()).filter(|other| live.contains(other) || unknown(other)).collect();
        let taken_back = (0..self.names.len()).any(|other| self.restored[other] && believed(&other));
        if !true_now && (taken_back || self.fabric.survives_without(device, credential, &thought)) {
            // The other holder is lost, or its disk went back to before its word, and nobody has said so yet.
            self.outcome.unaware += 1;
        } else if !true_now {
            self.outcome.lies += 1;
            self.say(|engine| {
                format!("{} claims {credential} to be backed up, which it is not", engine.names[device])
            });
        }
    }

    pub(super) fn note_alarm(&mut self, device: usize, what: &str) {
        self.say(|engine| format!("{}: {what}", engine.names[device]));
        let own_fault = self.revoked[device] || self.stolen[device];
        if self.attacked.is_empty() {
            self.outcome.false_alarms += u64::from(!own_fault);
        } else if !own_fault {
            self.outcome.seen = 1;
            // After the last day everyone is brought together, which says nothing about how long it takes.
            if !self.quiet
                && let Some(since) = self.attacked_at.take()
            {
                self.outcome.detection_ms.push(self.now - since);
            }
        }
    }

    /// I2, I3, I10 and what is lost; the fabric checks the rest.
    pub(super) fn judge(&mut self) {
        let live = self.live();
        if self.attacked.contains("relay") || self.attacked.contains("restore") {
            self.outcome.attacks = 1;
        } else {
            self.outcome.seen = 0;
        }
        if let Some(first) = live.first() {
            let differ = live[1..].iter().filter(|device| !self.fabric.in_step(*first, **device));
            self.outcome.diverged = differ.count() as u64;
        }
        let mut offered: BTreeMap<Account, BTreeSet<Credential>> = BTreeMap::new();
        for account in self.accepted.keys() {
            let all = live.iter().flat_map(|device| self.fabric.offered(*device, *account));
            offered.insert(*account, all.collect());
        }
        for (credential, known) in &self.known {
            let back = known.deleted && offered[&known.account].contains(credential);
            self.outcome.resurrected += u64::from(back);
            self.outcome.unheard += u64::from(back && known.unheard);
        }
        for (account, keys) in &self.accepted {
            if keys.is_empty() || keys.iter().any(|key| offered[account].contains(key)) {
                continue;
            }
            self.outcome.lost += 1;
            let told = keys.iter().any(|key| self.known[key].claimed);
            self.outcome.lost_with_bs += u64::from(told);
        }
        if let Some(since) = self.revoked_at {
            let thieves: Vec<usize> = (0..self.names.len()).filter(|device| self.stolen[*device]).collect();
            let later = self.known.iter().filter(|(_, known)| known.made_at > since && !known.deleted);
            let readable = later.filter(|(credential, _)| {
                thieves.iter().any(|thief| self.fabric.readable(*thief, **credential, self.colludes))
            });
            for (_, known) in readable {
                self.outcome.exposed += 1;
                self.outcome.exposed_aware += u64::from(known.maker_aware);
            }
        }
        let mut violations = Vec::new();
        self.fabric.check(&live, &mut violations);
        self.outcome.violations = violations;
    }
}
