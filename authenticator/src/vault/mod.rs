//! The credential store on disk.
