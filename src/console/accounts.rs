//! The page where operators look after all accounts.

use std::collections::HashMap;

use askama::Template;
use axum::extract::State;
use axum::http::StatusCode;
use axum::response::Response;

use crate::accounts::holders::{Holder, Origin};
use crate::accounts::refused::{Kind, Refused};
use crate::accounts::{FIRST_PLAN, Standing};
use crate::config::key_rules::{GENERATED_ACCOUNT, is_visible};
use crate::console::Console;
use crate::console::address::address;
use crate::console::answers::{self, Shell, page, told};
use crate::console::asked::{Asked, Member};
use crate::console::entering::Shared;
use crate::console::measures::{counted, grouped};
use crate::console::new_key::{Choice, choices};
use crate::console::refusals::{Problem, as_sentence, failed};
use crate::ids::AccountId;
use crate::store::directory::edit::Author;

/// Accounts that a page shows.
const A_PAGE: usize = 50;

#[derive(Template)]
#[template(path = "accounts.html")]
struct Page {
    shell: Shell,
    form_token: String,
    /// What was done.
    done: Option<String>,
    /// What was not, where it is no row's fault.
    problem: Option<String>,
    form: NewAccount,
    accounts: Vec<Row>,
    /// What the ids that are looked for begin with.
    begins: String,
    /// Behind which account the page begins; empty: with the first.
    after: String,
    first: Option<String>,
    next: Option<String>,
}

/// The form of a new account.
struct NewAccount {
    id: String,
    name: String,
    plans: Vec<Choice>,
    problem: Option<Problem>,
}

struct Row {
    id: String,
    name: String,
    own_name: String,
    plan: String,
    plans: Vec<Choice>,
    is_generated: bool,
    /// The key list alone names it.
    is_listed_alone: bool,
    created_at: Option<String>,
    suspended_at: Option<String>,
    keys: String,
    /// Its keys of the list, if it has any.
    listed_keys: Option<String>,
    people: String,
    keys_page: String,
    usage_page: String,
    cache_page: String,
    trail_page: String,
    people_page: String,
    problem: Option<Problem>,
}

impl NewAccount {
    fn problem_at(&self, field: &str) -> Option<&str> {
        self.problem.as_ref().and_then(|problem| problem.at(field))
    }
}

impl Row {
    fn problem_at(&self, field: &str) -> Option<&str> {
        self.problem.as_ref().and_then(|problem| problem.at(field))
    }
}

/// What became of a form.
#[derive(Default)]
struct Became {
    status: StatusCode,
    done: Option<String>,
    /// What was typed of an account that was not made, and why.
    unmade: Option<(Problem, [String; 3])>,
    /// An account that was not changed, and why; and what it was to be called.
    unchanged: Option<(AccountId, Problem, String)>,
}

/// Which accounts somebody looks at.
struct View<'a> {
    member: &'a Member,
    begins: &'a str,
    after: &'a str,
}

/// The page.
pub(super) async fn show(State(console): Shared, asked: Asked) -> Result<Response, Response> {
    let member = asked.operator(&console).await?;
    let view =
        View { member: &member, begins: asked.in_query("begins").trim(), after: asked.in_query("after") };
    render(&console, view, Became::default()).await
}

/// Makes an account.
pub(super) async fn create(State(console): Shared, asked: Asked) -> Result<Response, Response> {
    let member = asked.operator(&console).await?;
    let typed = ["id", "name", "plan"].map(|field| asked.text(field).trim().to_owned());
    let [id, name, plan] = typed.clone();
    let some = |text: String| Some(text).filter(|text| !text.is_empty());
    let made = console.accounts.create_account(author(&member), &id, (some(name), some(plan))).await;
    let became = match made {
        Ok(account) => Became {
            done: Some(format!("Account {} is made. It has no key and no people yet.", account.id)),
            ..Became::default()
        },
        Err(refused) => {
            let problem = match &refused {
                // What the API calls the account is the form's id.
                Refused::Wrong { field: "account", message } => {
                    Problem::of_field("id", &as_sentence(message))
                }
                refused => Problem::of(refused, &["id", "name", "plan"]),
            };
            Became { status: refused.status(), unmade: Some((problem, typed)), ..Became::default() }
        }
    };
    // What was just made is shown first.
    let begins = if became.done.is_some() { id.as_str() } else { "" };
    render(&console, View { member: &member, begins, after: "" }, became).await
}

/// Names an account, puts it on a plan, suspends or resumes it.
pub(super) async fn change(State(console): Shared, asked: Asked) -> Result<Response, Response> {
    let member = asked.operator(&console).await?;
    let (accounts, by, id) = (&console.accounts, author(&member), AccountId::new(asked.text("account")));
    let name = asked.text("name").trim();
    let changed = match asked.text("deed") {
        "change" => match name_and_plan(&console, &id, (name, asked.text("plan"))).await {
            Ok((None, None)) => Ok("has this name and this plan already.".to_owned()),
            Ok(new) => in_force(accounts.change_account(by, &id, new).await, "is changed."),
            Err(refused) => Err(refused),
        },
        "suspend" => {
            let text = "is suspended: its keys are refused until you resume it.";
            in_force(accounts.suspend_account(by, &id).await, text)
        }
        "resume" => in_force(accounts.resume_account(by, &id).await, "is resumed: its keys are good again."),
        _ => {
            let text = "This form is not understood. Open the page anew, and try again.";
            return Err(told(StatusCode::BAD_REQUEST, text));
        }
    };
    let became = match changed {
        Ok(text) => Became { done: Some(format!("Account {id} {text}")), ..Became::default() },
        Err(refused) => Became {
            status: refused.status(),
            unchanged: Some((id, Problem::of(&refused, &["name", "plan"]), name.to_owned())),
            ..Became::default()
        },
    };
    let view = View { member: &member, begins: asked.text("begins"), after: asked.text("after") };
    render(&console, view, became).await
}

/// What of a name and a plan an account does not have already.
async fn name_and_plan(
    console: &Console,
    id: &AccountId,
    (name, plan): (&str, &str),
) -> Result<(Option<String>, Option<String>), Refused> {
    let account = console.accounts.account(id).await?;
    let new = |text: &str, has: &str| (text != has).then(|| text.to_owned());
    Ok((new(name, &account.name), new(plan, account.plan.as_str())))
}

fn in_force(changed: Result<(Holder, Standing), Refused>, text: &str) -> Result<String, Refused> {
    Ok(match changed? {
        (_, Standing::Live) => text.to_owned(),
        (_, Standing::Pending) => format!("{text} It is in force in a moment."),
    })
}

fn author(member: &Member) -> Author {
    Author::Person(member.visitor.person.id.clone())
}

async fn render(console: &Console, view: View<'_>, became: Became) -> Result<Response, Response> {
    let Became { status, done, unmade, unchanged } = became;
    let View { member, begins, after } = view;
    let (mut rows, has_more) = rows(console, &view).await?;
    let mut problem = None;
    if let Some((id, wrong, named)) = unchanged {
        match rows.iter_mut().find(|row| row.id == id.as_str()) {
            Some(row) => {
                if wrong.at("name").is_some() {
                    row.own_name = named;
                }
                row.problem = Some(wrong);
            }
            None => problem = Some(wrong.text),
        }
    }
    let (wrong, [id, name, plan]) = unmade.map_or_else(
        || (None, [String::new(), String::new(), FIRST_PLAN.to_owned()]),
        |(wrong, typed)| (Some(wrong), typed),
    );
    let next = rows.last().filter(|_| has_more);
    let page_of = Page {
        shell: Shell::of("Accounts", member),
        form_token: member.form_token.clone(),
        done,
        problem,
        form: NewAccount { id, name, plans: plans(console, &plan), problem: wrong },
        begins: begins.to_owned(),
        after: after.to_owned(),
        first: (!(after.is_empty() && begins.is_empty())).then(|| address("/accounts", &[])),
        next: next.map(|row| address("/accounts", &[("begins", begins), ("after", &row.id)])),
        accounts: rows,
    };
    Ok(page(status, &page_of))
}

/// The accounts of a view, and whether there are more behind them.
async fn rows(console: &Console, view: &View<'_>) -> Result<(Vec<Row>, bool), Response> {
    let mut found = found(console, view).await.map_err(|refused| failed(&refused))?;
    let has_more = found.len() > A_PAGE;
    found.truncate(A_PAGE);
    let ids: Vec<AccountId> = found.iter().map(|account| account.id.clone()).collect();
    let people = console.people.count_people(&view.member.visitor, &ids).await;
    let people: HashMap<_, _> = people.map_err(|refusal| answers::failed(&refusal))?.into_iter().collect();
    let row = |account: &Holder| row(console, account, people.get(&account.id).copied().unwrap_or(0));
    Ok((found.iter().map(row).collect(), has_more))
}

/// One account more than a page has. Those that begin alike stand together, as they stand in the order of their ids.
async fn found(console: &Console, View { begins, after, .. }: &View<'_>) -> Result<Vec<Holder>, Refused> {
    let limit = u32::try_from(A_PAGE + 1).unwrap_or(u32::MAX);
    if !after.is_empty() || begins.is_empty() {
        let mut found = console.accounts.accounts(after, limit).await?;
        found.retain(|account| account.id.as_str().starts_with(begins));
        return Ok(found);
    }
    if !is_visible(begins) {
        return Ok(Vec::new());
    }
    let named = match console.accounts.account(&AccountId::new(begins)).await {
        Ok(account) => Some(account),
        Err(refused) if refused.kind() == Kind::Absent => None,
        Err(refused) => return Err(refused),
    };
    let behind = console.accounts.accounts(begins, limit).await?;
    let alike = behind.into_iter().filter(|account| account.id.as_str().starts_with(begins));
    Ok(named.into_iter().chain(alike).collect())
}

fn row(console: &Console, account: &Holder, people: u64) -> Row {
    let id = account.id.to_string();
    let all = console.accounts.plans();
    let plan = all.iter().find(|plan| *plan.name() == account.plan);
    let keys = match plan {
        Some(plan) => {
            format!("{} of at most {} keys", grouped(account.keys), grouped(plan.max_keys().get().into()))
        }
        None => counted(account.keys, "key"),
    };
    let of_it = |path: &str| address(path, &[("account", &id)]);
    Row {
        name: account.name.to_string(),
        own_name: account.name.to_string(),
        plan: account.plan.to_string(),
        plans: plans(console, account.plan.as_str()),
        is_generated: id.starts_with(GENERATED_ACCOUNT),
        is_listed_alone: account.origin == Origin::List,
        created_at: account.created_at.map(|at| at.rfc3339()),
        suspended_at: account.suspended_at.map(|at| at.rfc3339()),
        keys,
        listed_keys: (account.listed_keys > 0).then(|| counted(account.listed_keys, "key")),
        people: if people == 1 { "1 person".to_owned() } else { format!("{} people", grouped(people)) },
        keys_page: of_it("/keys"),
        usage_page: of_it("/usage"),
        cache_page: of_it("/cache"),
        trail_page: of_it("/accounts/audit"),
        people_page: of_it("/settings"),
        problem: None,
        id,
    }
}

fn plans(console: &Console, chosen: &str) -> Vec<Choice> {
    let plans = console.accounts.plans();
    choices(plans.iter().map(|plan| (plan.name().as_str(), plan.name().as_str())), chosen)
}
