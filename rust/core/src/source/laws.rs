//! Laws of fetching, whatever the speed of the connections and of the consumer: over real connections, in one thread,
//! where who runs when is drawn at random.

use std::collections::VecDeque;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Mutex};
use std::time::Duration;

use proptest::collection::vec;
use proptest::option;
use proptest::prelude::*;
use tokio::io::{AsyncBufReadExt as _, AsyncWriteExt as _, BufReader};
use tokio::net::{TcpListener, TcpStream};
use tokio::task::JoinSet;

use super::demand::{Demand, fetch_on_demand};
use super::fetch::{Drive, Lanes, Pieces, fetch_in_order};
use super::{Leash, Range, Source};
use crate::budget::Budget;
use crate::error::{ErrorCode, Result};
use crate::progress::Progress;
use crate::request::{RetrySpec, SourceSpec};
use crate::stages::Stages;
use crate::transfer::{Hooks, open_source};

const KIB: u64 = 1024;
/// The HTTP client reads so much at most before a piece is paid for (`hyper`, `DEFAULT_MAX_BUFFER_SIZE`).
const CLIENT_BUFFER_BYTES: u64 = 8 * KIB + 4 * KIB * 100;
/// Nothing here takes a second; what takes longer waits for itself.
const DEADLOCK: Duration = Duration::from_secs(10);

/// A different byte at each place, as far as neighbours and ranges go.
#[expect(clippy::cast_possible_truncation, reason = "the low byte is meant")]
const fn byte_at(offset: u64) -> u8 {
    ((offset ^ (offset >> 8) ^ (offset >> 16)).wrapping_mul(0x9E37_79B9) >> 3) as u8
}

/// How the bytes come.
#[derive(Debug, Clone)]
struct Network {
    size: u64,
    /// Bytes that are sent together, and how often the others run in between; over and over.
    sends: Vec<(usize, u8)>,
    /// The body of the nth answer ends after so many bytes.
    breaks: Vec<Option<u64>>,
    /// From the nth request on the recording is gone.
    gone_from: Option<usize>,
}

prop_compose! {
    fn network()(
        size in 1..3 * 1024 * KIB,
        sends in vec((1..200_000_usize, 0..40_u8), 1..8),
        breaks in vec(option::weighted(0.3, 0..400 * KIB), 0..20),
    ) -> Network {
        Network { size, sends, breaks, gone_from: None }
    }
}

impl Network {
    async fn serve(self: Arc<Self>, listener: TcpListener) {
        let requests = Arc::new(AtomicUsize::new(0));
        let mut connections = JoinSet::new();
        while let Ok((stream, _)) = listener.accept().await {
            let (network, requests) = (Arc::clone(&self), Arc::clone(&requests));
            // A client that hangs up is how a request is given up.
            connections.spawn(async move { network.converse(stream, &requests).await.is_ok() });
        }
    }

    async fn converse(&self, stream: TcpStream, requests: &AtomicUsize) -> std::io::Result<()> {
        stream.set_nodelay(true)?;
        let mut stream = BufReader::new(stream);
        while let Some((start, end)) = asked_range(&mut stream).await? {
            let number = requests.fetch_add(1, Ordering::Relaxed);
            if self.gone_from.is_some_and(|from| number >= from) {
                stream.write_all(b"HTTP/1.1 404 Not Found\r\ncontent-length: 0\r\n\r\n").await?;
                continue;
            }
            let (len, size) = (end - start, self.size);
            let last = end - 1;
            let head = format!(
                "HTTP/1.1 206 Partial Content\r\ncontent-length: {len}\r\n\
                 content-range: bytes {start}-{last}/{size}\r\n\r\n"
            );
            stream.write_all(head.as_bytes()).await?;
            let broken = self.breaks.get(number).copied().flatten().filter(|bytes| *bytes < len);
            let stop = broken.map_or(end, |bytes| start + bytes);
            self.send(&mut stream, number, start, stop).await?;
            if broken.is_some() {
                return stream.shutdown().await;
            }
        }
        Ok(())
    }

    async fn send(
        &self,
        stream: &mut BufReader<TcpStream>,
        number: usize,
        mut at: u64,
        stop: u64,
    ) -> std::io::Result<()> {
        for (bytes, turns) in self.sends.iter().cycle().skip(number % self.sends.len()) {
            let until = stop.min(at + *bytes as u64);
            stream.write_all(&(at..until).map(byte_at).collect::<Vec<_>>()).await?;
            at = until;
            if at == stop {
                break;
            }
            let_others_run(*turns).await;
        }
        Ok(())
    }
}

/// The range that the next request on a connection asks for; `None` when there is none.
async fn asked_range(stream: &mut BufReader<TcpStream>) -> std::io::Result<Option<(u64, u64)>> {
    let mut range = None;
    let mut line = String::new();
    while stream.read_line(&mut line).await? > 0 {
        if let Some((first, last)) =
            line.trim_end().strip_prefix("range: bytes=").and_then(|range| range.split_once('-'))
        {
            range = first.parse().ok().zip(last.parse::<u64>().ok()).map(|(first, last)| (first, last + 1));
        }
        if line == "\r\n" {
            return Ok(range);
        }
        line.clear();
    }
    Ok(None)
}

async fn let_others_run(turns: u8) {
    for _ in 0..turns {
        tokio::task::yield_now().await;
    }
}

/// What a consumer saw.
#[derive(Debug, Default)]
struct Seen {
    /// Runs of bytes without a gap, in the order in which they came.
    runs: Vec<(u64, u64)>,
    wrong_bytes: u64,
    /// The most bytes that had come and were not yet let go.
    most_held: u64,
    fetched: u64,
}

impl Seen {
    fn piece(&mut self, offset: u64, piece: &[u8]) {
        let wrong = (offset..).zip(piece).filter(|(at, byte)| byte_at(*at) != **byte);
        self.wrong_bytes += wrong.count() as u64;
        let end = offset + piece.len() as u64;
        match self.runs.last_mut() {
            Some(run) if run.1 == offset => run.1 = end,
            _ => self.runs.push((offset, end)),
        }
    }
}

/// Fetches from a network with what `begin` starts, for a consumer that lets the others run so often with each piece in
/// its hands.
///
/// Of the budget `limit` is free; `held` is held from before the first byte until the end, as room for an upload is.
fn fetch(
    network: Network,
    (limit, held): (u64, u64),
    slowness: &[u8],
    begin: impl FnOnce(Arc<Source>, Budget) -> (Pieces, Drive),
) -> (Seen, Result<()>) {
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
    let all = async {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let url = format!("http://{}/recording", listener.local_addr().unwrap());
        let _server =
            tokio_util::task::AbortOnDropHandle::new(tokio::spawn(Arc::new(network).serve(listener)));
        let hooks = Hooks::default();
        let source = open(&url, &hooks);
        let budget = Budget::new(limit + held);
        let _held = budget.acquire(held).await;
        let (pieces, drive) = begin(Arc::new(source), budget);
        let seen = Mutex::new(Seen::default());
        let consume = consume(pieces, slowness, &hooks.progress, &seen);
        let both = async { tokio::try_join!(drive, consume).map(drop) };
        let outcome = tokio::time::timeout(DEADLOCK, both).await;
        let mut seen = seen.into_inner().unwrap();
        seen.fetched = hooks.progress.fetched_bytes();
        (seen, outcome.unwrap_or_else(|_| panic!("it waits for itself")))
    };
    runtime.block_on(all)
}

fn open(url: &str, hooks: &Hooks) -> Source {
    let spec = SourceSpec::Http {
        url: url.to_owned(),
        authenticated: false,
        size_bytes: None,
        md5: None,
        sha256: None,
        name: None,
    };
    let retry = RetrySpec { base_seconds: 0.0, ..RetrySpec::default() };
    open_source(&spec, hooks, DEADLOCK, retry, &Stages::default()).unwrap()
}

async fn consume(mut pieces: Pieces, slowness: &[u8], progress: &Progress, seen: &Mutex<Seen>) -> Result<()> {
    let mut let_go = 0;
    let hold = |let_go: u64| {
        let mut seen = seen.lock().unwrap();
        seen.most_held = seen.most_held.max(progress.fetched_bytes() - let_go);
    };
    for turns in slowness.iter().cycle() {
        let Some((offset, piece)) = pieces.next().await else { break };
        hold(let_go);
        seen.lock().unwrap().piece(offset, &piece);
        let_others_run(*turns).await;
        hold(let_go);
        let_go += piece.len() as u64;
    }
    Ok(())
}

/// What the one who decides about requests does next.
#[derive(Debug, Clone, Copy)]
enum Step {
    /// So many ranges of a size.
    Ranges(u8, u64),
    /// One request for the rest, given up after so many turns of the others once its first bytes came.
    Long(u8),
}

fn step() -> impl Strategy<Value = Step> {
    prop_oneof![
        (1..8_u8, 1..300 * KIB).prop_map(|(count, len)| Step::Ranges(count, len)),
        any::<u8>().prop_map(Step::Long)
    ]
}

/// One request and ranges by turns, like [`fetch_on_demand`], at the worst moments.
fn by_turns(
    source: Arc<Source>,
    budget: Budget,
    size: u64,
    max_ranges: usize,
    steps: Vec<Step>,
) -> (Pieces, Drive) {
    let (mut lanes, pieces) = Lanes::new(source, max_ranges, budget);
    let drive = async move {
        let mut at = 0;
        let mut steps: VecDeque<Step> = steps.into();
        while at < size {
            match steps.pop_front() {
                Some(Step::Ranges(count, len)) => {
                    for _ in 0..count {
                        let end = size.min(at + len);
                        if at < end && !lanes.start(Range { start: at, end: Some(end) }, None).await? {
                            return Ok(());
                        }
                        at = end;
                    }
                }
                step => {
                    let leash = Arc::new(Leash::default());
                    let rest = Range { start: at, end: Some(size) };
                    if !lanes.start(rest, Some(Arc::clone(&leash))).await? {
                        return Ok(());
                    }
                    let pull = async {
                        let Some(Step::Long(turns)) = step else { return std::future::pending().await };
                        while leash.reached() == 0 {
                            tokio::task::yield_now().await;
                        }
                        let_others_run(turns).await;
                        leash.pull();
                        std::future::pending::<()>().await;
                    };
                    tokio::pin!(pull);
                    while lanes.running() > 0 {
                        tokio::select! {
                            ended = lanes.one_ended() => ended?,
                            () = &mut pull => {}
                        }
                    }
                    at = if leash.was_pulled() { leash.reached() } else { size };
                }
            }
        }
        lanes.finish().await
    };
    (pieces, Box::pin(drive))
}

/// Ranges with gaps between them, each no longer than half of `limit`.
fn ranges(size: u64, limit: u64, lens: &[(u64, u64)]) -> Vec<(u64, u64)> {
    let mut at = 0;
    let mut ranges = Vec::new();
    for (gap, len) in lens.iter().cycle() {
        at += gap;
        if at >= size {
            break;
        }
        let end = size.min(at + (*len).min(limit / 2));
        ranges.push((at, end));
        at = end;
    }
    ranges
}

fn joined(ranges: &[(u64, u64)]) -> Vec<(u64, u64)> {
    let mut seen = Seen::default();
    for (start, end) in ranges {
        match seen.runs.last_mut() {
            Some(run) if run.1 == *start => run.1 = *end,
            _ => seen.runs.push((*start, *end)),
        }
    }
    seen.runs
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 96, max_shrink_time: 30_000, ..ProptestConfig::default() })]

    #[test]
    fn ranges_side_by_side_come_in_order_and_once_and_never_hold_more_than_the_budget(
        network in network(),
        limit in 512 * KIB..1536 * KIB,
        held in 0..4 * 1024 * KIB,
        max_ranges in 1..12_usize,
        lens in vec((prop_oneof![Just(0), 0..100 * KIB], 1..500 * KIB), 1..6),
        slowness in vec(0..100_u8, 1..6),
    ) {
        let wanted = ranges(network.size, limit, &lens);
        let asked = wanted.clone().into_iter().map(|(start, end)| Range { start, end: Some(end) });
        let (seen, outcome) = fetch(network, (limit, held), &slowness, |source, budget| {
            fetch_in_order(source, Box::new(asked), max_ranges, budget)
        });
        prop_assert!(outcome.is_ok(), "{outcome:?}");
        prop_assert_eq!(seen.wrong_bytes, 0);
        prop_assert_eq!(seen.runs, joined(&wanted));
        prop_assert_eq!(seen.fetched, wanted.iter().map(|(start, end)| end - start).sum::<u64>());
        prop_assert!(seen.most_held <= limit + KIB, "{} of {limit} bytes", seen.most_held);
    }

    #[test]
    fn one_request_and_ranges_by_turns_lose_nothing_and_fetch_nothing_twice(
        network in network(),
        limit in 640 * KIB..1536 * KIB,
        held in 0..4 * 1024 * KIB,
        max_ranges in 1..12_usize,
        steps in vec(step(), 0..12),
        slowness in vec(0..100_u8, 1..6),
    ) {
        let size = network.size;
        let (seen, outcome) = fetch(network, (limit, held), &slowness, |source, budget| {
            by_turns(source, budget, size, max_ranges, steps)
        });
        prop_assert!(outcome.is_ok(), "{outcome:?}");
        prop_assert_eq!(seen.wrong_bytes, 0);
        prop_assert_eq!(seen.runs, vec![(0, size)]);
        prop_assert_eq!(seen.fetched, size);
        prop_assert!(seen.most_held <= limit + CLIENT_BUFFER_BYTES, "{} of {limit} bytes", seen.most_held);
    }

    #[test]
    fn on_demand_everything_comes_in_order_and_once_whatever_is_needed_at_once(
        network in network(),
        limit in 640 * KIB..1536 * KIB,
        held in 0..4 * 1024 * KIB,
        max_ranges in 1..12_usize,
        range_bytes in 64 * KIB..300 * KIB,
        eager_bytes in 0..4 * 1024 * KIB,
        slowness in vec(0..100_u8, 1..6),
    ) {
        let size = network.size;
        let demand = Demand { start: size / 5, end: size, range_bytes, max_ranges, eager_bytes };
        let (seen, outcome) = fetch(network, (limit, held), &slowness, |source, budget| {
            fetch_on_demand(source, demand, budget)
        });
        prop_assert!(outcome.is_ok(), "{outcome:?}");
        prop_assert_eq!(seen.wrong_bytes, 0);
        prop_assert_eq!(seen.runs, vec![(size / 5, size)]);
        prop_assert_eq!(seen.fetched, size - size / 5);
        prop_assert!(seen.most_held <= limit + CLIENT_BUFFER_BYTES, "{} of {limit} bytes", seen.most_held);
    }

    #[test]
    fn a_recording_that_goes_away_is_an_error_and_never_just_an_end(
        network in network(),
        limit in 512 * KIB..1536 * KIB,
        held in 0..4 * 1024 * KIB,
        max_ranges in 1..12_usize,
        steps in vec(step(), 0..12),
        from in 0..6_usize,
        slowness in vec(0..100_u8, 1..6),
    ) {
        let size = network.size;
        let network = Network { gone_from: Some(from), ..network };
        let (seen, outcome) = fetch(network, (limit, held), &slowness, |source, budget| {
            by_turns(source, budget, size, max_ranges, steps)
        });
        prop_assert_eq!(seen.wrong_bytes, 0);
        prop_assert!(seen.runs.len() <= 1 && seen.runs.first().is_none_or(|run| run.0 == 0), "{seen:?}");
        match outcome {
            Ok(()) => prop_assert_eq!(seen.runs, vec![(0, size)], "fewer requests were enough"),
            Err(error) => prop_assert_eq!(error.code, ErrorCode::SourceNotFound),
        }
    }
}
