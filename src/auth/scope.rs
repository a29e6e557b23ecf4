//! What a token is for.

use serde_json::Value;

use super::jws::Members;

/// A right that an endpoint needs.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Scope {
    /// To create and change what belongs to the user.
    Upload,
    /// To read what belongs to the user.
    Read,
}

impl Scope {
    /// Returns the name that tokens have.
    pub(crate) const fn name(self) -> &'static str {
        match self {
            Self::Upload => "upload",
            Self::Read => "read",
        }
    }
}

/// The name of the right to read and change what belongs to every user.
const ADMIN: &str = "admin";

/// The rights of a token.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub(crate) struct Scopes {
    upload: bool,
    read: bool,
    admin: bool,
}

impl Scopes {
    /// The rights of tokens that this server signs: all but those of an administrator.
    pub(super) const OWN: Self = Self { upload: true, read: true, admin: false };

    /// Returns whether a token with these rights may do what needs `scope`.
    pub(crate) fn allow(self, scope: Scope) -> bool {
        self.admin
            || match scope {
                Scope::Upload => self.upload,
                Scope::Read => self.read,
            }
    }

    /// Returns whether the token may read and change the drafts of every user.
    pub(crate) fn is_admin(self) -> bool {
        self.admin
    }

    /// Returns the scopes in `scope`, or else in `scp`: names with spaces between them (RFC 8693 section 4.2), or an array of names, which some
    /// providers write. Unknown names are ignored. Returns `None` if the claim has another form.
    pub(super) fn of_claims(claims: &Members) -> Option<Self> {
        let mut scopes = Self::default();
        match claims.get("scope").or(claims.get("scp")) {
            None => {}
            Some(Value::String(names)) => names.split(' ').for_each(|name| scopes.add(name)),
            Some(Value::Array(names)) => {
                for name in names {
                    scopes.add(name.as_str()?);
                }
            }
            Some(_) => return None,
        }
        Some(scopes)
    }

    fn add(&mut self, name: &str) {
        match name {
            ADMIN => self.admin = true,
            _ if name == Scope::Upload.name() => self.upload = true,
            _ if name == Scope::Read.name() => self.read = true,
            _ => {}
        }
    }
}
