//! A UDP socket that is read and written in batches (GSO, GRO).

use core::cell::RefCell;
use core::net::SocketAddr;
use std::io::{self, IoSliceMut};

use peer_core::rtc::ice::SocketId;
use quinn_udp::{RecvMeta, Transmit, UdpSockRef, UdpSocketState};
use tokio::io::Interest;
use tokio::net::UdpSocket;

/// Datagrams in one system call where the kernel joins those of one source, and bytes of each.
const BATCH: usize = 4;
const BATCH_BYTES: usize = 1 << 16;
/// Bytes in one call that sends: the longest payload of a UDP datagram over IPv4.
pub(super) const SEND_MAX: usize = 65_507;
/// Bytes that the kernel is asked to keep for a socket that all sessions share. It may give less.
const BUFFER: usize = 1 << 20;

thread_local! {
    /// Where datagrams are read. Of a thread, so that an idle socket costs nothing.
    static READ: RefCell<Vec<u8>> = const { RefCell::new(Vec::new()) };
}

/// A socket that is bound to one address.
#[derive(Debug)]
pub(super) struct Socket {
    /// What sessions know it by.
    pub(super) id: SocketId,
    pub(super) address: SocketAddr,
    socket: UdpSocket,
    state: UdpSocketState,
}

/// What one system call brought from one source: datagrams of `stride` bytes, the last may have
/// fewer.
#[derive(Debug)]
pub(super) struct Train<'a> {
    pub(super) source: SocketAddr,
    pub(super) bytes: &'a [u8],
    pub(super) stride: usize,
}

impl Socket {
    pub(super) fn bind(id: SocketId, address: SocketAddr) -> io::Result<Self> {
        let socket = std::net::UdpSocket::bind(address)?;
        socket.set_nonblocking(true)?;
        let socket = UdpSocket::from_std(socket)?;
        let state = UdpSocketState::new(UdpSockRef::from(&socket))?;
        for result in [
            state.set_recv_buffer_size(UdpSockRef::from(&socket), BUFFER),
            state.set_send_buffer_size(UdpSockRef::from(&socket), BUFFER),
        ] {
            if let Err(error) = result {
                tracing::debug!(%error, "a UDP socket keeps the buffer that it has");
            }
        }
        Ok(Self {
            id,
            address: socket.local_addr()?,
            socket,
            state,
        })
    }

    /// Waits until something came.
    pub(super) async fn readable(&self) -> io::Result<()> {
        self.socket.readable().await
    }

    /// Waits until something can be sent.
    pub(super) async fn writable(&self) -> io::Result<()> {
        self.socket.writable().await
    }

    /// Takes what came, of one system call. [`io::ErrorKind::WouldBlock`]: there is nothing.
    pub(super) fn receive(&self, mut each: impl FnMut(Train<'_>)) -> io::Result<()> {
        READ.with_borrow_mut(|buffer| {
            // All zero, so that only what is used takes memory.
            if buffer.is_empty() {
                *buffer = vec![0; BATCH * BATCH_BYTES];
            }
            let mut metas = [RecvMeta::default(); BATCH];
            let mut slices = buffer.chunks_exact_mut(BATCH_BYTES);
            let mut slices: [IoSliceMut<'_>; BATCH] =
                core::array::from_fn(|_| IoSliceMut::new(slices.next().unwrap_or_default()));
            let count = self.socket.try_io(Interest::READABLE, || {
                let socket = UdpSockRef::from(&self.socket);
                self.state.recv(socket, &mut slices, &mut metas)
            })?;
            for (meta, slice) in metas.iter().zip(&slices).take(count) {
                each(Train {
                    source: meta.addr,
                    bytes: slice.get(..meta.len).unwrap_or_default(),
                    stride: meta.stride,
                });
            }
            Ok(())
        })
    }

    /// Datagrams that one call of [`send`](Self::send) takes.
    pub(super) fn segments_max(&self) -> usize {
        self.state.max_gso_segments()
    }

    /// Sends datagrams of `stride` bytes, the last may have fewer.
    /// [`io::ErrorKind::WouldBlock`]: none of them, now.
    pub(super) fn send(&self, to: SocketAddr, bytes: &[u8], stride: usize) -> io::Result<()> {
        let transmit = Transmit {
            destination: to,
            ecn: None,
            contents: bytes,
            segment_size: (bytes.len() > stride).then_some(stride),
            src_ip: None,
        };
        self.socket.try_io(Interest::WRITABLE, || {
            let socket = UdpSockRef::from(&self.socket);
            self.state.try_send(socket, &transmit)
        })
    }
}
