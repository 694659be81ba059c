//! The one suite that every [`CredentialStore`] runs: what each call answers, and that no power cut breaks it.

use alloc::boxed::Box;
use alloc::vec;

use super::model::{Model, Step};
use crate::{
    Algorithm, CredRandom, Credential, CredentialProtection, CredentialStore, LARGE_BLOBS_MAX, PrivateKey,
    Slot, StoreError, User,
};

/// A power cut that is to come.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct PowerCut {
    /// How many more steps the medium takes (writes, syncs, erasures, whatever it counts) before the power is gone.
    pub after: u64,
    /// How much survives of what was not yet durable: 0 nothing, 255 all; between them a part. A medium that
    /// can be torn in two ways takes odd numbers for the second, and in three those that are 4n + 3 for the third.
    pub survives: u8,
}

/// A kind of store under test, and the medium below it.
pub trait Subject {
    /// The store.
    type Store: CredentialStore;

    /// An empty store on a medium of its own.
    fn fresh(&mut self) -> Self::Store;

    /// Cuts this store's power in so many steps of its medium: that step fails, with every later one, and so do the
    /// calls that need them. A store without a medium does nothing.
    fn cut_power(&mut self, store: &mut Self::Store, cut: PowerCut);

    /// Drops the store, and opens what its medium holds, under power. With `interrupted`, a first opening is cut there
    /// (if it takes that many steps) before the one that counts. A store without a medium returns itself.
    fn restart(&mut self, store: Self::Store, interrupted: Option<PowerCut>) -> Self::Store;
}

/// Runs the whole suite.
///
/// It keeps no more than 16 credentials at once, so that a small store can run it too. Its workloads come from fixed
/// seeds: a failure comes again, and its message says how.
///
/// # Panics
/// At the first breach of what [`CredentialStore`] promises, saying which.
pub fn conformance(subject: &mut impl Subject) {
    an_empty_store_is_empty(subject);
    longest_and_shortest_credentials_come_back(subject);
    slots_take_their_longest_values(subject);
    a_buffer_too_small_is_a_fault_and_not_empty(subject);
    orders_are_given_by_the_store(subject);
    counters_start_above_the_credentials_own(subject);
    a_promise_of_room_is_kept(subject);
    for seed in 1..=4 {
        a_model_and_the_store_stay_alike(subject, seed);
    }
    every_power_cut_leaves_before_or_after(subject, 5, &[0, 90, 91, 93, 170, 255]);
    a_cut_recovery_recovers(subject, 6);
}

fn an_empty_store_is_empty<T: Subject>(subject: &mut T) {
    let mut store = subject.fresh();
    agree(&Model::default(), &mut store, "an empty store");
    assert_eq!(store.get(&[1; 16]), Ok(None));
    assert_eq!(store.newest_before(&[1; 32], u64::MAX), Ok(None));
    assert_eq!(store.find_user(&[1; 32], &[1]), Ok(None));
    assert_eq!(store.remove(&[1; 16]), Ok(false), "nothing to remove");
    assert_eq!(store.next_sign_count(Some(&[1; 16])), Err(StoreError::Fault), "no counter of an unknown id");
    assert!(store.remaining().is_ok_and(|room| room > 0), "an empty store has room");
}

fn longest_and_shortest_credentials_come_back<T: Subject>(subject: &mut T) {
    let mut store = subject.fresh();
    let mut model = Model::default();
    for credential in [longest(1), shortest(2), longest(3)] {
        model = step(&model, &mut store, Step::Put { credential: Box::new(credential), replaces: None });
    }
    agree(&model, &mut store, "three credentials");
    let mut store = subject.restart(store, None);
    agree(&model, &mut store, "three credentials after a restart");
}

fn slots_take_their_longest_values<T: Subject>(subject: &mut T) {
    let mut store = subject.fresh();
    let mut model = Model::default();
    for (slot, longest) in Slot::ALL.into_iter().zip(SLOT_LENGTHS) {
        for length in [longest, 0, 1, longest] {
            model = step(&model, &mut store, Step::Write(slot, vec![slot as u8; length]));
        }
    }
    agree(&model, &mut store, "full slots");
    let mut store = subject.restart(store, None);
    agree(&model, &mut store, "full slots after a restart");
}

fn a_buffer_too_small_is_a_fault_and_not_empty<T: Subject>(subject: &mut T) {
    let mut store = subject.fresh();
    store.write(Slot::Pin, &[7; 100]).expect("a slot can be written");
    assert_eq!(store.read(Slot::Pin, &mut [0; 99]), Err(StoreError::Fault));
    assert_eq!(store.read(Slot::Pin, &mut [0; 100]), Ok(Some(100)));
}

fn orders_are_given_by_the_store<T: Subject>(subject: &mut T) {
    let mut store = subject.fresh();
    let order = |store: &mut T::Store, id: &[u8]| store.get(id).expect("it reads").expect("it is here").order;
    let mut credential = shortest(1);
    credential.order = 1_000_000;
    store.put(&credential, None).expect("there is room");
    let first = order(&mut store, &credential.id);
    let second = shortest(2);
    store.put(&second, None).expect("there is room");
    assert!(order(&mut store, &second.id) > first, "a new credential comes after every older one");
    credential.order = 2_000_000;
    store.put(&credential, None).expect("there is room");
    assert_eq!(order(&mut store, &credential.id), first, "a replaced credential keeps its place");
    // The place of what was removed is not given again.
    let last = order(&mut store, &second.id);
    store.remove(&second.id).expect("it can be removed");
    let mut store = subject.restart(store, None);
    store.put(&shortest(3), None).expect("there is room");
    assert!(order(&mut store, &shortest(3).id) > last, "an order is given once");
}

fn counters_start_above_the_credentials_own<T: Subject>(subject: &mut T) {
    let mut store = subject.fresh();
    let mut credential = shortest(1);
    credential.sign_count = Some(41);
    store.put(&credential, None).expect("there is room");
    let first = store.next_sign_count(Some(&credential.id)).expect("it is here");
    assert!(first > 41, "{first} is not above 41");
    credential.sign_count = Some(1000);
    store.put(&credential, None).expect("there is room");
    let next = store.next_sign_count(Some(&credential.id)).expect("it is here");
    assert!(next > 1000, "{next} is not above 1000");
    let mut last = 0;
    for _ in 0..5 {
        for _ in 0..70 {
            let own = store.next_sign_count(None).expect("the store has a counter");
            assert!(own > last, "{own} came after {last}");
            last = own;
        }
        store = subject.restart(store, None);
    }
    let next_still = store.next_sign_count(Some(&credential.id)).expect("it is here");
    assert!(next_still > next, "{next_still} came after {next} across restarts");
    // Raised by an import, and not used before the store was opened twice.
    credential.sign_count = Some(5000);
    store.put(&credential, None).expect("there is room");
    for _ in 0..2 {
        store = subject.restart(store, None);
    }
    let raised = store.next_sign_count(Some(&credential.id)).expect("it is here");
    assert!(raised > 5000, "{raised} is not above 5000 after two restarts");
}

fn a_promise_of_room_is_kept<T: Subject>(subject: &mut T) {
    let mut store = subject.fresh();
    for number in 0..16 {
        let promised = store.remaining().expect("it can be asked");
        match store.put(&longest(number), None) {
            Ok(()) => {}
            Err(error) => {
                assert_eq!((promised, error), (0, StoreError::Full), "it had promised room for {promised}");
                assert_eq!(store.len(), Ok(number.into()), "a full store changes nothing");
                return;
            }
        }
    }
}

fn a_model_and_the_store_stay_alike<T: Subject>(subject: &mut T, seed: u64) {
    let mut store = subject.fresh();
    let mut model = Model::default();
    let mut random = Random(seed);
    for number in 0..120 {
        let next = random.step(&model);
        model = model
            .after(&mut store, &next)
            .unwrap_or_else(|error| panic!("seed {seed}, step {number} {next:?}: {error:?}"));
        if random.below(4) == 0 {
            agree(&model, &mut store, "a workload");
        }
        if random.below(12) == 0 {
            store = subject.restart(store, None);
            agree(&model, &mut store, "a workload, after a restart");
        }
    }
    agree(&model, &mut store, "a workload, at its end");
}

/// Cuts the power at every step of a workload, once for each way that what was not durable can survive.
fn every_power_cut_leaves_before_or_after<T: Subject>(subject: &mut T, seed: u64, survivals: &[u8]) {
    for survives in survivals.iter().copied() {
        let mut after = 0;
        while let Some(cut_workload) = Cut::run(subject, seed, PowerCut { after, survives }) {
            cut_workload.recover(subject, None);
            after += 1;
        }
    }
}

/// Cuts the power of the recovery too, at each of its first steps.
fn a_cut_recovery_recovers<T: Subject>(subject: &mut T, seed: u64) {
    let mut after = 0;
    loop {
        for second in 0..8 {
            let Some(cut_workload) = Cut::run(subject, seed, PowerCut { after, survives: 90 }) else {
                return;
            };
            cut_workload.recover(subject, Some(PowerCut { after: second, survives: 170 }));
        }
        after += 3;
    }
}

/// A workload whose power was cut in one step.
struct Cut<S> {
    store: S,
    before: Model,
    step: Step,
    cut: PowerCut,
}

impl<S: CredentialStore> Cut<S> {
    /// Runs a workload until the cut comes; `None` if it ends before.
    fn run<T: Subject<Store = S>>(subject: &mut T, seed: u64, cut: PowerCut) -> Option<Self> {
        let mut store = subject.fresh();
        let mut model = Model::default();
        let mut random = Random(seed);
        subject.cut_power(&mut store, cut);
        for _ in 0..WORKLOAD {
            let step = random.step(&model);
            match model.after(&mut store, &step) {
                Ok(next) => model = next,
                Err(_) => return Some(Cut { store, before: model, step, cut }),
            }
        }
        None
    }

    /// Restarts, and checks that the store is as before the step or as after it, and goes on working from there.
    fn recover<T: Subject<Store = S>>(self, subject: &mut T, interrupted: Option<PowerCut>) {
        let Cut { store, before, step: cut_step, cut } = self;
        let mut store = subject.restart(store, interrupted);
        let case = || alloc::format!("{cut:?}, recovery {interrupted:?}, in {cut_step:?}");
        let after = before.unseen(&cut_step);
        let differs = |model: &Model, store: &mut S| {
            model.difference(store).unwrap_or_else(|error| panic!("{}: reading gives {error:?}", case()))
        };
        let mut model = match (differs(&before, &mut store), differs(&after, &mut store)) {
            (None, _) => before,
            (_, None) => after,
            (before, after) => panic!("{}: not as before ({before:?}), nor as after ({after:?})", case()),
        };
        // What came back stays usable, and what was removed stays away.
        let oldest = model.ids().into_iter().next().unwrap_or_default();
        let further = [
            Step::Put { credential: Box::new(shortest(200)), replaces: None },
            Step::Count(None),
            Step::Remove(oldest),
            Step::Write(Slot::Pin, vec![9; 40]),
        ];
        for step in further {
            model = model
                .after(&mut store, &step)
                .unwrap_or_else(|error| panic!("{}: then {step:?}: {error:?}", case()));
        }
        let mut store = subject.restart(store, None);
        assert_eq!(differs(&model, &mut store), None, "{}: after the next restart", case());
    }
}

fn step<S: CredentialStore>(model: &Model, store: &mut S, step: Step) -> Model {
    model.after(store, &step).unwrap_or_else(|error| panic!("{step:?}: {error:?}"))
}

fn agree<S: CredentialStore>(model: &Model, store: &mut S, when: &str) {
    let difference =
        model.difference(store).unwrap_or_else(|error| panic!("{when}: reading gives {error:?}"));
    assert_eq!(difference, None, "{when}: another answer than the model's");
}

/// Numbers from a seed (SplitMix64).
struct Random(u64);

impl Random {
    fn next(&mut self) -> u64 {
        self.0 = self.0.wrapping_add(0x9E37_79B9_7F4A_7C15);
        let mut mixed = self.0;
        mixed = (mixed ^ (mixed >> 30)).wrapping_mul(0xBF58_476D_1CE4_E5B9);
        mixed = (mixed ^ (mixed >> 27)).wrapping_mul(0x94D0_49BB_1331_11EB);
        mixed ^ (mixed >> 31)
    }

    fn below(&mut self, end: u64) -> u64 {
        self.next() % end
    }

    fn one_of<T: Clone>(&mut self, choices: &[T]) -> Option<T> {
        let at = self.below(choices.len().max(1) as u64);
        choices.get(usize::try_from(at).ok()?).cloned()
    }

    /// A next step for a store that holds this.
    fn step(&mut self, model: &Model) -> Step {
        let ids = model.ids();
        match self.below(16) {
            0..=6 if ids.len() < 12 => {
                let number = (self.below(100)) as u8;
                let credential = if self.below(2) == 0 { longest(number) } else { shortest(number) };
                let replaces = if self.below(3) == 0 { self.one_of(&ids) } else { None };
                Step::Put { credential: Box::new(credential), replaces }
            }
            0..=7 => self.one_of(&ids).map_or(Step::Count(None), Step::Remove),
            8 => Step::Remove(vec![0xAB; 16]),
            9..=10 => Step::Count(self.one_of(&ids)),
            11..=14 => {
                let at = self.below(Slot::ALL.len() as u64) as usize;
                let length = self.below(SLOT_LENGTHS[at].min(300) as u64 + 1);
                Step::Write(Slot::ALL[at], vec![self.next() as u8; length as usize])
            }
            _ => Step::Reset,
        }
    }
}

/// A credential with as little in it as can be; another number is another credential of one of four RPs, and of one
/// of eight users there.
fn shortest(number: u8) -> Credential {
    let rp = number % 4;
    Credential {
        id: heapless::Vec::from_slice(&[number; 16]).expect("16 bytes fit"),
        rp_id: heapless::String::try_from(["a.test", "b.test", "c.test", "d.test"][usize::from(rp)])
            .expect("it fits"),
        user: User {
            id: heapless::Vec::from_slice(&[number % 8]).expect("it fits"),
            name: None,
            display_name: None,
        },
        ..Credential::new(
            [rp.reverse_bits(); 32],
            PrivateKey::from_bytes(Algorithm::Es256, &[number.max(1); 32]).expect("a small scalar is a key"),
        )
    }
}

/// The same credential with everything in it, at its longest.
fn longest(number: u8) -> Credential {
    let mut credential = shortest(number);
    credential.user.id = heapless::Vec::from_slice(&[number % 8; crate::USER_ID_MAX]).expect("it fits");
    credential.user.name = heapless::String::try_from("n".repeat(crate::NAME_MAX).as_str()).ok();
    credential.user.display_name = heapless::String::try_from("d".repeat(crate::NAME_MAX).as_str()).ok();
    credential.sign_count = Some(u32::from(number));
    (credential.backup_eligible, credential.backup_state) = (true, true);
    credential.protection = CredentialProtection::Required;
    credential.cred_random = Some(CredRandom { with_uv: [number; 32], without_uv: [!number; 32] });
    credential.large_blob_key = Some([number; 32].into());
    credential.cred_blob = heapless::Vec::from_slice(&[number; crate::CRED_BLOB_MAX]).ok().map(Into::into);
    (credential.third_party_payment, credential.hidden) = (true, true);
    credential.non_discoverable = true;
    credential
}

/// The most bytes of each slot, in the order of [`Slot::ALL`].
const SLOT_LENGTHS: [usize; Slot::ALL.len()] = [256, 128, 1024, LARGE_BLOBS_MAX, 1024, 1024, 16];
/// How many steps a workload takes whose power is cut.
const WORKLOAD: usize = 30;
