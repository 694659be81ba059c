//! A door through Linux's /dev/uhid.
