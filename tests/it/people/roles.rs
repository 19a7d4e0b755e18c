//! Who may do what with whom.

use std::sync::Arc;

use safecache::accounts::people::entering::Visitor;
use safecache::accounts::people::members::Deed;
use safecache::accounts::people::refusal::Refusal;
use safecache::accounts::people::rights::{Right, may};
use safecache::store::people::edit::Denial;
use safecache::store::people::person::Role;

use super::{House, account_of, from, password, with_house};

/// One of each: of account acme its owner, an admin and a viewer; another account's owner; an operator.
struct Cast {
    owner: Visitor,
    admin: Visitor,
    viewer: Visitor,
    stranger: Visitor,
    operator: Visitor,
}

impl Cast {
    async fn of(house: &House) -> Self {
        let owner = house.owner("owner").await;
        Self {
            admin: house.member(&owner, "admin", Role::Admin).await,
            viewer: house.member(&owner, "viewer", Role::Viewer).await,
            stranger: house.owner("stranger").await,
            operator: house.operator("operator").await,
            owner,
        }
    }

    /// All of them, with what each is told when they do what owners and operators may do.
    fn refusals(&self) -> [(&Visitor, Option<Refusal>); 5] {
        [
            (&self.owner, None),
            (&self.operator, None),
            (&self.admin, Some(Refusal::Forbidden)),
            (&self.viewer, Some(Refusal::Forbidden)),
            (&self.stranger, Some(Refusal::Denied(Denial::NoPerson))),
        ]
    }
}

#[test]
fn owners_have_people_and_keys_admins_keys_viewers_look_and_strangers_nothing() {
    with_house(async |house| {
        let cast = Cast::of(&house).await;
        let account = account_of(&cast.owner);
        for (visitor, look, keys, people) in [
            (&cast.owner, true, true, true),
            (&cast.admin, true, true, false),
            (&cast.viewer, true, false, false),
            (&cast.stranger, false, false, false),
            (&cast.operator, true, true, true),
        ] {
            let rights =
                [Right::Look, Right::Keys, Right::People].map(|right| may(&visitor.person, right, &account));
            assert_eq!(rights, [look, keys, people], "{}", visitor.person.login);
        }
    });
}

#[test]
fn people_are_listed_for_their_own_account_and_for_operators() {
    with_house(async |house| {
        let cast = Cast::of(&house).await;
        let account = account_of(&cast.owner);
        for visitor in [&cast.owner, &cast.admin, &cast.viewer, &cast.operator] {
            let people = house.service.people(visitor, &account).await.expect("they may look");
            let mut logins: Vec<_> = people.iter().map(|person| person.login.to_string()).collect();
            logins.sort();
            assert_eq!(logins, ["admin", "owner", "viewer"]);
        }
        assert_eq!(house.service.people(&cast.stranger, &account).await, Err(Refusal::Forbidden));
        assert_eq!(house.service.everybody(&cast.operator, "", 100).await.unwrap().len(), 5);
        for visitor in [&cast.owner, &cast.admin, &cast.viewer, &cast.stranger] {
            assert_eq!(house.service.everybody(visitor, "", 100).await, Err(Refusal::OperatorsOnly));
        }
    });
}

#[test]
fn owners_and_operators_alone_say_who_belongs_to_an_account() {
    with_house(async |house| {
        let cast = Cast::of(&house).await;
        let account = account_of(&cast.owner);
        let viewer = &cast.viewer.person.id;
        for (visitor, refusal) in cast.refusals() {
            let who = visitor.person.login.as_str();
            let expected = refusal.map_or(Ok(()), Err);
            for deed in [Deed::SetRole(Role::Viewer), Deed::Disable, Deed::Enable] {
                assert_eq!(house.service.deal(visitor, viewer, deed).await, expected, "{who}: {deed:?}");
            }
            if who == "viewer" {
                continue;
            }
            let reset = house.service.reset(visitor, viewer).await.map(drop);
            assert_eq!(reset, expected, "{who}");
            let listed = house.service.links(visitor, Some(&account)).await.map(drop);
            let invited = house.service.invite(visitor, &account, Role::Viewer).await.map(drop);
            let expected = || expected.as_ref().map(drop).map_err(|_| Refusal::Forbidden);
            assert_eq!((listed, invited), (expected(), expected()), "{who}");
        }
        for visitor in [&cast.admin, &cast.viewer, &cast.stranger] {
            let removed = house.service.deal(visitor, viewer, Deed::Remove).await;
            assert!(removed.is_err(), "{}", visitor.person.login);
        }
        house.service.deal(&cast.owner, viewer, Deed::Remove).await.unwrap();
        house.service.deal(&cast.operator, &cast.admin.person.id, Deed::Remove).await.unwrap();
        assert_eq!(house.log_in("viewer", &password("viewer")).await.unwrap_err(), Refusal::WrongLogin);
    });
}

#[test]
fn operators_alone_invite_operators_and_see_their_links() {
    with_house(async |house| {
        let cast = Cast::of(&house).await;
        for visitor in [&cast.owner, &cast.admin, &cast.viewer, &cast.stranger] {
            let invited = house.service.invite_operator(visitor).await.map(drop);
            assert_eq!(invited, Err(Refusal::OperatorsOnly));
            assert_eq!(house.service.links(visitor, None).await, Err(Refusal::OperatorsOnly));
        }
        let link = house.service.invite_operator(&cast.operator).await.unwrap();
        assert_eq!(house.service.links(&cast.operator, None).await.unwrap().len(), 1);
        let second = house.joined(&link, "second").await;
        assert!(second.person.is_operator && second.person.membership.is_none());
    });
}

#[test]
fn an_operator_of_an_account_is_not_changed_by_its_owner() {
    with_house(async |house| {
        let owner = house.owner("owner").await;
        let place =
            safecache::store::people::person::Membership { account: account_of(&owner), role: Role::Viewer };
        let link = house.service.first_operator(Some(place)).await.unwrap().expect("a link");
        let operator = house.joined(&link, "operator").await;
        assert_eq!(
            house.service.reset(&owner, &operator.person.id).await.unwrap_err(),
            Refusal::OperatorsOnly
        );
        for deed in [Deed::SetRole(Role::Owner), Deed::Disable, Deed::Enable, Deed::Remove] {
            let dealt = house.service.deal(&owner, &operator.person.id, deed).await;
            assert_eq!(dealt, Err(Refusal::OperatorsOnly), "{deed:?}");
        }
    });
}

#[test]
fn an_account_keeps_an_owner_and_the_gateway_an_operator() {
    with_house(async |house| {
        let cast = Cast::of(&house).await;
        let owner = &cast.owner.person.id;
        for visitor in [&cast.owner, &cast.operator] {
            for deed in [Deed::SetRole(Role::Admin), Deed::Disable, Deed::Remove] {
                let dealt = house.service.deal(visitor, owner, deed).await;
                assert_eq!(dealt, Err(Refusal::Denied(Denial::LastOwner)), "{deed:?}");
            }
        }
        for deed in [Deed::Disable, Deed::Remove] {
            let dealt = house.service.deal(&cast.operator, &cast.operator.person.id, deed).await;
            assert_eq!(dealt, Err(Refusal::Denied(Denial::LastOperator)), "{deed:?}");
        }
        let promoted = Deed::SetRole(Role::Owner);
        house.service.deal(&cast.owner, &cast.admin.person.id, promoted).await.unwrap();
        house.service.deal(&cast.owner, owner, Deed::SetRole(Role::Viewer)).await.unwrap();
        let owner = again(&house, "owner").await;
        let invited = house.service.invite(&owner, &account_of(&owner), Role::Viewer).await.map(drop);
        assert_eq!(invited, Err(Refusal::Forbidden), "they are a viewer now");
    });
}

/// Who somebody is now.
async fn again(house: &Arc<House>, name: &str) -> Visitor {
    let logged_in = house.service.log_in(name, &password(name), from(50)).await.expect("a log-in");
    house.visitor(&logged_in).await.expect("a visitor")
}

#[test]
fn operators_alone_learn_who_is_where_in_accounts_of_others() {
    with_house(async |house| {
        let cast = Cast::of(&house).await;
        let (account, ids) = (account_of(&cast.owner), [cast.owner.person.id.clone()]);
        for visitor in [&cast.owner, &cast.admin, &cast.viewer, &cast.stranger] {
            let counted = house.service.count_people(visitor, std::slice::from_ref(&account)).await;
            assert_eq!(counted, Err(Refusal::OperatorsOnly));
            assert_eq!(house.service.logins(visitor, &ids).await, Err(Refusal::OperatorsOnly));
        }
        let counted = house.service.count_people(&cast.operator, std::slice::from_ref(&account)).await;
        assert_eq!(counted, Ok(vec![(account, 3)]));
        let logins = house.service.logins(&cast.operator, &ids).await.expect("an operator");
        assert_eq!(logins.iter().map(|(_, login)| login.as_str()).collect::<Vec<_>>(), ["owner"]);
    });
}
