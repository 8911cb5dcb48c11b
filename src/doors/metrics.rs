//! Figures and health over HTTP: `/metrics` (Prometheus text), `/healthz`, `/readyz`. Plain GET, one request a
//! connection, everything bounded; meant for this machine or a monitoring network.

use std::io;
use std::net::SocketAddr;
use std::sync::Arc;
use std::time::{Duration, Instant};

use metrics::{Unit, describe_counter, describe_gauge, describe_histogram};
use metrics_exporter_prometheus::{BuildError, Matcher, PrometheusBuilder, PrometheusHandle};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::Semaphore;
use tokio::sync::watch;

use crate::model::health::Health;
use crate::model::metric as names;

/// Files from 1 KiB to 1 GiB.
const BYTES_BUCKETS: [f64; 8] =
    [1_024.0, 16_384.0, 131_072.0, 1_048_576.0, 4_718_592.0, 33_554_432.0, 268_435_456.0, 1_073_741_824.0];
/// An fsync: from a battery-backed controller to a disk in trouble.
const FSYNC_BUCKETS: [f64; 9] = [0.0005, 0.001, 0.002, 0.005, 0.01, 0.025, 0.1, 0.5, 2.0];
/// What somebody waits for; 8 s is the default patience of a close.
const WAIT_BUCKETS: [f64; 10] = [0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0, 2.5, 8.0, 30.0];
/// What goes over the network and may hang: up to the mail attempt's bound.
const REMOTE_BUCKETS: [f64; 9] = [0.01, 0.05, 0.1, 0.5, 1.0, 5.0, 20.0, 60.0, 180.0];

/// A recorder with the fixed buckets, not installed.
fn builder() -> Result<PrometheusBuilder, BuildError> {
    let full = |name: &str| Matcher::Full(name.to_owned());
    PrometheusBuilder::new()
        .set_buckets_for_metric(full(names::UPLOAD_FILE_BYTES), &BYTES_BUCKETS)?
        .set_buckets_for_metric(full(names::JOURNAL_FSYNC_SECONDS), &FSYNC_BUCKETS)?
        .set_buckets_for_metric(full(names::VERDICT_SECONDS), &WAIT_BUCKETS)?
        .set_buckets_for_metric(full(names::MAIL_ATTEMPT_SECONDS), &REMOTE_BUCKETS)?
        .set_buckets_for_metric(full(names::SCAN_SECONDS), &REMOTE_BUCKETS)
}

/// Starts counting, for the whole process; once. Only where a [`MetricsServer`] runs: it also keeps the recorder small.
/// Otherwise the macros count nothing and cost nothing.
pub fn install() -> Result<PrometheusHandle, BuildError> {
    let handle = builder()?.install_recorder()?;
    describe();
    Ok(handle)
}

fn describe() {
    describe_counter!(names::SUBMISSIONS, "Submissions judged, by verdict.");
    describe_counter!(names::UPLOAD_BYTES, Unit::Bytes, "Bytes taken in over SFTP.");
    describe_histogram!(names::UPLOAD_FILE_BYTES, Unit::Bytes, "Size of one uploaded file.");
    describe_histogram!(
        names::VERDICT_SECONDS,
        Unit::Seconds,
        "From the close that completes a submission to its verdict."
    );
    describe_histogram!(names::JOURNAL_FSYNC_SECONDS, Unit::Seconds, "One fsync of the journal.");
    describe_histogram!(names::MAIL_ATTEMPT_SECONDS, Unit::Seconds, "One attempt to send a mail, by result.");
    describe_histogram!(names::SCAN_SECONDS, Unit::Seconds, "One virus scan, by result.");
    describe_counter!(names::DOCUMENTS_PLACED, "Documents placed in outboxes.");
    describe_counter!(names::DOCUMENTS_REMOVED, "Documents removed, by reason.");
    describe_counter!(names::LOGINS, "Logins, by result.");
    describe_gauge!(names::SESSIONS, "SFTP sessions open now.");
    describe_gauge!(names::SUBMISSIONS_HELD, "Submissions held now.");
    describe_gauge!(names::MAILS_QUEUED, "Mails waiting now.");
    describe_gauge!(names::DISK_FREE_BYTES, Unit::Bytes, "Free space where the data root lies.");
    describe_gauge!(names::JOURNAL_SEQUENCE, "Sequence number of the journal's last event.");
    describe_gauge!(names::PATTERN_AGE_DAYS, "Days since the virus patterns were made; -1 when unknown.");
    describe_gauge!(names::ALARMS, "Alarms that hold now, by code.");
    describe_counter!(names::BATCHES, "Batches closed at cut-offs.");
    describe_gauge!(names::DAYS_OPEN, "Local days that ended and whose books are not closed.");
    describe_gauge!(names::SCANNER_UP, "1 when the scanner answered last.");
}

/// Request line and headers together.
const REQUEST_BYTES_MAX: usize = 8 * 1024;
/// From the connection to the last byte of the answer.
const REQUEST_MAX: Duration = Duration::from_secs(10);
/// Connections at once; more wait in the listen queue.
const CONNECTIONS_MAX: usize = 16;
/// Between two rounds of tidying up in the recorder.
const UPKEEP_EVERY: Duration = Duration::from_secs(5);
/// After an accept that failed (out of descriptors), before the next.
const ACCEPT_PAUSE: Duration = Duration::from_millis(200);

/// The listener, bound and not yet serving.
#[derive(Debug)]
pub struct MetricsServer {
    listener: TcpListener,
    page: Page,
}

/// What is served.
#[derive(Debug, Clone)]
struct Page {
    handle: PrometheusHandle,
    health: Arc<Health>,
}

impl MetricsServer {
    /// Binds. The address is loopback by default; another one is the operator's decision.
    pub async fn bind(
        address: SocketAddr,
        handle: PrometheusHandle,
        health: Arc<Health>,
    ) -> io::Result<Self> {
        Ok(Self { listener: TcpListener::bind(address).await?, page: Page { handle, health } })
    }

    /// Where it listens; tells the port when 0 was asked for.
    pub fn address(&self) -> io::Result<SocketAddr> {
        self.listener.local_addr()
    }

    /// Serves until `stop` turns true or its sender is gone.
    pub async fn run(self, mut stop: watch::Receiver<bool>) {
        let slots = Arc::new(Semaphore::new(CONNECTIONS_MAX));
        let mut upkeep = tokio::time::interval(UPKEEP_EVERY);
        loop {
            let accepted = tokio::select! {
                _ = stop.wait_for(|stop| *stop) => return,
                _ = upkeep.tick() => {
                    self.page.handle.run_upkeep();
                    continue;
                }
                accepted = accept(&self.listener, &slots) => accepted,
            };
            match accepted {
                Ok((stream, slot)) => {
                    let page = self.page.clone();
                    tokio::spawn(async move {
                        // Whoever is slow or broken is dropped; there is nobody to tell.
                        let _ = tokio::time::timeout(REQUEST_MAX, serve(stream, page)).await;
                        drop(slot);
                    });
                }
                Err(error) => {
                    tracing::warn!(%error, "metrics: accept failed");
                    tokio::time::sleep(ACCEPT_PAUSE).await;
                }
            }
        }
    }
}

async fn accept(
    listener: &TcpListener,
    slots: &Arc<Semaphore>,
) -> io::Result<(TcpStream, tokio::sync::OwnedSemaphorePermit)> {
    let slot = Arc::clone(slots).acquire_owned().await.map_err(io::Error::other)?;
    let (stream, _) = listener.accept().await?;
    Ok((stream, slot))
}

/// One request, one answer.
async fn serve(mut stream: TcpStream, page: Page) -> io::Result<()> {
    let mut request = Vec::new();
    while !ends_headers(&request) {
        if request.len() >= REQUEST_BYTES_MAX {
            answer(&mut stream, Answer::plain("431 Request Header Fields Too Large"), false).await?;
            // Closing with unread bytes would be a reset, which can overtake the answer.
            return tokio::io::copy(&mut stream.take(REQUEST_BYTES_MAX as u64), &mut tokio::io::sink())
                .await
                .map(drop);
        }
        let room = (REQUEST_BYTES_MAX - request.len()) as u64;
        if (&mut stream).take(room).read_buf(&mut request).await? == 0 {
            return Ok(());
        }
    }
    let line = request.split(|b| *b == b'\r' || *b == b'\n').next().unwrap_or_default();
    let words: Vec<&[u8]> = line.split(|b| *b == b' ').collect();
    let [method, target, version] = words[..] else {
        return answer(&mut stream, Answer::plain("400 Bad Request"), false).await;
    };
    let found = match (method, version.starts_with(b"HTTP/1.")) {
        (_, false) => Answer::plain("400 Bad Request"),
        (b"GET" | b"HEAD", true) => page.answer(target).await,
        (_, true) => Answer::plain("405 Method Not Allowed"),
    };
    answer(&mut stream, found, method == b"HEAD").await
}

fn ends_headers(request: &[u8]) -> bool {
    request.windows(4).any(|w| w == b"\r\n\r\n") || request.windows(2).any(|w| w == b"\n\n")
}

struct Answer {
    status: &'static str,
    content_type: &'static str,
    body: String,
}

impl Answer {
    fn plain(status: &'static str) -> Self {
        Self { status, content_type: "text/plain; charset=utf-8", body: format!("{status}\n") }
    }

    fn json(ok: bool, report: &impl serde::Serialize) -> Self {
        let body = serde_json::to_string(report).unwrap_or_default() + "\n";
        let status = if ok { "200 OK" } else { "503 Service Unavailable" };
        Self { status, content_type: "application/json", body }
    }
}

impl Page {
    async fn answer(self, target: &[u8]) -> Answer {
        let path = target.split(|b| *b == b'?').next().unwrap_or_default();
        match path {
            b"/metrics" => match tokio::task::spawn_blocking(move || self.handle.render()).await {
                Ok(body) => Answer {
                    status: "200 OK",
                    content_type: "text/plain; version=0.0.4; charset=utf-8",
                    body,
                },
                Err(_) => Answer::plain("500 Internal Server Error"),
            },
            b"/healthz" => {
                let report = self.health.report(Instant::now());
                Answer::json(report.ok, &report)
            }
            b"/readyz" => {
                let report = self.health.readiness(Instant::now());
                Answer::json(report.ready, &report)
            }
            _ => Answer::plain("404 Not Found"),
        }
    }
}

async fn answer(stream: &mut TcpStream, answer: Answer, head_only: bool) -> io::Result<()> {
    let Answer { status, content_type, body } = answer;
    let mut bytes = format!(
        "HTTP/1.1 {status}\r\nContent-Type: {content_type}\r\nContent-Length: {}\r\nCache-Control: no-store\r\n\
         X-Content-Type-Options: nosniff\r\nConnection: close\r\n\r\n",
        body.len()
    );
    if !head_only {
        bytes.push_str(&body);
    }
    stream.write_all(bytes.as_bytes()).await?;
    stream.shutdown().await
}

#[cfg(test)]
mod tests {
    use super::*;

    struct Served {
        address: SocketAddr,
        health: Arc<Health>,
        stop: watch::Sender<bool>,
        task: tokio::task::JoinHandle<()>,
    }

    async fn serve() -> Served {
        let recorder = builder().unwrap().build_recorder();
        let handle = recorder.handle();
        metrics::with_local_recorder(&recorder, || {
            describe();
            metrics::counter!(names::UPLOAD_BYTES).increment(42);
            metrics::histogram!(names::SCAN_SECONDS, "result" => "clean").record(0.03);
        });
        let health = Arc::new(Health::starting());
        let server =
            MetricsServer::bind("127.0.0.1:0".parse().unwrap(), handle, Arc::clone(&health)).await.unwrap();
        let address = server.address().unwrap();
        let (stop, stopped) = watch::channel(false);
        Served { address, health, stop, task: tokio::spawn(server.run(stopped)) }
    }

    async fn ask(served: &Served, request: &str) -> String {
        let mut stream = TcpStream::connect(served.address).await.unwrap();
        stream.write_all(request.as_bytes()).await.unwrap();
        let mut answer = String::new();
        stream.read_to_string(&mut answer).await.unwrap();
        answer
    }

    #[tokio::test]
    async fn figures_have_units_and_fixed_buckets() {
        let served = serve().await;
        let page = ask(&served, "GET /metrics HTTP/1.1\r\nHost: x\r\n\r\n").await;
        assert!(page.starts_with("HTTP/1.1 200 OK\r\n"), "{page}");
        for line in [
            "# TYPE todoke_upload_bytes_total counter",
            "todoke_upload_bytes_total 42",
            "# HELP todoke_scan_seconds One virus scan, by result.",
            "# TYPE todoke_scan_seconds histogram",
            "todoke_scan_seconds_bucket{result=\"clean\",le=\"0.05\"} 1",
            "todoke_scan_seconds_bucket{result=\"clean\",le=\"0.01\"} 0",
        ] {
            assert!(page.lines().any(|l| l == line), "{line} is not in\n{page}");
        }
    }

    #[tokio::test]
    async fn health_names_what_is_late_and_readiness_what_is_awaited() {
        let served = serve().await;
        let healthy = ask(&served, "GET /healthz HTTP/1.0\r\n\r\n").await;
        assert!(healthy.starts_with("HTTP/1.1 200 "), "{healthy}");
        let starting = ask(&served, "GET /readyz HTTP/1.1\r\n\r\n").await;
        assert!(
            starting.starts_with("HTTP/1.1 503 ") && starting.contains(r#""waiting_for":["starting"]"#),
            "{starting}"
        );
        served.health.release("starting");
        assert!(ask(&served, "GET /readyz?x=1 HTTP/1.1\r\n\r\n").await.contains(r#""ready":true"#));

        // A loop that may never be silent is late at once, whatever the machine's speed.
        served.health.watch("sweep", Duration::ZERO, Instant::now());
        tokio::time::sleep(Duration::from_millis(2)).await;
        let late = ask(&served, "GET /healthz HTTP/1.1\r\n\r\n").await;
        assert!(late.starts_with("HTTP/1.1 503 ") && late.contains(r#""late":[{"name":"sweep""#), "{late}");
        assert!(ask(&served, "GET /readyz HTTP/1.1\r\n\r\n").await.starts_with("HTTP/1.1 503 "));
    }

    #[tokio::test]
    async fn strange_requests_are_answered_shortly() {
        let served = serve().await;
        for (request, status) in [
            ("GET / HTTP/1.1\r\n\r\n".to_owned(), "404"),
            ("POST /metrics HTTP/1.1\r\n\r\n".into(), "405"),
            ("GET /metrics\r\n\r\n".into(), "400"),
            ("GET /metrics SMTP/1.1\r\n\r\n".into(), "400"),
            ("\r\n\r\n".into(), "400"),
            (format!("GET / HTTP/1.1\r\nX: {}", "x".repeat(REQUEST_BYTES_MAX + 1000)), "431"),
        ] {
            let answer = ask(&served, &request).await;
            assert!(answer.starts_with(&format!("HTTP/1.1 {status} ")), "{request:.40?}: {answer}");
        }
        let head = ask(&served, "HEAD /healthz HTTP/1.1\r\n\r\n").await;
        assert!(head.starts_with("HTTP/1.1 200") && head.ends_with("\r\n\r\n"), "{head}");
    }

    #[tokio::test]
    async fn silent_connections_do_not_keep_others_out_for_long_and_stop_ends_it() {
        let served = serve().await;
        let mut silent = Vec::new();
        for _ in 0..CONNECTIONS_MAX - 1 {
            silent.push(TcpStream::connect(served.address).await.unwrap());
        }
        assert!(ask(&served, "GET /healthz HTTP/1.1\r\n\r\n").await.starts_with("HTTP/1.1 200"));
        served.stop.send(true).unwrap();
        tokio::time::timeout(Duration::from_mins(1), served.task).await.unwrap().unwrap();
    }
}
