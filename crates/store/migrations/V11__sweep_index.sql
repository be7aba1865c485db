-- When few campaigns are open, an index of all open ones looks to the planner as good a way to the
-- open ones of one number as the index that is made for it; with thousands open each look then reads
-- them all. So the sweep's index is of an expression that nobody else asks for.
-- Read by store::sweep.
DROP INDEX campaigns_to_sweep;
CREATE INDEX campaigns_to_sweep ON campaigns ((CASE WHEN completed_at IS NULL THEN sweep_at END))
    WHERE (CASE WHEN completed_at IS NULL THEN sweep_at END) IS NOT NULL;
