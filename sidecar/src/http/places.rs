//! Places for connections: so many on each listener, and on the Unix socket so many for one user, so that one
//! container cannot shut the others out. On TCP the kernel does not say whose a connection is.

use std::sync::Arc;

use quick_cache::sync::Cache;
use tokio::sync::{OwnedSemaphorePermit, Semaphore};

use super::caller::Connection;
use crate::limits::Limit;

/// Users whose connections are counted at once.
const USERS_MAX: usize = 1024;

/// The places of one server.
pub(super) struct Places {
    /// Of each kind of listener: who fills the one cannot shut out the other.
    tcp: Arc<Semaphore>,
    unix: Arc<Semaphore>,
    users: Cache<u32, Arc<Semaphore>>,
    of_a_user: usize,
}

/// One connection's place, until it is dropped.
pub(super) struct Place {
    _on_the_listener: OwnedSemaphorePermit,
    _of_the_user: Option<OwnedSemaphorePermit>,
}

impl Places {
    pub(super) fn new(on_a_listener: usize, of_a_user: usize) -> Self {
        let places = || Arc::new(Semaphore::new(on_a_listener));
        Self { tcp: places(), unix: places(), users: Cache::new(USERS_MAX), of_a_user }
    }

    /// A place for `connection`, or what there is none left of.
    pub(super) fn take(&self, connection: &Connection) -> Result<Place, Limit> {
        let listener = match connection {
            Connection::Tcp(_) => &self.tcp,
            Connection::Unix(_) => &self.unix,
        };
        let place = take(listener).ok_or(Limit::Connections)?;
        let user = connection.peer().map(|peer| self.user(peer.uid));
        let own = user.map(|user| take(&user).ok_or(Limit::UserConnections)).transpose()?;
        Ok(Place { _on_the_listener: place, _of_the_user: own })
    }

    fn user(&self, uid: u32) -> Arc<Semaphore> {
        let fresh = || Ok::<_, std::convert::Infallible>(Arc::new(Semaphore::new(self.of_a_user)));
        let Ok(user) = self.users.get_or_insert_with(&uid, fresh);
        user
    }
}

fn take(places: &Arc<Semaphore>) -> Option<OwnedSemaphorePermit> {
    Arc::clone(places).try_acquire_owned().ok()
}

#[cfg(test)]
mod tests {
    use super::super::caller::Peer;
    use super::super::source::TcpEnds;
    use super::*;

    fn of_user(uid: u32) -> Connection {
        Connection::Unix(Some(Peer { uid, gid: 0 }))
    }

    #[test]
    fn one_user_cannot_take_the_last_place_from_the_others() {
        let places = Places::new(3, 2);
        let first = places.take(&of_user(1)).ok().unwrap();
        let _second = places.take(&of_user(1)).ok().unwrap();
        assert_eq!(places.take(&of_user(1)).err(), Some(Limit::UserConnections));
        let _other = places.take(&of_user(2)).ok().unwrap();
        assert_eq!(places.take(&of_user(3)).err(), Some(Limit::Connections));
        drop(first);
        assert!(places.take(&of_user(1)).is_ok());
    }

    #[test]
    fn the_listeners_have_places_of_their_own() {
        let places = Places::new(1, 1);
        let _unix = places.take(&of_user(1)).ok().unwrap();
        let address = "127.0.0.1:1".parse().unwrap();
        let tcp = Connection::Tcp(Arc::new(TcpEnds::new(address, address)));
        let _tcp = places.take(&tcp).ok().unwrap();
        assert_eq!(places.take(&tcp).err(), Some(Limit::Connections));
    }
}
