//! The connection to Redis: when it is there, and when it is given up.

use std::num::NonZeroU32;
use std::sync::Arc;
use std::time::Duration;

use safecache::clock::Clock;
use safecache::cluster::link::{ANSWER_WAIT, Link, Unanswered};
use safecache::cluster::names::Names;
use safecache::cluster::roll::{RedisRoll, Roll, RollCall};
use safecache::config::cluster::{Engine, EngineUrl};
use safecache::ids::ReplicaId;

use crate::support::client::DEADLINE;
use crate::support::fault_proxy::FaultProxy;
use crate::support::redis::Redis;
use crate::support::stopwatch::Stopwatch;

/// A link over `proxy`, which is kept by the current runtime.
fn link(proxy: &FaultProxy) -> Arc<Link> {
    let url = EngineUrl::parse(Engine::Redis, &format!("redis://{}", proxy.address())).unwrap();
    let link = Link::new(&url, Names::new(None), Clock::system(), ANSWER_WAIT).unwrap();
    tokio::spawn(Arc::clone(&link).keep());
    link
}

async fn until_up(link: &Link) {
    let mut changes = link.subscribe();
    let waiting = changes.wait_for(|is_up| *is_up);
    tokio::time::timeout(DEADLINE, waiting).await.expect("in time").expect("the link is there");
}

async fn until_down(link: &Link) {
    let mut changes = link.subscribe();
    let waiting = changes.wait_for(|is_up| !*is_up);
    tokio::time::timeout(DEADLINE, waiting).await.expect("in time").expect("the link is there");
}

async fn ping(link: &Link) -> Result<String, Unanswered> {
    link.ask(&redis::cmd("PING")).await
}

#[tokio::test]
async fn a_broken_connection_is_given_up_and_comes_back() {
    let server = Redis::start();
    let proxy = FaultProxy::before(server.address());
    let link = link(&proxy);
    until_up(&link).await;
    assert_eq!(ping(&link).await.unwrap(), "PONG");
    proxy.cut();
    assert!(matches!(ping(&link).await, Err(Unanswered::Failed(_) | Unanswered::Down)));
    until_down(&link).await;
    assert!(matches!(ping(&link).await, Err(Unanswered::Down)));
    proxy.pass();
    until_up(&link).await;
    assert_eq!(ping(&link).await.unwrap(), "PONG");
}

#[tokio::test]
async fn a_slow_server_is_as_good_as_none() {
    let server = Redis::start();
    let proxy = FaultProxy::before(server.address());
    let link = link(&proxy);
    until_up(&link).await;
    proxy.slow(Duration::from_millis(200));
    let mut asked = 0;
    while link.is_up() {
        let begun = Stopwatch::start();
        assert!(matches!(ping(&link).await, Err(Unanswered::Late)));
        assert!(begun.elapsed() >= ANSWER_WAIT);
        asked += 1;
    }
    assert_eq!(asked, 3, "so many answers in a row come too late");
    // Nothing is known of a server that takes connections and answers late.
    assert!(matches!(ping(&link).await, Err(Unanswered::Down)));
    proxy.pass();
    until_up(&link).await;
}

#[tokio::test]
async fn a_server_that_says_nothing_is_given_up_and_one_that_forgot_all_is_not() {
    let mut server = Redis::start();
    let proxy = FaultProxy::before(server.address());
    let link = link(&proxy);
    until_up(&link).await;
    proxy.stall();
    let asked = futures_util::future::join_all((0..100).map(|_| ping(&link))).await;
    assert!(asked.iter().all(|answer| matches!(answer, Err(Unanswered::Late | Unanswered::Failed(_)))));
    until_down(&link).await;
    server.restart_empty();
    proxy.cut();
    proxy.pass();
    until_up(&link).await;
    // The script is not known there any more, and is taken there again.
    let call = RedisRoll::new(Arc::clone(&link));
    assert_eq!(call.beat(&ReplicaId::new("gw_a")).await, Some(1));
}

#[tokio::test]
async fn a_server_that_may_not_be_written_to_serves_nobody() {
    let (leader, replica) = (Redis::start(), Redis::start());
    let proxy = FaultProxy::before(leader.address());
    let link = link(&proxy);
    until_up(&link).await;
    leader.ask(&["REPLICAOF", "127.0.0.1", &replica.address().port().to_string()]);
    let mut write = redis::cmd("SET");
    write.arg("a").arg("b");
    let refused = link.ask::<String>(&write).await.unwrap_err();
    assert!(refused.to_string().starts_with("READONLY"), "{refused}");
    until_down(&link).await;
    proxy.lead_to(replica.address());
    until_up(&link).await;
    assert_eq!(link.ask::<String>(&write).await.unwrap(), "OK");
}

#[tokio::test]
async fn the_roll_counts_who_was_there_lately() {
    let server = Redis::start();
    let proxy = FaultProxy::before(server.address());
    let link = link(&proxy);
    until_up(&link).await;
    let call = RedisRoll::new(Arc::clone(&link));
    let replicas = ["gw_a", "gw_b", "gw_c"].map(ReplicaId::new);
    for (seen, replica) in (1..).zip(&replicas) {
        assert_eq!(call.beat(replica).await, Some(seen));
        assert_eq!(call.beat(replica).await, Some(seen), "once each");
    }
    call.leave(&replicas[0]).await;
    assert_eq!(call.beat(&replicas[1]).await, Some(2));
    // Of long ago, by the server's clock.
    server.ask(&["ZADD", "sc:1:replicas", "1000", "gw_old"]);
    assert_eq!(call.beat(&replicas[1]).await, Some(2));
    let roll = Roll::new(NonZeroU32::new(5).unwrap());
    assert_eq!((roll.replicas().get(), roll.seen()), (5, 0));
    let (end, ended) = tokio::sync::watch::channel(false);
    let keeping = tokio::spawn(roll.clone().keep(Arc::new(call), replicas[0].clone(), ended));
    server_sees(&server, "3").await;
    end.send_replace(true);
    keeping.await.unwrap();
    assert_eq!(server.ask(&["ZCARD", "sc:1:replicas"]), ":2", "it said that it leaves");
    assert_eq!((roll.replicas().get(), roll.seen()), (5, 3), "at least as many as are configured");
}

async fn server_sees(server: &Redis, replicas: &str) {
    let begun = Stopwatch::start();
    while server.ask(&["ZCARD", "sc:1:replicas"]) != format!(":{replicas}") {
        assert!(begun.elapsed() < DEADLINE, "not so many");
        tokio::task::yield_now().await;
    }
}
