//! What is kept of a pod stays small.

use jiff::Timestamp;
use stowage::reaper::watcher::Watcher;

use super::sim::{Sim, at, free, parsed, policy, running};

/// As full as the tables are at 100,000, which have eight times the room.
const PODS: usize = 12_500;

/// The names and namespaces of a usual cluster.
fn feed(watcher: &mut Watcher, started: i64) {
    let mut pod = parsed(&running("p", 0));
    for index in 0..PODS {
        pod.metadata.uid = format!("{:08x}-0000-4000-8000-{index:012x}", index.wrapping_mul(0x9e37_79b1) & 0xffff_ffff);
        pod.metadata.name = format!("training-run-of-a-usual-name-{index:06}-worker-0");
        pod.metadata.namespace = format!("team-{}", index % 25);
        let since: Timestamp = at(started + i64::try_from(index % 3_600).unwrap());
        for container in &mut pod.status.container_statuses {
            container.state.running.as_mut().unwrap().started_at = Some(since);
        }
        watcher.pod(&pod, at(started));
    }
}

#[test]
fn a_tracked_pod_costs_at_most_256_bytes() {
    let mut sim = Sim::new(&policy("{running: 24h, pendingScheduled: 1h, imagePullBackoff: 1h}"), free());
    let watcher = &mut sim.replicas[0];
    let first = allocation_counter::measure(|| feed(watcher, 0)).bytes_current / PODS as i64;
    let moved = allocation_counter::measure(|| (1..=4).for_each(|round| feed(watcher, round * 3_600)));
    let worst = first + moved.bytes_current / PODS as i64;
    println!("{first} B a pod, {worst} B after every deadline moved four times");
    assert!(first > 100, "{first}: nothing was kept");
    assert!(first <= 256 && worst <= 256, "{first} and {worst} B a pod");
}
