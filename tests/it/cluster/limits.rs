//! One key's limit over several gateways, as processes of their own on one real Redis: contract §3 step 5 for all of them
//! together.

use std::net::SocketAddr;
use std::sync::Mutex;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use tempfile::TempDir;

use crate::cluster::pass;
use crate::support::client::{Answer, Client, eventually};
use crate::support::fault_proxy::FaultProxy;
use crate::support::gateway::{key, secret};
use crate::support::process::Process;
use crate::support::redis::Redis;
use crate::support::stopwatch::Stopwatch;
use crate::support::turn::turn;

/// What a gateway says of its Redis.
const UP: &str = "redis: ok";
const DOWN: &str = "redis: cannot be asked";

/// A gateway on a Redis of which it is told by a line of its own.
struct Member {
    process: Process,
    line: FaultProxy,
    _folder: TempDir,
}

impl Member {
    /// One of `replicas` gateways. No route: whoever is admitted gets a 404, which takes a token.
    fn start(redis: SocketAddr, replicas: u32, more: &str) -> Self {
        let folder = TempDir::new().unwrap();
        let line = FaultProxy::before(redis);
        let yaml = format!(
            "threads: 1\nlimits: {{max_requests_per_connection: 100000000}}\n\
             plans: {{slow: {{requests_per_minute: 60, burst: 20}}}}\n\
             cluster: {{redis: 'redis://{}', replicas: {replicas}{more}}}\nkeys:\n{}{}",
            line.address(),
            key("pro", "plan: pro"),
            key("slow", "plan: slow"),
        );
        let process = Process::serve(folder.path(), &yaml);
        let member = Self { process, line, _folder: folder };
        member.until_told(UP);
        member
    }

    fn until_told(&self, says: &str) {
        eventually(says, || self.process.ask_admin("/readyz").text().contains(says));
    }

    fn ask(&self, client: &mut Client, id: &str) -> Answer {
        client.get("/x", &secret(id))
    }
}

fn members(redis: &Redis, count: u32) -> Vec<Member> {
    (0..count).map(|_| Member::start(redis.address(), count, "")).collect()
}

/// What came of asking through all of them.
#[derive(Clone, Copy, Debug, Default)]
struct Came {
    admitted: u64,
    alone: u64,
    asked: u64,
    slowest: Duration,
}

/// Asks through all members at once, as fast as they answer, while `meanwhile` goes on; how long that was.
fn drive(members: &[Member], id: &'static str, meanwhile: impl FnOnce()) -> (Came, Duration) {
    let begun = Stopwatch::start();
    let is_over = AtomicBool::new(false);
    let all = Mutex::new(Came::default());
    std::thread::scope(|scope| {
        for member in members {
            let (is_over, all) = (&is_over, &all);
            scope.spawn(move || {
                let mut client = member.process.connect();
                let mut came = Came::default();
                while !is_over.load(Ordering::Relaxed) {
                    let asked = Stopwatch::start();
                    let answer = member.ask(&mut client, id);
                    came.slowest = came.slowest.max(asked.elapsed());
                    came.asked += 1;
                    came.admitted += u64::from(answer.status == 404);
                    came.alone += u64::from(answer.header("x-safecache-limits").is_some());
                    assert!(matches!(answer.status, 404 | 429), "{answer:?}");
                }
                let mut all = all.lock().unwrap();
                all.admitted += came.admitted;
                all.alone += came.alone;
                all.asked += came.asked;
                all.slowest = all.slowest.max(came.slowest);
            });
        }
        meanwhile();
        is_over.store(true, Ordering::Relaxed);
    });
    (all.into_inner().unwrap(), begun.elapsed())
}

/// What the plan `pro` admits in `time` from a full bucket.
fn due(time: Duration) -> f64 {
    1000.0 + 10.0 * time.as_secs_f64()
}

fn questions(members: &[Member]) -> f64 {
    let answered = "safecache_limit_questions_total{result=\"answered\"}";
    members.iter().map(|member| member.process.metric(answered)).sum()
}

#[test]
fn a_key_passes_what_its_plan_allows_through_all_gateways_together() {
    let _turn = turn();
    let redis = Redis::start();
    let members = members(&redis, 4);
    let (came, took) = drive(&members, "pro", || pass(Duration::from_secs(4)));
    let most = due(took);
    let asked = questions(&members);
    println!(
        "admitted {} of {most:.1} due in {took:?}, {} asked, {asked} questions: {:.4} a request, {:.3} one admitted",
        came.admitted,
        came.asked,
        asked / came.asked as f64,
        asked / came.admitted as f64,
    );
    // A machine that has no time for Redis to answer within 50 ms is one without it.
    let (more, part) = if came.alone == 0 { (0.0, 0.98) } else { (4.0, 0.9) };
    assert!(came.admitted as f64 <= most + more, "{came:?} in {took:?}: more than {most}");
    assert!(came.admitted as f64 >= part * most, "{came:?} in {took:?}: less than {part} of {most}");
}

#[test]
fn what_is_left_is_told_alike_by_all_but_for_what_others_have_leased() {
    let _turn = turn();
    let redis = Redis::start();
    let members = members(&redis, 3);
    let begun = Stopwatch::start();
    let mut clients: Vec<Client> = members.iter().map(|member| member.process.connect()).collect();
    for spent in 1..=600_u64 {
        let which = usize::try_from(spent % 3).unwrap();
        let answer = members[which].ask(&mut clients[which], "pro");
        if answer.header("x-safecache-limits").is_some() {
            continue;
        }
        let told = answer.header("ratelimit").and_then(|told| told.split("r=").nth(1)?.split(';').next());
        let left: u64 = told.and_then(|left| left.parse().ok()).unwrap_or_else(|| panic!("{answer:?}"));
        // A lease is a sixth of what there is at most, and two others have one: unspent, or spent unseen.
        let (leases, refilled) = (2.0 * 167.0, 10.0 * begun.elapsed().as_secs_f64() + 1.0);
        let least = (1000 - spent) as f64 - leases;
        let most = ((1000 - spent) as f64 + refilled + leases).min(1000.0);
        assert!(least <= left as f64 && left as f64 <= most, "{left} after {spent}: {least} to {most}");
    }
}

/// Has all of them go on alone, and then together again, whatever `fails` and `heals` do to their lines.
fn alone_for_a_while(fails: impl Fn(&FaultProxy), heals: impl Fn(&FaultProxy)) -> (Came, Duration) {
    let _turn = turn();
    let redis = Redis::start();
    let members = members(&redis, 4);
    drive(&members, "pro", || {
        pass(Duration::from_millis(1500));
        members.iter().for_each(|member| fails(&member.line));
        members.iter().for_each(|member| member.until_told(DOWN));
        pass(Duration::from_millis(2500));
        members.iter().for_each(|member| heals(&member.line));
        members.iter().for_each(|member| member.until_told(UP));
        pass(Duration::from_millis(1500));
    })
}

#[track_caller]
fn holds(what: &str, (came, took): (Came, Duration), more: f64) {
    let most = due(took);
    println!(
        "{what}: admitted {} of {most:.1} due in {took:?} and {more:.1} by the loss; {came:?}",
        came.admitted
    );
    // A lease of one may be on its way to each.
    assert!(came.admitted as f64 <= most + more + 4.0, "{what}: {came:?} in {took:?}, {most} were due");
    assert!(came.admitted as f64 >= 0.9 * most, "{what}: {came:?} in {took:?}, {most} were due");
    assert!(came.slowest < Duration::from_secs(5), "{what}: {came:?}");
}

#[test]
fn without_redis_each_keeps_to_its_part_and_pays_for_it_when_it_is_back() {
    let cut = alone_for_a_while(FaultProxy::cut, FaultProxy::pass);
    assert!(cut.0.alone > 0, "{cut:?}");
    holds("cut", cut, 0.0);
    let slow = alone_for_a_while(|line| line.slow(Duration::from_millis(200)), FaultProxy::pass);
    assert!(slow.0.alone > 0, "{slow:?}");
    holds("slow", slow, 0.0);
}

#[test]
fn a_redis_that_flaps_multiplies_nothing() {
    let _turn = turn();
    let redis = Redis::start();
    let members = members(&redis, 4);
    let came = drive(&members, "pro", || {
        for _ in 0..5 {
            pass(Duration::from_millis(300));
            members.iter().for_each(|member| member.line.cut());
            pass(Duration::from_millis(200));
            members.iter().for_each(|member| member.line.pass());
        }
        members.iter().for_each(|member| member.until_told(UP));
        // Who was cut off alone has passed its part beside the others, and that is paid for now.
        pass(Duration::from_millis(1500));
    });
    holds("flapping", came, 0.0);
}

#[test]
fn a_redis_that_comes_back_empty_is_told_what_is_known() {
    let _turn = turn();
    let mut redis = Redis::start();
    let members = members(&redis, 4);
    let came = drive(&members, "pro", || {
        pass(Duration::from_millis(1500));
        redis.restart_empty();
        members.iter().for_each(|member| member.until_told(UP));
        pass(Duration::from_millis(1500));
    });
    holds("restarted empty", came, 0.0);
}

#[test]
fn a_redis_that_fails_over_to_one_that_lags_is_told_what_is_known() {
    let _turn = turn();
    let (leader, follower) = (Redis::start(), Redis::start());
    let replication = FaultProxy::before(leader.address());
    follower.ask(&["REPLICAOF", "127.0.0.1", &replication.address().port().to_string()]);
    eventually("it follows", || synced(&follower));
    let members = members(&leader, 4);
    let lag = Duration::from_millis(1000);
    let came = drive(&members, "pro", || {
        pass(Duration::from_millis(1500));
        replication.stall();
        pass(lag);
        follower.ask(&["REPLICAOF", "NO", "ONE"]);
        members.iter().for_each(|member| member.line.lead_to(follower.address()));
        members.iter().for_each(|member| member.until_told(UP));
        pass(Duration::from_millis(1500));
    });
    holds("failed over", came, 10.0 * lag.as_secs_f64());
}

fn synced(follower: &Redis) -> bool {
    follower.ask(&[
        "EVAL",
        "return redis.call('INFO', 'replication'):find('master_link_status:up') and 1 or 0",
        "0",
    ]) == ":1"
}

#[test]
fn what_passes_without_redis_is_as_configured() {
    let redis = Redis::start();
    for (policy, status) in [("open", 404), ("closed", 429)] {
        let member = Member::start(redis.address(), 2, &format!(", without_redis: {policy}"));
        let mut client = member.process.connect();
        assert_eq!(member.ask(&mut client, "slow").header("x-safecache-limits"), None);
        member.line.cut();
        member.until_told(DOWN);
        for _ in 0..100 {
            let answer = member.ask(&mut client, "slow");
            assert_eq!(
                (answer.status, answer.header("x-safecache-limits")),
                (status, Some(policy)),
                "{answer:?}"
            );
        }
        member.line.pass();
        member.until_told(UP);
        eventually("it is asked again", || {
            member.ask(&mut client, "slow").header("x-safecache-limits").is_none()
        });
    }
}
