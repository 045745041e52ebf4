//! What was measured of the way to each host: latency, bandwidth of one connection and of all, and its complaints.
//!
//! A figure is only taken where the network was waited for: while the consumer holds a connection back, bytes lie in
//! buffers, and reading those says nothing. Bandwidth of all connections together counts as known only where they
//! were seen to share it; that many connections brought much says nothing about how much more there is.

use std::collections::HashMap;
use std::sync::{Arc, LazyLock, Mutex, PoisonError};
use std::time::{Duration, Instant};

/// Hosts that are remembered; of more, the one not heard of for the longest time is forgotten.
const MOST_HOSTS: usize = 64;
/// Weight of the newest measurement.
const NEWEST: f64 = 0.25;
/// A measurement of another hour says little about this one.
const FRESH: Duration = Duration::from_secs(3_600);
/// Measured over so much time at least while many bytes come,
const WINDOW: Duration = Duration::from_millis(250);
/// and so many bytes in any case: fewer are what buffers hold.
const WINDOW_BYTES: u64 = 256 * 1024;
/// What of a body comes with its head, out of buffers, is not measured.
const COLD_BYTES: u64 = 256 * 1024;
/// Held back for more than this part of the time, a connection says nothing about the network.
const HELD: f64 = 0.1;
/// Connections share a bandwidth when each brings less than this part of what one brings alone.
const SHARED: f64 = 0.7;
/// Complaints count half after so long.
const PRESSURE_HALVES: Duration = Duration::from_secs(120);
/// Requests of the last while; services count them by the minute.
const MINUTE: Duration = Duration::from_secs(60);

/// What is known of the way to a host.
#[derive(Debug, Clone, Copy, PartialEq, Default)]
pub struct Measured {
    /// From a request to the head of its answer.
    pub latency_seconds: Option<f64>,
    /// Bandwidth of one connection, in bytes a second.
    pub connection_bytes_per_second: Option<f64>,
    /// Bandwidth of all connections together, where they were seen to share one.
    pub all_bytes_per_second: Option<f64>,
    /// Recent answers that said "too many requests", decaying.
    pub quota_pressure: f64,
    /// Requests of about the last minute.
    pub recent_requests: f64,
}

/// The hosts of this process; clones are handles of the same. The default is the one that all transfers share.
#[derive(Debug, Clone)]
pub struct Estimates(Arc<Mutex<HashMap<String, Arc<Host>>>>);

static OF_THIS_PROCESS: LazyLock<Estimates> = LazyLock::new(Estimates::empty);

impl Default for Estimates {
    fn default() -> Self {
        OF_THIS_PROCESS.clone()
    }
}

impl Estimates {
    /// Knows nothing, and shares nothing with the others.
    #[must_use]
    pub fn empty() -> Self {
        Self(Arc::default())
    }

    /// Forgets everything. Connections that are open now do not count any more.
    pub fn reset(&self) {
        self.0.lock().unwrap_or_else(PoisonError::into_inner).clear();
    }

    /// What is known of a host (`example.com:443`).
    pub(crate) fn host(&self, name: &str, now: Instant) -> Arc<Host> {
        let mut hosts = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(host) = hosts.get(name) {
            host.with(|state| state.heard = now);
            return Arc::clone(host);
        }
        while hosts.len() >= MOST_HOSTS {
            let oldest = hosts.iter().min_by_key(|(_, host)| host.with(|state| state.heard));
            let Some(oldest) = oldest.map(|(name, _)| name.clone()) else { break };
            hosts.remove(&oldest);
        }
        let host = Arc::new(Host(Mutex::new(State::new(now))));
        hosts.insert(name.to_owned(), Arc::clone(&host));
        host
    }
}

/// One host's figures.
#[derive(Debug)]
pub(crate) struct Host(Mutex<State>);

impl Host {
    fn with<T>(&self, act: impl FnOnce(&mut State) -> T) -> T {
        act(&mut self.0.lock().unwrap_or_else(PoisonError::into_inner))
    }

    /// A request goes out.
    pub(crate) fn asked(&self, now: Instant) {
        self.with(|state| state.requests.add(1.0, now, MINUTE));
    }

    /// The head of a good answer came after so long.
    pub(crate) fn answered(&self, now: Instant, waited: Duration) {
        self.with(|state| state.latency.sample(waited.as_secs_f64(), now));
    }

    /// The host complained about too many requests.
    pub(crate) fn refused(&self, now: Instant) {
        self.with(|state| state.pressure.add(1.0, now, PRESSURE_HALVES));
    }

    /// A body is received from now on.
    pub(crate) fn receive(self: &Arc<Self>, now: Instant, bytes: Option<u64>) -> Receiving {
        let short = bytes.is_some_and(|bytes| bytes < COLD_BYTES);
        self.with(|state| state.begin(now, short));
        Receiving { host: Arc::clone(self), cold_bytes: COLD_BYTES }
    }

    /// What is known now.
    pub(crate) fn measured(&self, now: Instant) -> Measured {
        self.with(|state| Measured {
            latency_seconds: state.latency.fresh(now),
            connection_bytes_per_second: state.alone.fresh(now),
            all_bytes_per_second: state.together.fresh(now),
            quota_pressure: state.pressure.now(now, PRESSURE_HALVES),
            recent_requests: state.requests.now(now, MINUTE),
        })
    }
}

/// A body that is being received, until this is dropped.
#[derive(Debug)]
pub(crate) struct Receiving {
    host: Arc<Host>,
    /// So many bytes from now on it is measured.
    cold_bytes: u64,
}

impl Receiving {
    /// Bytes came.
    pub(crate) fn got(&mut self, now: Instant, bytes: u64) {
        if self.cold_bytes == 0 {
            self.host.with(|state| state.got(now, bytes));
            return;
        }
        self.cold_bytes = self.cold_bytes.saturating_sub(bytes);
        let warm = self.cold_bytes == 0;
        self.host.with(|state| state.got_cold(now, bytes, warm));
    }

    /// The consumer held the connection back for so long.
    pub(crate) fn held(&self, time: Duration) {
        self.host.with(|state| state.window.held += time.as_secs_f64());
    }
}

impl Drop for Receiving {
    fn drop(&mut self) {
        self.host.with(|state| state.end(Instant::now(), self.cold_bytes == 0));
    }
}

/// An exponentially weighted mean.
#[derive(Debug, Default)]
struct Mean(Option<(f64, Instant)>);

impl Mean {
    fn sample(&mut self, value: f64, now: Instant) {
        let value = self.fresh(now).map_or(value, |mean| mean + NEWEST * (value - mean));
        self.0 = Some((value, now));
    }

    fn fresh(&self, now: Instant) -> Option<f64> {
        self.0.filter(|(_, at)| now.saturating_duration_since(*at) < FRESH).map(|(value, _)| value)
    }
}

/// A count that halves with time.
#[derive(Debug, Default)]
struct Decaying(Option<(f64, Instant)>);

impl Decaying {
    fn add(&mut self, count: f64, now: Instant, halves: Duration) {
        self.0 = Some((self.now(now, halves) + count, now));
    }

    fn now(&self, now: Instant, halves: Duration) -> f64 {
        self.0.map_or(0.0, |(count, at)| {
            let passed = now.saturating_duration_since(at).as_secs_f64();
            count * (-passed / halves.as_secs_f64()).exp2()
        })
    }
}

/// What came since a moment, over how many connections.
#[derive(Debug)]
struct Window {
    until: Instant,
    /// Seconds in which they were measured, of each connection added up.
    connected: f64,
    /// Seconds in which there was any.
    busy: f64,
    /// Seconds in which the consumer held one back.
    held: f64,
    /// All bytes, and those that were measured of each connection.
    all_bytes: u64,
    bytes: u64,
    most: usize,
    /// A short body took part, which may come with the head of its answer.
    short: bool,
    /// Buffers may hold what the window before left.
    after_held: bool,
}

impl Window {
    const fn new(now: Instant, active: usize) -> Self {
        Self {
            until: now,
            connected: 0.0,
            busy: 0.0,
            held: 0.0,
            all_bytes: 0,
            bytes: 0,
            most: active,
            short: false,
            after_held: false,
        }
    }

    fn was_held(&self) -> bool {
        self.held > HELD * self.connected.max(self.busy)
    }
}

#[derive(Debug)]
struct State {
    heard: Instant,
    latency: Mean,
    alone: Mean,
    together: Mean,
    pressure: Decaying,
    requests: Decaying,
    /// Bodies that are being received.
    active: usize,
    /// Those of them that are measured.
    warm: usize,
    window: Window,
}

impl State {
    fn new(now: Instant) -> Self {
        Self {
            heard: now,
            latency: Mean::default(),
            alone: Mean::default(),
            together: Mean::default(),
            pressure: Decaying::default(),
            requests: Decaying::default(),
            active: 0,
            warm: 0,
            window: Window::new(now, 0),
        }
    }

    #[expect(clippy::cast_precision_loss, reason = "a number of connections")]
    fn advance(&mut self, now: Instant) {
        let passed = now.saturating_duration_since(self.window.until).as_secs_f64();
        self.window.connected += passed * self.warm as f64;
        if self.active > 0 {
            self.window.busy += passed;
        }
        self.window.until = self.window.until.max(now);
    }

    fn begin(&mut self, now: Instant, short: bool) {
        self.advance(now);
        if self.active == 0 {
            self.window = Window::new(now, 0);
        }
        self.active += 1;
        self.window.most = self.window.most.max(self.active);
        self.window.short |= short;
    }

    /// Bytes of a body that is not measured yet; `warm`: the rest of it is.
    fn got_cold(&mut self, now: Instant, bytes: u64, warm: bool) {
        self.advance(now);
        self.window.all_bytes += bytes;
        self.warm += usize::from(warm);
    }

    fn got(&mut self, now: Instant, bytes: u64) {
        self.advance(now);
        self.window.all_bytes += bytes;
        self.window.bytes += bytes;
        if self.window.busy >= WINDOW.as_secs_f64() && self.window.bytes >= WINDOW_BYTES {
            self.judge(now);
        }
    }

    fn end(&mut self, now: Instant, warm: bool) {
        self.advance(now);
        self.warm = self.warm.saturating_sub(usize::from(warm));
        self.active = self.active.saturating_sub(1);
        if self.active == 0 {
            self.judge(now);
        }
    }

    /// Makes a measurement of the window, where it is one, and begins the next.
    #[expect(clippy::cast_precision_loss, reason = "rates are rough")]
    fn judge(&mut self, now: Instant) {
        let next = Window::new(now, self.active);
        let window = std::mem::replace(&mut self.window, next);
        self.window.after_held = window.was_held();
        if window.was_held() || window.after_held || window.short || window.bytes < WINDOW_BYTES {
            return;
        }
        let each = window.bytes as f64 / window.connected.max(1e-6);
        let all = window.all_bytes as f64 / window.busy.max(1e-6);
        if window.most == 1 {
            self.alone.sample(each, now);
        } else if let Some(alone) = self.alone.fresh(now)
            && window.connected >= 2.0 * window.busy
        {
            if each < SHARED * alone {
                self.together.sample(all, now);
                return;
            }
            if each > alone {
                self.alone.sample(each, now);
            }
            // More came than they were thought to share: the limit is elsewhere now.
            if self.together.fresh(now).is_some_and(|together| all > together) {
                self.together = Mean::default();
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const MB: f64 = 1e6;

    /// A host and a clock.
    struct Bench {
        state: State,
        now: Instant,
    }

    impl Bench {
        fn new() -> Self {
            let now = Instant::now();
            Self { state: State::new(now), now }
        }

        /// Lets bodies come side by side for a second, at so many bytes a second in all.
        #[expect(
            clippy::cast_possible_truncation,
            clippy::cast_precision_loss,
            clippy::cast_sign_loss,
            reason = "small figures of a test"
        )]
        fn receive(&mut self, connections: usize, bytes_a_second: f64, held: f64) {
            for _ in 0..connections {
                self.state.begin(self.now, false);
            }
            for _ in 0..connections {
                self.now += Duration::from_secs_f64(COLD_BYTES as f64 / bytes_a_second);
                self.state.got_cold(self.now, COLD_BYTES, true);
            }
            for _ in 0..20 {
                self.now += Duration::from_millis(50);
                self.state.window.held += held * 0.05;
                self.state.got(self.now, (bytes_a_second / 20.0) as u64);
            }
            for _ in 0..connections {
                self.state.end(self.now, true);
            }
        }

        fn measured(self) -> (Option<i64>, Option<i64>) {
            #[expect(clippy::cast_possible_truncation, reason = "small figures of a test")]
            let rounded = |value: Option<f64>| value.map(|value| (value / MB).round() as i64);
            let now = self.now;
            let Measured { connection_bytes_per_second, all_bytes_per_second, .. } =
                Host(Mutex::new(self.state)).measured(now);
            (rounded(connection_bytes_per_second), rounded(all_bytes_per_second))
        }
    }

    #[test]
    fn one_connection_alone_tells_its_bandwidth_and_nothing_of_all() {
        let mut bench = Bench::new();
        bench.receive(1, 25.0 * MB, 0.0);
        assert_eq!(bench.measured(), (Some(25), None));
    }

    #[test]
    fn connections_that_slow_each_other_down_tell_what_they_share() {
        let mut bench = Bench::new();
        bench.receive(1, 10.0 * MB, 0.0);
        bench.receive(8, 10.0 * MB, 0.0);
        assert_eq!(bench.measured(), (Some(10), Some(10)));
    }

    #[test]
    fn connections_that_each_bring_their_own_tell_no_limit() {
        let mut bench = Bench::new();
        bench.receive(1, 25.0 * MB, 0.0);
        bench.receive(8, 190.0 * MB, 0.0);
        assert_eq!(bench.measured(), (Some(25), None));
    }

    #[test]
    fn several_connections_alone_tell_nothing_while_it_is_not_known_what_one_brings() {
        let mut bench = Bench::new();
        bench.receive(8, 10.0 * MB, 0.0);
        assert_eq!(bench.measured(), (None, None));
    }

    #[test]
    fn a_link_that_got_wider_is_no_longer_the_limit() {
        let mut bench = Bench::new();
        bench.receive(1, 10.0 * MB, 0.0);
        bench.receive(4, 10.0 * MB, 0.0);
        bench.receive(4, 38.0 * MB, 0.0);
        assert_eq!(bench.measured(), (Some(10), None));
    }

    #[test]
    fn what_the_consumer_holds_back_is_not_the_network() {
        let mut bench = Bench::new();
        bench.receive(1, 4.0 * MB, 0.8);
        assert_eq!(bench.measured(), (None, None));
        // What comes right after lay in buffers.
        let mut bench = Bench::new();
        bench.state.begin(bench.now, false);
        bench.state.got_cold(bench.now, COLD_BYTES, true);
        for held in [0.2, 0.0, 0.0] {
            bench.now += Duration::from_millis(300);
            bench.state.window.held += held;
            bench.state.got(bench.now, if held > 0.0 { 1_000_000 } else { 6_000_000 });
        }
        assert_eq!(bench.measured(), (Some(20), None), "the third window counts");
    }

    #[test]
    fn bodies_that_come_with_the_head_of_their_answer_tell_nothing_of_bandwidth() {
        let mut bench = Bench::new();
        for _ in 0..100 {
            bench.state.begin(bench.now, true);
            bench.state.got(bench.now, 200_000);
            bench.state.end(bench.now, true);
        }
        assert_eq!(bench.measured(), (None, None));
    }

    #[test]
    fn what_buffers_give_at_once_does_not_make_a_connection_faster() {
        let begin = Instant::now();
        let host = Estimates::empty().host("example.com:443", begin);
        let mut receiving = host.receive(begin, Some(2_000_000));
        receiving.got(begin, COLD_BYTES);
        for n in 1..=10 {
            receiving.got(begin + Duration::from_millis(30 * n), 300_000);
        }
        let one = host.measured(begin).connection_bytes_per_second.unwrap();
        assert!((one - 10e6).abs() < 1e3, "{one}");
    }

    #[test]
    fn figures_follow_the_newest_and_are_forgotten_after_an_hour() {
        let estimates = Estimates::empty();
        let begin = Instant::now();
        let host = estimates.host("example.com:443", begin);
        assert_eq!(host.measured(begin), Measured::default());
        host.answered(begin, Duration::from_millis(100));
        for _ in 0..20 {
            host.answered(begin, Duration::from_millis(20));
        }
        let latency = host.measured(begin).latency_seconds.unwrap();
        assert!((0.02..0.021).contains(&latency), "{latency}");
        assert_eq!(host.measured(begin + FRESH).latency_seconds, None);
    }

    #[test]
    fn complaints_and_requests_fade() {
        let begin = Instant::now();
        let host = Estimates::empty().host("example.com:443", begin);
        for _ in 0..4 {
            host.refused(begin);
            host.asked(begin);
        }
        let later = host.measured(begin + PRESSURE_HALVES);
        assert!((later.quota_pressure - 2.0).abs() < 1e-9, "{later:?}");
        assert!((later.recent_requests - 1.0).abs() < 1e-9, "{later:?}");
    }

    #[test]
    fn a_host_is_known_again_and_the_one_not_heard_of_for_longest_is_forgotten() {
        let estimates = Estimates::empty();
        let begin = Instant::now();
        let at = |second: usize| begin + Duration::from_secs(second as u64);
        for n in 0..MOST_HOSTS {
            estimates.host(&format!("{n}.example.com"), at(n)).refused(at(n));
        }
        let pressed =
            |name: &str, second| estimates.host(name, at(second)).measured(at(second)).quota_pressure > 0.0;
        assert!(pressed("0.example.com", 100));
        estimates.host("one.more.example.com", at(101));
        assert!(pressed("0.example.com", 102));
        assert!(!pressed("1.example.com", 103));
        assert_eq!(estimates.0.lock().unwrap().len(), MOST_HOSTS);
        estimates.reset();
        assert!(!pressed("0.example.com", 104));
    }

    #[test]
    fn a_body_ends_when_its_handle_is_dropped() {
        let now = Instant::now();
        let host = Estimates::empty().host("example.com:443", now);
        let mut receiving = host.receive(now, None);
        let counts = || host.with(|state| (state.active, state.warm));
        receiving.got(now, 10);
        assert_eq!(counts(), (1, 0));
        receiving.got(now, COLD_BYTES);
        assert_eq!(counts(), (1, 1));
        drop(receiving);
        assert_eq!(counts(), (0, 0));
    }
}
