//! Every order of events, breadth first.

use std::collections::HashMap;
use std::hash::{DefaultHasher, Hash, Hasher};
use std::time::{Duration, Instant};

use super::world::{PROBATION, Settings, Step, World};

/// What a walk went over.
#[derive(Debug)]
struct Walked {
    states: usize,
    steps: usize,
    depth: usize,
    /// Whether there is no state left that was not looked at.
    complete: bool,
}

/// Goes through every state that is at most `depth` steps away.
fn walk(settings: Settings, depth: usize) -> Walked {
    let start = World::new(Instant::now(), settings);
    let mut trail: Vec<(usize, Option<Step>)> = vec![(0, None)];
    let mut seen = HashMap::from([(fingerprint(&start), 0)]);
    let mut by_itself: Vec<(usize, usize)> = Vec::new();
    let mut frontier = vec![(0, start)];
    let mut walked = Walked { states: 1, steps: 0, depth: 0, complete: false };
    while walked.depth < depth && !frontier.is_empty() {
        walked.depth += 1;
        for (from, world) in std::mem::take(&mut frontier) {
            let steps = world.steps();
            if steps.iter().all(|step| step.is_input())
                && let Err(broken) = world.holds_at_rest()
            {
                fail(&trail, from, None, &broken, &world);
            }
            for step in steps {
                walked.steps += 1;
                let mut next = world.clone();
                if let Err(broken) = next.take(step) {
                    fail(&trail, from, Some(step), &broken, &next);
                }
                let number = *seen.entry(fingerprint(&next)).or_insert_with(|| {
                    trail.push((from, Some(step)));
                    frontier.push((trail.len() - 1, next));
                    trail.len() - 1
                });
                if !step.is_input() {
                    by_itself.push((from, number));
                }
            }
        }
    }
    walked.states = trail.len();
    walked.complete = frontier.is_empty();
    comes_to_rest(walked.states, &by_itself);
    walked
}

/// G5: without a step from outside no state comes again, so that everything that happens by itself ends.
fn comes_to_rest(states: usize, by_itself: &[(usize, usize)]) {
    let mut into = vec![0_usize; states];
    let mut out = vec![Vec::new(); states];
    for &(from, to) in by_itself {
        into[to] += 1;
        out[from].push(to);
    }
    let mut free: Vec<usize> = (0..states).filter(|state| into[*state] == 0).collect();
    let mut ordered = 0;
    while let Some(state) = free.pop() {
        ordered += 1;
        for &next in &out[state] {
            into[next] -= 1;
            if into[next] == 0 {
                free.push(next);
            }
        }
    }
    assert_eq!(ordered, states, "G5: some states come again by themselves");
}

fn fail(
    trail: &[(usize, Option<Step>)],
    mut at: usize,
    last: Option<Step>,
    broken: &str,
    world: &World,
) -> ! {
    let mut steps = Vec::from_iter(last);
    while let (before, Some(step)) = trail[at] {
        steps.push(step);
        at = before;
    }
    steps.reverse();
    panic!("{broken}, after {steps:?}\n{world:#?}");
}

/// 64 bits stand for a state: that any two of a million share them has a chance of one in thirty million, and the
/// same states meet again in the other walks under other numbers.
fn fingerprint(world: &World) -> u64 {
    let mut hasher = DefaultHasher::new();
    world.hash(&mut hasher);
    hasher.finish()
}

#[test]
fn two_generations_whole() {
    for probation in [PROBATION, Duration::ZERO] {
        let walked = walk(Settings { probation, processes: 2, clock: false }, usize::MAX);
        println!("{probation:?}: {walked:?}");
    }
}

#[test]
fn three_generations() {
    for probation in [PROBATION, Duration::ZERO] {
        let walked = walk(Settings { probation, processes: 3, clock: false }, 17);
        println!("{probation:?}: {walked:?}");
    }
}
#[test]
#[ignore]
fn three_generations_far() {
    for probation in [PROBATION, Duration::ZERO] {
        for depth in [22, 26, 30] {
            let walked = walk(Settings { probation, processes: 3, clock: false }, depth);
            println!("{probation:?}: {walked:?}");
        }
    }
}
