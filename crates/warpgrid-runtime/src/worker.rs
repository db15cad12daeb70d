// SPDX-License-Identifier: Apache-2.0
//! A worker: one thread, one tokio runtime, C's loop nested in it; serving or running a command.

use crate::abi::{Failure, Host, Kind};
use crate::app::{App, Pre};
use crate::fetch::{Done, Fetch, Request};
use crate::host::{self, Instance};
use crate::instances::{self, Stop};
use crate::serve::{self, Listen};
use crate::spin;
use crate::watch::{self, Callback, Watch};
use std::cell::RefCell;
use std::ffi::{c_int, c_void};
use std::os::fd::{AsRawFd, FromRawFd, RawFd};
use std::sync::Arc;
use std::time::{Duration, Instant};
use tokio::io::Interest;
use tokio::io::unix::AsyncFd;
use tokio::net::TcpListener;
use wasmtime_wasi::I32Exit;

pub struct Worker {
    /// None only while the worker is being dropped.
    runtime: Option<tokio::runtime::Runtime>,
    host: Host,
    listeners: RefCell<Vec<(std::net::TcpListener, Listen)>>,
    /// C's eventfd: each stop adds 1.
    stop: RawFd,
}

fn io(what: &str, e: std::io::Error) -> Failure {
    Failure::new(Kind::Io, format!("{what}: {e}"))
}

impl Worker {
    pub fn new(host: Host, stop: RawFd) -> Result<Worker, Failure> {
        let runtime = tokio::runtime::Builder::new_current_thread()
            .enable_all()
            .build()
            .map_err(|e| io("cannot start the event loop", e))?;
        host::set_host(Some(host));
        instances::begin();
        Ok(Worker { runtime: Some(runtime), host, listeners: RefCell::default(), stop })
    }

    /// Takes the fds.
    pub fn listen(&self, listen: Listen, fds: &[c_int]) {
        for &fd in fds {
            let listener = unsafe { std::net::TcpListener::from_raw_fd(fd) };
            self.listeners.borrow_mut().push((listener, listen));
        }
    }

    fn runtime(&self) -> &tokio::runtime::Runtime {
        self.runtime.as_ref().expect("a worker has a runtime until it is dropped")
    }

    pub fn watch(&self, fd: RawFd, cb: Callback, user: *mut c_void) -> Result<Watch, Failure> {
        let _enter = self.runtime().enter();
        Watch::start(fd, cb, user).map_err(|e| io("cannot watch a socket", e))
    }

    pub fn fetch(&self, request: Request, done: Done) -> *mut Fetch {
        let _enter = self.runtime().enter();
        Fetch::start(request, done)
    }

    /// Starts what a worker does beside its guests.
    fn drive(&self) -> Beside {
        let mut tasks = vec![tokio::spawn(Local(Box::pin(host::drive())))];
        if self.host.spin != 0 {
            tasks.push(tokio::spawn(Local(Box::pin(spin::run()))));
        }
        Beside(tasks)
    }

    pub fn run(&self, drain: Duration, idle: &mut dyn FnMut() -> c_int) -> Result<(), Failure> {
        let listeners = self.listeners.take();
        self.runtime().block_on(self.serve_until_stopped(listeners, drain, idle))
    }

    async fn serve_until_stopped(
        &self,
        listeners: Vec<(std::net::TcpListener, Listen)>,
        drain: Duration,
        idle: &mut dyn FnMut() -> c_int,
    ) -> Result<(), Failure> {
        let beside = self.drive();
        let (stopping, stopped) = tokio::sync::watch::channel(false);
        for (l, listen) in listeners {
            let l = TcpListener::from_std(l).map_err(|e| io("cannot listen", e))?;
            tokio::spawn(serve::accept(l, listen, stopped.clone()));
        }
        let stop = StopFd::new(self.stop)?;
        stop.wait().await;
        host::tell_stopping();

        let deadline = Instant::now() + drain;
        let _ = stopping.send(true);
        instances::stop(Stop::Drain);
        while (serve::connections() > 0 || instances::live() > 0)
            && Instant::now() < deadline
            && !stop.again()
        {
            tokio::time::sleep(Duration::from_millis(5)).await;
        }
        instances::stop(Stop::Cut);
        // An instance ends at its next poll; the bound is for a guest that never yields.
        let cut = Instant::now() + Duration::from_secs(1);
        while instances::live() > 0 && Instant::now() < cut {
            tokio::time::sleep(Duration::from_millis(1)).await;
        }
        while idle() != 0 {
            host::kick();
            tokio::time::sleep(Duration::from_millis(1)).await;
        }
        drop(beside);
        Ok(())
    }

    /// The guest's exit code; 130 when it was stopped, unless it asked to be told and then ends
    /// within `drain`.
    pub fn run_command(&self, app: &Arc<App>, drain: Duration) -> Result<c_int, Failure> {
        self.runtime().block_on(async {
            let beside = self.drive();
            let stop = StopFd::new(self.stop)?;
            let stopped = async {
                stop.wait().await;
                if host::tell_stopping() > 0 {
                    let _ = tokio::time::timeout(drain, stop.wait()).await;
                }
            };
            let code = tokio::select! {
                r = command(app) => r?,
                _ = stopped => 130,
            };
            drop(beside);
            Ok(code)
        })
    }
}

impl Drop for Worker {
    fn drop(&mut self) {
        // Tasks that are left call C as they are dropped.
        host::set_host(Some(self.host));
        serve::forget_handlers();
        crate::outgoing::forget_connections();
        if let Some(r) = self.runtime.take() {
            r.shutdown_background();
        }
        host::set_host(None);
    }
}

/// Tasks that end with it.
struct Beside(Vec<tokio::task::JoinHandle<()>>);

impl Drop for Beside {
    fn drop(&mut self) {
        self.0.iter().for_each(|task| task.abort());
    }
}

/// A future that stays on this thread although tokio asks for Send.
pub struct Local<F>(pub std::pin::Pin<Box<F>>);
// SAFETY: the runtime is a current-thread one.
unsafe impl<F> Send for Local<F> {}
impl<F: Future> Future for Local<F> {
    type Output = ();
    fn poll(
        mut self: std::pin::Pin<&mut Self>,
        cx: &mut std::task::Context<'_>,
    ) -> std::task::Poll<()> {
        self.0.as_mut().poll(cx).map(|_| ())
    }
}

/// The worker's eventfd in its poller.
struct StopFd(AsyncFd<watch::Fd>);

impl StopFd {
    fn new(fd: RawFd) -> Result<StopFd, Failure> {
        watch::register(fd, Interest::READABLE)
            .map(StopFd)
            .map_err(|e| io("cannot watch the eventfd", e))
    }

    async fn wait(&self) {
        while !self.again() {
            match self.0.readable().await {
                Ok(mut guard) => {
                    if self.again() {
                        return;
                    }
                    guard.clear_ready();
                }
                Err(_) => return,
            }
        }
    }

    /// True if a stop came since the last call.
    fn again(&self) -> bool {
        let mut count = [0u8; 8];
        let n = unsafe { libc::read(self.0.as_raw_fd(), count.as_mut_ptr().cast(), 8) };
        n == 8
    }
}

async fn command(app: &Arc<App>) -> Result<c_int, Failure> {
    let inst = Instance::new(app.user)?;
    let output = (!app.policy.inherit_stdio)
        .then(|| crate::stdio::GuestOutput::new(app.user, &Default::default()));
    let mut store = app.new_store(inst, output.as_ref());
    let result = match &app.pre {
        Pre::P2Command(p) => match p.instantiate_async(&mut store).await {
            Ok(c) => c.wasi_cli_run().call_run(&mut store).await,
            Err(e) => Err(e),
        },
        Pre::P3Command(p) => match p.instantiate_async(&mut store).await {
            Ok(c) => store
                .run_concurrent(async move |a| c.wasi_cli_run().call_run(a).await)
                .await
                .and_then(|r| r),
            Err(e) => Err(e),
        },
        _ => return Err(Failure::new(Kind::Export, "the component exports no command to run")),
    };
    match result {
        Ok(Ok(())) => Ok(0),
        Ok(Err(())) => Ok(1),
        Err(e) => match e.downcast_ref::<I32Exit>() {
            Some(exit) => Ok(exit.0),
            None => {
                Err(Failure::new(Kind::Trap, format!("guest failed: {}\n{e:?}", e.root_cause())))
            }
        },
    }
}
