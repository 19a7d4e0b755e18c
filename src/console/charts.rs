//! Charts: tables of numbers over time, which a script draws. Without one the tables are there to be read.

use crate::console::numbers::{count, percent};
use crate::console::reports::Report;
use crate::store::usage::Step;
use crate::usage::record::Hour;
use crate::usage::summed::Summed;

/// A chart over time.
pub(super) struct Chart {
    /// What tells it from others on its page.
    pub(super) id: &'static str,
    /// What it shows.
    pub(super) title: &'static str,
    /// What its numbers count, behind each.
    pub(super) unit: &'static str,
    /// How it is drawn: `bars` that stand on each other, or a `line` for each column.
    pub(super) kind: &'static str,
    /// What its rows are, as the head of their column.
    pub(super) step: &'static str,
    /// Its columns.
    pub(super) columns: Vec<Column>,
    /// Its rows, in the order of time.
    pub(super) rows: Vec<Row>,
}

/// A column: one line of a chart, or one colour of its bars.
pub(super) struct Column {
    /// What it counts.
    pub(super) name: &'static str,
    /// The custom property of the style that colours it.
    pub(super) tone: &'static str,
}

/// What was counted in one step of time.
pub(super) struct Row {
    /// When it begins: a time, or a day of UTC.
    pub(super) at: String,
    /// In the order of the columns.
    pub(super) cells: Vec<Cell>,
}

/// A number.
pub(super) struct Cell {
    /// For the script; empty: there is none.
    pub(super) value: String,
    /// For people.
    pub(super) text: String,
}

fn whole(number: u64) -> Cell {
    Cell { value: number.to_string(), text: count(number) }
}

fn share(share: Option<f64>) -> Cell {
    let value = share.map(|share| format!("{:.2}", share * 100.0)).unwrap_or_default();
    Cell { value, text: percent(share) }
}

/// A chart of a report, one row a step.
fn chart(
    report: &Report,
    (id, title): (&'static str, &'static str),
    (kind, unit): (&'static str, &'static str),
    columns: Vec<Column>,
    cells: impl Fn(&Summed) -> Vec<Cell>,
) -> Chart {
    let (step, is_days) = match report.range.step {
        Step::Hour => ("Hour", false),
        Step::Day => ("Day (UTC)", true),
    };
    let at = |hour: Hour| {
        let time = hour.start().rfc3339();
        if is_days { time.split('T').next().unwrap_or_default().to_owned() } else { time }
    };
    let series = report.sums.series(report.period, report.range.step);
    let rows = series.iter().map(|(hour, summed)| Row { at: at(*hour), cells: cells(summed) }).collect();
    Chart { id, title, unit, kind, step, columns, rows }
}

/// Requests, by what became of them.
pub(super) fn requests(report: &Report) -> Chart {
    let columns = vec![
        Column { name: "Hits", tone: "--tone-good" },
        Column { name: "Misses", tone: "--tone-plain" },
        Column { name: "Not cached", tone: "--tone-faint" },
        Column { name: "Cache API and other", tone: "--tone-other" },
        Column { name: "Rate limited", tone: "--tone-warn" },
        Column { name: "Errors", tone: "--tone-bad" },
    ];
    chart(report, ("requests", "Requests"), ("bars", "requests"), columns, |summed| {
        let other = summed.stores.saturating_add(summed.other);
        [summed.hits(), summed.misses, summed.uncached, other, summed.rate_limited, summed.errors]
            .map(whole)
            .into()
    })
}

/// How many of those that were looked up were found.
pub(super) fn hit_rate(report: &Report) -> Chart {
    let columns = vec![Column { name: "Hit rate", tone: "--tone-good" }];
    chart(report, ("hit-rate", "Hit rate"), ("line", "%"), columns, |summed| vec![share(summed.hit_rate())])
}

/// Tokens that models read and wrote, and those that they did not have to.
pub(super) fn tokens(report: &Report) -> Chart {
    let columns = vec![
        Column { name: "Saved", tone: "--tone-good" },
        Column { name: "Prompt", tone: "--tone-plain" },
        Column { name: "Completion", tone: "--tone-other" },
    ];
    chart(report, ("tokens", "Tokens saved and used"), ("bars", "tokens"), columns, |summed| {
        let all = summed.all;
        [all.saved_tokens(), all.prompt_tokens, all.completion_tokens].map(whole).into()
    })
}
