//! Finds the endpoint of a path and a method.

use std::collections::BTreeMap;

use hyper::Method;

/// Endpoints by path pattern and method.
pub(crate) struct Router<E> {
    paths: matchit::Router<Vec<(Method, E)>>,
}

/// The result of a lookup.
#[derive(Debug, PartialEq, Eq)]
pub(crate) enum Lookup<'p, E> {
    /// The endpoint, and the values of the pattern's parameters in order.
    Found(E, Vec<&'p str>),
    /// The path exists for other methods: a value for `Allow`.
    WrongMethod(String),
    /// The path is unknown.
    NotFound,
}

impl<E: Copy> Router<E> {
    /// Creates a router from patterns, methods and endpoints. Patterns are those of `matchit`.
    /// An endpoint for GET answers HEAD too.
    ///
    /// # Errors
    /// Two patterns overlap.
    pub(crate) fn new<'r>(
        routes: impl IntoIterator<Item = (&'r str, Method, E)>,
    ) -> Result<Self, matchit::InsertError> {
        let mut by_path: BTreeMap<&str, Vec<(Method, E)>> = BTreeMap::new();
        for (path, method, endpoint) in routes {
            let methods = by_path.entry(path).or_default();
            methods.extend(methods_of(&method).map(|method| (method, endpoint)));
        }
        let mut paths = matchit::Router::new();
        for (path, methods) in by_path {
            paths.insert(path, methods)?;
        }
        Ok(Self { paths })
    }

    /// Returns the endpoint for `method` on `path`.
    pub(crate) fn lookup<'p>(&self, method: &Method, path: &'p str) -> Lookup<'p, E> {
        let Ok(found) = self.paths.at(path) else {
            return Lookup::NotFound;
        };
        match found.value.iter().find(|(allowed, _)| allowed == method) {
            Some((_, endpoint)) => {
                Lookup::Found(*endpoint, found.params.iter().map(|(_, value)| value).collect())
            }
            None => {
                let names: Vec<&str> = found.value.iter().map(|(method, _)| method.as_str()).collect();
                Lookup::WrongMethod(names.join(", "))
            }
        }
    }
}

/// Returns the methods that an endpoint declared for `method` answers.
pub(crate) fn methods_of(method: &Method) -> impl Iterator<Item = Method> + use<> {
    let head = (method == Method::GET).then_some(Method::HEAD);
    std::iter::once(method.clone()).chain(head)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn paths_methods_and_parameters_lead_to_their_endpoints() {
        let routes = [("/a", Method::POST, 1), ("/a/{id}", Method::GET, 2), ("/a/{id}", Method::DELETE, 3)];
        let router = Router::new(routes).unwrap();
        assert_eq!(router.lookup(&Method::POST, "/a"), Lookup::Found(1, vec![]));
        assert_eq!(router.lookup(&Method::HEAD, "/a/7"), Lookup::Found(2, vec!["7"]));
        assert_eq!(router.lookup(&Method::DELETE, "/a/7"), Lookup::Found(3, vec!["7"]));
        assert_eq!(router.lookup(&Method::PUT, "/a/7"), Lookup::WrongMethod("GET, HEAD, DELETE".into()));
        assert_eq!(router.lookup(&Method::GET, "/a/7/8"), Lookup::NotFound);
        assert_eq!(router.lookup(&Method::GET, "/A"), Lookup::NotFound);
    }
}
