use std::time::Duration;

use super::*;

impl Pool {
    /// Room for a client that has no connection.
    pub(crate) fn room_of(&self, last: u8) -> Room {
        Room { pool: self.clone(), address: IpAddr::from([10, 0, 0, last]), entry: None, tenant: None }
    }

    pub(crate) fn free(&self) -> usize {
        self.0.total - self.lock().used
    }
}

fn soon() -> Instant {
    Instant::now() + Duration::from_millis(50)
}

async fn holding(pool: &Pool, last: u8, units: usize) -> Room {
    let mut room = pool.room_of(last);
    room.grow(units, soon()).await.unwrap();
    room
}

async fn waits(room: &mut Room, to: usize) -> bool {
    tokio::time::timeout(Duration::from_millis(20), room.grow(to, Instant::now() + Duration::from_secs(9)))
        .await
        .is_err()
}

#[tokio::test]
async fn an_address_gets_half_and_another_is_served_beside_it() {
    let pool = Pool::new(100, 50);
    let first = holding(&pool, 1, 40).await;
    first.deciding();
    let mut second = pool.room_of(1);
    assert_eq!(second.grow(20, soon()).await, Err(NoRoom));
    drop(second);
    let other = holding(&pool, 2, 50).await;
    assert_eq!(pool.free(), 10);
    drop((first, other));
    assert_eq!(pool.free(), 100);
}

#[tokio::test]
async fn who_waits_is_served_when_room_comes_free() {
    let pool = Pool::new(100, 50);
    let first = holding(&pool, 1, 50).await;
    first.deciding();
    let mut second = pool.room_of(1);
    let release = async {
        tokio::time::sleep(Duration::from_millis(10)).await;
        drop(first);
    };
    let (granted, ()) = tokio::join!(second.grow(30, Instant::now() + Duration::from_secs(5)), release);
    assert_eq!(granted, Ok(()));
    assert_eq!(pool.free(), 70);
}

#[tokio::test]
async fn at_the_full_pool_the_oldest_body_of_who_holds_most_gives_way() {
    let pool = Pool::new(100, 50);
    let oldest = holding(&pool, 1, 20).await;
    let younger = holding(&pool, 1, 25).await;
    let other = holding(&pool, 2, 50).await;
    let largest = holding(&pool, 3, 5).await;
    drop(younger);
    let _younger = holding(&pool, 1, 25).await;
    let mut newcomer = pool.room_of(4);
    // 2 holds most: its body goes, nobody else's.
    assert!(waits(&mut newcomer, 5).await);
    tokio::time::timeout(Duration::from_secs(5), other.taken()).await.unwrap();
    assert!(tokio::time::timeout(Duration::from_millis(5), oldest.taken()).await.is_err());
    drop((other, newcomer));
    assert_eq!(pool.free(), 50);
    drop(largest);
}

#[tokio::test]
async fn a_decision_is_never_interrupted_and_an_answer_that_is_not_read_is() {
    let pool = Pool::new(100, 50);
    let deciding = holding(&pool, 1, 50).await;
    deciding.deciding();
    let mut sending = holding(&pool, 2, 10).await;
    sending.sending(45);
    let mut newcomer = pool.room_of(3);
    assert!(waits(&mut newcomer, 10).await);
    drop(newcomer);
    assert!(tokio::time::timeout(Duration::from_millis(5), deciding.taken()).await.is_err());
    drop(deciding);
    let _other = holding(&pool, 1, 30).await;
    let mut newcomer = pool.room_of(3);
    assert!(waits(&mut newcomer, 30).await);
    tokio::time::timeout(Duration::from_secs(5), sending.taken()).await.unwrap();
}

#[tokio::test]
async fn bodies_of_one_address_that_wait_for_each_other_do_not_wait_for_ever() {
    let pool = Pool::new(100, 50);
    let mut older = holding(&pool, 1, 25).await;
    let mut younger = holding(&pool, 1, 25).await;
    let late = || Instant::now() + Duration::from_secs(5);
    let started = Instant::now();
    let older = async { older.grow(40, late()).await };
    let younger = async {
        let grown = younger.grow(40, late()).await;
        drop(younger);
        grown
    };
    assert_eq!(tokio::join!(older, younger), (Ok(()), Err(NoRoom)));
    assert!(started.elapsed() < Duration::from_secs(1));
}

#[tokio::test]
async fn turns_go_round_between_addresses_however_many_one_asks_for() {
    let pool = Pool::new(1, 1);
    let mut first = pool.room_of(1);
    first.turn(soon()).await.unwrap();
    let order = Arc::new(Mutex::new(Vec::new()));
    let mut asking = tokio::task::JoinSet::new();
    for (index, last) in [1, 1, 1, 1, 2].into_iter().enumerate() {
        let (mut room, order) = (pool.room_of(last), Arc::clone(&order));
        asking.spawn(async move {
            tokio::time::sleep(Duration::from_millis(5 * index as u64)).await;
            room.turn(Instant::now() + Duration::from_secs(5)).await.unwrap();
            order.lock().unwrap().push(last);
        });
    }
    tokio::time::sleep(Duration::from_millis(50)).await;
    drop(first);
    asking.join_all().await;
    let order = order.lock().unwrap().clone();
    assert!(order.iter().position(|last| *last == 2).unwrap() <= 1, "{order:?}");
}
