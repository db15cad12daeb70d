// SPDX-License-Identifier: Apache-2.0
//! The line in front of an app whose instances serve many requests at once.
//!
//! ProxyHandler makes another instance whenever none can take a request at that instant, and an
//! instance that just took one cannot until its event loop has nothing to do. A burst would so make
//! as many instances as it has requests. Here requests go in one by one, each when the instance that
//! took the one before waits for something, so that one instance takes them all. A guest that
//! computes holds the line no longer than WAY_OUT: what comes then gets another instance.
//!
//! A line costs a turn of the event loop for each request. An app that hardly ever waits has nothing to
//! share an instance for, and its gate stands open: answers without waiting add to a score, waits take
//! more away. Now and then an instance that waits for nothing looks as if it did, between two turns of
//! its event loop, so that one wait does not close the gate.

use std::sync::Mutex;
use std::sync::atomic::{AtomicU32, AtomicU64, Ordering::Relaxed};
use std::time::Duration;
use tokio::sync::Semaphore;
use tokio::time::Instant;

const WAY_OUT: Duration = Duration::from_millis(5);
/// Of this score on the gate stands open.
const QUICK: u32 = 32;
const QUICK_MOST: u32 = QUICK + 8;
/// What a wait takes away, where an answer without one adds 1.
const WAITED: u32 = 2;

/// Of one app on one worker.
pub struct Gate {
    turn: Semaphore,
    /// The request that went in last and has not been seen waiting yet; 0: none.
    inside: AtomicU64,
    /// When it went in. Never contended: the gate stays on its worker's thread.
    since: Mutex<Instant>,
    /// The score of requests that were answered at once.
    quick: AtomicU32,
}

/// A request that went in; dropping it opens the gate at the latest.
pub struct Inside<'a> {
    gate: &'a Gate,
    id: u64,
}

impl Drop for Inside<'_> {
    fn drop(&mut self) {
        self.gate.leave(self.id);
    }
}

impl Gate {
    pub fn new() -> Gate {
        Gate {
            turn: Semaphore::new(1),
            inside: AtomicU64::new(0),
            since: Mutex::new(Instant::now()),
            quick: AtomicU32::new(0),
        }
    }

    /// Waits in line, first come, first served. `id` is not 0 and of this request alone.
    pub async fn enter(&self, id: u64) -> Inside<'_> {
        if self.quick.load(Relaxed) >= QUICK {
            return Inside { gate: self, id: 0 };
        }
        let permit = match self.turn.try_acquire() {
            Ok(permit) => permit,
            Err(_) => self.wait().await,
        };
        permit.forget();
        self.inside.store(id, Relaxed);
        *self.since.lock().unwrap_or_else(|e| e.into_inner()) = Instant::now();
        Inside { gate: self, id }
    }

    async fn wait(&self) -> tokio::sync::SemaphorePermit<'_> {
        let turn = self.turn.acquire();
        tokio::pin!(turn);
        let mut due = self.since() + WAY_OUT;
        loop {
            tokio::select! {
                biased;
                permit = &mut turn => return permit.expect("never closed"),
                _ = tokio::time::sleep_until(due) => {}
            }
            // Another may have gone in meanwhile, with a time of its own.
            due = self.since() + WAY_OUT;
            if due <= Instant::now() {
                self.leave(self.inside.load(Relaxed));
                due = Instant::now() + WAY_OUT;
            }
        }
    }

    fn since(&self) -> Instant {
        *self.since.lock().unwrap_or_else(|e| e.into_inner())
    }

    /// The instance that took `id` was seen with nothing to do: it `waits` for something, or has
    /// answered.
    pub fn seen(&self, id: u64, waits: bool) {
        let quick = self.quick.load(Relaxed);
        let next = if waits { quick.saturating_sub(WAITED) } else { (quick + 1).min(QUICK_MOST) };
        self.quick.store(next, Relaxed);
        self.leave(id);
    }

    /// The next one may go in, unless `id` made room before.
    fn leave(&self, id: u64) {
        if id != 0 && self.inside.compare_exchange(id, 0, Relaxed, Relaxed).is_ok() {
            self.turn.add_permits(1);
        }
    }
}
