//! The clients of the control socket and the answers they wait for. Not here: bytes (`connection`),
//! and what a call means (`requests`).

use std::collections::BTreeMap;
use std::os::unix::net::UnixStream;

use serde::{Deserialize, Serialize};
use services::control::Request;
use services::supervisor::event::RequestId;
use services::time::Time;

use super::connection::Connection;

/// Most clients at a time; the next one is turned away.
pub(super) const CLIENTS_MAX: usize = 64;
/// Of these, so many are for root alone: nobody else can keep it from asking for anything.
const CLIENTS_OF_ROOT: usize = 16;

/// Who is at the other end, as the kernel says.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub(super) struct Peer {
    /// Process.
    pub(super) pid: u32,
    /// User.
    pub(super) uid: u32,
    /// Group, and the supplementary ones.
    pub(super) groups: Vec<u32>,
}

impl Peer {
    /// Whether it may change anything: root, or a member of the control group where there is one.
    #[must_use]
    pub(super) fn may_change(&self, control_group: Option<u32>) -> bool {
        self.uid == 0 || control_group.is_some_and(|group| self.groups.contains(&group))
    }
}

/// One client.
#[derive(Debug, Serialize, Deserialize)]
pub(super) struct Client {
    /// Its bytes.
    pub(super) connection: Connection,
    /// Who it is.
    pub(super) peer: Peer,
    /// The call in hand, answered later.
    pub(super) waiting: Option<RequestId>,
    /// What its stream is watched for.
    pub(super) watched: (bool, bool),
}

/// An answer that is owed.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub(super) struct Owed {
    /// To whom; `None`: the client wants none, or it was PID 1 itself that asked.
    pub(super) client: Option<u32>,
    /// What was asked.
    pub(super) request: Request,
}

/// All clients, by a number that is never used twice.
#[derive(Debug, Default, Serialize, Deserialize)]
pub(super) struct Clients {
    clients: BTreeMap<u32, Client>,
    owed: BTreeMap<RequestId, Owed>,
    next_client: u32,
    next_request: u64,
}

impl Clients {
    /// Takes a client in; `None` when there are too many.
    pub(super) fn admit(&mut self, stream: UnixStream, peer: Peer) -> Option<u32> {
        let most = match peer.uid {
            0 => CLIENTS_MAX,
            _ => CLIENTS_MAX - CLIENTS_OF_ROOT,
        };
        if self.clients.len() >= most {
            return None;
        }
        self.next_client = self.next_client.wrapping_add(1);
        let client = Client {
            connection: Connection::new(stream),
            peer,
            waiting: None,
            watched: (true, false),
        };
        self.clients.insert(self.next_client, client);
        Some(self.next_client)
    }

    /// One client.
    pub(super) fn get(&mut self, number: u32) -> Option<&mut Client> {
        self.clients.get_mut(&number)
    }

    /// Numbers of all clients.
    #[must_use]
    pub(super) fn numbers(&self) -> Vec<u32> {
        self.clients.keys().copied().collect()
    }

    /// Drops a client; the request it waited for, if any.
    pub(super) fn dismiss(&mut self, number: u32) -> Option<RequestId> {
        let request = self.clients.remove(&number)?.waiting?;
        self.owed.remove(&request);
        Some(request)
    }

    /// Notes that `request` of `client` is answered later.
    pub(super) fn owe(&mut self, client: Option<u32>, request: Request) -> RequestId {
        self.next_request += 1;
        let id = RequestId(self.next_request);
        if let Some(client) = client.and_then(|number| self.clients.get_mut(&number)) {
            client.waiting = Some(id);
        }
        self.owed.insert(id, Owed { client, request });
        id
    }

    /// All debts for just this request.
    #[must_use]
    pub(super) fn owed_for(&self, request: &Request) -> Vec<RequestId> {
        let owed = self.owed.iter();
        owed.filter(|(_, owed)| owed.request == *request)
            .map(|(id, _)| *id)
            .collect()
    }

    /// All debts for a replacement of PID 1's program.
    #[must_use]
    pub(super) fn owed_for_replacement(&self) -> Vec<RequestId> {
        let owed = self.owed.iter();
        owed.filter(|(_, owed)| super::replacement::is_replacement(&owed.request))
            .map(|(id, _)| *id)
            .collect()
    }

    /// Takes the debt `id`, to pay it.
    pub(super) fn settle(&mut self, id: RequestId) -> Option<Owed> {
        let owed = self.owed.remove(&id)?;
        if let Some(client) = owed.client.and_then(|number| self.clients.get_mut(&number)) {
            client.waiting = None;
        }
        Some(owed)
    }

    /// When the next client that does not read is to be dropped.
    #[must_use]
    pub(super) fn next_deadline(&self) -> Option<Time> {
        self.clients
            .values()
            .filter_map(|client| client.connection.deadline())
            .min()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn peer(uid: u32, groups: &[u32]) -> Peer {
        Peer {
            pid: 9,
            uid,
            groups: groups.to_vec(),
        }
    }

    #[test]
    fn root_and_the_control_group_may_change_things() {
        assert!(peer(0, &[]).may_change(None));
        assert!(peer(1000, &[1000, 991]).may_change(Some(991)));
        assert!(!peer(1000, &[1000]).may_change(Some(991)));
        assert!(!peer(1000, &[1000, 991]).may_change(None));
    }

    #[test]
    fn an_answer_owed_is_paid_once_and_forgotten_with_the_client() {
        let mut clients = Clients::default();
        let (_far, near) = UnixStream::pair().unwrap();
        let number = clients.admit(near, peer(0, &[])).unwrap();
        let first = clients.owe(Some(number), Request::WaitBoot);
        assert_eq!(clients.get(number).unwrap().waiting, Some(first));
        assert_eq!(clients.settle(first).unwrap().client, Some(number));
        assert_eq!(clients.settle(first), None);
        let second = clients.owe(Some(number), Request::WaitBoot);
        assert_eq!(clients.dismiss(number), Some(second));
        assert_eq!(clients.settle(second), None);
    }

    #[test]
    fn the_number_of_clients_is_bounded() {
        let mut clients = Clients::default();
        for _ in 0..CLIENTS_MAX {
            let (_far, near) = UnixStream::pair().unwrap();
            assert!(clients.admit(near, peer(0, &[])).is_some());
        }
        let (_far, near) = UnixStream::pair().unwrap();
        assert_eq!(clients.admit(near, peer(0, &[])), None);
    }

    #[test]
    fn nobody_can_take_all_places_from_root() {
        let mut clients = Clients::default();
        let mut admit = |uid| {
            let (_far, near) = UnixStream::pair().unwrap();
            clients.admit(near, peer(uid, &[])).is_some()
        };
        let taken = (0..2 * CLIENTS_MAX).filter(|_| admit(1000)).count();
        assert_eq!(taken, CLIENTS_MAX - CLIENTS_OF_ROOT);
        assert!(admit(0) && !admit(1001));
    }
}
