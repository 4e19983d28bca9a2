//! A plan compiled for one prompt.
