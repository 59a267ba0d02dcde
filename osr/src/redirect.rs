//! Redirection.

/// Redirected return addresses of one stack.
#[derive(Debug, Default)]
pub struct RedirectTable {}
