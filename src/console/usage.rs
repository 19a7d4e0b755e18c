//! The page of what an account used: by time, by model and by key.

use askama::Template;
use axum::extract::State;
use axum::http::StatusCode;
use axum::response::Response;

use crate::console::answers::{Shell, page, told};
use crate::console::asked::Asked;
use crate::console::charts::{Chart, requests, tokens};
use crate::console::entering::Shared;
use crate::console::figures::{Figure, figures};
use crate::console::numbers::{count, money, percent};
use crate::console::ranges::{Ranges, account_suffix};
use crate::console::reports::report;
use crate::usage::summed::Summed;

/// Keys on a page.
const KEYS: u32 = 20;

/// The last page that can be asked for.
const MOST_PAGES: u64 = 1_000_000;

#[derive(Template)]
#[template(path = "usage.html")]
struct Usage {
    shell: Shell,
    account: Option<String>,
    ranges: Ranges,
    figures: Vec<Figure>,
    charts: Vec<Chart>,
    has_prices: bool,
    models: Vec<Line>,
    keys: Vec<KeyLine>,
    /// Where the keys before these are; empty: these are the first.
    before: String,
    /// Where those behind them are; empty: these are the last.
    behind: String,
}

/// A row: what it is about, and its numbers.
struct Line {
    name: String,
    requests: String,
    hit_rate: String,
    used: String,
    saved: String,
    cost: String,
    cost_saved: String,
}

struct KeyLine {
    id: String,
    environment: Option<String>,
    last_used_at: String,
    line: Line,
}

impl Line {
    fn new(name: String, summed: &Summed) -> Self {
        let all = summed.all;
        Self {
            name,
            requests: count(all.requests),
            hit_rate: percent(summed.hit_rate()),
            used: count(all.prompt_tokens.saturating_add(all.completion_tokens)),
            saved: count(all.saved_tokens()),
            cost: money(all.cost),
            cost_saved: money(all.cost_saved),
        }
    }
}

/// The page.
pub(super) async fn show(State(console): Shared, asked: Asked) -> Result<Response, Response> {
    let member = asked.member(&console).await?;
    let Some(account) = asked.account(&member)? else {
        return Ok(page(StatusCode::OK, &Usage::without_account(Shell::of("Usage", &member))));
    };
    let number = match asked.in_query("page") {
        "" => Some(1),
        text => text.parse().ok().filter(|number| (1..=MOST_PAGES).contains(number)),
    };
    let Some(number) = number else {
        return Err(told(StatusCode::BAD_REQUEST, "There is no such page of keys."));
    };
    let offset = (number - 1) * u64::from(KEYS);
    let report = report(&console, &asked, account, (offset, KEYS)).await?;
    let suffix = account_suffix(&report.account, &member);
    let at = |number: u64| format!("/usage?range={}{suffix}&page={number}#keys", report.range.name);
    let model = |(name, summed): (&str, Summed)| {
        let name = if name.is_empty() { "none was named" } else { name };
        Line::new(name.to_owned(), &summed)
    };
    let key = |key: &crate::store::usage::KeyUsage| KeyLine {
        id: key.key.to_string(),
        environment: key.label.environment.as_deref().map(str::to_owned),
        last_used_at: key.last_used_at.rfc3339(),
        line: Line::new(key.label.name.as_deref().unwrap_or("Key without a name").to_owned(), &key.total()),
    };
    let usage = Usage {
        shell: Shell::of("Usage", &member),
        account: Some(report.account.to_string()),
        ranges: Ranges::of("/usage", Some(&report), &member),
        figures: figures(&report),
        charts: vec![requests(&report), tokens(&report)],
        has_prices: report.has_prices,
        models: report.sums.models().into_iter().map(model).collect(),
        keys: report.sums.by_key.iter().map(key).collect(),
        before: if number > 1 { at(number - 1) } else { String::new() },
        behind: if offset + u64::from(KEYS) < report.sums.keys { at(number + 1) } else { String::new() },
    };
    Ok(page(StatusCode::OK, &usage))
}

impl Usage {
    /// The page of an operator who has chosen no account.
    fn without_account(shell: Shell) -> Self {
        Self {
            shell,
            account: None,
            ranges: Ranges::default(),
            figures: Vec::new(),
            charts: Vec::new(),
            has_prices: false,
            models: Vec::new(),
            keys: Vec::new(),
            before: String::new(),
            behind: String::new(),
        }
    }
}
