-- A hold that waits makes room for the attempt that goes out in its place: in one transaction, or not at all, so that nobody else
-- can take the room between the two. Only a hold of the same request, that was not sent, is taken over; without one the attempt
-- is admitted as any other. The parameters and `admitted` are those of `billing_commit_group`, for one attempt; `windows` are the
-- balances as the decision saw them. Rare enough to lock all shards of a window.
CREATE OR REPLACE FUNCTION public.billing_take_over(
    p_waiting uuid, p_attempts jsonb, p_windows bigint[], p_hold_attempts int[], p_hold_windows int[], p_hold_amounts numeric[],
    OUT admitted int[], OUT windows jsonb
) LANGUAGE plpgsql SECURITY DEFINER
SET search_path = pg_catalog, pg_temp SET plan_cache_mode = force_generic_plan SET enable_seqscan = off AS $$
DECLARE
    given_up uuid[];
BEGIN
    SELECT coalesce(array_agg(a.id), '{}') INTO given_up FROM (
        SELECT id FROM public.billing_attempt
        WHERE id = p_waiting AND state = 'held' AND request_id = (p_attempts -> 0 ->> 'request_id')::uuid FOR UPDATE) a;
    SELECT g.admitted, g.windows INTO admitted, windows FROM public.billing_commit_group(
        p_voided => given_up, p_reasons => array_fill('it goes out now'::text, ARRAY[cardinality(given_up)]),
        p_attempts => p_attempts, p_windows => p_windows, p_hold_attempts => p_hold_attempts, p_hold_windows => p_hold_windows,
        p_hold_amounts => p_hold_amounts, p_all_shards => true) g;
    IF admitted[1] > 0 THEN
        RAISE EXCEPTION 'no room' USING ERRCODE = 'object_in_use';  -- takes back what was done above
    END IF;
EXCEPTION WHEN object_in_use THEN
    NULL;  -- what waits still waits, and the answer says which window has no room
END $$;
GRANT EXECUTE ON FUNCTION public.billing_take_over TO purser_app;

-- Attempts that were sent, and owe nothing, wait again with what they hold: for another way to the same answer. Those that have
-- ended, or wait already, are left alone.
CREATE OR REPLACE FUNCTION public.billing_hold_again(p_ids uuid[], p_expires timestamptz) RETURNS void
LANGUAGE plpgsql SECURITY DEFINER
SET search_path = pg_catalog, pg_temp SET plan_cache_mode = force_generic_plan SET enable_seqscan = off AS $$
BEGIN
    PERFORM 1 FROM public.billing_attempt WHERE id = ANY (p_ids) ORDER BY id FOR UPDATE;
    UPDATE public.billing_attempt SET state = 'held', sent_at = NULL, progress = NULL, expires_at = p_expires
    WHERE id = ANY (p_ids) AND state = 'sent';
END $$;
GRANT EXECUTE ON FUNCTION public.billing_hold_again TO purser_app;
