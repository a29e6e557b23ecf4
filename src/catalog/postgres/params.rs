//! Parameters of statements that are kept until the statements are sent.

use tokio_postgres::types::ToSql;

/// The parameters of a statement.
pub(super) type Params = Vec<Box<dyn ToSql + Sync + Send>>;

/// Makes [`Params`] of values.
macro_rules! boxed {
    ($($value:expr),+ $(,)?) => {{
        let params: $crate::catalog::postgres::params::Params = vec![$(Box::new($value)),+];
        params
    }};
}
pub(super) use boxed;
