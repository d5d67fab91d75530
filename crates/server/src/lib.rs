//! Tollgate's binary: routes, pages, settings and the command line.
