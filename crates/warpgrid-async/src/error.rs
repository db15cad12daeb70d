// SPDX-License-Identifier: Apache-2.0
use std::{fmt, io};

/// What kind of failure an [`Error`] is.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
#[non_exhaustive]
pub enum ErrorKind {
    /// The body was taken before.
    BodyTaken,
    /// The body ended early: the peer went away, or broke the protocol.
    Body,
    /// The body is larger than the limit.
    TooLarge,
    /// A method, address, header or trailer that HTTP does not allow.
    Message,
    /// Not JSON of the type asked for.
    Json,
    /// An argument is out of range.
    InvalidArgument,
    /// `warp.toml` neither declares nor allows it.
    NotAllowed,
    /// The server refused the connection or cannot be reached.
    ConnectionFailed,
    /// The connection was lost.
    ConnectionLost,
    /// The server refused the credentials.
    AuthenticationFailed,
    /// All connections of the pool stayed in use until the deadline.
    PoolExhausted,
    /// The deadline passed.
    Timeout,
    /// The host does not do this.
    Unsupported,
    /// Not a host name.
    InvalidName,
    /// No such name.
    NotFound,
    /// Trying later may help.
    TemporaryFailure,
    /// A directory, where a file was meant.
    IsDirectory,
    /// Not to be written.
    ReadOnly,
    /// The host could not produce the content; its log says why.
    Io,
}

/// Why something failed: a kind for programs and a sentence for people, without secrets.
#[derive(Clone, Debug)]
pub struct Error {
    kind: ErrorKind,
    message: String,
}

impl Error {
    /// An error with a sentence: lower case, what failed and its subject.
    pub fn new(kind: ErrorKind, message: impl Into<String>) -> Self {
        Self { kind, message: message.into() }
    }

    /// What kind of failure it is.
    pub fn kind(&self) -> ErrorKind {
        self.kind
    }
}

impl fmt::Display for Error {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.message)
    }
}

impl std::error::Error for Error {}

impl From<Error> for io::Error {
    fn from(e: Error) -> Self {
        let kind = match e.kind {
            ErrorKind::InvalidArgument | ErrorKind::InvalidName => io::ErrorKind::InvalidInput,
            ErrorKind::NotAllowed | ErrorKind::AuthenticationFailed => {
                io::ErrorKind::PermissionDenied
            }
            ErrorKind::ConnectionFailed => io::ErrorKind::ConnectionRefused,
            ErrorKind::ConnectionLost | ErrorKind::Body => io::ErrorKind::ConnectionReset,
            ErrorKind::PoolExhausted | ErrorKind::Timeout => io::ErrorKind::TimedOut,
            ErrorKind::Unsupported => io::ErrorKind::Unsupported,
            ErrorKind::NotFound => io::ErrorKind::NotFound,
            ErrorKind::IsDirectory => io::ErrorKind::IsADirectory,
            ErrorKind::ReadOnly => io::ErrorKind::ReadOnlyFilesystem,
            _ => io::ErrorKind::Other,
        };
        io::Error::new(kind, e)
    }
}
