//! Who the user is on a computer: a terminal, a policy, a script.
