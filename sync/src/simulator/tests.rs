//! The laboratory tests itself, and the product in it.

use std::fs;
use std::path::Path;

use super::*;

fn shipped() -> Vec<(String, Scenario)> {
    let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("scenarios");
    let mut scenarios: Vec<(String, Scenario)> = fs::read_dir(folder)
        .unwrap()
        .map(|file| file.unwrap().path())
        .filter(|path| path.extension().is_some_and(|extension| extension == "toml"))
        .map(|path| {
            let name = path.file_stem().unwrap().to_string_lossy().into_owned();
            let text = fs::read_to_string(&path).unwrap();
            (name, Scenario::parse(&text).unwrap_or_else(|error| panic!("{}: {error}", path.display())))
        })
        .collect();
    scenarios.sort_by(|one, other| one.0.cmp(&other.0));
    scenarios
}

fn shipped_one(name: &str) -> Scenario {
    shipped().into_iter().find(|(known, _)| known == name).map(|(_, scenario)| scenario).unwrap()
}

#[test]
fn at_least_twelve_scenarios_ship_and_parse() {
    let scenarios = shipped();
    assert!(scenarios.len() >= 12, "{}", scenarios.len());
    for (file, scenario) in scenarios {
        assert_eq!(file, scenario.name, "a file is called what its scenario is");
        assert!(!scenario.about.is_empty(), "{file} says what it is about");
    }
}

#[test]
fn the_product_meets_every_shipped_expectation() {
    let variants = shipped().into_iter().flat_map(|(_, scenario)| scenario.variants());
    for scenario in variants {
        let name = scenario.title();
        let days = scenario.days.min(30).max(last_event_day(&scenario) + 3).min(scenario.days);
        let short = Scenario { fabrics: std::vec!["oplog".into()], seeds: 2, days, ..scenario };
        let report = Report::of(short, 2, |_, _| {});
        assert_eq!(report.failures(), [] as [String; 0], "scenario {name}");
    }
}

fn last_event_day(scenario: &Scenario) -> u32 {
    let days = |text: &Option<String>| text.as_deref().map_or(0, |text| scenario::duration_ms(text).unwrap());
    let last =
        scenario.events.iter().map(|event| days(&Some(event.at.clone())) + days(&event.noticed_after)).max();
    (last.unwrap_or(0) / scenario::DAY) as u32 + 1
}

#[test]
fn the_same_seed_gives_the_same_bytes() {
    let scenario = Scenario { days: 5, seeds: 1, ..shipped_one("normal") };
    let page = |jobs| Report::to_html(&[Report::of(scenario.clone(), jobs, |_, _| {})]);
    assert_eq!(page(1), page(3), "however many threads there are");
    let (_, one) = run(&scenario, "oplog", 3, true);
    let (_, two) = run(&scenario, "oplog", 3, true);
    assert_eq!(one, two);
    let (_, other) = run(&scenario, "oplog", 4, true);
    assert_ne!(one, other, "another seed is another course of events");
}

#[test]
fn the_models_show_the_harm_they_are_there_to_show() {
    let normal = Scenario { days: 20, ..shipped_one("normal") };
    let (lww, _) = run(&normal, "file-lww", 1, false);
    assert!(lww.lost > 0, "a whole file that wins loses what others wrote");
    let (rows, _) = run(&normal, "cloud-rows", 1, false);
    assert!(rows.blocked > 0, "a server that must agree blocks");
    let (enclave, _) = run(&normal, "enclave", 1, false);
    assert!(enclave.offline > 0, "an enclave signs nobody in off the net");
    let theft = shipped_one("theft-colluding-relay");
    let (circle, _) = run(&theft, "circle", 1, false);
    assert!(circle.exposed > 0, "without new keys a thief reads on");
}

#[test]
fn shrinking_finds_the_first_failing_day() {
    let mut scenario = Scenario { days: 26, ..shipped_one("fork-without-contact") };
    scenario.expect.diverged = 0;
    scenario.expect.unseen = 0;
    let day = shrink(&scenario, 0).expect("a fork without contact cannot be seen");
    let event = last_event_day(&scenario);
    assert!(day >= event.saturating_sub(1) && day <= 26, "day {day}");
    assert_eq!(shrink(&Scenario { days: 3, ..shipped_one("normal") }, 0), None);
}

#[test]
fn a_wrong_scenario_is_refused_with_its_reason() {
    let base = "name='x'\ndays=1\nseeds=1\n[devices]\nphone={up=1.0}\n";
    for (text, reason) in [
        ("days=1", "missing field"),
        ("name='x'\ndays=1\nseeds=1\n[devices]\n", "1 to 16 devices"),
        ("name='x'\ndays=1\nseeds=1\nfabrics=['magic']\n[devices]\na={up=1.0}\n", "there is no fabric"),
        (&format!("{base}[[event]]\nat='5x'\n"), "is not a time"),
        (&format!("{base}[[event]]\nat='5d'\ntheft='car'\n"), "there is no device"),
        (&format!("{base}[[event]]\nat='5d'\nrelay='sings'\n"), "does not do"),
        (&format!("{base}[lode]\n"), "unknown field"),
        (&format!("{base}[sweep]\nof='loss'\nvalues=[0.2,0.1]\n"), "ascending"),
        (&format!("shares={{needed=2,of=3}}\n{base}"), "recovery = true"),
        (&format!("recovery=true\nshares={{needed=4,of=3}}\n{base}"), "are needed"),
        (&format!("suite='p256'\n{base}[sweep]\nof='padding'\nvalues=[0,1]\n"), "padding"),
    ] {
        let error = Scenario::parse(text).unwrap_err();
        assert!(error.contains(reason), "{error:?} does not say {reason:?}");
    }
}

#[test]
fn a_hundred_device_years_keep_every_promise_however_many_threads_there_are() {
    let scenarios: Vec<Scenario> = shipped().into_iter().map(|(_, scenario)| scenario).collect();
    let tally = Campaign::new(scenarios, 100, 100).run(2, |_| {});
    assert_eq!(tally.broken, []);
    assert_eq!(tally.done, tally.runs);
    let sum = &tally.sum;
    assert!(sum.device_days >= 100 * 365, "{} days", sum.device_days);
    let short: Vec<Scenario> =
        ["crashes", "duel"].map(|name| Scenario { days: 20, ..shipped_one(name) }).into();
    let counts = |jobs| Campaign::new(short.clone(), 7, 1).run(jobs, |_| {}).sum.counts();
    assert_eq!(counts(1), counts(3));
}

#[test]
fn a_rate_is_asked_of_all_runs_together_and_an_invariant_of_each() {
    let text = "name='rates'\ndays=20\nseeds=4\nfabrics=['oplog']\n[devices]\na={up=0.9}\nb={up=0.4}\n";
    let with = |rates: &str| Scenario::parse(&format!("{text}[rates]\n{rates}\n"));
    let tally = |rates: &str| Campaign::new(std::vec![with(rates).unwrap()], 1, 1).run(2, |_| {});
    let (few, many) = (tally("created = 1"), tally("created = 1000"));
    assert_eq!((few.broken.len(), many.broken.len()), (0, 0), "no run broke anything by itself");
    assert!(few.missed()[0].starts_with("rates: created: "), "{:?}", few.missed());
    assert_eq!(many.missed(), [] as [String; 0]);
    let part = &many.scenarios["rates"];
    assert_eq!((part.done as usize, part.sum.created), (many.done, many.sum.created));
    let of_sign_ins = many.rates()[0].value;
    assert!((50.0..=100.0).contains(&of_sign_ins), "{of_sign_ins}");
    let report = crate::simulator::Report::of(with("signins = 0").unwrap(), 1, |_, _| {});
    assert!(report.failures()[0].contains("a run in the mean of 4"), "{:?}", report.failures());
    assert!(with("happiness = 1").unwrap_err().contains("nothing is counted as"));
}

#[test]
fn padding_hides_most_of_what_a_size_would_tell() {
    let bits = |variant: Scenario| run(&variant, "oplog", 1, false).0.size_bits().unwrap();
    let [without, with] =
        shipped_one("padding").variants().try_into().map(|two: [Scenario; 2]| two.map(bits)).unwrap();
    assert!(with < without - 1.0, "{with} bits with padding, {without} without");
}

#[test]
fn forks_are_found_sooner_the_more_often_devices_meet() {
    let sum = |variant: Scenario| {
        let mut sum = Outcome::default();
        (0..4).for_each(|seed| sum.add(&run(&variant, "oplog", seed, false).0));
        (sum.detection_ms.len(), sum.detection_ms.iter().max().copied())
    };
    let variants: Vec<_> = shipped_one("contact-rate").variants().into_iter().map(sum).collect();
    assert_eq!(variants[0], (0, None), "who never meets cannot know");
    let (seen, longest) = variants[variants.len() - 1];
    assert_eq!(seen, 4);
    assert!(longest < Some(3 * scenario::DAY), "{longest:?}");
}

#[cfg(feature = "mls")]
#[test]
fn a_group_of_openmls_runs_every_course_of_events_and_says_where_it_is_weaker() {
    let seed = |name: &str| run(&Scenario { days: 30, ..shipped_one(name) }, "mls", 1, false).0;
    let normal = seed("normal");
    assert_eq!(
        (normal.violations.clone(), normal.diverged, normal.blocked, normal.false_alarms),
        (std::vec![], 0, 0, 0)
    );
    assert!(normal.created > 30 && normal.signed_in * 10 > normal.signins * 9, "{normal:?}");
    assert_eq!(seed("normal").counts(), seed("normal").counts(), "keys differ, counts do not");
    assert_eq!(seed("newcomers").diverged, 0, "a newcomer has what its admitter had");
    let theft = run(&Scenario { days: 40, ..shipped_one("theft-colluding-relay") }, "mls", 1, false).0;
    assert!(theft.exposed < 20, "who was removed reads nothing after that: {theft:?}");
    let withhold = seed("withhold");
    assert_eq!(
        (withhold.attacks, withhold.seen),
        (1, 0),
        "nothing in MLS notices what the server keeps back"
    );
}

#[test]
fn seeds_that_once_failed_do_not_any_more() {
    for (name, seed) in [
        // Two forms of one entry that waited together were taken for a fork.
        ("crashes", 1008),
        ("duel", 1034),
        // A claim that nobody could know to be late was counted as untrue.
        ("destroyed-phone", 1019),
        // An admission, and a revocation, that a power cut undid, and that the user did not repeat.
        ("snapshots", 1508),
        ("snapshots", 1300),
        // The reply to a question of before a power cut was taken for one of after it.
        ("crashes", 1007),
        ("snapshots", 1842),
        // Sign-ins that fail as BS = 0 had announced.
        ("theft-honest-relay", 1138),
    ] {
        let scenario = shipped_one(name);
        let (outcome, _) = run(&scenario, "oplog", seed, false);
        assert_eq!(failures(&scenario, &outcome), [] as [String; 0], "{name}, seed {seed}");
    }
}

#[test]
fn a_device_is_taken_in_or_shut_out_although_power_fails_in_the_middle_of_it() {
    let mut scenario = Scenario { days: 4, ..shipped_one("snapshots") };
    scenario.link.crash = 0.1;
    scenario.events[0].at = "1d".into();
    scenario.events[1].at = "2d".into();
    for seed in 0..8 {
        let (outcome, _) = run(&scenario, "oplog", seed, false);
        assert_eq!(failures(&scenario, &outcome), [] as [String; 0], "seed {seed}");
    }
}

#[test]
fn shares_of_a_recovery_key_bring_everything_back_unless_too_few_are_left() {
    let scenario = Scenario { days: 33, ..shipped_one("recovery-shares") };
    let (outcome, _) = run(&scenario, "oplog", 1, false);
    assert_eq!(failures(&scenario, &outcome), [] as [String; 0]);
    let shares = scenario.shares.map(|shares| Shares { lost: 2, ..shares });
    let (without, _) = run(&Scenario { shares, ..scenario }, "oplog", 1, false);
    assert!(
        without.lost > outcome.lost + 20,
        "one share says nothing about the key: {} are lost",
        without.lost
    );
}

#[test]
fn a_recovery_key_makes_a_member_also_after_a_device_was_revoked() {
    let mut scenario = Scenario { days: 6, recovery: true, ..shipped_one("theft-honest-relay") };
    scenario.events[0].at = "2d".into();
    let mut burn = shipped_one("all-devices-lost").events.remove(0);
    burn.at = "4d".into();
    scenario.events.push(burn);
    // What was only on devices that burned is not what this is about.
    scenario.rates.values_mut().for_each(|rate| *rate = f64::MAX);
    scenario.rates.insert("unheard".into(), f64::MAX);
    for seed in 0..3 {
        let (outcome, _) = run(&scenario, "oplog", seed, false);
        assert_eq!(failures(&scenario, &outcome), [] as [String; 0], "seed {seed}");
    }
}

#[test]
fn a_delete_of_which_nobody_had_heard_when_its_device_was_lost_is_counted_apart() {
    // Off the net when the tablet was destroyed; when everything burned; when a senior shut the device out.
    for name in ["destroyed-phone", "all-devices-lost", "duel"] {
        let mut scenario = Scenario { days: 3, ..shipped_one(name) };
        (scenario.load.create, scenario.load.delete) = (24.0, 20.0);
        scenario.events[0].at = "2d".into();
        if let Some(destroyed) = &mut scenario.events[0].destroy {
            *destroyed = "tablet".into();
        }
        let mut sum = Outcome::default();
        (0..6).for_each(|seed| sum.add(&run(&scenario, "oplog", seed, false).0));
        assert!(sum.unheard > 0, "{name} is there to show some");
        assert_eq!(sum.resurrected, sum.unheard, "{name}: no other delete is undone");
    }
}
