//! The server of the page over real sockets: who may read and write, what hostile clients come to, and the command.
#![cfg(feature = "serve")]

mod access;
mod command;
mod events;
mod hostile;
mod server;
mod tls;
