//! What a decision costs as a pod grows fourfold at a time, in every way alone and in every two, up to the largest pod that
//! the API server would store or that is not refused for its size, against the largest policies.
//!
//! Processor time of the thread, so that a busy machine does not count, and the most memory at once. It fails where a
//! step costs more than 4.5 times as much as the one before (small costs aside), or a decision more than 50 ms.
//!
//! `cargo bench -p stowage-benches --bench growth [-- alone]`

#![expect(clippy::unwrap_used, reason = "a benchmark has nobody to tell but the one who runs it")]

#[path = "../tests/core/growth/shapes.rs"]
mod shapes;

use std::{process::ExitCode, time::Duration};

use cpu_time::ThreadTime;
use shapes::{Way, largest, review};
use stowage::{
    admission::admit,
    policy::{loaded::Loaded, snapshot::Snapshot},
};

const LIMIT: Duration = Duration::from_millis(50);
const TIMES: f64 = 4.5;
/// Below this what does not grow is most of the cost, and the clock's own grain the rest.
const SMALL: Duration = Duration::from_micros(500);

/// What one decision took.
struct Cost {
    time: Duration,
    memory: u64,
    body: usize,
    answer: usize,
}

fn cost(text: &str, snapshot: &Snapshot) -> Cost {
    let mut answer = 0;
    let mut decide = || answer = admit(text.as_bytes(), snapshot).unwrap().body.len();
    let memory = allocation_counter::measure(&mut decide).bytes_max;
    let times = (0..5).map(|_| {
        let begun = ThreadTime::now();
        decide();
        begun.elapsed()
    });
    let time = times.min().unwrap();
    Cost { time, memory, body: text.len(), answer }
}

/// The cost of a sixty-fourth, a sixteenth, a fourth and the whole; whether it stays in bounds.
fn grow(what: &str, ways: &[Way], snapshot: &Snapshot) -> bool {
    let mut is_within = true;
    let mut before: Option<Duration> = None;
    let mut line = format!("{what:42}");
    for part in [64, 16, 4, 1] {
        let most = |way: &Way| (*way, way.most() / part / ways.len());
        let sizes: Vec<(Way, usize)> = ways.iter().map(most).collect();
        let Cost { time, memory, body, answer } = cost(&review(&sizes), snapshot);
        let times = before.map_or(0.0, |before| time.as_secs_f64() / before.max(SMALL).as_secs_f64());
        let is_over = times > TIMES || time > LIMIT;
        is_within &= !is_over;
        line += &format!(
            "  {:6.2} ms x{times:<4.1} {:5} KB in {:5} KB out {:5.1} MiB{}",
            time.as_secs_f64() * 1e3,
            body / 1000,
            answer / 1000,
            memory as f64 / f64::from(1 << 20),
            if is_over { " OVER" } else { "" }
        );
        before = Some(time);
    }
    println!("{line}");
    is_within
}

fn main() -> ExitCode {
    let alone = std::env::args().any(|word| word == "alone");
    let mut is_within = true;
    for (count, mode, conflict) in [(1, "prevent", "Keep"), (1, "constrain", "Override"), (10, "prevent", "Keep")] {
        println!("{count} of the largest policies, preemption {mode}, onConflict {conflict}");
        let mut loaded = Loaded::default();
        loaded.add("growth", &largest(count, mode, conflict));
        assert!(loaded.errors.is_empty(), "{:?}", loaded.errors.first());
        let snapshot = loaded.snapshot();
        for (place, one) in Way::ALL.into_iter().enumerate() {
            is_within &= grow(&format!("{one:?}"), &[one], &snapshot);
            for other in Way::ALL.into_iter().skip(place + 1).filter(|_| !alone) {
                is_within &= grow(&format!("{one:?} and {other:?}"), &[one, other], &snapshot);
            }
        }
    }
    if is_within { ExitCode::SUCCESS } else { ExitCode::FAILURE }
}
