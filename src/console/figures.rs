//! The figures at the head of a page: a few numbers that sum a report up.

use crate::console::numbers::{count, money, percent};
use crate::console::reports::Report;

/// One number, and what it says.
pub(super) struct Figure {
    /// What it is.
    pub(super) name: &'static str,
    /// The number, with its unit.
    pub(super) text: String,
    /// What it is made of.
    pub(super) detail: String,
}

/// Those of a report.
pub(super) fn figures(report: &Report) -> Vec<Figure> {
    let total = report.sums.total();
    let all = total.all;
    let refused = total.rate_limited.saturating_add(total.errors);
    let mut figures = vec![
        Figure {
            name: "Requests",
            text: count(all.requests),
            detail: match refused {
                0 => "none refused or failed".to_owned(),
                refused => format!("{} refused or failed", count(refused)),
            },
        },
        Figure {
            name: "Hit rate",
            text: percent(total.hit_rate()),
            detail: format!("{} hits, {} misses", count(total.hits()), count(total.misses)),
        },
        Figure {
            name: "Tokens saved",
            text: count(all.saved_tokens()),
            detail: format!("beside {} used", count(all.prompt_tokens.saturating_add(all.completion_tokens))),
        },
    ];
    if report.has_prices {
        figures.push(Figure {
            name: "Money saved",
            text: money(all.cost_saved),
            detail: format!("beside {} spent, at your prices", money(all.cost)),
        });
    }
    figures
}
