//! How a browser comes in: a token that is good once becomes a cookie that is good until the server ends.

use std::collections::VecDeque;
use std::sync::{Mutex, MutexGuard, PoisonError};

use hyper::header::{COOKIE, HeaderMap};

use super::super::secret::{Digest, NoRandomness, secret};

/// How many browsers are in at most; then the one that came first has to come again.
const SESSIONS: usize = 256;

#[derive(Debug)]
pub struct Door {
    state: Mutex<State>,
}

#[derive(Debug)]
struct State {
    token: String,
    sessions: VecDeque<Digest>,
}

/// A browser that was let in.
#[derive(Debug, PartialEq, Eq)]
pub enum Entered {
    /// It was in before, and its token is as good as it was.
    Already,
    /// It is to keep this cookie.
    Now { cookie: String },
}

impl Door {
    pub fn new() -> Result<Self, NoRandomness> {
        Ok(Self {
            state: Mutex::new(State {
                token: secret()?,
                sessions: VecDeque::new(),
            }),
        })
    }

    pub fn token(&self) -> String {
        self.state().token.clone()
    }

    /// None for who has neither the token nor a session.
    pub fn enter(
        &self,
        token: &str,
        cookie: &str,
        headers: &HeaderMap,
        is_tls: bool,
    ) -> Option<Entered> {
        if self.is_in(cookie, headers) {
            return Some(Entered::Already);
        }
        // Without fresh secrets nobody comes in.
        let (fresh, session) = (secret().ok()?, secret().ok()?);
        let mut state = self.state();
        if Digest::of(token) != Digest::of(&state.token) {
            return None;
        }
        state.token = fresh;
        if state.sessions.len() >= SESSIONS {
            state.sessions.pop_front();
        }
        state.sessions.push_back(Digest::of(&session));
        let secure = if is_tls { "; Secure" } else { "" };
        Some(Entered::Now {
            cookie: format!("{cookie}={session}; HttpOnly; SameSite=Strict; Path=/{secure}"),
        })
    }

    /// Whether a browser has a session.
    pub fn is_in(&self, cookie: &str, headers: &HeaderMap) -> bool {
        let state = self.state();
        let lines = headers.get_all(COOKIE).into_iter();
        let pairs = lines
            .filter_map(|line| line.to_str().ok())
            .flat_map(|line| line.split(';'))
            .filter_map(|pair| pair.trim().split_once('='));
        let mut sent = pairs
            .filter(|(name, _)| *name == cookie)
            .map(|(_, session)| Digest::of(session));
        sent.any(|session| state.sessions.contains(&session))
    }

    fn state(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn with(cookie: &str) -> HeaderMap {
        let mut headers = HeaderMap::new();
        headers.insert(COOKIE, cookie.parse().unwrap());
        headers
    }

    fn cookie(entered: Option<Entered>) -> String {
        match entered {
            Some(Entered::Now { cookie }) => cookie.split(';').next().unwrap().to_owned(),
            other => panic!("{other:?}"),
        }
    }

    #[test]
    fn a_token_is_good_once_and_its_cookie_from_then_on() {
        let door = Door::new().unwrap();
        let (none, token) = (HeaderMap::new(), door.token());
        assert_eq!(door.enter("", "c", &none, false), None);
        let session = cookie(door.enter(&token, "c", &none, false));
        assert_eq!(door.enter(&token, "c", &none, false), None);
        assert_ne!(door.token(), token);
        assert!(door.is_in("c", &with(&format!("a=b; {session}; d=e"))));
        assert!(!door.is_in("d", &with(&session)) && !door.is_in("c", &with("c=0")));
        // Its own token may be opened again, and no fresh one is spent on it.
        let fresh = door.token();
        assert_eq!(
            door.enter(&token, "c", &with(&session), false),
            Some(Entered::Already)
        );
        assert_eq!(door.token(), fresh);
    }

    #[test]
    fn where_too_many_are_in_the_first_is_out() {
        let door = Door::new().unwrap();
        let none = HeaderMap::new();
        let sessions: Vec<String> = (0..=SESSIONS)
            .map(|_| cookie(door.enter(&door.token(), "c", &none, false)))
            .collect();
        let is_in = |at: usize| door.is_in("c", &with(&sessions[at]));
        assert!(!is_in(0) && is_in(1) && is_in(SESSIONS));
    }
}
