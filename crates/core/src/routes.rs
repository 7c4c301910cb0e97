//! A table of HTTP routes, and which of them a request is for.
//!
//! Promises:
//! - 404, 405 with its `Allow`, and HEAD as GET follow from the table;
//! - a parameter of a path is one segment that is not empty;
//! - of two patterns that match a path, the one that stands first owns it.
//!
//! Out of scope: handlers, authentication, percent-encoding in paths.

/// A line of the table. `H`: what handles the request.
#[derive(Debug)]
pub struct Route<H> {
    /// `GET`, `POST`, `PUT` or `DELETE`.
    pub method: &'static str,
    /// As `/api/dead-letters/{id}`.
    pub pattern: &'static str,
    /// Names of the query parameters that it knows.
    pub query: &'static [&'static str],
    /// The type of its JSON body; `None` where it takes no body.
    pub body: Option<&'static str>,
    pub handler: H,
}

/// Name and text of each parameter of a path.
pub type PathParameters<'p> = Vec<(&'static str, &'p str)>;

#[derive(Clone, Debug, PartialEq, Eq)]
pub enum NoRoute {
    NotFound,
    /// The path has other methods: the value of `Allow`.
    MethodNotAllowed(String),
}

impl<H> Route<H> {
    /// The parameters of a path that matches the pattern.
    fn matches<'p>(&self, path: &'p str) -> Option<PathParameters<'p>> {
        let mut segments = path.trim_matches('/').split('/');
        let mut parameters = vec![];
        for wanted in self.pattern.trim_start_matches('/').split('/') {
            let given = segments.next()?;
            match wanted.strip_prefix('{').and_then(|name| name.strip_suffix('}')) {
                Some(name) if !given.is_empty() => parameters.push((name, given)),
                None if wanted == given => {}
                _ => return None,
            }
        }
        segments.next().is_none().then_some(parameters)
    }
}

/// The route of a request, with the parameters of its path.
pub fn find<'t, 'p, H>(
    table: &'t [Route<H>],
    method: &str,
    path: &'p str,
) -> Result<(&'t Route<H>, PathParameters<'p>), NoRoute> {
    let owner = table.iter().find_map(|route| Some((route.pattern, route.matches(path)?)));
    let (pattern, parameters) = owner.ok_or(NoRoute::NotFound)?;
    let method = if method == "HEAD" { "GET" } else { method };
    let own = table.iter().filter(|route| route.pattern == pattern);
    if let Some(route) = own.clone().find(|route| route.method == method) {
        return Ok((route, parameters));
    }
    let allowed: Vec<&str> = own.map(|route| if route.method == "GET" { "GET, HEAD" } else { route.method }).collect();
    Err(NoRoute::MethodNotAllowed(allowed.join(", ")))
}

#[cfg(test)]
mod tests {
    use super::*;

    const fn route(method: &'static str, pattern: &'static str, handler: u8) -> Route<u8> {
        Route { method, pattern, query: &[], body: None, handler }
    }

    const TABLE: [Route<u8>; 6] = [
        route("GET", "/metrics", 1),
        route("POST", "/api/letters/replay", 2),
        route("GET", "/api/letters/{id}", 3),
        route("DELETE", "/api/letters/{id}", 4),
        route("PUT", "/api/of/{source}/{id}/x", 5),
        route("POST", "/metrics", 6),
    ];

    #[test]
    fn a_request_finds_its_route_and_the_parameters_of_its_path() {
        let found = |method, path| find(&TABLE, method, path).map(|(route, parameters)| (route.handler, parameters));
        for (method, path, handler, parameters) in [
            ("GET", "/metrics", 1, vec![]),
            ("HEAD", "/metrics/", 1, vec![]),
            ("POST", "/metrics", 6, vec![]),
            ("POST", "/api/letters/replay", 2, vec![]),
            ("HEAD", "/api/letters/7", 3, vec![("id", "7")]),
            ("DELETE", "/api/letters/7", 4, vec![("id", "7")]),
            ("PUT", "/api/of/a/b/x", 5, vec![("source", "a"), ("id", "b")]),
        ] {
            assert_eq!(found(method, path), Ok((handler, parameters)), "{method} {path}");
        }
        for (method, path, allow) in [
            ("PUT", "/metrics", "GET, HEAD, POST"),
            // The first pattern owns the path, whatever the other would do with it.
            ("GET", "/api/letters/replay", "POST"),
            ("POST", "/api/letters/7", "GET, HEAD, DELETE"),
            ("HEAD", "/api/of/a/b/x", "PUT"),
            ("get", "/api/of/a/b/x", "PUT"),
        ] {
            assert_eq!(found(method, path), Err(NoRoute::MethodNotAllowed(allow.into())), "{method} {path}");
        }
        for path in ["", "/", "/Metrics", "/metrics/x", "/api/letters", "/api/letters//", "/api/of//b/x", "/api/of/a/b"]
        {
            assert_eq!(found("GET", path), Err(NoRoute::NotFound), "{path}");
        }
    }
}
