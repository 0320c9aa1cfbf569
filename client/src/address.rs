//! Where a coordinator is: a host and a port, as people write them.

use std::fmt;
use std::str::FromStr;

use serde::{Deserialize, Serialize};
use thiserror::Error;

/// A host name or IP address, and a port.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(try_from = "String", into = "String")]
pub struct Address {
    host: String,
    port: u16,
}

/// A text that is not an address.
#[derive(Clone, Debug, PartialEq, Eq, Error)]
pub enum AddressError {
    /// Only a host.
    #[error("{found:?} has no port: write HOST:PORT as the coordinator prints it, for example {found}:7843")]
    NoPort {
        /// The text.
        found: String,
    },
    /// The port is not a number from 1 to 65535.
    #[error("{found:?} is not a port: it is a number from 1 to 65535")]
    Port {
        /// The text after the last colon.
        found: String,
    },
    /// The host is empty, an IPv6 address without brackets, or a URL.
    #[error("{found:?} is not HOST:PORT{hint}")]
    Host {
        /// The text.
        found: String,
        /// What may help, with a colon before it.
        hint: &'static str,
    },
}

impl Address {
    /// The host, without the brackets of an IPv6 address.
    pub fn host(&self) -> &str {
        &self.host
    }

    /// The port.
    pub fn port(&self) -> u16 {
        self.port
    }
}

impl FromStr for Address {
    type Err = AddressError;

    fn from_str(text: &str) -> Result<Self, AddressError> {
        let found = || text.chars().take(80).collect::<String>();
        let host_error = |hint| AddressError::Host { found: found(), hint };
        if text.contains("://") {
            return Err(host_error(": leave out what comes before the host"));
        }
        let (host, port) = match text.strip_prefix('[').and_then(|rest| rest.split_once(']')) {
            Some((host, port)) => (host, port.strip_prefix(':')),
            None if text.matches(':').count() > 1 => {
                return Err(host_error(": put an IPv6 address in brackets, for example [::1]:7843"));
            }
            None => text.split_once(':').map_or((text, None), |(host, port)| (host, Some(port))),
        };
        let allowed = |char: char| char.is_ascii_alphanumeric() || "-._:%".contains(char);
        if host.is_empty() || host.len() > 255 || !host.chars().all(allowed) {
            return Err(host_error(""));
        }
        let Some(port) = port else { return Err(AddressError::NoPort { found: found() }) };
        match port.parse() {
            Ok(port) if port > 0 => Ok(Self { host: host.to_owned(), port }),
            _ => Err(AddressError::Port { found: port.chars().take(80).collect() }),
        }
    }
}

impl fmt::Display for Address {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { host, port } = self;
        if host.contains(':') { write!(f, "[{host}]:{port}") } else { write!(f, "{host}:{port}") }
    }
}

impl TryFrom<String> for Address {
    type Error = AddressError;
    fn try_from(text: String) -> Result<Self, AddressError> {
        text.parse()
    }
}

impl From<Address> for String {
    fn from(address: Address) -> Self {
        address.to_string()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn addresses_read_and_print_the_same() {
        for text in ["127.0.0.1:7843", "[::1]:1", "gateway.local:65535", "[fe80::1%eth0]:80"] {
            assert_eq!(text.parse::<Address>().unwrap().to_string(), text);
        }
        assert_eq!("[::1]:9".parse::<Address>().unwrap().host(), "::1");
    }

    #[test]
    fn what_is_no_address_is_refused_with_a_hint() {
        #[track_caller]
        fn check(text: &str, expected: &str) {
            let message = text.parse::<Address>().unwrap_err().to_string();
            assert!(message.contains(expected), "{message}");
        }
        check("gateway", "has no port: write HOST:PORT");
        check("[::1]", "has no port");
        check("gateway:", "\"\" is not a port");
        check("gateway:http", "\"http\" is not a port");
        check("gateway:0", "is not a port");
        check("gateway:65536", "is not a port");
        check(":80", "is not HOST:PORT");
        check("", "is not HOST:PORT");
        check("::1:80", "in brackets");
        check("https://gateway:80", "leave out");
        check("gate way:80", "is not HOST:PORT");
    }
}
