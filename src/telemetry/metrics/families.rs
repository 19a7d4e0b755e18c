//! Families of metrics, made and registered in one step.

use prometheus::{IntGauge, IntGaugeVec, Opts, Registry};

use crate::telemetry::metrics::counted::{self, Counter, CounterVec, HistogramVec};

pub(super) fn counters(
    registry: &Registry,
    name: &str,
    help: &str,
    labels: &[&str],
) -> Result<CounterVec, prometheus::Error> {
    let family = counted::counters(described(name, help, labels))?;
    registry.register(Box::new(family.clone()))?;
    Ok(family)
}

pub(super) fn counter(registry: &Registry, name: &str, help: &str) -> Result<Counter, prometheus::Error> {
    Ok(counters(registry, name, help, &[])?.with_label_values::<&str>(&[]))
}

pub(super) fn gauges(
    registry: &Registry,
    name: &str,
    help: &str,
    labels: &[&str],
) -> Result<IntGaugeVec, prometheus::Error> {
    let family = IntGaugeVec::new(Opts::new(name, help), labels)?;
    registry.register(Box::new(family.clone()))?;
    Ok(family)
}

pub(super) fn gauge(registry: &Registry, name: &str, help: &str) -> Result<IntGauge, prometheus::Error> {
    let gauge = IntGauge::with_opts(Opts::new(name, help))?;
    registry.register(Box::new(gauge.clone()))?;
    Ok(gauge)
}

pub(super) fn histograms(
    registry: &Registry,
    name: &str,
    help: &str,
    labels: &[&str],
    bounds: &'static [f64],
) -> Result<HistogramVec, prometheus::Error> {
    let family = counted::histograms(described(name, help, labels), bounds)?;
    registry.register(Box::new(family.clone()))?;
    Ok(family)
}

fn described(name: &str, help: &str, labels: &[&str]) -> Opts {
    Opts::new(name, help).variable_labels(labels.iter().map(|label| (*label).to_owned()).collect())
}
