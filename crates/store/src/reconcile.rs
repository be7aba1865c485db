//! Sessions that are due for their next step, and what the step found.
