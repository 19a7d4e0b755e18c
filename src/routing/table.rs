//! The routes in order; the first that matches wins.

use std::sync::Arc;

use crate::routing::route::Route;

/// All routes of a configuration.
#[derive(Clone, Debug, Default)]
pub struct RouteTable {
    routes: Box<[Arc<Route>]>,
}

impl RouteTable {
    /// The routes, first match first.
    pub fn new(routes: Vec<Route>) -> Self {
        Self { routes: routes.into_iter().map(Arc::new).collect() }
    }

    /// The index and the route that take `path`. Walks the table: routes are written by hand and few (at most 256).
    pub fn find(&self, path: &str) -> Option<(usize, &Arc<Route>)> {
        self.routes.iter().enumerate().find(|(_, route)| route.pattern.matches(path))
    }

    /// All routes in order.
    pub fn iter(&self) -> impl Iterator<Item = &Arc<Route>> {
        self.routes.iter()
    }
}
