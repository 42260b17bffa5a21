//! A status that goes on, on a terminal: a bar for each generation that drains.

use std::collections::BTreeMap;

use heirloom::control::{GenerationStatus, ServiceStatus};
use indicatif::{MultiProgress, ProgressBar, ProgressStyle};

use super::table::{by_kind, described, headline, role_name};
use crate::output::whole_time;

/// What is on the terminal.
#[derive(Debug, Default)]
pub(super) struct Bars {
    all: MultiProgress,
    head: Option<ProgressBar>,
    by_process: BTreeMap<u32, ProgressBar>,
}

impl Bars {
    pub(super) fn show(&mut self, status: &ServiceStatus) {
        let restarts = &status.restarts;
        let head = self.head.get_or_insert_with(|| self.all.add(line()));
        head.set_message(format!(
            "{}; restarts: {} settled, {} failed, {} taken back",
            headline(status),
            restarts.settled,
            restarts.failed,
            restarts.taken_back
        ));
        let is_there = |pid: &u32| status.generations.iter().any(|generation| generation.pid == *pid);
        self.by_process.retain(|pid, bar| {
            let stays = is_there(pid);
            if !stays {
                bar.set_style(plain());
                bar.finish_with_message(format!("process {pid} is gone"));
            }
            stays
        });
        for generation in &status.generations {
            let bar = self.by_process.entry(generation.pid).or_insert_with(|| self.all.add(line()));
            update(bar, generation);
        }
    }
}

fn update(bar: &ProgressBar, generation: &GenerationStatus) {
    let who = format!("process {} {}", generation.pid, role_name(generation.role));
    let Some(detail) = &generation.detail else {
        bar.set_message(who);
        return;
    };
    let left: u64 = detail.connections.values().sum();
    match (detail.drained_from, detail.hammer_in_ms) {
        (Some(from), Some(hammer)) => {
            let oldest = detail.oldest.first().map(described).unwrap_or_default();
            bar.set_style(draining());
            bar.set_length(from.max(left));
            bar.set_position(from.saturating_sub(left));
            bar.set_prefix(who);
            bar.set_message(format!("{left} left, hammer in {}; {oldest}", whole_time(hammer)));
        }
        _ => bar.set_message(format!(
            "{who} for {}: {}",
            whole_time(detail.uptime_ms),
            match detail.connections.is_empty() {
                true => "no connections".to_owned(),
                false => by_kind(&detail.connections),
            }
        )),
    }
}

fn line() -> ProgressBar {
    ProgressBar::new(0).with_style(plain())
}

fn plain() -> ProgressStyle {
    ProgressStyle::with_template("{wide_msg}").expect("a template of this program's own")
}

fn draining() -> ProgressStyle {
    ProgressStyle::with_template("{prefix} [{bar:20}] {wide_msg}").expect("a template of this program's own")
}
