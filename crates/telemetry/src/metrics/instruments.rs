//! The kinds of metrics. Their types take only what the metric is made of.

use std::{marker::PhantomData, time::Duration};

use ::metrics::{Label as Series, counter, describe_counter, describe_gauge, describe_histogram, gauge, histogram};

use super::Kind;

/// All values that a label may have.
pub trait Label: Copy + PartialEq + Send + Sync + 'static {
    const NAME: &'static str;
    const ALL: &'static [Self];

    fn value(self) -> &'static str;
}

fn series<L: Label>(label: L) -> Vec<Series> {
    vec![Series::from_static_parts(L::NAME, label.value())]
}

/// No label, or one.
pub trait Labels {
    const LABEL: Option<&'static str>;

    fn every_series() -> Vec<Vec<Series>>;
}

impl Labels for () {
    const LABEL: Option<&'static str> = None;

    fn every_series() -> Vec<Vec<Series>> {
        vec![Vec::new()]
    }
}

impl<L: Label> Labels for L {
    const LABEL: Option<&'static str> = Some(L::NAME);

    fn every_series() -> Vec<Vec<Series>> {
        L::ALL.iter().map(|label| series(*label)).collect()
    }
}

/// Only grows.
pub struct Counter<L = ()> {
    name: &'static str,
    labels: PhantomData<fn(L)>,
}

impl<L: Labels> Counter<L> {
    pub(super) const KIND: Kind = Kind::Counter;
    pub(super) const LABEL: Option<&'static str> = L::LABEL;

    pub(super) const fn new(name: &'static str) -> Self {
        Self { name, labels: PhantomData }
    }

    pub(super) fn start_at_zero(&self, help: &'static str) {
        describe_counter!(self.name, help);
        for series in L::every_series() {
            counter!(self.name, series).increment(0);
        }
    }
}

impl Counter {
    pub fn add(&self, count: u64) {
        counter!(self.name).increment(count);
    }
}

impl<L: Label> Counter<L> {
    pub fn add(&self, label: L, count: u64) {
        counter!(self.name, series(label)).increment(count);
    }
}

/// A number that comes and goes.
pub struct Gauge<L = ()> {
    name: &'static str,
    labels: PhantomData<fn(L)>,
}

impl<L: Labels> Gauge<L> {
    pub(super) const KIND: Kind = Kind::Gauge;
    pub(super) const LABEL: Option<&'static str> = L::LABEL;

    pub(super) const fn new(name: &'static str) -> Self {
        Self { name, labels: PhantomData }
    }

    pub(super) fn start_at_zero(&self, help: &'static str) {
        describe_gauge!(self.name, help);
        for series in L::every_series() {
            gauge!(self.name, series).increment(0.0);
        }
    }
}

impl Gauge {
    pub fn set(&self, value: u64) {
        gauge!(self.name).set(value as f64);
    }
}

impl<L: Label> Gauge<L> {
    pub fn set(&self, label: L, value: u64) {
        gauge!(self.name, series(label)).set(value as f64);
    }

    /// Counts anew: what each item is; labels that none has become 0.
    pub fn count(&self, items: impl IntoIterator<Item = L>) {
        let mut counts = vec![0; L::ALL.len()];
        for item in items {
            if let Some(place) = L::ALL.iter().position(|label| *label == item) {
                counts[place] += 1;
            }
        }
        for (label, count) in L::ALL.iter().zip(counts) {
            self.set(*label, count);
        }
    }
}

/// 1 for what is so, 0 for what is not.
pub struct Flag(Gauge);

impl Flag {
    pub(super) const KIND: Kind = Kind::Gauge;
    pub(super) const LABEL: Option<&'static str> = None;

    pub(super) const fn new(name: &'static str) -> Self {
        Self(Gauge::new(name))
    }

    pub(super) fn start_at_zero(&self, help: &'static str) {
        self.0.start_at_zero(help);
    }

    pub fn set(&self, is_so: bool) {
        self.0.set(u64::from(is_so));
    }
}

/// 1 for the present one of some states, 0 for the others.
pub struct OneOf<L>(Gauge<L>);

impl<L: Label> OneOf<L> {
    pub(super) const KIND: Kind = Kind::Gauge;
    pub(super) const LABEL: Option<&'static str> = Some(L::NAME);

    pub(super) const fn new(name: &'static str) -> Self {
        Self(Gauge::new(name))
    }

    pub(super) fn start_at_zero(&self, help: &'static str) {
        self.0.start_at_zero(help);
    }

    pub fn is(&self, state: L) {
        self.0.count([state]);
    }
}

/// Times, in seconds, as a histogram.
pub struct Time<L = ()> {
    name: &'static str,
    labels: PhantomData<fn(L)>,
}

impl<L: Labels> Time<L> {
    pub(super) const KIND: Kind = Kind::Histogram;
    pub(super) const LABEL: Option<&'static str> = L::LABEL;

    pub(super) const fn new(name: &'static str) -> Self {
        Self { name, labels: PhantomData }
    }

    pub(super) fn start_at_zero(&self, help: &'static str) {
        describe_histogram!(self.name, help);
        for series in L::every_series() {
            // It is there from now on, with no observations.
            let _ = histogram!(self.name, series);
        }
    }
}

impl Time {
    pub fn observe(&self, time: Duration) {
        histogram!(self.name).record(time.as_secs_f64());
    }
}

impl<L: Label> Time<L> {
    pub fn observe(&self, label: L, time: Duration) {
        histogram!(self.name, series(label)).record(time.as_secs_f64());
    }
}

/// Which program this is: always 1, its version is a label.
pub struct Build(&'static str);

impl Build {
    pub(super) const KIND: Kind = Kind::Gauge;
    pub(super) const LABEL: Option<&'static str> = Some("version");

    pub(super) const fn new(name: &'static str) -> Self {
        Self(name)
    }

    pub(super) fn start_at_zero(&self, help: &'static str) {
        describe_gauge!(self.0, help);
    }

    pub(super) fn show(&self) {
        // All programs of the workspace have one version.
        gauge!(self.0, "version" => env!("CARGO_PKG_VERSION")).set(1.0);
    }
}
