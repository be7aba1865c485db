//! Counters, gauges and histograms of the process, in Prometheus' text form.
//!
//! Anything may record through the `metrics` crate's macros; the probes serve what [`render`]
//! gives.

use std::sync::OnceLock;

use metrics_exporter_prometheus::{BuildError, Matcher, PrometheusBuilder, PrometheusHandle};

use crate::BoxError;

/// Bounds of all `*_seconds` histograms: from a local query to a request that gave up.
const SECONDS: [f64; 12] = [
    0.001, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0, 2.5, 10.0, 60.0,
];

/// Bounds of all `*_rows` histograms: what is written or read together.
const ROWS: [f64; 10] = [
    1.0, 2.0, 5.0, 10.0, 20.0, 50.0, 100.0, 200.0, 500.0, 1_000.0,
];

/// What became of installing the recorder. The first call installs while others wait for it: one
/// that looked in between would take this process's own recorder for a stranger's.
static HANDLE: OnceLock<Result<PrometheusHandle, String>> = OnceLock::new();

/// Installs the recorder. A second call changes nothing.
///
/// # Errors
/// When another recorder was installed by somebody else.
pub fn install() -> Result<(), BoxError> {
    match HANDLE.get_or_init(|| recorder().map_err(|cause| cause.to_string())) {
        Ok(_) => Ok(()),
        Err(cause) => Err(cause.as_str().into()),
    }
}

fn recorder() -> Result<PrometheusHandle, BuildError> {
    PrometheusBuilder::new()
        .set_buckets_for_metric(Matcher::Suffix("_seconds".to_owned()), &SECONDS)?
        .set_buckets_for_metric(Matcher::Suffix("_rows".to_owned()), &ROWS)?
        .install_recorder()
}

/// What was recorded so far; empty before [`install`].
#[must_use]
pub fn render() -> String {
    match HANDLE.get() {
        Some(Ok(handle)) => handle.render(),
        Some(Err(_)) | None => String::new(),
    }
}

#[cfg(test)]
mod tests {
    use std::sync::Barrier;
    use std::thread;

    #[test]
    fn what_is_counted_is_rendered() {
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

    #[test]
    fn first_calls_at_once_all_find_it_installed() {
        let start = Barrier::new(16);
        let install = || {
            start.wait();
            super::install().map_err(|cause| cause.to_string())
        };
        thread::scope(|scope| {
            let calls: Vec<_> = (0..16).map(|_| scope.spawn(install)).collect();
            for call in calls {
                assert_eq!(call.join().unwrap(), Ok(()));
            }
        });
    }
}
