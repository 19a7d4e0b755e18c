//! One key's limit over several gateways, as processes of their own on one real Redis: contract §3 step 5 for all of them
//! together.

use std::net::SocketAddr;
use std::sync::mpsc::channel;
use std::sync::{Arc, Mutex};
use std::time::{Duration, Instant};

use tempfile::TempDir;

use crate::support::client::{Answer, Client, eventually};
use crate::support::fault_proxy::FaultProxy;
use crate::support::gateway::{key, secret};
use crate::support::process::Process;
use crate::support::redis::Redis;

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
        member.until_up(true);
        member
    }

    fn until_up(&self, is_up: bool) {
        let says = if is_up { "redis: ok" } else { "redis: cannot be asked" };
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
    let begun = Instant::now();
    let is_over = std::sync::atomic::AtomicBool::new(false);
    let all = Mutex::new(Came::default());
    std::thread::scope(|scope| {
        for member in members {
            let (is_over, all) = (&is_over, &all);
            scope.spawn(move || {
                let mut client = member.process.connect();
                let mut came = Came::default();
                while !is_over.load(std::sync::atomic::Ordering::Relaxed) {
                    let asked = Instant::now();
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
        is_over.store(true, std::sync::atomic::Ordering::Relaxed);
    });
    (all.into_inner().unwrap(), begun.elapsed())
}

/// Lets so much time pass.
fn pass(time: Duration) {
    let (_held, never) = channel::<()>();
    assert!(never.recv_timeout(time).is_err());
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
    assert_eq!(came.alone, 0, "{came:?}");
    assert!(came.admitted as f64 <= most, "{came:?} in {took:?}: more than {most}");
    assert!(came.admitted as f64 >= 0.98 * most, "{came:?} in {took:?}: less than 98 % of {most}");
}
