// SPDX-License-Identifier: Apache-2.0
//! Guest instances behind wasmtime-wasi-http's ProxyHandler: how long they live, what ends them,
//! and which request they work on.
//!
//! An instance ends when it served its share of requests, was idle too long, ran into a deadline,
//! trapped, lost its client (p2), or when the worker stops.

use crate::abi::Bytes;
use crate::app::{App, Pre, State};
use crate::gate::Gate;
use crate::host::{self, Instance as HostInstance};
use crate::signals;
use crate::stdio::GuestOutput;
use futures::task::AtomicWaker;
use std::cell::{Cell, RefCell};
use std::pin::Pin;
use std::sync::atomic::{AtomicBool, AtomicU64, AtomicUsize, Ordering::Relaxed};
use std::sync::{Arc, OnceLock, Weak};
use std::task::{Context, Poll};
use std::time::Instant;
use tokio::task::coop::has_budget_remaining;
use tokio::time::Sleep;
use wasmtime::component::GuestTaskId;
use wasmtime::{Result, Store, StoreContextMut};
use wasmtime_wasi_http::WasiHttpView;
use wasmtime_wasi_http::handler::{
    HandlerState, Instance, Proxy, ShouldAccept, WorkerExpiration, WorkerState, WorkerStatus,
};

/// How far the worker is on its way to the end.
#[derive(Clone, Copy, PartialEq, PartialOrd)]
pub enum Stop {
    No,
    /// Instances end when they are idle.
    Drain,
    /// Instances end now.
    Cut,
}

thread_local! {
    static STOP: Cell<Stop> = const { Cell::new(Stop::No) };
    static LIVE: RefCell<Live> = const { RefCell::new(Live { slots: Vec::new(), free: Vec::new() }) };
}

/// The instances of this worker, so that a stop reaches them all.
struct Live {
    slots: Vec<Option<Arc<Control>>>,
    free: Vec<usize>,
}

/// Moves every instance of the worker towards its end.
pub fn stop(level: Stop) {
    STOP.set(level);
    wake_all();
}

/// A worker begins on this thread.
pub fn begin() {
    STOP.set(Stop::No);
}

/// Lets the idle instances of retired apps see that they are.
pub fn wake_all() {
    LIVE.with_borrow(|l| l.slots.iter().flatten().for_each(|c| c.waker.wake()));
}

pub fn live() -> usize {
    LIVE.with_borrow(|l| l.slots.len() - l.free.len())
}

/// What an instance shares with its requests and its output.
struct Control {
    /// The request it works on; 0: none, or several.
    request: Arc<AtomicU64>,
    /// Requests whose clients still wait.
    waiting: AtomicUsize,
    /// A client went away before the end of its request.
    deserted: AtomicBool,
    timed_out: AtomicBool,
    /// All its requests were answered, and something of theirs went on.
    after: AtomicBool,
    /// It trapped or was ended: the end of a body that comes now is not the guest's.
    failed: AtomicBool,
    /// It was dropped while all it did was to wait for a signal: nothing went wrong.
    let_go: AtomicBool,
    /// It takes no more requests: it served its share.
    used_up: AtomicBool,
    waker: AtomicWaker,
    /// The request it took last, until it was seen waiting; 0: none.
    took: AtomicU64,
    serial: bool,
    /// None when it serves one request at a time.
    gate: Option<Arc<Gate>>,
}

impl Control {
    fn works_for_nobody(&self) -> bool {
        self.deserted.load(Relaxed) && self.waiting.load(Relaxed) == 0
    }
}

/// One request on its way through a handler.
pub struct Request {
    pub id: u64,
    /// How many services have called each other down to it; 0: it came from outside.
    depth: u32,
    /// Its client went away.
    aborted: AtomicBool,
    /// Nobody waits for it.
    over: AtomicBool,
    waker: AtomicWaker,
    instance: OnceLock<Arc<Control>>,
}

impl Request {
    pub fn new(id: u64, depth: u32) -> Arc<Request> {
        Arc::new(Request {
            id,
            depth,
            aborted: AtomicBool::new(false),
            over: AtomicBool::new(false),
            waker: AtomicWaker::new(),
            instance: OnceLock::new(),
        })
    }

    /// Its client went away. An instance that works for nobody is dropped; one that still works for
    /// others takes no more.
    pub fn leave(&self) {
        self.aborted.store(true, Relaxed);
        let first = !self.over.swap(true, Relaxed);
        let Some(c) = self.instance.get().filter(|_| first) else { return };
        c.waiting.fetch_sub(1, Relaxed);
        c.deserted.store(true, Relaxed);
        self.waker.wake();
        c.waker.wake();
    }

    /// Nobody waits for it any more: its response was sent whole, or its client went away.
    pub fn end(&self, client_left: bool) {
        if client_left {
            return self.leave();
        }
        let first = !self.over.swap(true, Relaxed);
        let Some(c) = self.instance.get().filter(|_| first) else { return };
        c.waiting.fetch_sub(1, Relaxed);
        if !c.serial {
            c.waker.wake();
        }
    }

    pub fn has_left(&self) -> bool {
        self.aborted.load(Relaxed)
    }

    /// The instance did not live to the end of the request.
    pub fn failed(&self) -> bool {
        self.instance.get().is_some_and(|c| c.failed.load(Relaxed))
    }

    /// The instance ran into the request's deadline.
    pub fn timed_out(&self) -> bool {
        self.instance.get().is_some_and(|c| c.timed_out.load(Relaxed))
    }
}

/// Makes instances of one app on one worker. Lives as long as its handler and everything that the
/// handler started, and holds a use of the app as long.
pub struct Factory {
    app: Arc<App>,
    gate: Option<Arc<Gate>>,
}

impl Factory {
    /// `gate` is for instances that serve several requests at once.
    pub fn new(app: &Arc<App>, gate: Option<Arc<Gate>>) -> Factory {
        let h = host::host();
        unsafe { (h.app_use)(h.ctx, app.user) };
        Factory { app: app.clone(), gate }
    }
}

impl Drop for Factory {
    fn drop(&mut self) {
        let h = host::host();
        unsafe { (h.app_unuse)(h.ctx, self.app.user) };
    }
}

impl HandlerState for Factory {
    type StoreData = State;
    type WorkerExpiration = Expiration;
    type WorkerState = Life;

    async fn instantiate(&self) -> Result<Instance<State, Expiration, Life>> {
        let app = &self.app;
        let control = Arc::new(Control {
            request: Arc::new(AtomicU64::new(0)),
            waiting: AtomicUsize::new(0),
            deserted: AtomicBool::new(false),
            timed_out: AtomicBool::new(false),
            after: AtomicBool::new(false),
            failed: AtomicBool::new(false),
            let_go: AtomicBool::new(false),
            used_up: AtomicBool::new(false),
            waker: AtomicWaker::new(),
            took: AtomicU64::new(0),
            serial: matches!(app.pre, Pre::P2Http(_)),
            gate: self.gate.clone(),
        });
        let output = GuestOutput::new(app.user, &control.request);
        let inst = HostInstance::new(app.user)?;
        let host = Arc::downgrade(&inst);
        let mut store = app.new_store(inst, Some(&output));
        let proxy = match &app.pre {
            Pre::P2Http(p) => Proxy::P2(p.instantiate_async(&mut store).await?),
            Pre::P3Http(p) => Proxy::P3(p.instantiate_async(&mut store).await?),
            _ => wasmtime::bail!("not an HTTP service"),
        };
        Ok(Instance {
            store,
            proxy,
            view: State::http,
            expiration: Expiration {
                app: app.clone(),
                control: control.clone(),
                host,
                listens: false,
                since: Instant::now(),
                sleep: Box::pin(tokio::time::sleep(app.policy.instance_idle)),
            },
            state: Life { app: app.clone(), _slot: Slot::new(&control), control },
        })
    }
}

/// A place in LIVE for as long as the instance lives.
struct Slot(usize);

impl Slot {
    fn new(c: &Arc<Control>) -> Slot {
        LIVE.with_borrow_mut(|l| match l.free.pop() {
            Some(i) => {
                l.slots[i] = Some(c.clone());
                Slot(i)
            }
            None => {
                l.slots.push(Some(c.clone()));
                Slot(l.slots.len() - 1)
            }
        })
    }
}

impl Drop for Slot {
    fn drop(&mut self) {
        LIVE.with_borrow_mut(|l| {
            l.slots[self.0] = None;
            l.free.push(self.0);
        });
    }
}

/// Polled outside the instance's event loop, so that it also ends a guest that computes without
/// end or a host call that waits.
pub struct Expiration {
    app: Arc<App>,
    control: Arc<Control>,
    host: Weak<HostInstance>,
    /// All that is left to do is to wait for a signal; since when that is so, or not.
    listens: bool,
    since: Instant,
    sleep: Pin<Box<Sleep>>,
}

impl WorkerExpiration for Expiration {
    fn poll(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        status: WorkerStatus,
        start: Instant,
    ) -> Poll<()> {
        let me = &mut *self;
        me.control.waker.register(cx.waker());
        // Out of tokio's budget, it was interrupted: it does not wait.
        if let Some(gate) = &me.control.gate
            && has_budget_remaining()
            && let took @ 1.. = me.control.took.swap(0, Relaxed)
        {
            gate.seen(took, status == WorkerStatus::Requests);
        }
        // A task that waits for the next signal is no work: when no response is being sent either,
        // the instance is idle.
        let after = status == WorkerStatus::PostReturn;
        let listens = after
            && me.control.waiting.load(Relaxed) == 0
            && me.host.upgrade().is_some_and(|i| signals::is_waiting(&i));
        if listens != me.listens {
            me.listens = listens;
            me.since = Instant::now();
        }
        let idle = listens || status == WorkerStatus::Idle;
        me.control.let_go.store(listens, Relaxed);
        me.control.after.store(after, Relaxed);
        if me.control.works_for_nobody() {
            return Poll::Ready(());
        }
        match STOP.get() {
            Stop::No if idle && me.app.retired.load(Relaxed) => return Poll::Ready(()),
            Stop::No if listens && me.control.used_up.load(Relaxed) => return Poll::Ready(()),
            Stop::No => {}
            Stop::Drain if !idle => {}
            _ => return Poll::Ready(()),
        }
        let p = &me.app.policy;
        let limit = if idle { p.instance_idle } else { p.request_timeout };
        let begin = if after { start.max(me.since) } else { start };
        let due = tokio::time::Instant::from_std(begin + limit);
        // A timer that is too early is left alone: it wakes us once for nothing, which is cheaper
        // than moving it with each request.
        if due < me.sleep.deadline() {
            me.sleep.as_mut().reset(due);
        }
        loop {
            std::task::ready!(me.sleep.as_mut().poll(cx));
            if me.sleep.deadline() >= due {
                me.control.timed_out.store(!idle, Relaxed);
                return Poll::Ready(());
            }
            me.sleep.as_mut().reset(due);
        }
    }
}

/// Accepts requests, and sees the instance off.
pub struct Life {
    app: Arc<App>,
    control: Arc<Control>,
    _slot: Slot,
}

impl WorkerState for Life {
    type StoreData = State;
    type RequestData = Arc<Request>;

    fn should_accept_request(&self, concurrent: usize, total: usize) -> ShouldAccept {
        let limit = if self.control.serial { 1 } else { self.app.policy.max_concurrent };
        if total >= self.app.policy.reuse || STOP.get() == Stop::Cut {
            self.control.used_up.store(true, Relaxed);
            ShouldAccept::Never
        } else if self.control.deserted.load(Relaxed) {
            // What it did for the client that left may go on: nothing can end that but its own end.
            ShouldAccept::Never
        } else if concurrent >= limit {
            ShouldAccept::No
        } else {
            ShouldAccept::Yes
        }
    }

    fn on_request_start(
        &self,
        store: StoreContextMut<'_, State>,
        request: Arc<Request>,
        _task: GuestTaskId,
    ) -> Pin<Box<dyn Future<Output = ()> + 'static + Send + Sync>> {
        let serial = self.control.serial;
        self.control.request.store(if serial { request.id } else { 0 }, Relaxed);
        self.control.took.store(request.id, Relaxed);
        // Which of several requests a call is made for is not known: the least deep one's depth loses no call
        // that is fine; a loop in one instance ends at max_inflight.
        let inst = &store.data().inst;
        let alone = self.control.waiting.load(Relaxed) == 0;
        inst.set_depth(if alone { request.depth } else { inst.depth().min(request.depth) });
        if request.aborted.load(Relaxed) {
            self.control.deserted.store(true, Relaxed);
        } else if request.instance.set(self.control.clone()).is_ok() {
            self.control.waiting.fetch_add(1, Relaxed);
        }
        // A serial instance has one deadline, which Expiration keeps.
        let deadline =
            (!serial).then(|| Box::pin(tokio::time::sleep(self.app.policy.request_timeout)));
        Box::pin(Ended { request, deadline })
    }

    fn drop(&self, store: Store<State>, result: Result<(), wasmtime::Error>) {
        self.control.failed.store(result.is_err(), Relaxed);
        if let Err(e) = result
            && !self.control.works_for_nobody()
            && !self.control.let_go.load(Relaxed)
            && STOP.get() != Stop::Cut
        {
            let text = if self.control.timed_out.load(Relaxed) {
                let ms = self.app.policy.request_timeout.as_millis();
                let what = match self.control.after.load(Relaxed) {
                    true => "what went on after the response",
                    false => "the request",
                };
                format!("{what} took longer than {ms} ms; its instance was ended")
            } else {
                format!("{e:?}")
            };
            let h = host::host();
            let request = self.control.request.load(Relaxed);
            unsafe { (h.guest_failed)(h.ctx, self.app.user, request, Bytes::of(text.as_bytes())) };
        }
        drop(store);
    }
}

/// Ready when nobody waits for the request any more.
struct Ended {
    request: Arc<Request>,
    deadline: Option<Pin<Box<Sleep>>>,
}

impl Future for Ended {
    type Output = ();
    fn poll(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<()> {
        self.request.waker.register(cx.waker());
        if self.request.aborted.load(Relaxed) {
            return Poll::Ready(());
        }
        match &mut self.deadline {
            Some(d) => d.as_mut().poll(cx),
            None => Poll::Pending,
        }
    }
}
