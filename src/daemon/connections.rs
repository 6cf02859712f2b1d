//! The connections on the daemon's socket: how many there are at once, and who gives way to a new one.
//!
//! Nobody waits for a connection that others keep idle. When all seats are taken, or the kernel hands out no more
//! file descriptors, the user who has most of them loses the oldest: one user's leak, or malice, never shuts out another, and a leak of one's own never shuts out
//! what comes after it.

use std::collections::{BTreeMap, HashMap};
use std::io;
use std::pin::Pin;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::task::{Context, Poll};
use std::time::Duration;

use futures_util::stream::{self, Stream};
use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};
use tokio::net::{UnixListener, UnixStream};
use tokio::sync::oneshot;
use tokio::time::sleep;
use tonic::transport::server::{Connected, UdsConnectInfo};
use tracing::{error, warn};

/// How long to wait when the kernel hands out no connection (out of file descriptors or memory): who has to give
/// way for it needs a moment to do so.
const PAUSE: Duration = Duration::from_millis(20);

/// The connections of a listener, as they come; at most `most` are open at once.
pub(super) fn accept(listener: UnixListener, most: usize) -> impl Stream<Item = io::Result<Connection>> {
    stream::unfold((listener, Seats::new(most)), |(listener, seats)| async move {
        let connection = next(&listener, &seats).await;
        Some((Ok(connection), (listener, seats)))
    })
}

async fn next(listener: &UnixListener, seats: &Arc<Seats>) -> Connection {
    let mut told = false;
    loop {
        match listener.accept().await {
            Ok((stream, _)) => {
                // Without credentials nothing will be answered, but it takes a seat all the same.
                let user = stream.peer_cred().map_or(u32::MAX, |peer| peer.uid());
                return Connection { stream, seat: seats.take(user) };
            }
            Err(error) => {
                if !told {
                    error!("no connection can be accepted: {error}");
                }
                told = true;
                seats.lock().make_room();
                sleep(PAUSE).await;
            }
        }
    }
}

/// A connection that ends when another needs its seat.
pub(super) struct Connection {
    stream: UnixStream,
    seat: Seat,
}

impl Connected for Connection {
    type ConnectInfo = UdsConnectInfo;

    fn connect_info(&self) -> UdsConnectInfo {
        self.stream.connect_info()
    }
}

impl Connection {
    /// Fails once the seat is lost. Asked before every read and write: a peer that reads nothing must not hold on to a
    /// connection by having an answer wait for it.
    fn check(&mut self, cx: &mut Context<'_>) -> io::Result<()> {
        if self.seat.is_lost(cx) { Err(io::ErrorKind::ConnectionAborted.into()) } else { Ok(()) }
    }
}

impl AsyncRead for Connection {
    fn poll_read(mut self: Pin<&mut Self>, cx: &mut Context<'_>, buffer: &mut ReadBuf<'_>) -> Poll<io::Result<()>> {
        self.check(cx)?;
        Pin::new(&mut self.stream).poll_read(cx, buffer)
    }
}

impl AsyncWrite for Connection {
    fn poll_write(mut self: Pin<&mut Self>, cx: &mut Context<'_>, bytes: &[u8]) -> Poll<io::Result<usize>> {
        self.check(cx)?;
        Pin::new(&mut self.stream).poll_write(cx, bytes)
    }

    fn poll_flush(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        self.check(cx)?;
        Pin::new(&mut self.stream).poll_flush(cx)
    }

    fn poll_shutdown(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.stream).poll_shutdown(cx)
    }

    fn poll_write_vectored(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        bytes: &[io::IoSlice<'_>],
    ) -> Poll<io::Result<usize>> {
        self.check(cx)?;
        Pin::new(&mut self.stream).poll_write_vectored(cx, bytes)
    }

    fn is_write_vectored(&self) -> bool {
        self.stream.is_write_vectored()
    }
}

/// Who sits, by the order in which they came.
struct Seats {
    most: usize,
    taken: Mutex<Taken>,
}

#[derive(Default)]
struct Taken {
    next: u64,
    /// How many had to give way so far.
    lost: u64,
    seats: BTreeMap<u64, Sitter>,
}

struct Sitter {
    user: u32,
    /// Dropped, it tells the connection that its seat is lost.
    _keep: oneshot::Sender<()>,
}

/// A seat, given back when dropped.
struct Seat {
    seats: Arc<Seats>,
    number: u64,
    /// None once it is lost.
    held: Option<oneshot::Receiver<()>>,
}

impl Seat {
    fn is_lost(&mut self, cx: &mut Context<'_>) -> bool {
        if self.held.as_mut().is_some_and(|held| Pin::new(held).poll(cx).is_ready()) {
            self.held = None;
        }
        self.held.is_none()
    }
}

impl Seats {
    fn new(most: usize) -> Arc<Self> {
        Arc::new(Self { most, taken: Mutex::default() })
    }

    /// Nothing under this lock panics half way.
    fn lock(&self) -> MutexGuard<'_, Taken> {
        self.taken.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn take(self: &Arc<Self>, user: u32) -> Seat {
        let (keep, lost) = oneshot::channel();
        let mut taken = self.lock();
        let number = taken.next;
        taken.next = number.wrapping_add(1);
        taken.seats.insert(number, Sitter { user, _keep: keep });
        if taken.seats.len() > self.most {
            taken.make_room();
        }
        Seat { seats: Arc::clone(self), number, held: Some(lost) }
    }
}

impl Taken {
    /// Takes the oldest seat of the user who has most.
    fn make_room(&mut self) {
        let mut counts: HashMap<u32, usize> = HashMap::new();
        for sitter in self.seats.values() {
            let count = counts.entry(sitter.user).or_default();
            *count = count.saturating_add(1);
        }
        let most = |sitter: &Sitter| counts.get(&sitter.user).copied() == counts.values().copied().max();
        let oldest = self.seats.iter().find(|(_, sitter)| most(sitter)).map(|(number, sitter)| (*number, sitter.user));
        if let Some((number, user)) = oldest {
            self.seats.remove(&number);
            self.lost = self.lost.saturating_add(1);
            // A flood of connections must not become a flood of lines.
            if self.lost.is_power_of_two() {
                warn!(user, so_far = self.lost, "too many connections: the oldest of the user with most gives way");
            }
        }
    }
}

impl Drop for Seat {
    fn drop(&mut self) {
        self.seats.lock().seats.remove(&self.number);
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::task::Waker;

    /// The numbers of the seats still held.
    fn kept(seats: &mut [Seat]) -> Vec<u64> {
        let mut cx = Context::from_waker(Waker::noop());
        seats.iter_mut().filter_map(|seat| (!seat.is_lost(&mut cx)).then_some(seat.number)).collect()
    }

    fn taken_by(seats: &Arc<Seats>, users: &[u32]) -> Vec<Seat> {
        users.iter().map(|user| seats.take(*user)).collect()
    }

    #[test]
    fn as_many_connections_as_there_are_seats_stay() {
        let mut held = taken_by(&Seats::new(3), &[0, 0, 1]);
        assert_eq!(kept(&mut held), [0, 1, 2]);
    }

    #[test]
    fn one_more_takes_the_place_of_the_oldest_of_the_user_with_most() {
        let mut held = taken_by(&Seats::new(3), &[0, 7, 7, 7]);
        assert_eq!(kept(&mut held), [0, 2, 3]);
        let mut held = taken_by(&Seats::new(3), &[7, 7, 7, 0]);
        assert_eq!(kept(&mut held), [1, 2, 3]);
    }

    #[test]
    fn one_users_connections_never_cost_another_his_share() {
        let seats = Seats::new(10);
        let mut mine = taken_by(&seats, &[0; 5]);
        let mut theirs = taken_by(&seats, &[7; 1000]);
        assert_eq!(kept(&mut mine), [0, 1, 2, 3, 4]);
        assert_eq!(kept(&mut theirs), [1000, 1001, 1002, 1003, 1004]);
    }

    #[test]
    fn a_connection_that_ends_gives_its_seat_back() {
        let seats = Seats::new(2);
        let mut first = taken_by(&seats, &[0]);
        for _ in 0..10 {
            drop(seats.take(0));
        }
        assert_eq!(kept(&mut first), [0]);
        assert_eq!(seats.lock().seats.len(), 1);
    }
}
