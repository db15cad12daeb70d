// SPDX-License-Identifier: Apache-2.0
//! Looks for a database's answer for a short time before the worker sleeps.
//!
//! A core that sleeps and wakes again adds more to a short round trip than the trip itself takes.
//! While one or two guests wait for a server and nothing else runs, the worker polls its sockets
//! instead of parking, at most WINDOW a wait. A wait that outlasts the window was for nothing: each
//! such miss in a row doubles how many of the next waits are left alone, so that long queries cost
//! next to nothing, and one wait in that many is tried again.

use std::cell::{Cell, RefCell};
use std::task::{Poll, Waker};
use std::time::{Duration, Instant};

/// Longer than a round trip on which a core sleeps and wakes: a shorter one would never see that
/// it could be quick.
const WINDOW: Duration = Duration::from_micros(150);
/// Between two looks nothing else may have run for longer than this.
const BUSY: Duration = Duration::from_micros(50);
/// With more guests waiting there is enough to do without.
const WAITS_MAX: u32 = 2;
/// The most waits between two tries is 2 to this power, less 1.
const MISSES_MAX: u32 = 7;

#[derive(Default)]
struct Spin {
    on: Cell<bool>,
    /// Waits for a server to answer, on this worker.
    waits: Cell<u32>,
    /// While it looks: since when.
    since: Cell<Option<Instant>>,
    misses: Cell<u32>,
    /// Waits to be left alone.
    skip: Cell<u32>,
    looker: RefCell<Option<Waker>>,
}

thread_local! {
    static SPIN: Spin = Spin::default();
}

/// A wait for a server that has begun; ends when it is dropped.
pub struct Wait(());

impl Wait {
    pub fn begin() -> Wait {
        SPIN.with(|s| {
            s.waits.set(s.waits.get() + 1);
            if !s.on.get() || s.waits.get() > WAITS_MAX {
                return;
            }
            if s.skip.get() > 0 {
                s.skip.set(s.skip.get() - 1);
                return;
            }
            s.since.set(Some(Instant::now()));
            if let Some(w) = s.looker.take() {
                w.wake();
            }
        });
        Wait(())
    }
}

impl Drop for Wait {
    fn drop(&mut self) {
        SPIN.with(|s| {
            s.waits.set(s.waits.get() - 1);
            if s.since.get().is_some() {
                s.misses.set(0);
            }
        });
    }
}

/// The worker's looker. Never ends.
pub async fn run() -> std::io::Result<()> {
    SPIN.with(|s| s.on.set(true));
    loop {
        std::future::poll_fn(|cx| {
            SPIN.with(|s| {
                if s.since.get().is_some() {
                    return Poll::Ready(());
                }
                *s.looker.borrow_mut() = Some(cx.waker().clone());
                Poll::Pending
            })
        })
        .await;
        let mut looked = Instant::now();
        while SPIN.with(|s| s.go_on(&mut looked)) {
            // Behind all tasks that can run, and then the poller is asked without waiting.
            tokio::task::yield_now().await;
        }
    }
}

impl Spin {
    fn go_on(&self, looked: &mut Instant) -> bool {
        let Some(since) = self.since.get() else { return false };
        let now = Instant::now();
        let busy = now - std::mem::replace(looked, now) > BUSY;
        let late = now - since > WINDOW;
        if late {
            self.misses.set((self.misses.get() + 1).min(MISSES_MAX));
            self.skip.set((1 << self.misses.get()) - 1);
        }
        let go_on = !late && !busy && (1..=WAITS_MAX).contains(&self.waits.get());
        if !go_on {
            self.since.set(None);
        }
        go_on
    }
}
