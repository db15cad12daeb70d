// SPDX-License-Identifier: Apache-2.0
//! The worker's side of the op ABI: C's table of functions, the futures of its operations, and
//! libuv nested in tokio. Everything here lives and dies on the worker's own thread.

use crate::abi::{self, Bytes, Error, Host, OpAdmin, OpDbConnect, OpDbWait};
use std::cell::{Cell, RefCell, UnsafeCell};
use std::ffi::{CStr, c_char, c_void};
use std::marker::PhantomPinned;
use std::os::fd::RawFd;
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll, Waker};
use std::time::{Duration, Instant};
use tokio::io::Interest;

thread_local! {
    static HOST: Cell<Option<Host>> = const { Cell::new(None) };
    static DRIVER: RefCell<Option<Waker>> = const { RefCell::new(None) };
    static KICKED: Cell<bool> = const { Cell::new(false) };
    /// When the driver will run the loop by itself; None: only when its fd says so.
    static ARMED: Cell<Option<Instant>> = const { Cell::new(None) };
    static RECV: RefCell<Box<[u8]>> = RefCell::new(vec![0; RECV_CHUNK].into());
}

/// The most that one receive asks of C.
pub const RECV_CHUNK: usize = 64 << 10;

pub fn set_host(h: Option<Host>) {
    HOST.set(h);
}

/// C's functions. Panics (and so aborts) off a worker's thread: that is a bug of ours.
pub fn host() -> Host {
    HOST.get().expect("host function called off a worker thread")
}

// ---- libuv in tokio ----

/// Makes the driver run the loop again soon.
pub fn kick() {
    KICKED.set(true);
    DRIVER.with_borrow_mut(|w| {
        if let Some(w) = w.take() {
            w.wake()
        }
    });
}

/// Kicks if and only if the loop wants to run earlier than the driver will.
fn kick_if_changed(h: &Host) {
    let t = unsafe { (h.backend_timeout)(h.ctx) };
    if t == 0 {
        kick();
    } else if t > 0 {
        let due = Instant::now() + Duration::from_millis(t as u64);
        if ARMED.get().is_none_or(|armed| due < armed) {
            kick();
        }
    }
}

/// True when the inner epoll fd has events. It is level-triggered but tokio registers it
/// edge-triggered, so what is ready must be seen before the driver sleeps.
fn readable_now(fd: RawFd) -> bool {
    let mut p = libc::pollfd { fd, events: libc::POLLIN, revents: 0 };
    unsafe { libc::poll(&mut p, 1, 0) > 0 }
}

/// Runs C's loop and the callbacks of ready watches whenever there is something to do. Never ends.
pub async fn drive() -> std::io::Result<()> {
    let h = host();
    let fd = unsafe { (h.backend_fd)(h.ctx) };
    let afd = crate::watch::register(fd, Interest::READABLE)?;
    let mut sleep = Box::pin(tokio::time::sleep(Duration::ZERO));
    std::future::poll_fn(move |cx| {
        DRIVER.with_borrow_mut(|w| *w = Some(cx.waker().clone()));
        // Bounded: other tasks get their turn even if the loop never comes to rest.
        for _ in 0..4 {
            KICKED.set(false);
            crate::watch::run_ready();
            unsafe { (h.run_nowait)(h.ctx) };
            let t = unsafe { (h.backend_timeout)(h.ctx) };
            if t == 0 || KICKED.get() || readable_now(fd) {
                continue;
            }
            if t > 0 {
                let due = Instant::now() + Duration::from_millis(t as u64);
                sleep.as_mut().reset(due.into());
                ARMED.set(Some(due));
                if sleep.as_mut().poll(cx).is_ready() {
                    continue;
                }
            } else {
                ARMED.set(None);
            }
            match afd.poll_read_ready(cx) {
                Poll::Ready(Ok(mut guard)) => {
                    guard.clear_ready();
                    drop(guard);
                    if afd.poll_read_ready(cx).is_ready() || readable_now(fd) {
                        continue;
                    }
                    return Poll::Pending;
                }
                Poll::Ready(Err(e)) => return Poll::Ready(Err(e)),
                Poll::Pending => return Poll::Pending,
            }
        }
        cx.waker().wake_by_ref();
        Poll::Pending
    })
    .await
}

// ---- guest instances ----

/// C's own object for a guest instance. Ops and resources hold a reference, so C is told that the
/// instance is gone after the last of them was canceled.
pub struct Instance {
    ptr: *mut c_void,
    /// How many services of this process have called each other down to what it works on.
    depth: Cell<u32>,
}
// SAFETY: used on the thread of its worker only; tokio's bounds ask for more than we do.
unsafe impl Send for Instance {}
unsafe impl Sync for Instance {}

impl Instance {
    pub fn new(app: *mut c_void) -> wasmtime::Result<Arc<Instance>> {
        let h = host();
        let ptr = unsafe { (h.instance_new)(h.ctx, app) };
        if ptr.is_null() {
            wasmtime::bail!("out of memory for a guest instance");
        }
        Ok(Arc::new(Instance { ptr, depth: Cell::new(0) }))
    }

    pub fn depth(&self) -> u32 {
        self.depth.get()
    }

    pub fn set_depth(&self, depth: u32) {
        self.depth.set(depth);
    }

    pub fn ptr(&self) -> *mut c_void {
        self.ptr
    }
}

impl Drop for Instance {
    fn drop(&mut self) {
        let h = host();
        unsafe { (h.instance_gone)(h.ctx, self.ptr) };
        kick_if_changed(&h);
    }
}

// ---- operations ----

/// A negative wg_code and a sentence.
#[derive(Debug)]
pub struct HostError {
    pub code: i64,
    pub msg: String,
}

pub fn with_error(f: impl FnOnce(*mut Error) -> i64) -> Result<u64, HostError> {
    let mut err = std::mem::MaybeUninit::<Error>::uninit();
    let p = err.as_mut_ptr();
    // Only the first byte matters: C writes the rest when it fails.
    unsafe { (&raw mut (*p).msg).cast::<c_char>().write(0) };
    let n = f(p);
    if n >= 0 {
        return Ok(n as u64);
    }
    let msg = unsafe { CStr::from_ptr((&raw const (*p).msg).cast()) };
    Err(HostError { code: n, msg: msg.to_string_lossy().into_owned() })
}

/// wg_code's WG_AGAIN.
pub const AGAIN: i64 = -17;

/// What C finds just before each op (see wgrt_op_complete).
#[repr(C)]
struct Tail {
    waker: Option<Waker>,
    outcome: Option<(i32, String)>,
}

/// An op at a stable address: C's part, and ours before it.
#[repr(C)]
struct Boxed<T> {
    tail: Tail,
    op: T,
}

/// What differs between operations.
pub trait OpKind: Unpin {
    type Out;
    /// # Safety
    /// `op` stays valid and unmoved until it completes or is canceled.
    unsafe fn start(h: &Host, inst: *mut c_void, op: *mut Self);
    /// # Safety
    /// As `start`; C forgets `op` before it returns.
    unsafe fn cancel(h: &Host, inst: *mut c_void, op: *mut Self);
    /// True when a server's answer, which may come soon, ends it.
    fn awaits_answer(&self) -> bool {
        false
    }
    /// What came of an op that completed with a status of 0 or more, and a text.
    fn out(&self, status: i32, text: String) -> Self::Out;
}

/// The future of one operation. Starts when first polled; dropping it cancels.
pub struct OpFuture<T: OpKind> {
    cell: UnsafeCell<Boxed<T>>,
    /// None: no guest asked for it.
    inst: Option<Arc<Instance>>,
    started: bool,
    /// While the answer of a server is awaited.
    wait: Option<crate::spin::Wait>,
    _pin: PhantomPinned,
}
// SAFETY: made, polled and dropped on its worker's thread only.
unsafe impl<T: OpKind> Send for OpFuture<T> {}
unsafe impl<T: OpKind> Sync for OpFuture<T> {}

impl<T: OpKind> OpFuture<T> {
    pub fn new(inst: Option<Arc<Instance>>, op: T) -> Self {
        OpFuture {
            cell: UnsafeCell::new(Boxed { tail: Tail { waker: None, outcome: None }, op }),
            inst,
            started: false,
            wait: None,
            _pin: PhantomPinned,
        }
    }

    fn inst_ptr(&self) -> *mut c_void {
        self.inst.as_ref().map_or(std::ptr::null_mut(), |i| i.ptr())
    }
}

impl<T: OpKind> Future for OpFuture<T> {
    type Output = Result<T::Out, HostError>;

    fn poll(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Self::Output> {
        // SAFETY: nothing is moved out. C reaches the cell through the raw pointer, also during
        // start(), so no reference into it is held across that call.
        let me = unsafe { self.get_unchecked_mut() };
        let cell = me.cell.get();
        if !me.started {
            me.started = true;
            let h = host();
            unsafe { T::start(&h, me.inst_ptr(), &raw mut (*cell).op) };
            kick_if_changed(&h);
        }
        let tail = unsafe { &mut (*cell).tail };
        match tail.outcome.take() {
            Some((status, msg)) => {
                // From here on C holds no pointer: drop must not cancel.
                me.started = false;
                me.wait = None;
                Poll::Ready(if status < 0 {
                    Err(HostError { code: status.into(), msg })
                } else {
                    Ok(unsafe { (*cell).op.out(status, msg) })
                })
            }
            None => {
                match &mut tail.waker {
                    Some(w) if w.will_wake(cx.waker()) => {}
                    w => *w = Some(cx.waker().clone()),
                }
                if me.wait.is_none() && unsafe { (*cell).op.awaits_answer() } {
                    me.wait = Some(crate::spin::Wait::begin());
                }
                Poll::Pending
            }
        }
    }
}

impl<T: OpKind> Drop for OpFuture<T> {
    fn drop(&mut self) {
        let cell = self.cell.get();
        if self.started && unsafe { (*cell).tail.outcome.is_none() } {
            let h = host();
            unsafe { T::cancel(&h, self.inst_ptr(), &raw mut (*cell).op) };
            kick_if_changed(&h);
        }
    }
}

/// # Safety
/// `op` is the first member of an op that C was given and has not ended.
pub unsafe fn complete(op: *mut abi::Op, status: i32, msg: *const c_char) {
    let tail = unsafe { &mut *op.cast::<u8>().sub(size_of::<Tail>()).cast::<Tail>() };
    let msg = if status != 0 && !msg.is_null() {
        unsafe { CStr::from_ptr(msg) }.to_string_lossy().into_owned()
    } else {
        String::new()
    };
    tail.outcome = Some((status, msg));
    if let Some(w) = tail.waker.take() {
        w.wake();
    }
}

// `op` must follow Tail directly for `complete` to find it.
const _: () = assert!(std::mem::offset_of!(Boxed<OpDbWait>, op) == size_of::<Tail>());
const _: () = assert!(std::mem::offset_of!(Boxed<OpDbConnect>, op) == size_of::<Tail>());
const _: () = assert!(std::mem::offset_of!(Boxed<OpAdmin>, op) == size_of::<Tail>());
const _: () = assert!(std::mem::offset_of!(Boxed<crate::names::Resolve>, op) == size_of::<Tail>());
const _: () = assert!(std::mem::offset_of!(Boxed<abi::OpTcpConnect>, op) == size_of::<Tail>());
const _: () = assert!(std::mem::offset_of!(Boxed<abi::OpSignal>, op) == size_of::<Tail>());

impl OpKind for OpDbWait {
    type Out = ();
    unsafe fn start(h: &Host, inst: *mut c_void, op: *mut Self) {
        unsafe { (h.db_wait)(h.ctx, inst, op) }
    }
    unsafe fn cancel(h: &Host, inst: *mut c_void, op: *mut Self) {
        unsafe { (h.db_wait_cancel)(h.ctx, inst, op) }
    }
    fn awaits_answer(&self) -> bool {
        self.spin != 0
    }
    fn out(&self, _status: i32, _text: String) {}
}

impl OpKind for OpDbConnect {
    type Out = u64;
    unsafe fn start(h: &Host, inst: *mut c_void, op: *mut Self) {
        unsafe { (h.db_connect)(h.ctx, inst, op) }
    }
    unsafe fn cancel(h: &Host, inst: *mut c_void, op: *mut Self) {
        unsafe { (h.db_connect_cancel)(h.ctx, inst, op) }
    }
    fn out(&self, _status: i32, _text: String) -> u64 {
        self.handle
    }
}

/// An answer of the admin endpoint.
pub struct AdminAnswer {
    pub status: i32,
    pub text: String,
    pub json: bool,
}

impl OpKind for OpAdmin {
    type Out = AdminAnswer;
    unsafe fn start(h: &Host, _inst: *mut c_void, op: *mut Self) {
        unsafe { (h.admin)(h.ctx, op) }
    }
    unsafe fn cancel(h: &Host, _inst: *mut c_void, op: *mut Self) {
        unsafe { (h.admin_cancel)(h.ctx, op) }
    }
    fn out(&self, status: i32, text: String) -> AdminAnswer {
        AdminAnswer { status, text, json: self.json != 0 }
    }
}

pub fn new_op() -> abi::Op {
    abi::Op { priv_: std::ptr::null_mut(), priv2: std::ptr::null_mut() }
}

/// Asks C's admin endpoint; the strings are borrowed until it answers.
pub async fn admin(method: &str, path: &str, host: &str, origin: &str) -> AdminAnswer {
    let op = OpAdmin {
        op: new_op(),
        method: Bytes::of(method.as_bytes()),
        path: Bytes::of(path.as_bytes()),
        host: Bytes::of(host.as_bytes()),
        origin: Bytes::of(origin.as_bytes()),
        json: 0,
        reserved: 0,
    };
    match OpFuture::new(None, op).await {
        Ok(answer) => answer,
        Err(e) => AdminAnswer { status: 500, text: e.msg, json: false },
    }
}

/// Guests that asked for it learn that the worker stops; how many those are.
pub fn tell_stopping() -> u32 {
    let h = host();
    let told = unsafe { (h.stopping)(h.ctx) };
    kick();
    told
}

/// The service of this process that has the DNS name, with a use of it.
pub fn service(inst: &Instance, name: &str) -> Option<Arc<crate::app::App>> {
    let h = host();
    let app = unsafe { (h.http_service)(h.ctx, inst.ptr(), Bytes::of(name.as_bytes())).as_ref() };
    app.cloned()
}

/// What is counted of a guest's HTTP request: wgrt_outgoing.
#[derive(Clone, Copy)]
pub enum Outgoing {
    Answered,
    Failed,
    Connected,
    Kept,
    InProcess,
}

pub fn count_outgoing(inst: &Instance, what: Outgoing) {
    let h = host();
    unsafe { (h.outgoing)(h.ctx, inst.ptr(), what as u32) };
}

// ---- the database proxy ----

pub const READ: u32 = 1;
pub const WRITE: u32 = 2;

/// Waits until the direction will not answer AGAIN.
pub fn db_wait(
    inst: &Arc<Instance>,
    handle: u64,
    events: u32,
    deadline: bool,
) -> OpFuture<OpDbWait> {
    OpFuture::new(
        Some(inst.clone()),
        OpDbWait {
            op: new_op(),
            handle,
            events,
            deadline: deadline.into(),
            spin: 0,
            reserved: 0,
            space: [0; 24],
        },
    )
}

/// What a guest asks for; owns the strings that C borrows while the op lasts.
pub struct ConnectArgs {
    pub protocol: u32,
    pub port: u16,
    pub host: String,
    pub database: String,
    pub user: String,
    pub password: Option<String>,
}

pub async fn db_connect(inst: Arc<Instance>, args: ConnectArgs) -> Result<u64, HostError> {
    OpFuture::new(
        Some(inst.clone()),
        OpDbConnect {
            op: new_op(),
            protocol: args.protocol,
            port: args.port.into(),
            host: Bytes::of(args.host.as_bytes()),
            database: Bytes::of(args.database.as_bytes()),
            user: Bytes::of(args.user.as_bytes()),
            password: args.password.as_deref().map_or(Bytes::EMPTY, |p| Bytes::of(p.as_bytes())),
            has_password: args.password.is_some().into(),
            reserved: 0,
            handle: 0,
            space: [0; 24],
        },
    )
    .await
}

/// A session whose start-up says which database it means.
pub fn db_open(inst: &Instance, to: &str, port: u16) -> Result<u64, HostError> {
    let h = host();
    let mut handle = 0;
    let at = Bytes::of(to.as_bytes());
    with_error(|e| {
        unsafe { (h.db_open)(h.ctx, inst.ptr(), at, port.into(), &mut handle, e) }.into()
    })
    .map(|_| handle)
}

/// Bytes taken, or an error whose code may be AGAIN.
pub fn db_try_send(inst: &Instance, handle: u64, data: &[u8]) -> Result<usize, HostError> {
    let h = host();
    with_error(|e| unsafe { (h.db_send)(h.ctx, inst.ptr(), handle, data.as_ptr(), data.len(), e) })
        .map(|n| n as usize)
}

/// Bytes received into `buf`; 0: the peer closed.
pub fn db_try_recv_into(inst: &Instance, handle: u64, buf: &mut [u8]) -> Result<usize, HostError> {
    let h = host();
    with_error(|e| unsafe {
        (h.db_recv)(h.ctx, inst.ptr(), handle, buf.as_mut_ptr(), buf.len(), e)
    })
    .map(|n| n as usize)
}

/// At most `max` bytes in memory of their own size.
pub fn db_try_recv(inst: &Instance, handle: u64, max: usize) -> Result<Vec<u8>, HostError> {
    RECV.with_borrow_mut(|buf| {
        let max = max.min(buf.len());
        db_try_recv_into(inst, handle, &mut buf[..max]).map(|n| buf[..n].to_vec())
    })
}

/// Sends some bytes, waiting at most the configured timeout until one can be taken.
pub async fn db_send(inst: &Arc<Instance>, handle: u64, data: &[u8]) -> Result<u64, HostError> {
    loop {
        match db_try_send(inst, handle, data) {
            Err(e) if e.code == AGAIN => db_wait(inst, handle, WRITE, true).await?,
            r => return r.map(|n| n as u64),
        }
    }
}

/// Receives 1 to `max` bytes, waiting at most the configured timeout; none: the peer closed.
pub async fn db_recv(inst: &Arc<Instance>, handle: u64, max: u32) -> Result<Vec<u8>, HostError> {
    loop {
        match db_try_recv(inst, handle, max as usize) {
            Err(e) if e.code == AGAIN => db_wait(inst, handle, READ, true).await?,
            r => return r,
        }
    }
}

pub fn db_shutdown(inst: &Instance, handle: u64, how: u32) -> Result<(), HostError> {
    let h = host();
    let r = with_error(|e| unsafe { (h.db_shutdown)(h.ctx, inst.ptr(), handle, how, e) }.into());
    kick_if_changed(&h);
    r.map(|_| ())
}

pub fn db_close(inst: &Instance, handle: u64) -> Result<(), HostError> {
    let h = host();
    let r = with_error(|e| unsafe { (h.db_close)(h.ctx, inst.ptr(), handle, e) }.into());
    kick_if_changed(&h);
    r.map(|_| ())
}
