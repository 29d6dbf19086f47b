use super::*;

const SHORT: Duration = Duration::from_millis(100);

fn connections(cap: usize) -> Arc<Connections> {
    let limits = Limits { connections: cap, header: SHORT, idle: SHORT * 4, linger: SHORT, ..Limits::default() };
    Connections::new(limits, Arc::new(Metrics::new("test").unwrap()))
}

fn address(last: u8) -> IpAddr {
    IpAddr::from([10, 0, 0, last])
}

fn opened(connections: &Arc<Connections>, last: u8) -> ConnectionPlace {
    let place = connections.admit(address(last)).unwrap();
    place.entry().opened();
    place
}

fn told(place: &ConnectionPlace) -> Option<Order> {
    lock(&place.entry().state).order
}

fn refused(connections: &Connections, why: ConnectionRefusal) -> u64 {
    connections.metrics.connections_refused.total(why)
}

#[tokio::test(start_paused = true)]
async fn the_one_idle_longest_goes_first() {
    let connections = connections(4);
    let places: Vec<_> = (0..4).map(|last| opened(&connections, last)).collect();
    for answered in [1, 0, 3, 2] {
        tokio::time::advance(Duration::from_millis(1)).await;
        drop(places[answered].entry().begin());
    }
    for (newcomer, goes) in [(10, 1), (11, 0)] {
        let place = opened(&connections, newcomer);
        let _busy = Box::leak(Box::new(place)).entry().begin();
        assert_eq!(told(&places[goes]), Some(Order::Finish));
    }
    assert_eq!(told(&places[3]), None);
    assert_eq!(told(&places[2]), None);
    assert_eq!(refused(&connections, ConnectionRefusal::Evicted), 2);
}

#[tokio::test(start_paused = true)]
async fn a_newcomer_is_refused_where_all_are_busy_and_let_in_when_one_is_not() {
    let connections = connections(4);
    let places: Vec<_> = (0..4).map(|last| opened(&connections, last)).collect();
    let mut busy: Vec<_> = places.iter().map(|place| place.entry().begin()).collect();
    busy.iter().for_each(InFlight::deciding);
    assert!(connections.admit(address(9)).is_none());
    assert_eq!(refused(&connections, ConnectionRefusal::Total), 1);
    busy.pop();
    assert!(connections.admit(address(9)).is_some());
}

#[tokio::test(start_paused = true)]
async fn one_address_has_a_quarter_and_evicts_its_own_only() {
    let connections = connections(8);
    let other = opened(&connections, 1);
    tokio::time::advance(Duration::from_millis(1)).await;
    let (first, second) = (opened(&connections, 2), opened(&connections, 2));
    let _third = opened(&connections, 2);
    assert_eq!(told(&first), Some(Order::Abort), "no answer is owed");
    assert_eq!((told(&second), told(&other)), (None, None));
    let mapped: IpAddr = "::ffff:10.0.0.2".parse().unwrap();
    let busy = [second.entry().begin(), _third.entry().begin()];
    assert!(connections.admit(mapped).is_none());
    assert_eq!(refused(&connections, ConnectionRefusal::Address), 1);
    drop(busy);
}

#[tokio::test(start_paused = true)]
async fn the_address_that_holds_most_gives_way_handshake_first_then_idle_then_body() {
    let connections = connections(12);
    let busy = |last| {
        let place = opened(&connections, last);
        let in_flight = place.entry().begin();
        in_flight.deciding();
        (place, in_flight)
    };
    let (body, idle) = (opened(&connections, 1), opened(&connections, 1));
    let _in_flight = body.entry().begin();
    tokio::time::advance(Duration::from_millis(1)).await;
    let handshake = connections.admit(address(1)).unwrap();
    let mut others: Vec<_> = [2, 2, 3, 3, 4, 4, 5, 5, 6].map(busy).into();
    let mut gone = Vec::new();
    for newcomer in 7..10 {
        others.push(busy(newcomer));
        gone.push([&handshake, &idle, &body].map(|place| told(place) == Some(Order::Abort)));
    }
    assert_eq!(gone, [[true, false, false], [true, true, false], [true, true, true]]);
    assert!(others.iter().all(|(place, _)| told(place).is_none()));
    assert!(connections.admit(address(10)).is_none(), "the rest is being decided on");
}

#[tokio::test(start_paused = true)]
async fn nobody_pushes_out_an_address_that_holds_no_more() {
    let connections = connections(8);
    let places: Vec<_> = [1, 1, 2, 2, 3, 3, 4, 4].map(|last| connections.admit(address(last)).unwrap()).into();
    // One more for 4 would be more than a quarter; for 5 it is the first, for 6 too.
    assert!(connections.admit(address(4)).is_none());
    let fifth = connections.admit(address(5)).unwrap();
    let again = connections.admit(address(5)).unwrap();
    assert_eq!(refused(&connections, ConnectionRefusal::Evicted), 2);
    let told_to_go = places.iter().filter(|place| told(place).is_some()).count();
    assert_eq!(told_to_go, 2);
    drop((fifth, again));
}

#[tokio::test(start_paused = true)]
async fn an_address_that_has_had_an_answer_keeps_a_place() {
    let connections = connections(4);
    let mut places = vec![opened(&connections, 1)];
    drop(places[0].entry().begin());
    for last in 2..5 {
        tokio::time::advance(Duration::from_millis(1)).await;
        places.push(opened(&connections, last));
    }
    // The one of 1 is idle longest, and stays.
    let _newcomer = connections.admit(address(9)).unwrap();
    assert_eq!(told(&places[0]), None);
    assert_eq!(told(&places[1]), Some(Order::Abort));
}

#[tokio::test(start_paused = true)]
async fn an_answer_that_nobody_reads_ends_in_time() {
    let connections = connections(4);
    let place = opened(&connections, 1);
    let in_flight = place.entry().begin();
    in_flight.sending();
    tokio::time::advance(connections.limits.answer / 2).await;
    connections.sweep(Instant::now());
    assert_eq!(told(&place), None);
    tokio::time::advance(connections.limits.answer).await;
    connections.sweep(Instant::now());
    assert_eq!(told(&place), Some(Order::Abort));
    assert_eq!(refused(&connections, ConnectionRefusal::SlowReader), 1);
}

#[tokio::test(start_paused = true)]
async fn a_place_is_given_back_also_after_an_eviction() {
    let connections = connections(1);
    for _ in 0..3 {
        let first = opened(&connections, 1);
        let second = opened(&connections, 2);
        drop(first);
        drop(second);
        let open = lock(&connections.open);
        assert!(open.entries.is_empty() && open.by_address.is_empty());
        assert!(open.evicted.is_empty());
    }
    assert_eq!(connections.metrics.connections.get(), 0);
}

#[tokio::test(start_paused = true)]
async fn a_sweep_ends_slow_heads_and_long_idleness_but_no_request() {
    let connections = connections(8);
    let (slow, idle, busy) = (opened(&connections, 1), opened(&connections, 2), opened(&connections, 3));
    let _in_flight = busy.entry().begin();
    busy.entry().heard();
    slow.entry().heard();
    let mut seen = Vec::new();
    for step in [SHORT, SHORT / 10, SHORT * 3, SHORT * 2] {
        tokio::time::advance(step).await;
        connections.sweep(Instant::now());
        seen.push((told(&slow), told(&idle), told(&busy)));
    }
    let (finish, abort) = (Some(Order::Finish), Some(Order::Abort));
    assert_eq!(seen, [(None, None, None), (abort, None, None), (abort, finish, None), (abort, abort, None)]);
}

#[tokio::test(start_paused = true)]
async fn an_evicted_connection_that_stays_is_closed() {
    let connections = connections(1);
    let old = opened(&connections, 1);
    drop(old.entry().begin());
    let _new = opened(&connections, 2);
    assert_eq!(old.entry().order().await, Order::Finish);
    old.entry().lingers();
    tokio::time::advance(SHORT * 2).await;
    connections.sweep(Instant::now());
    assert_eq!(told(&old), Some(Order::Abort));
}
