//! Which endpoint a path and a method name.

use hyper::Method;

/// Endpoints by path pattern and method.
pub struct Router<E> {
    paths: matchit::Router<Vec<(Method, E)>>,
}

/// What a path and a method name.
#[derive(Debug, PartialEq, Eq)]
pub enum Lookup<'p, E> {
    /// An endpoint, and the values of the pattern's parameter if it has one.
    Found(E, Option<&'p str>),
    /// The path exists for other methods: a value for `Allow`.
    WrongMethod(String),
    /// Nothing has this path.
    NotFound,
}

impl<E: Copy> Router<E> {
    /// Builds the table. Patterns are `matchit`'s, with at most one parameter; whatever answers GET answers HEAD too.
    ///
    /// # Errors
    /// Two patterns overlap.
    pub fn new(routes: &[(&str, &[(Method, E)])]) -> Result<Self, matchit::InsertError> {
        let mut paths = matchit::Router::new();
        for (pattern, methods) in routes {
            let mut methods = methods.to_vec();
            if let Some((_, endpoint)) = methods.iter().find(|(method, _)| method == Method::GET) {
                let head = (Method::HEAD, *endpoint);
                methods.push(head);
            }
            paths.insert(*pattern, methods)?;
        }
        Ok(Self { paths })
    }

    /// Looks up the endpoint for `method` on `path`.
    pub fn lookup<'p>(&self, method: &Method, path: &'p str) -> Lookup<'p, E> {
        let Ok(found) = self.paths.at(path) else {
            return Lookup::NotFound;
        };
        match found.value.iter().find(|(allowed, _)| allowed == method) {
            Some((_, endpoint)) => {
                Lookup::Found(*endpoint, found.params.iter().next().map(|(_, value)| value))
            }
            None => {
                let names: Vec<&str> = found.value.iter().map(|(method, _)| method.as_str()).collect();
                Lookup::WrongMethod(names.join(", "))
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn paths_methods_and_parameters() {
        let router = Router::new(&[("/a", &[(Method::POST, 1)]), ("/a/{id}", &[(Method::GET, 2)])]).unwrap();
        assert_eq!(router.lookup(&Method::POST, "/a"), Lookup::Found(1, None));
        assert_eq!(router.lookup(&Method::HEAD, "/a/7"), Lookup::Found(2, Some("7")));
        assert_eq!(router.lookup(&Method::PUT, "/a/7"), Lookup::WrongMethod("GET, HEAD".into()));
        assert_eq!(router.lookup(&Method::GET, "/a/7/8"), Lookup::NotFound);
        assert_eq!(router.lookup(&Method::GET, "/A"), Lookup::NotFound);
    }
}
