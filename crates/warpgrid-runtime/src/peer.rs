// SPDX-License-Identifier: Apache-2.0
//! What the client of a connection is waited for, and how long. hyper itself waits without end: for
//! the first bytes, for the next request of HTTP/2, for a client that takes no byte of its response,
//! and, as long as nobody asks for the rest of a request, for one that has left.

use std::cell::Cell;
use std::os::fd::{AsRawFd, BorrowedFd, OwnedFd, RawFd};
use std::pin::{Pin, pin};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU32, Ordering::Relaxed};
use std::task::{Context, Poll, ready};
use std::time::Duration;
use tokio::io::unix::AsyncFd;
use tokio::io::{AsyncRead, AsyncReadExt, AsyncWrite, AsyncWriteExt, Interest, ReadBuf};
use tokio::net::TcpStream;
use tokio::time::{Instant, Sleep};

/// A client may take this long to send the head of a request, and to take anything of a response.
const PATIENCE: Duration = Duration::from_secs(30);
/// How often it is looked in that time whether the client takes anything.
const LOOKS: u32 = 3;
/// And so long once the connection is to end.
const LAST_PATIENCE: Duration = Duration::from_secs(1);
/// After a pause of this length in reading a request, the client may have left unseen.
const PAUSE: Duration = Duration::from_millis(50);
/// A connection that is closed with bytes unread is drained of so many, for so long, that the
/// client gets to read the answer before it sees a reset.
const LINGER_BYTES: usize = 1 << 20;
const LINGER_TIME: Duration = Duration::from_secs(1);

/// What hyper does with a connection.
#[derive(Default)]
pub struct Peer {
    /// Requests in progress, each to the end of its response.
    active: AtomicU32,
    /// Changes with each request, and with the bytes that come and go while one is in progress.
    turns: AtomicU32,
    /// hyper waits for bytes, and will see the end of them.
    reads: AtomicBool,
    /// The client takes no more bytes at present.
    is_full: AtomicBool,
}

impl Peer {
    fn turn(&self) {
        self.turns.store(self.turns.load(Relaxed).wrapping_add(1), Relaxed);
    }
}

/// A request in progress.
pub struct Active(Arc<Peer>);

impl Active {
    pub fn new(peer: &Arc<Peer>) -> Active {
        peer.active.fetch_add(1, Relaxed);
        peer.turn();
        Active(peer.clone())
    }
}

impl Drop for Active {
    fn drop(&mut self) {
        self.0.active.fetch_sub(1, Relaxed);
        self.0.turn();
    }
}

/// What a connection waits for, of what may never come.
#[derive(Clone, Copy, PartialEq)]
enum Lack {
    Nothing,
    Request,
    Room,
    /// Somebody who reads the rest of a request.
    Reader,
}

/// Why a connection ends.
pub enum End {
    /// Nothing is in progress, and nothing came.
    Idle,
    /// The client has left, or takes nothing.
    Gone,
}

/// Becomes ready when the client was waited for long enough. To be polled after the connection, by
/// the same task.
pub struct Vigil {
    peer: Arc<Peer>,
    /// Of the connection, which outlives this.
    fd: RawFd,
    patience: Duration,
    lack: Lack,
    turns: u32,
    since: Instant,
    sleep: Pin<Box<Sleep>>,
    /// How often it was looked since then what the client takes, and the bytes that it had not
    /// taken the last time.
    looks: u32,
    untaken: libc::c_int,
    /// Sees the client leave while hyper does not look.
    watch: Option<AsyncFd<OwnedFd>>,
}

impl Vigil {
    pub fn new(peer: &Arc<Peer>, fd: RawFd) -> Vigil {
        Vigil {
            peer: peer.clone(),
            fd,
            patience: PATIENCE,
            lack: Lack::Nothing,
            turns: 0,
            since: Instant::now(),
            sleep: Box::pin(tokio::time::sleep(PATIENCE)),
            looks: 0,
            untaken: 0,
            watch: None,
        }
    }

    /// The connection is to end when nothing is in progress any more.
    pub fn hurry(&mut self) {
        self.patience = LAST_PATIENCE;
        self.since = Instant::now();
    }

    fn lack(&self) -> Lack {
        let p = &self.peer;
        match () {
            () if p.is_full.load(Relaxed) => Lack::Room,
            () if p.active.load(Relaxed) == 0 => Lack::Request,
            () if !p.reads.load(Relaxed) => Lack::Reader,
            () => Lack::Nothing,
        }
    }

    /// Whether the client took something since the last look. There is room again only when much of
    /// what was sent is taken, which may be long for a slow one.
    fn takes(&mut self) -> bool {
        let (before, looked) = (self.untaken, self.looks > 0);
        // SAFETY: the connection is open; TIOCOUTQ writes one int.
        unsafe { libc::ioctl(self.fd, libc::TIOCOUTQ, &mut self.untaken) };
        looked && self.untaken < before
    }

    fn has_left(&self, cx: &mut Context<'_>) -> bool {
        let Some(watch) = &self.watch else { return false };
        while let Poll::Ready(Ok(mut guard)) = watch.poll_read_ready(cx) {
            if guard.ready().is_read_closed() {
                return true;
            }
            guard.clear_ready();
        }
        false
    }
}

impl Future for Vigil {
    type Output = End;

    fn poll(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<End> {
        let me = &mut *self;
        let (lack, turns) = (me.lack(), me.peer.turns.load(Relaxed));
        if (lack, turns) != (me.lack, me.turns) {
            (me.lack, me.turns) = (lack, turns);
            (me.since, me.looks) = (Instant::now(), 0);
            me.watch = None;
        }
        loop {
            if me.watch.is_some() && me.has_left(cx) {
                return Poll::Ready(End::Gone);
            }
            let due = match me.lack {
                Lack::Request => Some(me.since + me.patience),
                Lack::Room => Some(me.since + PATIENCE / LOOKS * (me.looks + 1)),
                Lack::Reader if me.watch.is_none() => Some(me.since + PAUSE),
                _ => None,
            };
            // A timer that is too early is left alone: it wakes us once for nothing, which is cheaper
            // than moving it with each request.
            if let Some(due) = due.filter(|due| *due < me.sleep.deadline()) {
                me.sleep.as_mut().reset(due);
            }
            ready!(me.sleep.as_mut().poll(cx));
            let now = Instant::now();
            match (due, me.lack) {
                (None, _) => me.sleep.as_mut().reset(now + PATIENCE),
                (Some(due), _) if now < due => me.sleep.as_mut().reset(due),
                (_, Lack::Request) => {
                    me.since = now;
                    return Poll::Ready(End::Idle);
                }
                (_, Lack::Room) if me.takes() => (me.since, me.looks) = (now, 0),
                (_, Lack::Room) if me.looks + 1 == LOOKS => return Poll::Ready(End::Gone),
                (_, Lack::Room) => me.looks += 1,
                _ => {
                    me.since = now;
                    me.watch = watch(me.fd).ok();
                }
            }
        }
    }
}

/// Sees the other end of a connection close. With an fd of its own: hyper's has its place in the
/// poller, and its readiness is hyper's.
fn watch(fd: RawFd) -> std::io::Result<AsyncFd<OwnedFd>> {
    // SAFETY: the connection is open as long as its Vigil is polled.
    let fd = unsafe { BorrowedFd::borrow_raw(fd) }.try_clone_to_owned()?;
    // SAFETY: the new fd is closed with its registration.
    unsafe { AsyncFd::register_with_interest(fd, Interest::READABLE) }.map_err(|e| e.into_parts().1)
}

/// A client's socket, which says what hyper does with it, and lingers when it is closed with bytes
/// unread.
pub struct Stream {
    /// Present until dropped.
    tcp: Option<TcpStream>,
    peer: Arc<Peer>,
}

impl Stream {
    pub fn new(tcp: TcpStream, peer: &Arc<Peer>) -> Stream {
        Stream { tcp: Some(tcp), peer: peer.clone() }
    }

    fn tcp(&mut self) -> Pin<&mut TcpStream> {
        Pin::new(self.tcp.as_mut().expect("present until dropped"))
    }

    fn wrote(&self, written: Poll<std::io::Result<usize>>) -> Poll<std::io::Result<usize>> {
        if self.peer.is_full.swap(written.is_pending(), Relaxed) && written.is_ready() {
            self.peer.turn();
        }
        written
    }
}

impl AsyncRead for Stream {
    fn poll_read(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        buf: &mut ReadBuf<'_>,
    ) -> Poll<std::io::Result<()>> {
        let read = self.tcp().poll_read(cx, buf);
        self.peer.reads.store(read.is_pending(), Relaxed);
        if read.is_ready() && self.peer.active.load(Relaxed) > 0 {
            self.peer.turn();
        }
        read
    }
}

impl AsyncWrite for Stream {
    fn poll_write(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        buf: &[u8],
    ) -> Poll<std::io::Result<usize>> {
        let written = self.tcp().poll_write(cx, buf);
        self.wrote(written)
    }
    fn poll_write_vectored(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        bufs: &[std::io::IoSlice<'_>],
    ) -> Poll<std::io::Result<usize>> {
        let written = self.tcp().poll_write_vectored(cx, bufs);
        self.wrote(written)
    }
    fn is_write_vectored(&self) -> bool {
        true
    }
    fn poll_flush(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<std::io::Result<()>> {
        self.tcp().poll_flush(cx)
    }
    fn poll_shutdown(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<std::io::Result<()>> {
        self.tcp().poll_shutdown(cx)
    }
}

impl Drop for Stream {
    fn drop(&mut self) {
        let Some(stream) = self.tcp.take() else { return };
        let mut unread: libc::c_int = 0;
        // SAFETY: FIONREAD writes one int.
        unsafe { libc::ioctl(stream.as_raw_fd(), libc::FIONREAD, &mut unread) };
        if unread > 0 && tokio::runtime::Handle::try_current().is_ok() {
            tokio::spawn(tokio::time::timeout(LINGER_TIME, linger(stream)));
        }
    }
}

async fn linger(mut stream: TcpStream) {
    let _ = stream.shutdown().await;
    let (mut buf, mut left) = ([0u8; 4096], LINGER_BYTES);
    while let Ok(n @ 1..) = stream.read(&mut buf).await
        && left > n
    {
        left -= n;
    }
}

// ---- streams of HTTP/2 ----

thread_local! {
    /// What the task of an HTTP/2 stream did since this was cleared.
    static GIVES: Cell<Gives> = const { Cell::new(Gives::Nothing) };
}

#[derive(Clone, Copy, PartialEq)]
enum Gives {
    Nothing,
    /// It took some of the response.
    Some,
    /// It waits for more of the response.
    Waits,
}

/// To be told of each poll of a response, or of what becomes one.
pub fn gives<T>(polled: Poll<T>) -> Poll<T> {
    GIVES.set(if polled.is_ready() { Gives::Some } else { Gives::Waits });
    polled
}

/// Runs the streams of HTTP/2 connections, each until its client was waited for long enough: a
/// stream may be full while its connection is not.
#[derive(Clone)]
pub struct Streams;

impl<F: Future<Output: Send> + Send + 'static> hyper::rt::Executor<F> for Streams {
    fn execute(&self, stream: F) {
        tokio::spawn(async move {
            let (mut stream, mut full) = (pin!(stream), None::<Pin<Box<Sleep>>>);
            std::future::poll_fn(move |cx| {
                GIVES.set(Gives::Nothing);
                if stream.as_mut().poll(cx).is_ready() {
                    return Poll::Ready(());
                }
                let gives = GIVES.get();
                if gives != Gives::Nothing {
                    full = None;
                }
                if gives == Gives::Waits {
                    return Poll::Pending;
                }
                // Dropping the stream resets it.
                full.get_or_insert_with(|| Box::pin(tokio::time::sleep(PATIENCE))).as_mut().poll(cx)
            })
            .await;
        });
    }
}
