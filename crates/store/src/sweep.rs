//! Finding work whose wake-up was lost and lanes whose owner died.
