//! Which servers are well: passive ejection.
