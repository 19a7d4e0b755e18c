//! Replicas, a Redis and the network between them, in time that is told. Everything happens in one thread and by one seed:
//! the same seed is the same run.

use std::cmp::{Ordering, Reverse};
use std::collections::{BinaryHeap, VecDeque};
use std::num::NonZeroU32;

use ahash::AHashMap;
use fastrand::Rng;
use safecache::cluster::bucket::{answer, call};
use safecache::cluster::names::Names;
use safecache::ids::KeyId;
use safecache::limits::lease::{IDLE, Lease, Taken};
use safecache::limits::limiter::Owner;
use safecache::limits::link::{Link, WhenDown};
use safecache::limits::question::{Asking, Due, Failure, Heard, Question};

use super::account::Account;
use super::load::Load;
use super::model::{Redis, State};
use super::{MS, SECOND, time};

/// How long a replica waits for an answer.
const PATIENCE: u64 = 50 * MS;

/// How long a message is on its way at most, where nothing slows it.
const LONGEST_WAY: u64 = 2 * MS;

/// So often a replica looks at what is due, and whether a Redis that it gave up is back.
const WALK: u64 = 500 * MS;
/// So many questions in a row that fail open the breaker.
const FAILURES: u32 = 3;
/// A replica that has crashed is counted for so long.
const HEARTBEAT: u64 = 10 * SECOND;

pub(crate) struct Setup {
    pub(crate) seed: u64,
    pub(crate) replicas: usize,
    /// Requests a minute and burst; keys have them by turns.
    pub(crate) plans: Vec<(u32, u32)>,
    pub(crate) keys: u32,
    pub(crate) load: Load,
    pub(crate) requests_a_second: f64,
    pub(crate) trouble: Vec<(u64, Trouble)>,
}

/// What is checked while and after Redis is away.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Bound {
    /// The plan, and the parts that are known to come on top.
    Parts,
    /// The plan alone, as long as nobody reaches Redis.
    Strict,
}

/// What happens to Redis, the network and the replicas.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Trouble {
    /// Redis does not answer; what reaches it is lost.
    Down,
    /// It answers again.
    Up,
    /// Another that is empty answers.
    Empty,
    /// A replica of it that lagged by so much answers, whose clock is off by so much.
    Failover(u64, i64),
    /// Each message takes so much longer.
    Slow(u64),
    /// Of a thousand messages so many are lost.
    Lossy(u64),
    /// One replica reaches Redis no more.
    CutOff(usize),
    Joined(usize),
    Crash(usize),
    Start(usize),
}

/// Where a token was.
#[derive(Clone, Copy, PartialEq, Eq)]
enum From {
    Lease,
    Share,
}

/// What a replica has of one key.
struct Held {
    lease: Lease,
    flight: Option<u64>,
    waiting: Vec<u64>,
    /// Spent without Redis and not charged yet, and the part of it while others were served.
    local: u64,
    local_alone: u64,
    /// What others had been granted and had returned when this one was answered last.
    seen: (u64, u64),
    is_untold: bool,
    is_idle_listed: bool,
    is_alone_listed: bool,
}

#[derive(Default)]
struct Replica {
    is_alive: bool,
    is_cut_off: bool,
    life: u64,
    crashed: u64,
    origin: u64,
    held: AHashMap<u32, Held>,
    idle: VecDeque<(u64, u32)>,
    alone: VecDeque<u32>,
    replicas: Option<NonZeroU32>,
    failures: u32,
    first_failure: u64,
    down_since: Option<u64>,
    told: u64,
}

struct Message {
    replica: usize,
    life: u64,
    key: u32,
    number: u64,
    question: Question,
    /// What the charge settles.
    local: u64,
    local_alone: u64,
    reply: [i64; 6],
    server: u64,
    seen: (u64, u64),
}

enum Event {
    Request,
    AtRedis(Box<Message>),
    Answered(Box<Message>),
    Patience { replica: usize, life: u64, key: u32, number: u64 },
    Walk { replica: usize, life: u64 },
    ProbeAtRedis { replica: usize, life: u64 },
    ProbeAnswered { replica: usize, life: u64, sent: u64 },
    Trouble(Trouble),
}

struct At(u64, u64, Event);

/// What is counted of a run.
#[derive(Clone, Copy, Debug, Default)]
pub(crate) struct Counts {
    pub(crate) requests: u64,
    pub(crate) admitted: u64,
    pub(crate) alone: u64,
    pub(crate) questions: u64,
    pub(crate) waited: u64,
    /// The most by which the remaining figure was off.
    pub(crate) off: u64,
}

pub(crate) struct World {
    setup: Setup,
    rng: Rng,
    pub(crate) now: u64,
    number: u64,
    events: BinaryHeap<Reverse<At>>,
    replicas: Vec<Replica>,
    pub(crate) accounts: Vec<Account>,
    redis: Redis,
    server: u64,
    offset: i64,
    is_up: bool,
    slow: u64,
    lossy: u64,
    /// What the buckets were before each of the last calls, for as long as a server may lag.
    log: VecDeque<(u64, u32, Option<State>, u64)>,
    lag: u64,
    /// Whether the figure that requests are told can be checked: nothing was lost.
    is_calm: bool,
    /// Whether no bound grows by what is spent while nobody reaches Redis.
    pub(crate) bound: Bound,
    pub(crate) counts: Counts,
}

impl World {
    pub(crate) fn new(setup: Setup) -> Self {
        let accounts = (0..setup.keys as usize).map(|key| {
            let (per_minute, burst) = setup.plans[key % setup.plans.len()];
            Account::new(per_minute, burst)
        });
        let lag = setup.trouble.iter().filter_map(|(_, trouble)| match trouble {
            Trouble::Failover(lag, _) => Some(*lag),
            _ => None,
        });
        let mut world = Self {
            rng: Rng::with_seed(setup.seed),
            now: 0,
            number: 0,
            events: BinaryHeap::new(),
            replicas: (0..setup.replicas).map(|_| Replica::default()).collect(),
            accounts: accounts.collect(),
            redis: Redis::default(),
            server: 1,
            offset: 0,
            is_up: true,
            slow: 0,
            lossy: 0,
            log: VecDeque::new(),
            lag: lag.max().unwrap_or(0),
            is_calm: setup.trouble.is_empty(),
            bound: Bound::Parts,
            counts: Counts::default(),
            setup,
        };
        for (at, trouble) in world.setup.trouble.clone() {
            world.at(at, Event::Trouble(trouble));
        }
        (0..world.setup.replicas).for_each(|replica| world.start(replica));
        world.at(0, Event::Request);
        world
    }

    /// Lets time pass until `end`.
    pub(crate) fn run_until(&mut self, end: u64) {
        while self.events.peek().is_some_and(|Reverse(At(at, ..))| *at <= end) {
            let Some(Reverse(At(at, _, event))) = self.events.pop() else {
                return;
            };
            self.now = at;
            self.happen(event);
        }
        self.now = end;
    }

    fn at(&mut self, at: u64, event: Event) {
        self.number += 1;
        self.events.push(Reverse(At(at, self.number, event)));
    }

    fn happen(&mut self, event: Event) {
        match event {
            Event::Request => {
                let gap = -self.rng.f64().max(1e-12).ln() / self.setup.requests_a_second;
                self.at(self.now + (gap * 1e9) as u64, Event::Request);
                let key = self.setup.load.pick(&mut self.rng);
                let replica = self.rng.usize(..self.replicas.len());
                if self.replicas[replica].is_alive {
                    self.request(replica, key);
                }
            }
            Event::AtRedis(message) => self.at_redis(message),
            Event::Answered(message) => self.answered(*message),
            Event::Patience { replica, life, key, number } => {
                let is_lost = self.replicas[replica].life == life
                    && self.replicas[replica].held.get(&key).is_some_and(|held| held.flight == Some(number));
                if is_lost {
                    self.out_of_patience(replica, key);
                }
            }
            Event::Walk { replica, life } => {
                if self.replicas[replica].life == life && self.replicas[replica].is_alive {
                    self.at(self.now + WALK, Event::Walk { replica, life });
                    self.walk(replica);
                }
            }
            Event::ProbeAtRedis { replica, life } => {
                let sent = self.now;
                self.send(replica, Event::ProbeAnswered { replica, life, sent });
            }
            Event::ProbeAnswered { replica, life, sent } => {
                let is_in_time = self.now - sent <= PATIENCE / 2;
                if self.replicas[replica].life == life && is_in_time {
                    self.replicas[replica].down_since = None;
                    self.replicas[replica].failures = 0;
                    self.replicas[replica].replicas = Some(self.living());
                    self.walk(replica);
                }
            }
            Event::Trouble(trouble) => self.trouble(trouble),
        }
    }

    /// Sends something to Redis or from there; `false`: it is lost.
    fn send(&mut self, replica: usize, event: Event) -> bool {
        let delay = self.rng.u64(MS / 10..LONGEST_WAY) + self.slow;
        let is_lost = !self.is_up || self.replicas[replica].is_cut_off || self.rng.u64(..1000) < self.lossy;
        if !is_lost {
            self.at(self.now + delay, event);
        }
        !is_lost
    }

    // === a replica ===

    fn start(&mut self, replica: usize) {
        let origin = self.rng.u64(SECOND..1000 * SECOND);
        let first_walk = self.now + self.rng.u64(..WALK);
        let it = &mut self.replicas[replica];
        let (life, is_cut_off, crashed) = (it.life + 1, it.is_cut_off, it.crashed);
        *it = Replica { is_alive: true, life, origin, is_cut_off, crashed, ..Replica::default() };
        let living = self.living();
        self.replicas[replica].replicas = Some(living);
        self.at(first_walk, Event::Walk { replica, life });
    }

    /// Replicas that live, as their heartbeats tell.
    fn living(&self) -> NonZeroU32 {
        let counts = |it: &&Replica| it.is_alive || (it.crashed > 0 && self.now < it.crashed + HEARTBEAT);
        NonZeroU32::new(self.replicas.iter().filter(counts).count() as u32).unwrap_or(NonZeroU32::MIN)
    }

    fn link(&self, replica: usize) -> Link {
        let it = &self.replicas[replica];
        let replicas = it.replicas.expect("it was started");
        match it.down_since {
            Some(since) => Link::Down { since: time(since + it.origin), replicas, policy: WhenDown::Share },
            None => Link::Up { replicas },
        }
    }

    /// The link for a request that waits no longer.
    fn link_alone(&self, replica: usize) -> Link {
        let it = &self.replicas[replica];
        let since = it.down_since.unwrap_or(it.first_failure);
        let since = time(since + it.origin);
        Link::Down { since, replicas: it.replicas.expect("it was started"), policy: WhenDown::Share }
    }

    fn request(&mut self, replica: usize, key: u32) {
        self.counts.requests += 1;
        self.accounts[key as usize].offer(self.now);
        let rate = self.accounts[key as usize].rate;
        self.replicas[replica].held.entry(key).or_insert_with(|| Held {
            lease: Lease::new(rate),
            flight: None,
            waiting: Vec::new(),
            local: 0,
            local_alone: 0,
            seen: (0, 0),
            is_untold: false,
            is_idle_listed: false,
            is_alone_listed: false,
        });
        self.decide(replica, key, self.link(replica));
    }

    /// Takes one token, or lets the request wait.
    fn decide(&mut self, replica: usize, key: u32, link: Link) {
        let it = &self.replicas[replica];
        let now = time(self.now + it.origin);
        loop {
            let lease = &self.replicas[replica].held[&key].lease;
            let before = lease.unspent();
            let taken = lease.take(link, now);
            let from = if lease.unspent() < before { From::Lease } else { From::Share };
            match taken {
                Taken::Decided(decision) | Taken::Low(decision) => {
                    if self.is_calm {
                        self.check_remaining(replica, key, decision.level());
                    }
                    if decision.wait().is_none() {
                        self.admit(replica, key, from);
                    }
                    if let (Taken::Low(_), Link::Up { replicas }) = (taken, link) {
                        let question = self.replicas[replica].held[&key].lease.ask_ahead(replicas, now);
                        question.into_iter().for_each(|question| self.ask(replica, key, question));
                    }
                    return;
                }
                Taken::Ask => {
                    let Link::Up { replicas } = link else { panic!("asks without Redis, {}", self.seed()) };
                    let held = self.replicas[replica].held.get_mut(&key).expect("it is asked for");
                    let waiting = NonZeroU32::MIN.saturating_add(held.waiting.len() as u32);
                    match held.lease.ask(waiting, replicas, now) {
                        Asking::Again => continue,
                        Asking::Theirs => held.waiting.push(self.now),
                        Asking::Mine(question) => {
                            held.waiting.push(self.now);
                            self.ask(replica, key, question);
                        }
                    }
                    self.counts.waited += 1;
                    return;
                }
                Taken::Retired => panic!("no plan changes here, {}", self.seed()),
            }
        }
    }

    fn admit(&mut self, replica: usize, key: u32, from: From) {
        self.counts.admitted += 1;
        let others_are_served = self.is_up && {
            let serves = |(other, it): (usize, &Replica)| {
                other != replica && it.is_alive && !it.is_cut_off && it.down_since.is_none()
            };
            from == From::Lease || self.replicas.iter().enumerate().any(serves)
        };
        let account = &mut self.accounts[key as usize];
        if from == From::Lease {
            account.spend(self.now);
        } else {
            self.counts.alone += 1;
            account.spend_alone(self.now);
            let it = &mut self.replicas[replica];
            let replicas = it.replicas.map_or(1, |replicas| u64::from(replicas.get()));
            let burst = (account.tau / account.interval) as u64;
            account.parts.indivisible = account.parts.indivisible.max(replicas.saturating_sub(burst));
            let held = it.held.get_mut(&key).expect("it was asked for");
            held.local += 1;
            held.local_alone += u64::from(others_are_served);
            if !held.is_alone_listed {
                held.is_alone_listed = true;
                it.alone.push_back(key);
            }
        }
        let pending = if (self.bound == Bound::Strict) && !others_are_served { 0 } else { account.pending() };
        let beyond = account.beyond() - pending;
        assert!(
            beyond <= 0,
            "key {key} is {beyond} ns beyond its plan at {} ms; {:?}, {}",
            self.now / MS,
            account.parts,
            self.setup.seed
        );
    }

    /// What is told to be left is what is left, but for what others hold and have been granted since.
    fn check_remaining(&mut self, replica: usize, key: u32, told: u64) {
        let (held, account) = (&self.replicas[replica].held[&key], &self.accounts[key as usize]);
        let here = i128::from(held.lease.unspent());
        let debt = self.redis.debt(key, self.redis_now());
        // What comes back to a full bucket is no more than it holds.
        let most = account.tau / account.interval;
        let truth = ((account.tau - debt).max(0) / account.interval + account.out()).min(most);
        let granted = i128::from(account.granted - held.seen.0);
        let returned = i128::from(account.returned - held.seen.1);
        let (told, elsewhere) = (i128::from(told), account.out() - here);
        // What came to be while the answer was on its way is not told.
        let on_way = i128::from(LONGEST_WAY + self.slow) / account.interval;
        // The request itself may have been counted on one side only, and time rounds.
        let is_true = told <= truth + granted + 1 && truth <= told + elsewhere + returned + on_way + 2;
        assert!(
            is_true,
            "key {key} has {truth}, is told {told}; elsewhere {elsewhere}, granted {granted}, {}",
            self.seed()
        );
        self.counts.off = self.counts.off.max((told - truth).unsigned_abs() as u64);
    }

    fn ask(&mut self, replica: usize, key: u32, question: Question) {
        self.counts.questions += 1;
        self.number += 1;
        let number = self.number;
        let it = &mut self.replicas[replica];
        let life = it.life;
        let held = it.held.get_mut(&key).expect("it asks");
        held.flight = Some(number);
        let (local, local_alone) = (held.local, held.local_alone);
        let (reply, server, seen, returned) = ([0; 6], self.server, (0, 0), question.returned);
        let message =
            Message { replica, life, key, number, question, local, local_alone, reply, server, seen };
        self.at(self.now + PATIENCE, Event::Patience { replica, life, key, number });
        if !self.send(replica, Event::AtRedis(Box::new(message))) {
            self.accounts[key as usize].lose(u64::from(returned), self.now);
        }
    }

    fn answered(&mut self, message: Message) {
        let Message { replica, life, key, number, reply, server, seen, question, .. } = message;
        let granted = reply[3] as u64;
        self.accounts[key as usize].on_way -= granted + u64::from(question.charged);
        let it = &mut self.replicas[replica];
        // What a server had said that is no more ended with its connections.
        let is_heard = it.life == life && server == self.server;
        let held = it.held.get_mut(&key).filter(|held| held.flight == Some(number) && is_heard);
        let Some(held) = held else {
            self.accounts[key as usize].not_heard(granted, u64::from(question.charged), self.now);
            return;
        };
        assert!(granted <= u64::from(question.want));
        held.flight = None;
        held.seen = seen;
        it.failures = 0;
        let now = time(self.now + it.origin);
        let heard = held.lease.answered(&answer(&reply).expect("a reply"), now);
        if held.lease.unspent() > 0 && !held.is_idle_listed {
            held.is_idle_listed = true;
            it.idle.push_back((self.now + IDLE.as_nanos() as u64, key));
        }
        let waiting = std::mem::take(&mut held.waiting);
        for _ in waiting {
            self.decide(replica, key, self.link(replica));
        }
        if heard == Heard::Loss && self.now > self.replicas[replica].told + SECOND {
            self.tell_all(replica);
        }
    }

    /// Redis has lost something: whatever is known is told.
    fn tell_all(&mut self, replica: usize) {
        self.replicas[replica].told = self.now;
        let now = time(self.now + self.replicas[replica].origin);
        let Link::Up { replicas } = self.link(replica) else {
            return;
        };
        for key in self.keys_of(replica) {
            if let Some(question) = self.replicas[replica].held[&key].lease.tell(replicas, now) {
                self.ask(replica, key, question);
            }
        }
    }

    /// In one order, whatever the table's is.
    fn keys_of(&self, replica: usize) -> Vec<u32> {
        let mut keys: Vec<_> = self.replicas[replica].held.keys().copied().collect();
        keys.sort_unstable();
        keys
    }

    fn out_of_patience(&mut self, replica: usize, key: u32) {
        let it = &mut self.replicas[replica];
        let held = it.held.get_mut(&key).expect("it asked");
        held.flight = None;
        held.lease.failed(Failure::Unheard);
        if !held.is_alone_listed {
            held.is_alone_listed = true;
            it.alone.push_back(key);
        }
        if it.failures == 0 {
            it.first_failure = self.now;
        }
        it.failures += 1;
        if it.failures >= FAILURES && it.down_since.is_none() {
            it.down_since = Some(it.first_failure);
        }
        let waiting =
            std::mem::take(&mut self.replicas[replica].held.get_mut(&key).expect("it asked").waiting);
        for _ in waiting {
            self.decide(replica, key, self.link_alone(replica));
        }
    }

    fn walk(&mut self, replica: usize) {
        let life = self.replicas[replica].life;
        if self.replicas[replica].down_since.is_some() {
            self.send(replica, Event::ProbeAtRedis { replica, life });
            return;
        }
        if !self.replicas[replica].is_cut_off {
            self.replicas[replica].replicas = Some(self.living());
        }
        for _ in 0..self.replicas[replica].alone.len() {
            let Some(key) = self.replicas[replica].alone.pop_front() else {
                break;
            };
            self.replicas[replica].held.get_mut(&key).expect("it is listed").is_alone_listed = false;
            if self.due(replica, key) {
                self.replicas[replica].held.get_mut(&key).expect("it is listed").is_alone_listed = true;
                self.replicas[replica].alone.push_back(key);
            }
        }
        while self.replicas[replica].idle.front().is_some_and(|(at, _)| *at <= self.now) {
            let Some((_, key)) = self.replicas[replica].idle.pop_front() else {
                break;
            };
            self.replicas[replica].held.get_mut(&key).expect("it is listed").is_idle_listed = false;
            if self.due(replica, key) {
                self.replicas[replica].held.get_mut(&key).expect("it is listed").is_idle_listed = true;
                self.replicas[replica].idle.push_back((self.now + IDLE.as_nanos() as u64, key));
            }
        }
    }

    /// Sends what is due; `true`: there may be something later.
    fn due(&mut self, replica: usize, key: u32) -> bool {
        let link = self.link(replica);
        let now = time(self.now + self.replicas[replica].origin);
        let held = self.replicas[replica].held.get_mut(&key).expect("it is listed");
        match held.lease.due(link, now) {
            Due::Nothing => {
                let account = &mut self.accounts[key as usize];
                let local = std::mem::take(&mut held.local);
                let local_alone = std::mem::take(&mut held.local_alone);
                account.uncharged -= local;
                account.parts.alone += if self.bound == Bound::Strict { local_alone } else { local };
                false
            }
            Due::Later => true,
            Due::Send(question) => {
                self.ask(replica, key, question);
                // Its answer lists it again, if it has to be.
                false
            }
        }
    }

    // === Redis ===

    fn redis_now(&self) -> i128 {
        1_800_000_000_000_000_000 + i128::from(self.now) + i128::from(self.offset)
    }

    fn at_redis(&mut self, mut message: Box<Message>) {
        let (replica, key, now) = (message.replica, message.key, self.now);
        let account = &mut self.accounts[key as usize];
        let (returned, charged) = (u64::from(message.question.returned), u64::from(message.question.charged));
        if !self.is_up {
            account.lose(returned, now);
            return;
        }
        let mut is_last = false;
        let it = &mut self.replicas[replica];
        let held = it.held.get_mut(&key).filter(|_| it.life == message.life);
        if let Some(held) = held {
            // One that was given up, and is late, may tell less than is known by now.
            if held.flight == Some(message.number) && std::mem::take(&mut held.is_untold) {
                account.untold -= 1;
                is_last = account.untold == 0;
            }
            let local = message.local.min(held.local);
            let local_alone = message.local_alone.min(held.local_alone);
            (held.local, held.local_alone) = (held.local - local, held.local_alone - local_alone);
            account.uncharged -= local;
            // What is not charged was paid for with time, but only if nobody was served meanwhile.
            let unpaid = local.saturating_sub(charged);
            account.parts.alone += if self.bound == Bound::Strict { local_alone.min(unpaid) } else { unpaid };
        }
        account.give_back(returned, now);
        account.charge(charged, now);
        let before = if self.lag > 0 { self.redis.state(key) } else { None };
        let owner = Owner::Key(KeyId::new("simulated"));
        let arguments = call(&Names::new(None), &owner, &message.question).arguments;
        let redis_now = self.redis_now();
        message.server = self.server;
        message.reply = self.redis.call(key, &arguments, redis_now, self.server);
        let granted = message.reply[3] as u64;
        let account = &mut self.accounts[key as usize];
        account.grant(granted, now);
        message.seen = (account.granted, account.returned);
        if is_last {
            let told = account.all_told(self.redis.debt(key, redis_now), now);
            assert!(
                told.is_ok(),
                "key {key}, {told:?}: Redis does not know what all told at {} ms, {}",
                now / MS,
                self.setup.seed
            );
        }
        if self.lag > 0 {
            self.log.push_back((now, key, before, granted));
            while self.log.front().is_some_and(|(at, ..)| at + self.lag < now) {
                self.log.pop_front();
            }
        }
        if self.send(replica, Event::Answered(message)) {
            self.accounts[key as usize].on_way += granted + charged;
        } else {
            self.accounts[key as usize].not_heard(granted, charged, now);
        }
    }

    // === trouble ===

    fn trouble(&mut self, trouble: Trouble) {
        match trouble {
            Trouble::Down => self.is_up = false,
            Trouble::Up => self.is_up = true,
            Trouble::Slow(by) => self.slow = by,
            Trouble::Lossy(of_a_thousand) => self.lossy = of_a_thousand,
            Trouble::CutOff(replica) => self.replicas[replica].is_cut_off = true,
            Trouble::Joined(replica) => self.replicas[replica].is_cut_off = false,
            Trouble::Start(replica) if self.replicas[replica].is_alive => {}
            Trouble::Start(replica) => self.start(replica),
            Trouble::Crash(replica) => self.crash(replica),
            Trouble::Empty => {
                self.redis.clear();
                self.lost();
            }
            Trouble::Failover(lag, offset) => {
                let from = self.now.saturating_sub(lag);
                while let Some((at, key, before, granted)) = self.log.pop_back() {
                    if at < from {
                        self.log.clear();
                        break;
                    }
                    self.redis.put(key, before);
                    self.accounts[key as usize].parts.in_lag += granted;
                }
                self.offset += offset;
                self.lost();
            }
        }
    }

    /// Another server answers, and does not know what this one did.
    fn lost(&mut self) {
        self.is_up = true;
        self.server += 1;
        for account in &mut self.accounts {
            // What was granted before all had told is told by nobody once that is lost too; it is one of the parts.
            account.is_blind |= account.untold > 0;
            account.lost_at = self.now;
            account.untold = 0;
            account.parts.outstanding += account.out().max(0) as u64;
        }
        for it in self.replicas.iter_mut().filter(|it| it.is_alive) {
            for (key, held) in &mut it.held {
                held.is_untold = !held.lease.known(time(self.now + it.origin)).is_zero();
                self.accounts[*key as usize].untold += u32::from(held.is_untold);
            }
        }
        let redis_now = self.redis_now();
        for (key, account) in self.accounts.iter_mut().enumerate().filter(|(_, account)| account.untold == 0)
        {
            let told = account.all_told(self.redis.debt(key as u32, redis_now), self.now);
            assert!(told.is_ok(), "key {key}: nobody knows what is lost, {}", self.setup.seed);
        }
    }

    fn crash(&mut self, replica: usize) {
        let redis_now = self.redis_now();
        let it = &mut self.replicas[replica];
        if !it.is_alive {
            return;
        }
        (it.is_alive, it.crashed, it.life) = (false, self.now, it.life + 1);
        let now = time(self.now + it.origin);
        for (key, held) in it.held.drain() {
            let account = &mut self.accounts[key as usize];
            account.lose(u64::from(held.lease.unspent()), self.now);
            account.uncharged -= held.local;
            account.parts.crashed += held.local;
            account.is_blind |= !held.lease.known(now).is_zero();
            if held.is_untold {
                account.untold -= 1;
                if account.untold == 0 {
                    account.is_blind = true;
                    let debt = self.redis.debt(key, redis_now);
                    account.all_told(debt, self.now).expect("blind");
                }
            }
        }
    }

    /// From here on only the plan counts, and what replicas hold now.
    pub(crate) fn begin_anew(&mut self) {
        self.accounts.iter_mut().for_each(|account| account.begin_anew(self.now));
    }

    pub(crate) fn seed(&self) -> String {
        format!("SAFECACHE_SEED={}", self.setup.seed)
    }
}

impl PartialEq for At {
    fn eq(&self, other: &Self) -> bool {
        self.cmp(other) == Ordering::Equal
    }
}

impl Eq for At {}

impl PartialOrd for At {
    fn partial_cmp(&self, other: &Self) -> Option<Ordering> {
        Some(self.cmp(other))
    }
}

impl Ord for At {
    fn cmp(&self, other: &Self) -> Ordering {
        (self.0, self.1).cmp(&(other.0, other.1))
    }
}
