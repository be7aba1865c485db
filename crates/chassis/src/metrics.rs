//! Counters, gauges and histograms of the process, in Prometheus' text form.
//!
//! Anything may record through the `metrics` crate's macros; the probes serve what [`render`]
//! gives.

use std::sync::OnceLock;

use metrics_exporter_prometheus::{Matcher, PrometheusBuilder, PrometheusHandle};

use crate::BoxError;

/// Bounds of all `*_seconds` histograms: from a local query to a request that gave up.
const SECONDS: [f64; 12] = [
    0.001, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0, 2.5, 10.0, 60.0,
];

static HANDLE: OnceLock<PrometheusHandle> = OnceLock::new();

/// Installs the recorder. A second call changes nothing.
///
/// # Errors
/// When another recorder was installed by somebody else.
pub fn install() -> Result<(), BoxError> {
    if HANDLE.get().is_some() {
        return Ok(());
    }
    let builder = PrometheusBuilder::new()
        .set_buckets_for_metric(Matcher::Suffix("_seconds".to_owned()), &SECONDS)?;
    match builder.install_recorder() {
        Ok(handle) => {
            HANDLE.get_or_init(|| handle);
            Ok(())
        }
        // Two first calls at once: the other one won.
        Err(_) if HANDLE.get().is_some() => Ok(()),
        Err(cause) => Err(cause.into()),
    }
}

/// What was recorded so far; empty before [`install`].
#[must_use]
pub fn render() -> String {
    HANDLE
        .get()
        .map(PrometheusHandle::render)
        .unwrap_or_default()
}

#[cfg(test)]
mod tests {
    #[test]
    fn what_is_counted_is_rendered() {
        super::install().unwrap();
        super::install().unwrap();
        metrics::counter!("chassis_test_total", "outcome" => "fine").increment(3);
        metrics::histogram!("chassis_test_seconds").record(0.02);
        let text = super::render();
        assert!(
            text.contains("chassis_test_total{outcome=\"fine\"} 3"),
            "{text}"
        );
        assert!(text.contains("chassis_test_seconds_bucket"), "{text}");
    }
}
