//! How often somebody may try, and what takes as long for everybody.

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};
use std::num::NonZeroU32;
use std::time::Duration;

use futures_util::future::join_all;
use safecache::accounts::people::attempts::{Attempts, PER_ADDRESS, PER_NAME, Standing};
use safecache::accounts::people::entering::Caller;
use safecache::accounts::people::passwords::{AT_ONCE, WAITING};
use safecache::accounts::people::refusal::Refusal;
use safecache::clock::{Clock, Monotonic};

use super::{from, newcomer, password, with_house};

const NAME: u32 = PER_NAME.get();
const ADDRESS: u32 = PER_ADDRESS.get();

fn v6(network: u16, host: u16) -> Caller<'static> {
    let address = IpAddr::V6(Ipv6Addr::new(0x2001, 0xdb8, 0, network, host, 0, 0, 1));
    Caller { address, agent: None }
}

#[test]
fn a_name_is_tried_ten_times_a_minute_from_wherever() {
    with_house(async |house| {
        house.owner("ada").await;
        house.time.advance(Duration::from_secs(60));
        let attempt = async |name: &str, number: u32| {
            let address = from(u8::try_from(number).expect("small"));
            house.service.log_in(name, &password("mallory"), address).await.expect_err("wrong")
        };
        for number in 0..NAME {
            let name = if number % 2 == 0 { "ada" } else { "ADA" };
            assert_eq!(attempt(name, number).await, Refusal::WrongLogin, "attempt {number}");
        }
        assert_eq!(attempt("Ada", 100).await, Refusal::Limited);
        let right = house.service.log_in("ada", &password("ada"), from(101)).await;
        assert_eq!(right.unwrap_err(), Refusal::Limited, "the right one does not pass, either");
        assert_eq!(attempt("bob", 102).await, Refusal::WrongLogin, "another name is another's");
        house.time.advance(Duration::from_secs(60 / u64::from(NAME)));
        assert!(house.service.log_in("ada", &password("ada"), from(103)).await.is_ok());
        assert_eq!(attempt("ada", 104).await, Refusal::Limited);
    });
}

#[test]
fn a_name_that_nobody_has_is_limited_alike() {
    with_house(async |house| {
        for number in 0..=NAME {
            let refused = house.log_in("nobody", &password("ada")).await.expect_err("wrong");
            let expected = if number < NAME { Refusal::WrongLogin } else { Refusal::Limited };
            assert_eq!(refused, expected, "attempt {number}");
        }
    });
}

#[test]
fn sign_ups_count_as_attempts_on_the_name_and_keep_its_owner_from_nothing() {
    with_house(async |house| {
        let ada = house.owner("ada").await;
        house.time.advance(Duration::from_secs(60));
        for _ in 0..NAME {
            house.service.sign_up(newcomer("ada"), from(1)).await.unwrap();
        }
        assert_eq!(house.service.sign_up(newcomer("ada"), from(1)).await, Err(Refusal::Limited));
        assert_eq!(house.log_in("ada", &password("ada")).await.unwrap_err(), Refusal::Limited);
        let (old, new) = (password("ada"), password("another"));
        assert_eq!(house.service.change_password(&ada, (&old, &new), from(2)).await, Ok(()));
    });
}

#[test]
fn so_often_a_session_tries_to_change_the_password() {
    with_house(async |house| {
        let ada = house.owner("ada").await;
        let (wrong, right) = (password("mallory"), password("ada"));
        for _ in 0..NAME {
            let change = house.service.change_password(&ada, (&wrong, &wrong), from(1)).await;
            assert_eq!(change, Err(Refusal::WrongPassword));
        }
        let change = house.service.change_password(&ada, (&right, &wrong), from(2)).await;
        assert_eq!(change, Err(Refusal::Limited), "wherever it comes from");
    });
}

#[test]
fn an_address_tries_thirty_times_a_minute_whatever_the_name() {
    with_house(async |house| {
        let link = async |caller| house.service.open("no such link", caller).await;
        for number in 0..ADDRESS {
            assert_eq!(link(from(1)).await, Ok(None), "attempt {number}");
        }
        assert_eq!(link(from(1)).await, Err(Refusal::Limited));
        assert_eq!(house.log_in("ada", &password("ada")).await.unwrap_err(), Refusal::Limited);
        assert_eq!(house.service.sign_up(newcomer("ada"), from(1)).await, Err(Refusal::Limited));
        assert_eq!(link(from(2)).await, Ok(None), "another address is another's");
        for number in 0..ADDRESS {
            let host = u16::try_from(number).expect("small");
            assert_eq!(link(v6(1, host)).await, Ok(None), "attempt {number}");
        }
        assert_eq!(link(v6(1, 999)).await, Err(Refusal::Limited), "a /64 is one address");
        assert_eq!(link(v6(2, 1)).await, Ok(None));
        house.time.advance(Duration::from_secs(60));
        assert_eq!(link(from(1)).await, Ok(None));
    });
}

#[test]
fn strangers_do_not_use_up_an_innocent_names_attempts() {
    let ten = NonZeroU32::new(10).expect("not zero");
    let attempts = Attempts::new(ten);
    let now = Monotonic::from_nanos(1_000_000_000_000);
    // As many as two cores hash in a minute.
    for stranger in 0..6000_u32 {
        assert_eq!(attempts.take(("stranger", stranger), now), Standing::Within);
    }
    let (mut within, innocents) = (0, 100);
    for innocent in 0..innocents {
        let passed = (0..10).filter(|_| attempts.take(("innocent", innocent), now) == Standing::Within);
        within += usize::from(passed.count() == 10);
        assert_eq!(attempts.take(("innocent", innocent), now), Standing::Beyond, "no name gets an eleventh");
    }
    assert!(within > 90, "{within} of {innocents} had all of their attempts");
}

#[test]
fn two_passwords_are_hashed_at_once_some_wait_and_others_are_told_that_it_is_busy() {
    with_house(async |house| {
        let most = AT_ONCE + WAITING;
        let attempt = async |number: usize| {
            let caller = Caller {
                address: IpAddr::V4(Ipv4Addr::new(198, 51, 100, u8::try_from(number).expect("small"))),
                agent: None,
            };
            house.service.log_in(&format!("nobody{number}"), &password("ada"), caller).await
        };
        let refused = join_all((0..most + 7).map(attempt)).await;
        let busy = refused.iter().filter(|refused| matches!(refused, Err(Refusal::Busy))).count();
        let wrong = refused.iter().filter(|refused| matches!(refused, Err(Refusal::WrongLogin))).count();
        assert_eq!((busy, wrong), (7, most));
        assert_eq!(attempt(200).await.unwrap_err(), Refusal::WrongLogin, "their places are free again");
    });
}

/// How long each of two things takes, by turns and at the shortest: others use the machine at the time.
async fn shortest<T>(
    mut one: impl AsyncFnMut(u8) -> T,
    mut other: impl AsyncFnMut(u8) -> T,
) -> [Duration; 2] {
    let clock = Clock::system();
    let mut shortest = [Duration::MAX; 2];
    for number in 0..5 {
        let begun = clock.monotonic();
        one(number).await;
        let between = clock.monotonic();
        other(number).await;
        let took = [between.saturating_since(begun), clock.monotonic().saturating_since(between)];
        shortest = [shortest[0].min(took[0]), shortest[1].min(took[1])];
    }
    shortest
}

/// Fails if one took much longer. A hash is nearly all of either: without it, there would be a twentieth left.
#[track_caller]
fn alike([one, other]: [Duration; 2]) {
    assert!(one * 4 > other && other * 4 > one, "{one:?} and {other:?}");
}

#[test]
fn a_log_in_hashes_whether_there_is_such_a_name_or_not() {
    with_house(async |house| {
        house.owner("ada").await;
        for name in ["nobody", "no such name!"] {
            house.time.advance(Duration::from_secs(60));
            let wrong = password("mallory");
            let known = async |_| house.log_in("ada", &wrong).await.expect_err("wrong");
            let unknown = async |_| house.log_in(name, &wrong).await.expect_err("wrong");
            alike(shortest(known, unknown).await);
        }
    });
}

#[test]
fn a_sign_up_hashes_whether_the_name_is_free_or_not() {
    with_house(async |house| {
        house.owner("ada").await;
        house.time.advance(Duration::from_secs(60));
        let sign_up = async |name: &str| house.service.sign_up(newcomer(name), from(1)).await.unwrap();
        let taken = async |_| sign_up("ada").await;
        let free = async |number: u8| sign_up(&format!("new{number}")).await;
        alike(shortest(taken, free).await);
    });
}
