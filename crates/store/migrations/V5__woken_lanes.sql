-- The look that an owner takes at its lanes once a second finds those that were woken, not all
-- that it owns: what is idle costs nothing. `served` is from now on the wake that an owner has
-- noticed, so an owned lane that nobody woke is of no interest to the sweep either. A column more
-- than the equality needs: the order lets the planner see that no other index will do.
-- Read by store::lanes::look.
CREATE INDEX lanes_woken ON lanes (owner, worker_id) WHERE wake <> served;
-- All lanes of an owner are read a page at a time.
DROP INDEX lanes_owned;
CREATE INDEX lanes_owned ON lanes (owner, worker_id) WHERE owner IS NOT NULL;
