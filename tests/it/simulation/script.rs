//! The script on a real Redis: held to the model that the simulation runs, and what only a server can show.

use std::cell::RefCell;
use std::num::NonZeroU32;
use std::time::Duration;

use proptest::collection::vec;
use proptest::prelude::{Strategy, any, prop_assert_eq, prop_oneof, proptest};
use safecache::cluster::bucket::{MalformedReply, NEWER_BUCKET, SCRIPT, answer, call};
use safecache::cluster::names::Names;
use safecache::ids::{AccountId, KeyId};
use safecache::limits::bucket::Rate;
use safecache::limits::limiter::Owner;
use safecache::limits::question::{Answer, Question};

use super::model;
use super::real::{Reply, Server};

/// A bucket's key in the tests of one kind.
const KEY: &str = "sc:1:{k:test}:b";

/// The script, told the time and the server by two more arguments.
fn told_script() -> String {
    let time = "redis.call('TIME')";
    let server = "string.match(tostring(redis), '0x%x+') or '0'";
    assert!(SCRIPT.matches(time).count() == 1 && SCRIPT.matches(server).count() == 1, "one line each");
    SCRIPT.replace(time, "{ ARGV[10], ARGV[11] }").replace(server, "ARGV[12]")
}

/// One step: how the caller stands to what the bucket said last, and what it asks.
#[derive(Clone, Debug)]
struct Step {
    /// Microseconds.
    later: i64,
    rate: usize,
    /// How far off the caller's epoch and number are; `None`: it knows nothing.
    standing: Option<(i64, i64)>,
    /// In thousandths of the time to fill.
    known: u64,
    returned: u64,
    charged: u64,
    want: u64,
    replicas: u64,
    event: u8,
}

fn step() -> impl Strategy<Value = Step> {
    let later = prop_oneof![6 => 0..2_000_000_i64, 1 => -5_000_000..0_i64, 1 => 0..4_000_000_000_i64];
    let standing = prop_oneof![
        6 => proptest::strategy::Just(Some((0, 0))),
        1 => proptest::strategy::Just(None),
        2 => (-2..3_i64, -3..4_i64).prop_map(Some),
    ];
    let small = || prop_oneof![4 => 0..1_u64, 1 => 0..40_u64];
    let numbers = (0..2500_u64, small(), small(), 0..1500_u64, 1..9_u64);
    (later, 0..RATES.len() * 3, standing, numbers, any::<u8>()).prop_map(
        |(later, rate, standing, numbers, event)| {
            let (known, returned, charged, want, replicas) = numbers;
            // Mostly the same rate.
            let rate = if rate < RATES.len() { rate } else { 0 };
            Step { later, rate, standing, known, returned, charged, want, replicas, event }
        },
    )
}

const RATES: [(u32, u32); 5] = [(60, 100), (600, 1000), (7, 3), (60_000_000, 1_000_000), (1, 1440)];

fn rate(index: usize) -> Rate {
    let (per_minute, burst) = RATES[index];
    Rate::new(NonZeroU32::new(per_minute).unwrap(), NonZeroU32::new(burst).unwrap())
}

#[test]
fn the_script_is_its_model() {
    let (server, script) = (RefCell::new(Server::start()), told_script());
    let ask = |words: &[&str]| server.borrow_mut().ask(words);
    proptest!(|(steps in vec(step(), 1..60))| {
        ask(&["DEL", KEY]);
        let mut state = None;
        // Microseconds.
        let mut now = 1_800_000_000_000_000_i64;
        let (mut epoch, mut sequence, mut writer) = (0_i64, 0_i64, 1_u64);
        for step in steps {
            now += step.later;
            match step.event {
                0..8 => writer += 1,
                8..12 => {
                    ask(&["DEL", KEY]);
                    state = None;
                }
                _ => {}
            }
            let (nanos, tau) = (|span: Duration| span.as_nanos() as u64, rate(step.rate).fill_time());
            let (e, s) = step.standing.map_or((0, 0), |(e, s)| ((epoch + e).max(1) as u64, (sequence + s).max(0) as u64));
            let known = if e == 0 { 0 } else { nanos(tau) / 1000 * step.known };
            let arguments = [nanos(rate(step.rate).interval()), nanos(tau), step.replicas, e, s, known,
                step.returned, step.charged, step.want];
            let reply = model::call(&mut state, &arguments, i128::from(now) * 1000, writer);
            let mut words = ["EVAL", &script, "1", KEY].map(str::to_owned).to_vec();
            words.extend(arguments.map(|number| number.to_string()));
            words.extend([now / 1_000_000, now % 1_000_000].map(|number| number.to_string()));
            words.push(writer.to_string());
            let told = ask(&words.iter().map(String::as_str).collect::<Vec<_>>());
            prop_assert_eq!(told.numbers(), reply.to_vec(), "{:?}", step);
            [_, epoch, sequence, ..] = reply;
        }
    });
}

fn question(want: u32) -> Question {
    Question {
        rate: rate(0),
        replicas: NonZeroU32::new(2).unwrap(),
        epoch: 0,
        sequence: 0,
        known: Duration::ZERO,
        returned: 0,
        charged: 0,
        want,
    }
}

fn ask(server: &mut Server, owner: &Owner, question: &Question) -> Reply {
    let call = call(&Names::new(None), owner, question);
    let mut words = ["EVAL", SCRIPT, "1", &call.key].map(str::to_owned).to_vec();
    words.extend(call.arguments.map(|number| number.to_string()));
    server.ask(&words.iter().map(String::as_str).collect::<Vec<_>>())
}

#[test]
fn a_real_bucket_grants_slices_until_it_is_empty_and_says_when_to_come_again() {
    let mut server = Server::start();
    let owner = Owner::Key(KeyId::new("k"));
    let (mut granted, mut asked) = (Vec::new(), question(1000));
    let last = loop {
        let answer = answer(&ask(&mut server, &owner, &asked).numbers()).unwrap();
        (asked.epoch, asked.sequence, asked.known) = (answer.epoch, answer.sequence, answer.debt);
        if answer.granted == 0 {
            break answer;
        }
        granted.push(answer.granted);
    };
    assert_eq!(granted[..4], [25, 18, 14, 10], "a quarter of what is left");
    // A token a second: time may bring one more while this runs, not ten.
    let sum: u32 = granted.iter().sum();
    assert!((100..110).contains(&sum), "{sum}");
    assert!(!last.wait.is_zero() && last.wait <= Duration::from_secs(1), "{:?}", last.wait);
    assert_eq!(last.sequence, granted.len() as u64 + 1);
}

#[test]
fn a_real_bucket_is_forgotten_soon_after_it_is_full() {
    let mut server = Server::start();
    let owner = Owner::Account(AccountId::new("acme"));
    ask(&mut server, &owner, &question(20));
    let Reply::Number(left) = server.ask(&["PTTL", "sc:1:{a:acme}:b"]) else { panic!("no number") };
    assert!((29_000..=30_000).contains(&left), "twenty seconds of debt and ten more, not {left} ms");
}

#[test]
fn another_server_is_noticed_and_the_same_one_is_not() {
    let owner = Owner::Key(KeyId::new("k"));
    let mut first = Server::start();
    let told = |reply: &Reply| answer(&reply.numbers()).unwrap();
    let before = told(&ask(&mut first, &owner, &question(4)));
    let again = told(&ask(&mut first, &owner, &question(4)));
    assert_eq!((again.epoch, again.sequence), (before.epoch, before.sequence + 1));
    let Reply::Text(value) = first.ask(&["GET", "sc:1:{k:k}:b"]) else { panic!("no bucket") };
    let mut second = Server::start();
    second.ask(&["SET", "sc:1:{k:k}:b", &value]);
    // Who asks knows nothing: that the value was another server's is all there is to notice.
    let moved = told(&ask(&mut second, &owner, &question(4)));
    assert!(moved.epoch > again.epoch, "a replica that took over is noticed by its value");
    assert_eq!(told(&ask(&mut second, &owner, &question(4))).epoch, moved.epoch);
}

#[test]
fn a_newer_form_is_refused_and_newer_fields_of_this_one_are_read_over() {
    let mut server = Server::start();
    let owner = Owner::Key(KeyId::new("k"));
    let told = answer(&ask(&mut server, &owner, &question(10)).numbers()).unwrap();
    let Reply::Text(value) = server.ask(&["GET", "sc:1:{k:k}:b"]) else { panic!("no bucket") };
    server.ask(&["SET", "sc:1:{k:k}:b", &format!("{value} 17 more fields")]);
    let read = answer(&ask(&mut server, &owner, &question(0)).numbers()).unwrap();
    assert_eq!((read.epoch, read.sequence), (told.epoch, told.sequence + 1));
    assert!(read.debt <= told.debt && !read.debt.is_zero());
    server.ask(&["SET", "sc:1:{k:k}:b", "2 anything else"]);
    let Reply::Error(error) = ask(&mut server, &owner, &question(1)) else { panic!("not refused") };
    assert!(error.starts_with(NEWER_BUCKET), "{error}");
    // What is no bucket is one that is missing: who knows something seeds it.
    let of_no_epoch = format!("1 9007199254740993 9007199254740993 {value}");
    let strange: [&[&str]; 4] = [
        &["SET", "sc:1:{k:k}:b", "1 what"],
        &["SET", "sc:1:{k:k}:b", &of_no_epoch],
        &["RPUSH", "sc:1:{k:k}:b", "1"],
        &["HSET", "sc:1:{k:k}:b", "1", "1"],
    ];
    for command in strange {
        server.ask(&["DEL", "sc:1:{k:k}:b"]);
        server.ask(command);
        let knowing = Question { epoch: 7, sequence: 3, known: Duration::from_secs(90), ..question(50) };
        let seeded = answer(&ask(&mut server, &owner, &knowing).numbers()).unwrap();
        assert_eq!((seeded.granted, seeded.sequence), (2, 1), "a quarter of ten: {command:?}");
    }
}

#[test]
fn a_reply_is_read_and_anything_else_is_refused() {
    let read = Answer {
        epoch: 2,
        sequence: 3,
        granted: 4,
        debt: Duration::from_nanos(5),
        wait: Duration::from_nanos(6),
    };
    assert_eq!(answer(&[1, 2, 3, 4, 5, 6]), Ok(read));
    assert_eq!(answer(&[1, 2, 3, 4, 5, 6, 7]), Ok(read), "a later build says more");
    for bad in
        [&[][..], &[1, 2, 3, 4, 5], &[2, 2, 3, 4, 5, 6], &[1, -2, 3, 4, 5, 6], &[1, 2, 3, 1 << 40, 5, 6]]
    {
        assert_eq!(answer(bad), Err(MalformedReply), "{bad:?}");
    }
}

#[test]
fn one_owner_s_keys_lie_together() {
    let key = |owner| call(&Names::new(None), &owner, &question(1)).key;
    assert_eq!(key(Owner::Key(KeyId::new("id"))), "sc:1:{k:id}:b");
    assert_eq!(key(Owner::Account(AccountId::new("id"))), "sc:1:{a:id}:b");
}
