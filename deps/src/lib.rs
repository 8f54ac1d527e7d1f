//! No code: depends on everything that the workspace depends on, so that building one member alone
//! selects the same features of the same dependencies as building all, and nothing is built twice.
