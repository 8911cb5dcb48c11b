//! Which mail goes out next: one lane for each destination, so that a slow or refusing one holds up nobody else. Values
//! only; whoever sends asks for the next one and says how it ended.

use std::collections::{BTreeMap, VecDeque};

use crate::model::time::{SECOND, Timestamp};

/// How much of one destination at a time.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct LaneRule {
    /// Mails under way at the same time.
    pub connections: usize,
    /// Mails begun in any minute; 0 means any number.
    pub per_minute: u32,
}

/// What to do now.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Next<T> {
    /// Begin with this one, of this destination.
    Start(String, T),
    /// Nothing may begin before then.
    Wait(Timestamp),
    /// Nothing waits, or what does waits for something under way to end.
    Idle,
}

/// How an attempt ended, as far as others are concerned.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Outcome {
    /// Taken, or refused for this one mail.
    Fine,
    /// The destination asked for patience, or did not answer.
    Later,
    /// The next host itself cannot be used: that concerns every destination.
    HostAway,
}

/// Pauses of a lane (or of all) after so many failures in a row; the last repeats. The first ones may be one mailbox's.
const PAUSES: [i64; 6] = [0, 0, 5 * SECOND, 15 * SECOND, 60 * SECOND, 300 * SECOND];
/// Pauses of all lanes while the next host is away.
const HOST_PAUSES: [i64; 4] = [5 * SECOND, 15 * SECOND, 30 * SECOND, 60 * SECOND];
const MINUTE: i64 = 60 * SECOND;

/// Mails that wait here for their turn, by destination.
#[derive(Debug)]
pub struct Lanes<T> {
    by_name: BTreeMap<String, Lane<T>>,
    /// Destinations in the order of their turns.
    turns: VecDeque<String>,
    waiting_max: usize,
    under_way: usize,
    host: Pause,
}

#[derive(Debug)]
struct Lane<T> {
    waiting: VecDeque<T>,
    under_way: usize,
    /// When those of the last minute began.
    begun: VecDeque<Timestamp>,
    pause: Pause,
}

#[derive(Debug, Default)]
struct Pause {
    failures: usize,
    until: Option<Timestamp>,
}

impl Pause {
    fn fail(&mut self, pauses: &[i64], now: Timestamp) {
        let pause = pauses[self.failures.min(pauses.len() - 1)];
        self.failures = self.failures.saturating_add(1);
        self.until = (pause > 0).then(|| now.plus(pause));
    }

    fn holds(&self, now: Timestamp) -> Option<Timestamp> {
        // Never longer than the longest pause, whatever the clock did.
        self.until.filter(|until| *until > now && until.since(now) <= 300 * SECOND)
    }
}

impl<T> Lanes<T> {
    /// Empty; no lane holds more than `waiting_max`.
    pub fn new(waiting_max: usize) -> Self {
        Self {
            by_name: BTreeMap::new(),
            turns: VecDeque::new(),
            waiting_max,
            under_way: 0,
            host: Pause::default(),
        }
    }

    /// Queues one; gives it back when its lane is full.
    pub fn push(&mut self, destination: &str, task: T) -> Result<(), T> {
        if !self.by_name.contains_key(destination) {
            let lane = Lane {
                waiting: VecDeque::new(),
                under_way: 0,
                begun: VecDeque::new(),
                pause: Pause::default(),
            };
            self.by_name.insert(destination.to_owned(), lane);
            self.turns.push_back(destination.to_owned());
        }
        match self.by_name.get_mut(destination) {
            Some(lane) if lane.waiting.len() < self.waiting_max => {
                lane.waiting.push_back(task);
                Ok(())
            }
            _ => Err(task),
        }
    }

    /// What may begin: destinations take turns. `connections` bounds all of them together.
    pub fn next(&mut self, now: Timestamp, connections: usize, rule: impl Fn(&str) -> LaneRule) -> Next<T> {
        if self.under_way >= connections.max(1) {
            return Next::Idle;
        }
        if let Some(until) = self.host.holds(now) {
            return if self.by_name.values().any(|lane| !lane.waiting.is_empty()) {
                Next::Wait(until)
            } else {
                Next::Idle
            };
        }
        let mut soonest: Option<Timestamp> = None;
        for _ in 0..self.turns.len() {
            let Some(name) = self.turns.pop_front() else { break };
            let Some(lane) = self.by_name.get_mut(&name) else { continue };
            if lane.is_spent(now) {
                self.by_name.remove(&name);
                continue;
            }
            self.turns.push_back(name.clone());
            match lane.may_begin(now, rule(&name)) {
                Ok(()) => {}
                Err(until) => {
                    soonest = [soonest, until].into_iter().flatten().min();
                    continue;
                }
            }
            if let Some(task) = lane.waiting.pop_front() {
                lane.under_way += 1;
                lane.begun.push_back(now);
                self.under_way += 1;
                return Next::Start(name, task);
            }
        }
        soonest.map_or(Next::Idle, Next::Wait)
    }

    /// One that [`Lanes::next`] gave has ended.
    pub fn done(&mut self, destination: &str, outcome: Outcome, now: Timestamp) {
        self.under_way = self.under_way.saturating_sub(1);
        let Some(lane) = self.by_name.get_mut(destination) else { return };
        lane.under_way = lane.under_way.saturating_sub(1);
        match outcome {
            Outcome::Fine => {
                lane.pause = Pause::default();
                self.host = Pause::default();
            }
            Outcome::Later => {
                lane.pause.fail(&PAUSES, now);
                self.host = Pause::default();
            }
            Outcome::HostAway => self.host.fail(&HOST_PAUSES, now),
        }
    }

    /// How many wait for their turn.
    pub fn waiting(&self) -> usize {
        self.by_name.values().map(|lane| lane.waiting.len()).sum()
    }

    /// All that wait, taken out.
    pub fn take_waiting(&mut self) -> Vec<T> {
        self.by_name.values_mut().flat_map(|lane| lane.waiting.drain(..)).collect()
    }
}

impl<T> Lane<T> {
    /// Nothing to remember about it any more.
    fn is_spent(&mut self, now: Timestamp) -> bool {
        self.forget(now);
        self.waiting.is_empty()
            && self.under_way == 0
            && self.begun.is_empty()
            && self.pause.holds(now).is_none()
    }

    fn forget(&mut self, now: Timestamp) {
        while self.begun.front().is_some_and(|at| !(0..MINUTE).contains(&now.since(*at))) {
            self.begun.pop_front();
        }
    }

    fn may_begin(&mut self, now: Timestamp, rule: LaneRule) -> Result<(), Option<Timestamp>> {
        if self.waiting.is_empty() || self.under_way >= rule.connections.max(1) {
            return Err(None);
        }
        if let Some(until) = self.pause.holds(now) {
            return Err(Some(until));
        }
        self.forget(now);
        let rate = usize::try_from(rule.per_minute).unwrap_or(usize::MAX);
        if rate > 0 && self.begun.len() >= rate {
            let at = self.begun.len() - rate;
            return Err(self.begun.get(at).map(|begun| begun.plus(MINUTE)));
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const NOW: Timestamp = Timestamp(1_795_392_000_000);
    const RULE: LaneRule = LaneRule { connections: 2, per_minute: 0 };

    fn at(seconds: i64) -> Timestamp {
        NOW.plus(seconds * SECOND)
    }

    fn fill(lanes: &mut Lanes<u32>, destination: &str, tasks: std::ops::Range<u32>) {
        tasks.for_each(|task| lanes.push(destination, task).unwrap());
    }

    fn all(lanes: &mut Lanes<u32>, now: Timestamp, connections: usize, rule: LaneRule) -> Vec<u32> {
        std::iter::from_fn(|| match lanes.next(now, connections, |_| rule) {
            Next::Start(_, task) => Some(task),
            _ => None,
        })
        .collect()
    }

    #[test]
    fn a_slow_destination_holds_up_nobody() {
        let mut lanes = Lanes::new(1000);
        fill(&mut lanes, "slow.example.jp", 0..500);
        fill(&mut lanes, "quick.example.jp", 500..503);
        assert_eq!(all(&mut lanes, NOW, 8, RULE), [0, 500, 1, 501]);
        // The slow ones stay under way; the other lane goes on.
        lanes.done("quick.example.jp", Outcome::Fine, NOW);
        assert_eq!(all(&mut lanes, NOW, 8, RULE), [502]);
        assert_eq!(lanes.next(NOW, 8, |_| RULE), Next::Idle);
        assert_eq!(lanes.waiting(), 498);
    }

    #[test]
    fn all_connections_are_bounded_and_a_lane_too() {
        let mut lanes = Lanes::new(3);
        fill(&mut lanes, "a", 0..3);
        assert_eq!(lanes.push("a", 9), Err(9));
        fill(&mut lanes, "b", 3..6);
        assert_eq!(all(&mut lanes, NOW, 3, RULE).len(), 3);
        assert_eq!(lanes.next(NOW, 3, |_| RULE), Next::Idle);
    }

    #[test]
    fn a_rate_is_kept_in_any_minute() {
        let rule = LaneRule { connections: 100, per_minute: 3 };
        let mut lanes = Lanes::new(1000);
        fill(&mut lanes, "a", 0..10);
        assert_eq!(all(&mut lanes, at(0), 100, rule), [0, 1, 2]);
        assert_eq!(lanes.next(at(10), 100, |_| rule), Next::Wait(at(60)));
        assert_eq!(all(&mut lanes, at(60), 100, rule), [3, 4, 5]);
    }

    #[test]
    fn who_asks_for_patience_gets_it_and_others_go_on() {
        let mut lanes = Lanes::new(1000);
        fill(&mut lanes, "a", 0..10);
        for pause in [0, 0, 5, 15, 60, 300, 300] {
            assert!(matches!(lanes.next(NOW, 1, |_| RULE), Next::Start(..)));
            lanes.done("a", Outcome::Later, NOW);
            let expected = lanes.by_name["a"].pause.until.map_or(0, |until| until.since(NOW) / SECOND);
            assert_eq!(expected, pause);
            if pause > 0 {
                assert_eq!(lanes.next(NOW, 1, |_| RULE), Next::Wait(at(pause)));
            }
            lanes.by_name.get_mut("a").unwrap().pause.until = None;
        }
        assert!(matches!(lanes.next(NOW, 1, |_| RULE), Next::Start(..)));
        lanes.done("a", Outcome::Fine, NOW);
        assert_eq!(lanes.by_name["a"].pause.failures, 0);
    }

    #[test]
    fn while_the_host_is_away_it_is_asked_now_and_then() {
        let mut lanes = Lanes::new(1000);
        fill(&mut lanes, "a", 0..10);
        fill(&mut lanes, "b", 10..20);
        for (now, next) in [(0, 5), (5, 20), (20, 50), (50, 110), (110, 170)] {
            let Next::Start(name, _) = lanes.next(at(now), 4, |_| RULE) else { panic!("{now}") };
            lanes.done(&name, Outcome::HostAway, at(now));
            assert_eq!(lanes.next(at(now), 4, |_| RULE), Next::Wait(at(next)));
        }
        let Next::Start(name, _) = lanes.next(at(170), 4, |_| RULE) else { panic!() };
        lanes.done(&name, Outcome::Fine, at(170));
        assert_eq!(all(&mut lanes, at(170), 4, RULE).len(), 4);
    }

    #[test]
    fn lanes_without_work_are_forgotten() {
        let mut lanes = Lanes::new(10);
        for n in 0..100 {
            fill(&mut lanes, &format!("d{n}"), 0..1);
        }
        while let Next::Start(name, _) = lanes.next(NOW, 1000, |_| RULE) {
            lanes.done(&name, Outcome::Fine, NOW);
        }
        assert_eq!(lanes.next(at(61), 1000, |_| RULE), Next::Idle);
        assert!(lanes.by_name.is_empty() && lanes.turns.is_empty());
    }
}
