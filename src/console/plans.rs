//! The page where operators see what each plan allows.

use askama::Template;
use axum::extract::State;
use axum::http::StatusCode;
use axum::response::Response;

use crate::accounts::holders::MOST_COUNTED;
use crate::console::answers::{Shell, page};
use crate::console::asked::Asked;
use crate::console::entering::Shared;
use crate::console::measures::{counted, grouped, size, span};
use crate::console::refusals::failed;
use crate::ids::PlanName;
use crate::limits::plan::{Per, Plan};

#[derive(Template)]
#[template(path = "plans.html")]
struct Plans {
    shell: Shell,
    plans: Vec<PlanRow>,
    /// Of what there are more accounts than are counted.
    too_many: Option<String>,
    file: Option<String>,
}

struct PlanRow {
    name: String,
    requests_per_minute: String,
    burst: String,
    per: &'static str,
    max_keys: String,
    stored: String,
    accounts: Option<String>,
    /// What the numbers mean.
    meaning: String,
}

/// The page.
pub(super) async fn show(State(console): Shared, asked: Asked) -> Result<Response, Response> {
    let member = asked.operator(&console).await?;
    let counts = console.accounts.count_by_plan().await.map_err(|refused| failed(&refused))?;
    let plans = console.accounts.plans();
    let plans = Plans {
        shell: Shell::of("Plans", &member),
        plans: plans.iter().map(|plan| row(plan, counts.as_deref())).collect(),
        too_many: counts.is_none().then(|| counted(u64::from(MOST_COUNTED), "account")),
        file: console.operated.state().file.map(|file| file.display().to_string()),
    };
    Ok(page(StatusCode::OK, &plans))
}

fn row(plan: &Plan, counts: Option<&[(PlanName, u64)]>) -> PlanRow {
    let (burst, rate) = (u64::from(plan.burst().get()), u64::from(plan.requests_per_minute().get()));
    let (per, whose) = match plan.per() {
        Per::Key => ("key", "A rested key"),
        Per::Account => ("account", "All keys of an account together, once rested,"),
    };
    let on_it = |counts: &[(PlanName, u64)]| {
        counts.iter().find(|(name, _)| name == plan.name()).map_or(0, |(_, count)| *count)
    };
    PlanRow {
        name: plan.name().to_string(),
        requests_per_minute: format!("{} / min", grouped(rate)),
        burst: counted(burst, "request"),
        per,
        max_keys: counted(u64::from(plan.max_keys().get()), "key"),
        stored: size(plan.stored_bytes()),
        accounts: counts.map(|counts| counted(on_it(counts), "account")),
        meaning: format!(
            "{whose} may ask {} at once, then {} a minute; from empty to full takes {}.",
            grouped(burst),
            grouped(rate),
            span(plan.rate().fill_time())
        ),
    }
}
