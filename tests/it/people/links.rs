//! Invitations, resets, and the first operator's way in.

use std::time::Duration;

use safecache::accounts::people::refusal::{Refusal, Unfit};
use safecache::secret::Secret;
use safecache::store::directory::edit::Author;
use safecache::store::people::edit::Denial;
use safecache::store::people::link::Purpose;
use safecache::store::people::person::{Membership, Role};

use super::{account_of, from, newcomer, password, with_house};

const DAY: Duration = Duration::from_secs(24 * 3600);
const NO_LINK: Refusal = Refusal::Denied(Denial::NoLink);

#[test]
fn an_invitation_lets_one_in_with_its_role_and_logs_them_in() {
    with_house(async |house| {
        let ada = house.owner("ada").await;
        let account = account_of(&ada);
        let link = house.service.invite(&ada, &account, Role::Admin).await.unwrap();
        let opened = house.service.open(link.expose(), from(3)).await.unwrap().expect("it waits");
        let membership = Membership { account, role: Role::Admin };
        assert_eq!(opened.link.purpose, Purpose::Invite(membership.clone()));
        assert_eq!((opened.link.made_by.as_ref(), opened.login), (ada.person.id.as_str(), None));
        let taken = house.service.join(link.expose(), newcomer("ADA"), from(3)).await.unwrap_err();
        assert_eq!(taken, Refusal::Denied(Denial::NameTaken));
        let eve = house.joined(&link, "eve").await;
        assert_eq!((eve.person.membership, eve.person.is_operator), (Some(membership), false));
        let again = house.service.join(link.expose(), newcomer("mallory"), from(3)).await.unwrap_err();
        assert_eq!(again, NO_LINK);
        assert_eq!(house.service.open(link.expose(), from(3)).await, Ok(None));
    });
}

#[test]
fn a_link_is_good_for_24_hours() {
    with_house(async |house| {
        let ada = house.owner("ada").await;
        let link = house.service.invite(&ada, &account_of(&ada), Role::Viewer).await.unwrap();
        house.time.advance(DAY - Duration::from_secs(1));
        assert!(house.service.open(link.expose(), from(3)).await.unwrap().is_some());
        house.time.advance(Duration::from_secs(1));
        assert_eq!(house.service.open(link.expose(), from(3)).await, Ok(None));
        let late = house.service.join(link.expose(), newcomer("eve"), from(3)).await.unwrap_err();
        assert_eq!(late, NO_LINK);
        assert_eq!(house.service.forget_ended().await, Ok(2), "the link and a session");
    });
}

#[test]
fn a_link_is_ended_by_who_may_make_it() {
    with_house(async |house| {
        let (ada, bob) = (house.owner("ada").await, house.owner("bob").await);
        let account = account_of(&ada);
        let link = house.service.invite(&ada, &account, Role::Viewer).await.unwrap();
        let listed = house.service.links(&ada, Some(&account)).await.unwrap();
        let id = listed.first().expect("one link").id.clone();
        assert_eq!(house.service.end_link(&bob, &id).await, Err(NO_LINK));
        let eve = house.member(&ada, "eve", Role::Admin).await;
        assert_eq!(house.service.end_link(&eve, &id).await, Err(Refusal::Forbidden));
        house.service.end_link(&ada, &id).await.unwrap();
        assert_eq!(house.service.open(link.expose(), from(3)).await, Ok(None));
        let operator = house.operator("root").await;
        house.service.invite(&ada, &account, Role::Viewer).await.unwrap();
        let listed = house.service.links(&operator, Some(&account)).await.unwrap();
        house.service.end_link(&operator, &listed.first().expect("one link").id).await.unwrap();
        assert_eq!(house.service.links(&ada, Some(&account)).await, Ok(vec![]));
    });
}

#[test]
fn a_reset_sets_the_password_ends_sessions_and_logs_in() {
    with_house(async |house| {
        let ada = house.owner("ada").await;
        let eve = house.member(&ada, "eve", Role::Viewer).await;
        let before = house.log_in("eve", &password("eve")).await.unwrap();
        let link = house.service.reset(&ada, &eve.person.id).await.unwrap();
        let opened = house.service.open(link.expose(), from(3)).await.unwrap().expect("it waits");
        assert_eq!(opened.login.as_ref().map(|login| login.as_str()), Some("eve"));
        let as_join = house.service.join(link.expose(), newcomer("mallory"), from(3)).await.unwrap_err();
        assert_eq!(as_join, NO_LINK);
        let set =
            async |password: &Secret| house.service.set_password(link.expose(), password, from(3)).await;
        let short = set(&Secret::new("short".into())).await.unwrap_err();
        assert_eq!(short, Refusal::Unfit(Unfit::Short));
        assert!(house.visitor(&before).await.is_some(), "nothing has changed");
        let new = password("another");
        let logged_in = set(&new).await.unwrap();
        assert_eq!(house.visitor(&logged_in).await.map(|eve| eve.person.id), Some(eve.person.id));
        assert_eq!(house.visitor(&before).await, None);
        assert_eq!(house.log_in("eve", &password("eve")).await.unwrap_err(), Refusal::WrongLogin);
        assert!(house.log_in("eve", &new).await.is_ok());
        assert_eq!(set(&password("third")).await.unwrap_err(), NO_LINK);
    });
}

#[test]
fn an_invitation_sets_no_password() {
    with_house(async |house| {
        let ada = house.owner("ada").await;
        let link = house.service.invite(&ada, &account_of(&ada), Role::Viewer).await.unwrap();
        let set = house.service.set_password(link.expose(), &password("ada"), from(3)).await;
        assert_eq!(set.unwrap_err(), NO_LINK);
    });
}

#[test]
fn nobody_resets_their_own_password() {
    with_house(async |house| {
        let (ada, root) = (house.owner("ada").await, house.operator("root").await);
        for visitor in [&ada, &root] {
            let refused = house.service.reset(visitor, &visitor.person.id).await.unwrap_err();
            assert_eq!(refused, Refusal::OwnReset);
        }
    });
}

#[test]
fn the_command_line_resets_a_lost_operator() {
    with_house(async |house| {
        house.operator("root").await;
        let link = house.service.reset_by_login(Author::CommandLine, "ROOT").await.unwrap();
        let new = password("another");
        assert!(house.service.set_password(link.expose(), &new, from(3)).await.is_ok());
        assert!(house.log_in("root", &new).await.is_ok());
        for name in ["nobody", "no name"] {
            let refused = house.service.reset_by_login(Author::CommandLine, name).await.unwrap_err();
            assert_eq!(refused, Refusal::Denied(Denial::NoPerson));
        }
    });
}

#[test]
fn there_is_a_first_operators_link_until_there_is_an_operator() {
    with_house(async |house| {
        let first = house.service.first_operator(None).await.unwrap().expect("a link");
        let second = house.service.first_operator(None).await.unwrap().expect("another link");
        assert_eq!(house.service.open(first.expose(), from(3)).await, Ok(None), "the newer one is the one");
        let root = house.joined(&second, "root").await;
        assert!(root.person.is_operator);
        assert!(house.service.first_operator(None).await.unwrap().is_none());
    });
}

#[test]
fn a_first_operators_link_may_give_a_place_in_an_account() {
    with_house(async |house| {
        let ada = house.owner("ada").await;
        let place = Membership { account: account_of(&ada), role: Role::Owner };
        let link = house.service.first_operator(Some(place.clone())).await.unwrap().expect("a link");
        let root = house.joined(&link, "root").await;
        assert_eq!((root.person.is_operator, root.person.membership), (true, Some(place)));
    });
}

#[test]
fn an_operator_gives_people_to_an_account_that_only_the_list_names() {
    with_house(async |house| {
        let (root, ada) = (house.operator("root").await, house.owner("ada").await);
        let listed = safecache::ids::AccountId::new("acme");
        let link = house.service.invite(&root, &listed, Role::Owner).await.unwrap();
        let owner = house.joined(&link, "wile").await;
        assert_eq!(account_of(&owner), listed);
        let refused = house.service.invite(&ada, &listed, Role::Owner).await.unwrap_err();
        assert_eq!(refused, Refusal::Forbidden);
    });
}
