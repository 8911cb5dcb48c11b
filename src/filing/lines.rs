//! Lines of a file in bounded memory, however long they are.

use std::io::{self, Read};
use std::ops::Range;

/// Bytes read at a time.
const BLOCK: usize = 256 * 1024;
/// Most bytes of a line; the longest record of any form is below 4 KiB.
pub(crate) const LINE_MAX: usize = 64 * 1024;

/// How a line ended.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Ending {
    CrLf,
    Lf,
    /// The file ended.
    Eof,
}

/// A line: its bytes without the line end, or only the first of them when it is too long.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Line {
    pub(crate) range: Range<usize>,
    pub(crate) ending: Ending,
    pub(crate) too_long: bool,
}

pub(crate) struct Lines<R> {
    reader: R,
    buffer: Vec<u8>,
    start: usize,
    end: usize,
    eof: bool,
    /// Bytes read so far.
    pub(crate) bytes: u64,
}

impl<R: Read> Lines<R> {
    pub(crate) fn new(reader: R) -> io::Result<Self> {
        let mut lines = Self { reader, buffer: vec![0; BLOCK], start: 0, end: 0, eof: false, bytes: 0 };
        lines.fill()?;
        Ok(lines)
    }

    /// The first bytes of the file; to be asked before the first line is.
    pub(crate) fn head(&self) -> &[u8] {
        &self.buffer[self.start..self.end]
    }

    pub(crate) fn get(&self, line: &Line) -> &[u8] {
        &self.buffer[line.range.clone()]
    }

    /// Moves what is left to the front and reads until the buffer is full or the file ends.
    fn fill(&mut self) -> io::Result<()> {
        self.buffer.copy_within(self.start..self.end, 0);
        self.end -= self.start;
        self.start = 0;
        while !self.eof && self.end < self.buffer.len() {
            match self.reader.read(&mut self.buffer[self.end..]) {
                Ok(0) => self.eof = true,
                Ok(n) => {
                    self.end += n;
                    self.bytes += n as u64;
                }
                Err(e) if e.kind() == io::ErrorKind::Interrupted => {}
                Err(e) => return Err(e),
            }
        }
        Ok(())
    }

    pub(crate) fn next(&mut self) -> io::Result<Option<Line>> {
        if let Some(at) = memchr::memchr(b'\n', &self.buffer[self.start..self.end]) {
            return Ok(Some(self.line(at)));
        }
        self.fill()?;
        if let Some(at) = memchr::memchr(b'\n', &self.buffer[..self.end]) {
            return Ok(Some(self.line(at)));
        }
        if self.eof {
            if self.end == 0 {
                return Ok(None);
            }
            let len = self.end;
            self.start = len;
            let range = 0..len.min(LINE_MAX);
            return Ok(Some(Line { range, ending: Ending::Eof, too_long: len > LINE_MAX }));
        }
        self.skip()
    }

    fn line(&mut self, len: usize) -> Line {
        let from = self.start;
        self.start += len + 1;
        let cr = len > 0 && self.buffer[from + len - 1] == b'\r';
        let (to, ending) = if cr { (from + len - 1, Ending::CrLf) } else { (from + len, Ending::Lf) };
        Line { range: from..to.min(from + LINE_MAX), ending, too_long: to - from > LINE_MAX }
    }

    /// The buffer is full and holds no line end: passes over the rest of the line.
    fn skip(&mut self) -> io::Result<Option<Line>> {
        // The beginning stays in front of the part that is read over again and again.
        let mut before = 0;
        loop {
            self.start = LINE_MAX;
            if self.end > LINE_MAX {
                before = self.buffer[self.end - 1];
            }
            self.end = LINE_MAX;
            while !self.eof && self.end < self.buffer.len() {
                match self.reader.read(&mut self.buffer[self.end..]) {
                    Ok(0) => self.eof = true,
                    Ok(n) => {
                        self.end += n;
                        self.bytes += n as u64;
                    }
                    Err(e) if e.kind() == io::ErrorKind::Interrupted => {}
                    Err(e) => return Err(e),
                }
            }
            let found = memchr::memchr(b'\n', &self.buffer[LINE_MAX..self.end]);
            let ending = match found {
                Some(0) if before == b'\r' => Ending::CrLf,
                Some(at) if at > 0 && self.buffer[LINE_MAX + at - 1] == b'\r' => Ending::CrLf,
                Some(_) => Ending::Lf,
                None if self.eof => Ending::Eof,
                None => continue,
            };
            self.start = found.map_or(self.end, |at| LINE_MAX + at + 1);
            return Ok(Some(Line { range: 0..LINE_MAX, ending, too_long: true }));
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn read(bytes: &[u8]) -> Vec<(usize, Ending, bool)> {
        let mut lines = Lines::new(bytes).unwrap();
        let mut out = Vec::new();
        while let Some(line) = lines.next().unwrap() {
            out.push((lines.get(&line).len(), line.ending, line.too_long));
        }
        assert_eq!(lines.bytes, bytes.len() as u64);
        out
    }

    #[test]
    fn every_line_end_is_told() {
        assert_eq!(read(b""), []);
        let expected = [
            (1, Ending::CrLf, false),
            (2, Ending::Lf, false),
            (0, Ending::Lf, false),
            (1, Ending::Eof, false),
        ];
        assert_eq!(read(b"a\r\nbb\n\nc"), expected);
    }

    #[test]
    fn a_line_without_end_takes_no_memory() {
        for len in [LINE_MAX, LINE_MAX + 1, BLOCK - 1, BLOCK, BLOCK + 1, 10 * 1024 * 1024] {
            let mut bytes = vec![b'x'; len];
            assert_eq!(read(&bytes), [(len.min(LINE_MAX), Ending::Eof, len > LINE_MAX)], "{len}");
            bytes.extend_from_slice(b"\r\nab\r\n");
            let long = len > LINE_MAX;
            assert_eq!(
                read(&bytes),
                [(len.min(LINE_MAX), Ending::CrLf, long), (2, Ending::CrLf, false)],
                "{len}"
            );
        }
    }
}
