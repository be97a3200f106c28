//! Copies on standard output, a JSON line each.
//!
//! Standard output may be a pipe that nobody reads. So a thread of its own writes, which may hang for ever and holds
//! nothing up but this sink: it is never waited for, and ends with the process
//! (`a_pipe_that_nobody_reads_holds_nothing_up_but_itself`). Nothing is set on the descriptor, which others may share. A line
//! that fits into a pipe's atomic write is written by one call.

use std::collections::VecDeque;
use std::fs::File;
use std::io::{self, ErrorKind, Write as _};
use std::os::fd::AsFd as _;
use std::sync::mpsc::{Receiver, SyncSender, sync_channel};
use std::time::Duration;

use async_trait::async_trait;
use tokio::sync::oneshot;

use super::SinkError;
use super::backlog::BatchLimit;
use super::copy::line;
use super::tally::Tally;
use super::target::{Fault, Target};
use crate::audit::Event;

/// `PIPE_BUF` of Linux: what is no longer is written to a pipe whole, or not at all.
const ATOMIC_BYTES: usize = 4096;
const LIMIT: BatchLimit = BatchLimit { events: 1024, bytes: 256 << 10, wait: Duration::ZERO };
/// A descriptor that somebody else has made non-blocking is tried again after this.
const TRY_AGAIN: Duration = Duration::from_millis(20);

/// Lines that are to be written, and where to say how that went: how many bytes were, and why no more.
struct Job {
    lines: Vec<Vec<u8>>,
    done: oneshot::Sender<Written>,
}

type Written = Result<(), Unwritten>;

/// What is left of the lines, the first perhaps in part.
struct Unwritten {
    lines: Vec<Vec<u8>>,
    error: io::Error,
}

/// Standard output.
#[derive(Debug)]
pub(super) struct Stdout {
    jobs: SyncSender<Job>,
    /// Of the events that are sent again, the lines that are not written yet.
    left: Vec<Vec<u8>>,
    /// Nobody will ever read it.
    gone: bool,
}

impl Stdout {
    pub(super) fn open() -> Result<Self, SinkError> {
        let output = io::stdout().as_fd().try_clone_to_owned().map_err(SinkError::NoOutput)?;
        Self::on(output.into())
    }

    fn on(output: File) -> Result<Self, SinkError> {
        let (jobs, todo) = sync_channel(1);
        let writer = std::thread::Builder::new().name("audit-stdout".to_owned());
        writer.spawn(move || write_all(output, &todo)).map_err(SinkError::NoOutput)?;
        Ok(Self { jobs, left: Vec::new(), gone: false })
    }

    async fn write(&mut self, lines: Vec<Vec<u8>>) -> Written {
        let gone = |lines| Unwritten { lines, error: ErrorKind::BrokenPipe.into() };
        let (done, written) = oneshot::channel();
        let count = lines.len();
        if let Err(refused) = self.jobs.try_send(Job { lines, done }) {
            let (std::sync::mpsc::TrySendError::Full(job)
            | std::sync::mpsc::TrySendError::Disconnected(job)) = refused;
            return Err(gone(job.lines));
        }
        written.await.unwrap_or_else(|_| Err(gone(vec![Vec::new(); count])))
    }
}

/// Writes what comes until nobody sends any more.
fn write_all(mut output: File, todo: &Receiver<Job>) {
    while let Ok(Job { lines, done }) = todo.recv() {
        // Whoever asked may be gone: then nobody wants to know.
        let _ = done.send(write_lines(&mut output, lines));
    }
}

fn write_lines(output: &mut File, mut lines: Vec<Vec<u8>>) -> Written {
    let mut from = 0;
    while from < lines.len() {
        let (chunk, count) = chunk(lines.get(from..).unwrap_or_default());
        let mut written = 0;
        while let Some(rest) = chunk.get(written..).filter(|rest| !rest.is_empty()) {
            match output.write(rest) {
                Ok(bytes) if bytes > 0 => written += bytes,
                Err(error) if error.kind() == ErrorKind::Interrupted => {}
                Err(error) if error.kind() == ErrorKind::WouldBlock => {
                    std::thread::sleep(TRY_AGAIN);
                }
                stopped => {
                    let error = stopped.err().unwrap_or_else(|| ErrorKind::WriteZero.into());
                    return Err(Unwritten { lines: unwritten(lines, from, written), error });
                }
            }
        }
        from += count;
    }
    lines.clear();
    Ok(())
}

/// As many of `lines` as fit into an atomic write, and one at least.
fn chunk(lines: &[Vec<u8>]) -> (Vec<u8>, usize) {
    let (mut chunk, mut count) = (Vec::new(), 0);
    for line in lines {
        if count > 0 && chunk.len() + line.len() > ATOMIC_BYTES {
            break;
        }
        chunk.extend_from_slice(line);
        count += 1;
    }
    (chunk, count)
}

/// `lines` without those before `from`, and without so many bytes after that.
fn unwritten(mut lines: Vec<Vec<u8>>, from: usize, mut written: usize) -> Vec<Vec<u8>> {
    let mut left = lines.split_off(from);
    let whole = left.iter().take_while(|line| {
        let fits = line.len() <= written;
        written -= if fits { line.len() } else { 0 };
        fits
    });
    let whole = whole.count();
    let mut left = left.split_off(whole);
    if let Some(first) = left.first_mut() {
        first.drain(..written.min(first.len()));
    }
    left
}

#[async_trait]
impl Target for Stdout {
    fn name(&self) -> &'static str {
        "stdout"
    }

    fn limit(&self) -> BatchLimit {
        LIMIT
    }

    async fn send(&mut self, events: &mut VecDeque<Event>, tally: &Tally) -> Result<(), Fault> {
        if self.gone {
            events.drain(..).for_each(|event| tally.lose(&event));
            return Err(Fault::new("standard output is closed"));
        }
        let lines = match std::mem::take(&mut self.left) {
            left if left.is_empty() => events.iter().map(with_line_end).collect(),
            left => left,
        };
        let written = self.write(lines).await;
        let left = written.as_ref().err().map_or(0, |unwritten| unwritten.lines.len());
        for event in events.drain(..events.len().saturating_sub(left)) {
            tally.take(&event);
        }
        let Err(Unwritten { lines, error }) = written else { return Ok(()) };
        if error.kind() == ErrorKind::BrokenPipe {
            self.gone = true;
            events.drain(..).for_each(|event| tally.lose(&event));
            return Err(Fault::new("standard output is closed: whoever read it is gone"));
        }
        self.left = lines;
        Err(Fault::new(format!("standard output cannot be written to: {error}")))
    }

    async fn check(&mut self) -> Result<String, Fault> {
        Ok("standard output".to_owned())
    }
}

fn with_line_end(event: &Event) -> Vec<u8> {
    let mut line = line(event);
    line.push(b'\n');
    line
}

#[cfg(test)]
mod tests {
    use std::io::Read as _;

    use super::*;
    use crate::sinks::testing::{checkpoint, entry, usual};

    fn on_a_pipe() -> (Stdout, File) {
        let (reader, writer) = std::io::pipe().unwrap();
        let file = |fd: std::os::fd::OwnedFd| File::from(fd);
        (Stdout::on(file(writer.into())).unwrap(), file(reader.into()))
    }

    #[tokio::test]
    async fn each_entry_and_each_checkpoint_is_a_line() {
        let (mut stdout, mut reader) = on_a_pipe();
        let tally = Tally::new("stdout");
        let long = format!(r#"{{"operation":"{}"}}"#, "x".repeat(9000));
        let mut events = VecDeque::from([usual(0), entry(1, &long), checkpoint(2, "a\nb\n")]);
        let wanted: Vec<_> = events.iter().map(line).collect();
        stdout.send(&mut events, &tally).await.unwrap();
        assert_eq!((events.len(), tally.counts()), (0, (2, 0)));
        drop(stdout);
        let mut text = Vec::new();
        reader.read_to_end(&mut text).unwrap();
        assert_eq!(
            text.strip_suffix(b"\n").unwrap().split(|byte| *byte == b'\n').collect::<Vec<_>>(),
            wanted
        );
    }

    #[tokio::test]
    async fn a_closed_pipe_loses_what_comes_and_is_counted() {
        let (mut stdout, reader) = on_a_pipe();
        let tally = Tally::new("stdout");
        drop(reader);
        for _ in 0..2 {
            let mut events = VecDeque::from([usual(0), checkpoint(1, "a")]);
            let fault = stdout.send(&mut events, &tally).await.unwrap_err();
            assert!(events.is_empty() && fault.reason.contains("closed"), "{fault:?}");
        }
        assert_eq!(tally.counts(), (0, 2));
    }

    #[tokio::test]
    async fn a_full_disk_is_waited_for_and_no_line_is_torn() {
        let full = File::options().write(true).open("/dev/full").unwrap();
        let mut stdout = Stdout::on(full).unwrap();
        let tally = Tally::new("stdout");
        let mut events = VecDeque::from([usual(0), usual(1)]);
        let fault = stdout.send(&mut events, &tally).await.unwrap_err();
        assert!(fault.reason.contains("cannot be written"), "{fault:?}");
        assert_eq!((events.len(), stdout.left.len(), tally.counts()), (2, 2, (0, 0)));
    }

    #[test]
    fn what_was_not_written_goes_on_in_the_middle_of_a_line() {
        let lines = || ["a\n", "bcd\n", "e\n"].map(|line| line.as_bytes().to_vec()).to_vec();
        assert_eq!(unwritten(lines(), 0, 0), lines());
        assert_eq!(unwritten(lines(), 0, 4), [b"d\n".to_vec(), b"e\n".to_vec()]);
        assert_eq!(unwritten(lines(), 1, 4), [b"e\n".to_vec()]);
        assert_eq!(unwritten(lines(), 2, 2), Vec::<Vec<u8>>::new());
        let (chunk, count) = chunk(&[vec![b'x'; 4000], vec![b'y'; 96], vec![b'z'; 1]]);
        assert_eq!((chunk.len(), count), (4096, 2));
    }
}
