//! Sign-up, log-in, sessions, and one's own password.

use std::collections::BTreeSet;
use std::time::Duration;

use safecache::accounts::people::entering::{Caller, Newcomer};
use safecache::accounts::people::passwords::fit;
use safecache::accounts::people::refusal::{Refusal, Unfit};
use safecache::secret::Secret;
use safecache::store::people::edit::Denial;
use safecache::store::people::person::{LoginName, Role};

use super::{account_of, from, newcomer, password, with_house};

const HOUR: Duration = Duration::from_secs(3600);

#[test]
fn a_password_has_12_to_128_characters_and_is_not_the_login_name() {
    let login = LoginName::new("ada.lovelace").expect("a login name");
    for (password, expected) in [
        ("", Err(Unfit::Short)),
        ("elevenchars", Err(Unfit::Short)),
        ("twelve chars", Ok(())),
        ("zwölf lang ä", Ok(())),
        ("ööööööööööö", Err(Unfit::Short)),
        ("ADA.Lovelace", Err(Unfit::SameAsLogin)),
        ("ada.lovelace!", Ok(())),
    ] {
        assert_eq!(fit(&Secret::new(password.into()), &login), expected, "{password}");
    }
    assert_eq!(fit(&Secret::new("ä".repeat(128)), &login), Ok(()));
    assert_eq!(fit(&Secret::new("ä".repeat(129)), &login), Err(Unfit::Long));
}

#[test]
fn a_login_name_is_short_ascii_in_any_case() {
    for (text, expected) in [
        ("ada", Some("ada")),
        ("Ada@Example.COM", Some("ada@example.com")),
        ("a_b-c+d.9", Some("a_b-c+d.9")),
        ("ab", None),
        ("", None),
        ("ada lovelace", None),
        ("ädä", None),
        ("ada\n", None),
        ("<b>ada", None),
    ] {
        assert_eq!(LoginName::new(text).as_ref().map(LoginName::as_str), expected, "{text}");
    }
    assert!(LoginName::new(&"a".repeat(64)).is_some());
    assert!(LoginName::new(&"a".repeat(65)).is_none());
}

#[test]
fn a_sign_up_makes_an_owner_who_can_log_in_in_any_case() {
    with_house(async |house| {
        let ada = house.owner("Ada").await;
        assert_eq!((ada.person.login.as_str(), ada.person.name.as_ref()), ("ada", "ada"));
        assert_eq!(ada.person.membership.as_ref().map(|place| place.role), Some(Role::Owner));
        assert!(!ada.person.is_operator);
        let account = account_of(&ada);
        let digits = account.as_str().strip_prefix("acct_").expect("a generated id");
        assert!(digits.len() == 16 && digits.bytes().all(|byte| byte.is_ascii_alphanumeric()), "{account}");
        assert!(house.log_in("aDA", &password("Ada")).await.is_ok());
        let named = Newcomer { name: " Bob B. ".into(), ..newcomer("bob") };
        house.service.sign_up(named, from(2)).await.unwrap();
        let bob = house.log_in("bob", &password("bob")).await.unwrap();
        assert_eq!(bob.person.name.as_ref(), "Bob B.");
    });
}

#[test]
fn what_is_unfit_is_told_to_who_signs_up() {
    with_house(async |house| {
        let short = Newcomer { password: Secret::new("too short".into()), ..newcomer("ada") };
        let long_name = Newcomer { name: "x".repeat(65), ..newcomer("ada") };
        let odd_name = Newcomer { name: "a\u{7}b".into(), ..newcomer("ada") };
        for (given, unfit) in [
            (short, Unfit::Short),
            (long_name, Unfit::Name),
            (odd_name, Unfit::Name),
            (newcomer("a b"), Unfit::Login),
        ] {
            assert_eq!(house.service.sign_up(given, from(2)).await, Err(Refusal::Unfit(unfit)));
        }
    });
}

#[test]
fn a_sign_up_with_a_taken_name_is_answered_alike_and_changes_nothing() {
    with_house(async |house| {
        let ada = house.owner("ada").await;
        let again = Newcomer { password: password("mallory"), ..newcomer("ADA") };
        assert_eq!(house.service.sign_up(again, from(9)).await, Ok(()));
        let refused = house.log_in("ada", &password("mallory")).await.unwrap_err();
        assert_eq!(refused, Refusal::WrongLogin);
        let still = house.log_in("ada", &password("ada")).await.unwrap();
        assert_eq!(still.person.id, ada.person.id);
    });
}

#[test]
fn a_wrong_password_an_unknown_name_and_a_disabled_person_are_told_the_same() {
    with_house(async |house| {
        let ada = house.owner("ada").await;
        let eve = house.member(&ada, "eve", Role::Viewer).await;
        house
            .service
            .deal(&ada, &eve.person.id, safecache::accounts::people::members::Deed::Disable)
            .await
            .unwrap();
        for (name, password) in [
            ("ada", password("mallory")),
            ("ada", Secret::new(String::new())),
            ("nobody", password("ada")),
            ("no name at all", password("ada")),
            ("eve", password("eve")),
        ] {
            let refused = house.log_in(name, &password).await.expect_err(name);
            assert_eq!(refused, Refusal::WrongLogin, "{name}");
        }
    });
}

#[test]
fn a_session_ends_12_hours_after_its_last_use_and_after_30_days() {
    with_house(async |house| {
        house.owner("ada").await;
        let session = house.log_in("ada", &password("ada")).await.unwrap();
        house.time.advance(12 * HOUR - Duration::from_secs(1));
        assert!(house.visitor(&session).await.is_some());
        house.time.advance(12 * HOUR);
        assert_eq!(house.visitor(&session).await, None, "nobody has used it for 12 hours");
        let session = house.log_in("ada", &password("ada")).await.unwrap();
        for _ in 0..59 {
            house.time.advance(12 * HOUR - Duration::from_secs(1));
            assert!(house.visitor(&session).await.is_some(), "it is used");
        }
        house.time.advance(12 * HOUR);
        assert_eq!(house.visitor(&session).await, None, "it is 30 days old");
    });
}

#[test]
fn a_use_is_noted_to_the_minute() {
    with_house(async |house| {
        house.owner("ada").await;
        let session = house.log_in("ada", &password("ada")).await.unwrap();
        let begun = house.visitor(&session).await.unwrap().session.seen_at;
        for (seconds, noted) in [(59, 0), (1, 60), (59, 60), (1, 120)] {
            house.time.advance(Duration::from_secs(seconds));
            house.visitor(&session).await.unwrap();
            let seen = house.visitor(&session).await.unwrap().session.seen_at;
            assert_eq!(seen.saturating_since(begun), Duration::from_secs(noted));
        }
    });
}

#[test]
fn a_log_out_ends_the_session() {
    with_house(async |house| {
        house.owner("ada").await;
        let session = house.log_in("ada", &password("ada")).await.unwrap();
        let visitor = house.visitor(&session).await.unwrap();
        house.service.log_out(&visitor).await.unwrap();
        assert_eq!(house.visitor(&session).await, None);
        assert_eq!(house.service.log_out(&visitor).await, Err(Refusal::Denied(Denial::NoSession)));
    });
}

#[test]
fn sessions_are_listed_and_ended_by_their_person_alone() {
    with_house(async |house| {
        let ada = house.owner("ada").await;
        let bob = house.owner("bob").await;
        let long = "x".repeat(1000) + "\n";
        let caller = Caller { agent: Some(&long), ..from(7) };
        let other = house.service.log_in("ada", &password("ada"), caller).await.unwrap();
        let sessions = house.service.sessions(&ada).await.unwrap();
        assert_eq!(sessions.len(), 2);
        let listed = sessions.iter().find(|session| session.address == caller.address).expect("the other");
        assert_eq!(listed.agent.as_deref(), Some("x".repeat(160).as_str()));
        let foreign = house.service.end_session(&bob, &listed.id).await;
        assert_eq!(foreign, Err(Refusal::Denied(Denial::NoSession)));
        house.service.end_session(&ada, &listed.id).await.unwrap();
        assert_eq!(house.visitor(&other).await, None);
        let third = house.log_in("ada", &password("ada")).await.unwrap();
        house.service.end_other_sessions(&ada).await.unwrap();
        assert_eq!(house.visitor(&third).await, None);
        let left: Vec<_> = house.service.sessions(&ada).await.unwrap();
        assert_eq!(left.iter().map(|session| &session.id).collect::<Vec<_>>(), [&ada.session.id]);
        assert_eq!(house.service.sessions(&bob).await.unwrap().len(), 1);
    });
}

#[test]
fn a_password_is_changed_with_the_old_one_and_ends_other_sessions() {
    with_house(async |house| {
        house.owner("ada").await;
        let here = house.log_in("ada", &password("ada")).await.unwrap();
        let elsewhere = house.log_in("ada", &password("ada")).await.unwrap();
        let ada = house.visitor(&here).await.unwrap();
        let new = password("another");
        let change =
            async |old: &Secret, new: &Secret| house.service.change_password(&ada, (old, new), from(1)).await;
        assert_eq!(change(&password("mallory"), &new).await, Err(Refusal::WrongPassword));
        let unfit = Refusal::Unfit(Unfit::Short);
        assert_eq!(change(&password("ada"), &Secret::new("short".into())).await, Err(unfit));
        assert!(house.visitor(&elsewhere).await.is_some(), "nothing has changed");
        change(&password("ada"), &new).await.unwrap();
        assert!(house.visitor(&here).await.is_some());
        assert_eq!(house.visitor(&elsewhere).await, None);
        assert_eq!(house.log_in("ada", &password("ada")).await.unwrap_err(), Refusal::WrongLogin);
        assert!(house.log_in("ada", &new).await.is_ok());
    });
}

#[test]
fn tokens_have_256_bits_are_all_different_and_are_not_shown() {
    with_house(async |house| {
        house.owner("ada").await;
        let mut seen = BTreeSet::new();
        for _ in 0..5 {
            let logged_in = house.log_in("ada", &password("ada")).await.unwrap();
            let bytes = data_encoding::BASE64URL_NOPAD.decode(logged_in.token.expose().as_bytes());
            assert_eq!(bytes.map(|bytes| bytes.len()), Ok(32));
            assert!(!format!("{logged_in:?}").contains(logged_in.token.expose()));
            assert!(seen.insert(logged_in.token.expose().to_owned()));
        }
        let shown = format!("{:?}", newcomer("ada"));
        assert!(!shown.contains("horse"), "{shown}");
    });
}
