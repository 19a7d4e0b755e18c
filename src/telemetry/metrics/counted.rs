//! Counters and histograms as prometheus has them, but for one thing: each worker counts for itself, and what all have
//! counted is summed when it is read.

use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, OnceLock};
use std::time::Duration;

use prometheus::core::{Describer, Metric, MetricVec, MetricVecBuilder, Opts};
use prometheus::{Error, proto};

use crate::clock::nanos;
use crate::spread::Spread;

/// The most bounds of a histogram: with the count beyond them and the sum, what a worker writes fills two cache lines.
const BOUNDS: usize = 14;

/// Counters of one name that differ in their labels.
pub(super) type CounterVec = MetricVec<CounterOf>;

/// Histograms of one name that differ in their labels.
pub(super) type HistogramVec = MetricVec<HistogramOf>;

/// A count that only grows. Clones share it.
#[derive(Clone, Debug)]
pub struct Counter(Arc<Count>);

#[derive(Debug)]
struct Count {
    labels: Vec<proto::LabelPair>,
    cells: Spread<AtomicU64>,
}

/// How many spans of time are within each of a few bounds, and their sum. Clones share it.
#[derive(Clone, Debug)]
pub struct Histogram(Arc<Spans>);

#[derive(Debug)]
struct Spans {
    labels: Vec<proto::LabelPair>,
    bounds: Bounds,
    /// Made for the first span: most combinations of labels never have one.
    cells: OnceLock<Spread<Cells>>,
}

/// What one worker writes.
#[derive(Debug, Default)]
struct Cells {
    /// Those within each bound that are beyond the one before, and last those beyond all.
    spans: [AtomicU64; BOUNDS + 1],
    /// In nanoseconds.
    sum: AtomicU64,
}

/// Upper bounds, rising, as they are told and in nanoseconds.
#[derive(Clone, Debug)]
struct Bounds {
    seconds: &'static [f64],
    nanos: Arc<[u64]>,
}

/// Makes counters.
#[derive(Clone, Debug)]
pub(super) struct CounterOf;

/// Makes histograms.
#[derive(Clone, Debug)]
pub(super) struct HistogramOf(Bounds);

/// # Errors
/// A name or label that cannot be one.
pub(super) fn counters(opts: Opts) -> Result<CounterVec, Error> {
    MetricVec::create(proto::MetricType::COUNTER, CounterOf, opts)
}

/// Histograms with the upper `bounds`, in seconds: rising, and at most 14.
///
/// # Errors
/// A name or label that cannot be one.
pub(super) fn histograms(opts: Opts, bounds: &'static [f64]) -> Result<HistogramVec, Error> {
    let nanos = bounds.iter().map(|bound| nanos(Duration::from_secs_f64(*bound))).collect();
    MetricVec::create(proto::MetricType::HISTOGRAM, HistogramOf(Bounds { seconds: bounds, nanos }), opts)
}

impl Counter {
    /// One more.
    pub fn inc(&self) {
        self.inc_by(1);
    }

    /// So many more.
    pub fn inc_by(&self, more: u64) {
        self.0.cells.mine().fetch_add(more, Ordering::Relaxed);
    }

    /// What all workers have counted.
    pub fn get(&self) -> u64 {
        sum(self.0.cells.all())
    }
}

impl Histogram {
    /// One more span.
    pub fn observe(&self, span: Duration) {
        let nanos = nanos(span);
        let cells = self.0.cells.get_or_init(Spread::default).mine();
        let place = self.0.bounds.nanos.iter().take_while(|bound| **bound < nanos).count();
        if let Some(spans) = cells.spans.get(place) {
            spans.fetch_add(1, Ordering::Relaxed);
        }
        cells.sum.fetch_add(nanos, Ordering::Relaxed);
    }

    fn told(&self) -> proto::Histogram {
        let all = || self.0.cells.get().into_iter().flat_map(Spread::all);
        let within = |place: usize| sum(all().filter_map(|cells| cells.spans.get(place)));
        let mut so_far = 0;
        let buckets = self.0.bounds.seconds.iter().enumerate().map(|(place, bound)| {
            so_far += within(place);
            let mut bucket = proto::Bucket::default();
            bucket.set_upper_bound(*bound);
            bucket.set_cumulative_count(so_far);
            bucket
        });
        let mut told = proto::Histogram::default();
        told.set_bucket(buckets.collect());
        told.set_sample_count(so_far + within(self.0.bounds.seconds.len()));
        let sums = all().map(|cells| Duration::from_nanos(cells.sum.load(Ordering::Relaxed)).as_secs_f64());
        // The sum of none would be told as `-0`.
        told.set_sample_sum(sums.fold(0.0, |sum, more| sum + more));
        told
    }
}

impl Metric for Counter {
    fn metric(&self) -> proto::Metric {
        let mut counter = proto::Counter::default();
        // Exact up to 2^53.
        counter.set_value(self.get() as f64);
        let mut metric = proto::Metric::from_label(self.0.labels.clone());
        metric.set_counter(counter);
        metric
    }
}

impl Metric for Histogram {
    fn metric(&self) -> proto::Metric {
        let mut metric = proto::Metric::from_label(self.0.labels.clone());
        metric.set_histogram(self.told());
        metric
    }
}

impl MetricVecBuilder for CounterOf {
    type M = Counter;
    type P = Opts;

    fn build<V: AsRef<str>>(&self, opts: &Opts, values: &[V]) -> Result<Counter, Error> {
        Ok(Counter(Arc::new(Count { labels: labels(opts, values)?, cells: Spread::default() })))
    }
}

impl MetricVecBuilder for HistogramOf {
    type M = Histogram;
    type P = Opts;

    fn build<V: AsRef<str>>(&self, opts: &Opts, values: &[V]) -> Result<Histogram, Error> {
        let (labels, bounds) = (labels(opts, values)?, self.0.clone());
        Ok(Histogram(Arc::new(Spans { labels, bounds, cells: OnceLock::new() })))
    }
}

/// The labels as they are told: by their names.
fn labels<V: AsRef<str>>(opts: &Opts, values: &[V]) -> Result<Vec<proto::LabelPair>, Error> {
    let names = opts.describe()?.variable_labels;
    let mut pairs: Vec<_> = names
        .into_iter()
        .zip(values)
        .map(|(name, value)| {
            let mut pair = proto::LabelPair::default();
            pair.set_name(name);
            pair.set_value(value.as_ref().to_owned());
            pair
        })
        .collect();
    pairs.sort();
    Ok(pairs)
}

fn sum<'a>(cells: impl Iterator<Item = &'a AtomicU64>) -> u64 {
    cells.fold(0, |sum, cell| sum.wrapping_add(cell.load(Ordering::Relaxed)))
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use prometheus::core::Opts;
    use prometheus::{Encoder, Histogram, HistogramOpts, IntCounterVec, Registry, TextEncoder};

    use super::{counters, histograms};
    use crate::spread::begin_worker;

    const BOUNDS: [f64; 4] = [0.000_01, 0.001, 0.25, 1.0];

    fn text(registry: &Registry) -> String {
        let mut text = Vec::new();
        TextEncoder::new().encode(&registry.gather(), &mut text).unwrap();
        String::from_utf8(text).unwrap()
    }

    fn on_workers(work: impl Fn(usize) + Sync) {
        std::thread::scope(|scope| {
            for number in 0..4 {
                let work = &work;
                scope.spawn(move || {
                    begin_worker(number);
                    work(number);
                });
            }
        });
    }

    #[test]
    fn what_workers_count_is_told_as_if_they_had_one_counter() {
        let (ours, theirs) = (Registry::new(), Registry::new());
        let opts = || Opts::new("requests_total", "Requests.").variable_labels(vec!["z".into(), "a".into()]);
        let counted = counters(opts()).unwrap();
        let expected = IntCounterVec::new(Opts::new("requests_total", "Requests."), &["z", "a"]).unwrap();
        ours.register(Box::new(counted.clone())).unwrap();
        theirs.register(Box::new(expected.clone())).unwrap();
        assert_eq!(text(&ours), text(&theirs), "none without a label");
        on_workers(|number| {
            counted.with_label_values(&["1", "2"]).inc();
            counted.with_label_values(&["1", "1"]).inc_by(number as u64);
            expected.with_label_values(&["1", "2"]).inc();
            expected.with_label_values(&["1", "1"]).inc_by(number as u64);
        });
        assert_eq!((counted.with_label_values(&["1", "2"]).get(), text(&ours)), (4, text(&theirs)));
        counted.remove_label_values(&["1", "1"]).unwrap();
        expected.remove_label_values(&["1", "1"]).unwrap();
        assert_eq!(text(&ours), text(&theirs));
    }

    #[test]
    fn spans_fall_within_the_same_bounds_as_in_prometheus_own_histogram() {
        let (ours, theirs) = (Registry::new(), Registry::new());
        let family = histograms(Opts::new("seconds", "Seconds."), &BOUNDS).unwrap();
        let expected =
            Histogram::with_opts(HistogramOpts::new("seconds", "Seconds.").buckets(BOUNDS.to_vec())).unwrap();
        ours.register(Box::new(family.clone())).unwrap();
        theirs.register(Box::new(expected.clone())).unwrap();
        let observed = family.with_label_values::<&str>(&[]);
        assert_eq!(text(&ours), text(&theirs), "without a span");
        let spans = [0, 10_000, 10_001, 1_000_000, 250_000_000, 250_000_001, 1_000_000_000, 8_000_000_000];
        on_workers(|number| observed.observe(Duration::from_nanos(spans[number])));
        on_workers(|number| observed.observe(Duration::from_nanos(spans[number + 4])));
        spans.iter().for_each(|nanos| expected.observe(Duration::from_nanos(*nanos).as_secs_f64()));
        let told = |registry| {
            let text = text(registry);
            let lines = text.lines().filter(|line| !line.starts_with("seconds_sum"));
            lines.map(str::to_owned).collect::<Vec<_>>()
        };
        assert_eq!(told(&ours), told(&theirs));
        let sum: f64 = spans.iter().map(|nanos| Duration::from_nanos(*nanos).as_secs_f64()).sum();
        assert!((observed.told().get_sample_sum() - sum).abs() < 1e-9);
    }
}
