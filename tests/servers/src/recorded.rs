//! What a recorder of metrics holds, as lines.

use metrics_util::debugging::{DebugValue, Snapshotter};

/// `NAME{LABEL} VALUE`, and of a histogram how many values there are. Reading them sets them to zero.
pub(crate) fn lines(snapshotter: &Snapshotter) -> Vec<String> {
    let shown = snapshotter.snapshot().into_vec().into_iter().map(|(key, _, _, value)| {
        let labels: Vec<_> =
            key.key().labels().map(|label| format!("{}={}", label.key(), label.value())).collect();
        let value = match value {
            DebugValue::Counter(count) => count.to_string(),
            DebugValue::Gauge(value) => value.to_string(),
            DebugValue::Histogram(values) => format!("count {}", values.len()),
        };
        format!("{}{{{}}} {value}", key.key().name(), labels.join(","))
    });
    shown.collect()
}
