//! Where findings go: the first thousand are listed, all are counted.

use crate::model::finding::{Finding, Severity};

/// How many findings are listed, as the pension service's own checker does.
pub const LISTED_MAX: usize = 1000;

/// How many findings there are, listed or not.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct Totals {
    /// Of severity error.
    pub errors: u64,
    /// Of severity warning.
    pub warnings: u64,
}

/// A list of findings that cannot grow without end. When it is full, an error takes the place of the last warning:
/// what stops a filing is always shown before what does not.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Findings {
    listed: Vec<Finding>,
    listed_warnings: usize,
    listed_max: usize,
    errors: u64,
    warnings: u64,
}

impl Default for Findings {
    fn default() -> Self {
        Self::listing(LISTED_MAX)
    }
}

impl Findings {
    /// Lists at most this many.
    pub fn listing(listed_max: usize) -> Self {
        Self { listed: Vec::new(), listed_warnings: 0, listed_max, errors: 0, warnings: 0 }
    }

    /// A list as it was kept: what was listed, how many more there were, and how many of these were errors.
    pub fn resumed(listed: Vec<Finding>, more: u64, more_errors: u64) -> Self {
        let listed_warnings = listed.iter().filter(|f| f.severity == Severity::Warning).count();
        let more_errors = more_errors.min(more);
        Self {
            errors: (listed.len() - listed_warnings) as u64 + more_errors,
            warnings: listed_warnings as u64 + (more - more_errors),
            listed_max: LISTED_MAX.max(listed.len()),
            listed_warnings,
            listed,
        }
    }

    /// Adds a finding; it is only made when there is room for it.
    pub fn push(&mut self, severity: Severity, make: impl FnOnce() -> Finding) {
        match severity {
            Severity::Error => self.errors += 1,
            Severity::Warning => self.warnings += 1,
        }
        if self.listed.len() >= self.listed_max {
            if severity == Severity::Warning || self.listed_warnings == 0 {
                return;
            }
            if let Some(last) = self.listed.iter().rposition(|f| f.severity == Severity::Warning) {
                self.listed.remove(last);
                self.listed_warnings -= 1;
            }
        }
        self.listed_warnings += usize::from(severity == Severity::Warning);
        self.listed.push(make());
    }

    /// Takes another list in: within this one's bound, and with all that the other only counted.
    pub fn take_in(&mut self, other: Self) {
        let (errors, more) = (other.more_errors(), other.more());
        for finding in other.listed {
            self.push(finding.severity, || finding);
        }
        self.errors = self.errors.saturating_add(errors);
        self.warnings = self.warnings.saturating_add(more - errors);
    }

    /// Changes each that is listed, but for its severity.
    pub fn change(&mut self, change: impl FnMut(&mut Finding)) {
        self.listed.iter_mut().for_each(change);
    }

    /// Those that are listed, in the order in which they were found.
    pub fn listed(&self) -> &[Finding] {
        &self.listed
    }

    /// Those that are listed, by value.
    pub fn into_listed(self) -> Vec<Finding> {
        self.listed
    }

    /// How many more there were.
    pub fn more(&self) -> u64 {
        (self.errors + self.warnings).saturating_sub(self.listed.len() as u64)
    }

    /// How many errors there were beyond those listed.
    pub fn more_errors(&self) -> u64 {
        self.errors.saturating_sub((self.listed.len() - self.listed_warnings) as u64)
    }

    /// How many there were, listed or not.
    pub fn totals(&self) -> Totals {
        Totals { errors: self.errors, warnings: self.warnings }
    }

    /// How many of severity error, listed or not.
    pub fn errors(&self) -> u64 {
        self.errors
    }

    /// How many of severity warning, listed or not.
    pub fn warnings(&self) -> u64 {
        self.warnings
    }

    /// Whether the filing may go through.
    pub fn is_ok(&self) -> bool {
        self.errors == 0
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::model::finding::Text;

    fn finding(severity: Severity, line: u64) -> Finding {
        Finding { line: Some(line), ..Finding::new(severity, "X", Text::default(), Text::default()) }
    }

    #[test]
    fn a_million_are_counted_and_errors_are_listed_first() {
        let mut findings = Findings::listing(3);
        for line in 0..10 {
            findings.push(Severity::Warning, || finding(Severity::Warning, line));
        }
        findings.push(Severity::Error, || finding(Severity::Error, 10));
        let lines: Vec<_> = findings.listed().iter().map(|f| f.line.unwrap()).collect();
        assert_eq!((lines, findings.more()), (vec![0, 1, 10], 8));
        for line in 11..1_000_000 {
            findings.push(Severity::Error, || finding(Severity::Error, line));
        }
        assert_eq!((findings.errors(), findings.warnings(), findings.listed().len()), (999_990, 10, 3));
        assert!(findings.listed().iter().all(|f| f.severity == Severity::Error));
    }

    #[test]
    fn lists_are_joined_within_one_bound_and_lose_no_count() {
        let list = |severity, from, count| {
            let mut findings = Findings::listing(3);
            for line in from..from + count {
                findings.push(severity, || finding(severity, line));
            }
            findings
        };
        let mut all = list(Severity::Warning, 0, 1200);
        all.take_in(list(Severity::Error, 2000, 2));
        let lines: Vec<_> = all.listed().iter().map(|f| f.line.unwrap()).collect();
        assert_eq!(lines, [0, 2000, 2001]);
        assert_eq!(all.totals(), Totals { errors: 2, warnings: 1200 });
        all.take_in(list(Severity::Error, 3000, 5));
        assert_eq!((all.more(), all.more_errors(), all.totals().errors), (1204, 4, 7));
        let kept = Findings::resumed(all.listed().to_vec(), all.more(), all.more_errors());
        assert_eq!((kept.totals(), kept.more()), (all.totals(), all.more()));
    }
}
