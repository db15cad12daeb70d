// SPDX-License-Identifier: Apache-2.0
//! Readiness of C's sockets: one persistent registration with tokio's poller an fd, and C's
//! callback straight from the poller's wake-up, without a task in between. The contract is the
//! edge-triggered one of src/net/watch.h.

use std::cell::{Cell, RefCell};
use std::ffi::c_void;
use std::os::fd::{AsRawFd, RawFd};
use std::pin::pin;
use std::sync::Arc;
use std::task::{Context, Poll, Wake, Waker};
use tokio::io::Interest;
use tokio::io::unix::AsyncFd;

pub const READ: u32 = 1;
pub const WRITE: u32 = 2;
pub type Callback = unsafe extern "C" fn(*mut c_void, u32);

thread_local! {
    /// Directions that were ready when they were armed: their callback comes from the driver.
    static READY: RefCell<Vec<Arc<Inner>>> = const { RefCell::new(Vec::new()) };
}

/// An fd that somebody else closes.
pub struct Fd(RawFd);
impl AsRawFd for Fd {
    fn as_raw_fd(&self) -> RawFd {
        self.0
    }
}

/// Puts a borrowed fd into the poller of the current runtime.
pub fn register(fd: RawFd, interest: Interest) -> std::io::Result<AsyncFd<Fd>> {
    // SAFETY: every owner of such a registration drops it before the fd is closed.
    unsafe { AsyncFd::register_with_interest(Fd(fd), interest) }.map_err(|e| e.into_parts().1)
}

struct Inner {
    /// None once stopped.
    fd: RefCell<Option<AsyncFd<Fd>>>,
    armed: Cell<u32>,
    /// Ready when armed, and waiting in READY.
    deferred: Cell<u32>,
    cb: Callback,
    user: *mut c_void,
}
// SAFETY: tokio wants wakers that could be sent; these stay on the thread of their runtime, whose
// poller is the only one to call them.
unsafe impl Send for Inner {}
unsafe impl Sync for Inner {}

impl Inner {
    fn fire(&self, events: u32) {
        let events = events & self.armed.get();
        {
            let fd = self.fd.borrow();
            let Some(fd) = fd.as_ref().filter(|_| events != 0) else { return };
            // Readiness is forgotten before C drains the socket, never after: an event between
            // the drain and the next arm must be found by that arm.
            for bit in [READ, WRITE] {
                if events & bit != 0 {
                    let _ = poll_ready(fd, bit, Waker::noop(), true);
                }
            }
        }
        self.armed.set(self.armed.get() & !events);
        unsafe { (self.cb)(self.user, events) };
    }
}

/// tokio keeps one waker a direction.
struct Direction {
    inner: Arc<Inner>,
    events: u32,
}

impl Wake for Direction {
    fn wake(self: Arc<Self>) {
        self.wake_by_ref();
    }
    fn wake_by_ref(self: &Arc<Self>) {
        self.inner.fire(self.events);
    }
}

pub struct Watch {
    inner: Arc<Inner>,
    read: Waker,
    write: Waker,
}

impl Watch {
    /// Registers `fd`; needs the worker's runtime to be entered.
    pub fn start(fd: RawFd, cb: Callback, user: *mut c_void) -> std::io::Result<Watch> {
        let inner = Arc::new(Inner {
            fd: RefCell::new(Some(register(fd, Interest::READABLE | Interest::WRITABLE)?)),
            armed: Cell::new(0),
            deferred: Cell::new(0),
            cb,
            user,
        });
        let waker = |events| Waker::from(Arc::new(Direction { inner: inner.clone(), events }));
        let (read, write) = (waker(READ), waker(WRITE));
        Ok(Watch { inner, read, write })
    }

    pub fn arm(&self, events: u32) {
        self.inner.armed.set(self.inner.armed.get() | events);
        let fd = self.inner.fd.borrow();
        let Some(fd) = fd.as_ref() else { return };
        for (bit, waker) in [(READ, &self.read), (WRITE, &self.write)] {
            if events & bit != 0 && poll_ready(fd, bit, waker, false) {
                let before = self.inner.deferred.replace(self.inner.deferred.get() | bit);
                if before == 0 {
                    READY.with_borrow_mut(|r| r.push(self.inner.clone()));
                }
                crate::host::kick();
            }
        }
    }

    pub fn stop(self) {
        // Takes the wakers out of the registration, and with them the cycle of references.
        drop(self.inner.fd.borrow_mut().take());
    }
}

/// True when the direction is ready; else `waker` is registered.
fn poll_ready(fd: &AsyncFd<Fd>, events: u32, waker: &Waker, clear: bool) -> bool {
    // Outside the task budget: running out of it would call the waker in here.
    let poll = tokio::task::unconstrained(std::future::poll_fn(|cx| {
        let guard = if events == READ {
            std::task::ready!(fd.poll_read_ready(cx))
        } else {
            std::task::ready!(fd.poll_write_ready(cx))
        };
        if let (Ok(mut g), true) = (guard, clear) {
            g.clear_ready();
        }
        Poll::Ready(())
    }));
    pin!(poll).poll(&mut Context::from_waker(waker)).is_ready()
}

/// Calls back what was ready when armed. Called by the driver.
pub fn run_ready() {
    for inner in READY.take() {
        let events = inner.deferred.take();
        inner.fire(events);
    }
}
