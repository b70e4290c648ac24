//! What every store must do, as test functions over the trait. A store's own tests give them a [`Backing`].
//!
//! `contract!(Type)` makes a test of each, for a type that implements [`Backing`].

pub(crate) mod accounts;
pub(crate) mod admission;
pub(crate) mod blobs;
pub(crate) mod changes;
pub(crate) mod controllers;
pub(crate) mod deadlines;
pub(crate) mod domains;
pub(crate) mod fairness;
pub(crate) mod fixture;
pub(crate) mod health;
pub(crate) mod history;
pub(crate) mod lists;
pub(crate) mod model;
pub(crate) mod programs;
pub(crate) mod provers;
pub(crate) mod queue;
pub(crate) mod races;
pub(crate) mod recordings;
pub(crate) mod steps;
pub(crate) mod together;
pub(crate) mod upkeep;
pub(crate) mod volume_quotas;
pub(crate) mod volumes;
pub(crate) mod webhooks;

use async_trait::async_trait;
use coprocessor_store::Store;
use std::sync::Arc;

/// A store to test, made empty, that can be closed and opened again.
#[async_trait]
pub(crate) trait Backing: Send + Sync + Sized {
    /// Whether opening the store gives back every lease, as nobody else can hold one.
    const VOIDS_LEASES: bool;

    /// Random histories that a test run has time for.
    const HISTORIES: u64;

    /// Whether what it needs is installed. Where it is not, and need not be, the tests end early.
    fn is_here() -> bool {
        true
    }

    /// An empty store.
    async fn new() -> Self;

    /// An empty store whose writes need not survive the loss of power, for many small tests.
    async fn quick() -> Self {
        Self::new().await
    }

    /// Makes it an empty store again. Nobody else may hold it.
    async fn clear(&mut self) {
        *self = Self::quick().await;
    }

    /// The store.
    fn store(&self) -> Arc<dyn Store>;

    /// The same store as another process sees it; `None` where there can be only one.
    async fn second(&self) -> Option<Arc<dyn Store>> {
        None
    }

    /// Closes the store, as when its process ends, and opens it again. Nobody else may hold it.
    async fn reopen(&mut self);
}

/// One test per function of the contract.
#[macro_export]
macro_rules! contract {
    ($backing:ty) => {
        $crate::contract!($backing;
            accounts::an_owner_s_settings_are_kept,
            accounts::owners_are_listed_by_name,
            accounts::a_key_is_kept_and_revoked_once,
            accounts::whether_there_ever_were_keys_is_not_forgotten,
            accounts::keys_are_listed_newest_first,
            accounts::cursors_of_other_account_lists_are_refused,
            admission::an_admitted_task_is_queued_with_its_first_event,
            admission::an_unknown_program_or_blob_is_refused,
            admission::a_key_makes_a_repeated_request_the_same_task,
            admission::keys_are_apart_by_owner_and_program,
            admission::racing_requests_with_one_key_make_one_task,
            admission::many_at_once_are_all_kept,
            admission::those_that_come_at_once_are_each_their_own,
            admission::the_backlog_is_bounded_exactly,
            admission::a_repeated_request_passes_a_full_backlog,
            admission::racing_requests_stop_at_the_bound,
            admission::priority_and_deadline_read_back,
            blobs::content_reads_back_whatever_its_size,
            blobs::putting_again_is_no_error,
            blobs::a_digest_that_names_nothing_is_missing,
            blobs::blobs_survive_a_restart,
            changes::steps_are_told_after_the_commit,
            changes::what_fails_tells_nothing,
            changes::a_deadline_and_a_retry_are_told,
            changes::accounts_and_provers_are_told,
            changes::deliveries_that_are_due_are_told,
            deadlines::a_deadline_ends_a_task_in_each_state,
            deadlines::a_retry_gives_a_new_deadline,
            deadlines::deadlines_are_met_earliest_first_and_within_the_limit,
            deadlines::who_finishes_or_waits_is_past_no_deadline,
            domains::random_histories_open_as_plain_trees,
            domains::an_instance_begins_with_the_root_of_its_leaf,
            domains::what_is_not_there_is_told,
            domains::a_domain_reads_back_and_stays_as_it_was,
            domains::domains_and_blocks_are_listed_in_order,
            domains::a_number_is_taken_once_and_a_call_is_all_or_nothing,
            domains::appends_at_once_make_one_line,
            domains::pruned_roots_are_refused_and_later_ones_open,
            domains::no_task_is_pinned_to_what_was_pruned,
            domains::domains_and_blocks_are_told,
            domains::what_one_process_appends_the_other_opens,
            fairness::owners_take_turns_in_each_stage,
            fairness::an_owner_s_tasks_go_by_priority_then_age,
            fairness::priorities_count_among_one_owner_s_tasks_only,
            fairness::a_huge_backlog_holds_nobody_else,
            fairness::batches_are_fair_too,
            fairness::weights_say_how_many_in_a_row,
            fairness::a_weight_counts_from_the_next_claim,
            fairness::who_had_nothing_to_do_has_saved_nothing_up,
            fairness::what_cannot_be_claimed_takes_no_turn,
            health::an_instance_stays_the_same,
            health::a_store_that_works_says_so,
            history::an_owner_s_events_are_those_of_its_tasks,
            history::who_follows_misses_nothing_while_many_write,
            lists::tasks_are_filtered_and_newest_first,
            lists::pages_hold_while_tasks_are_admitted,
            lists::cursors_of_others_are_refused,
            lists::events_are_read_on_from_a_number,
            lists::counts_follow_every_change,
            programs::a_program_reads_back,
            programs::inserting_again_changes_nothing,
            programs::a_program_needs_its_blobs,
            programs::the_controller_can_be_replaced_and_tasks_keep_theirs,
            programs::a_verifying_key_is_recorded_once,
            programs::deleting_takes_everything_and_waits_for_tasks,
            programs::programs_are_listed_newest_first,
            programs::a_reader_lists_its_own_programs_and_public_ones,
            programs::an_owner_has_no_more_programs_than_its_quota,
            programs::racing_deployments_stop_at_the_quota,
            controllers::versions_are_listed_with_who_set_them,
            controllers::a_controller_that_was_there_before_is_no_new_version,
            controllers::pages_of_versions_go_on,
            controllers::the_oldest_that_nobody_needs_are_dropped,
            controllers::a_version_that_was_dropped_is_a_new_one,
            controllers::racing_setters_number_each_version_once,
            controllers::versions_go_with_their_program,
            provers::provers_are_kept_with_their_secrets,
            queue::the_oldest_is_claimed_first_and_once,
            queue::claims_race_for_different_tasks,
            queue::a_batch_is_claimed_at_once,
            queue::a_heartbeat_tells_which_claims_are_over,
            queue::the_node_of_a_claim_is_recorded,
            queue::stages_are_claimed_apart,
            queue::a_lease_that_ran_out_is_claimed_again,
            queue::a_heartbeat_keeps_the_claim,
            queue::a_restart_voids_leases_only_where_nobody_else_can_hold_one,
            queue::a_restart_voids_leases_that_ran_out_too,
            queue::postponed_tasks_wait_for_their_time,
            races::deliveries_that_end_at_once_write_each_volume_once,
            races::steps_that_end_at_once_are_each_their_own,
            races::workers_that_race_keep_every_promise,
            recordings::whether_a_task_is_recorded_is_kept,
            recordings::the_last_recording_of_each_stage_is_kept,
            recordings::a_late_recording_is_not_kept,
            recordings::recordings_go_with_all_that_named_them,
            steps::a_task_goes_the_whole_way,
            steps::large_blobs_go_with_their_step,
            steps::late_writes_change_nothing,
            steps::outcomes_of_another_stage_change_nothing,
            steps::unknown_tasks_are_told,
            steps::a_step_that_is_late_but_unclaimed_counts,
            steps::delivery_writes_the_volume_once,
            steps::a_volume_conflict_leaves_the_step_open,
            steps::cancelling_ends_a_task_in_each_state,
            steps::a_failed_task_is_retried_from_its_stage,
            steps::attempts_are_counted,
            together::one_store_has_one_identity,
            together::what_one_process_does_the_other_sees_and_is_told,
            together::a_restart_of_one_process_leaves_the_other_s_leases,
            together::claims_of_two_processes_are_apart_and_fair,
            together::one_key_makes_one_task_whoever_is_asked,
            together::a_bound_is_passed_by_no_more_than_is_in_flight,
            together::a_late_write_through_another_process_changes_nothing,
            upkeep::what_is_kept_for_ever_is_kept,
            upkeep::witnesses_age_out_but_those_of_failed_tasks,
            upkeep::proofs_age_out_and_leave_their_tasks,
            upkeep::tasks_age_out_with_all_that_was_theirs,
            upkeep::one_pass_removes_no_more_than_its_limit_oldest_first,
            upkeep::deliveries_age_out_once_nothing_more_is_tried,
            upkeep::blobs_that_nothing_names_go_after_a_while,
            upkeep::putting_a_blob_again_keeps_it_longer,
            upkeep::what_programs_and_tasks_name_stays,
            upkeep::usage_grows_and_shrinks,
            upkeep::collecting_beside_everything_else_loses_nothing,
            volumes::pages_and_raw_storage_read_back,
            volumes::a_snapshot_sees_no_later_write,
            volumes::a_snapshot_moves_between_threads,
            volumes::a_write_on_an_old_version_conflicts,
            volumes::writers_take_turns_by_version,
            volumes::an_empty_write_needs_no_version,
            volumes::volumes_are_apart,
            volumes::many_pages_are_read_at_once,
            volumes::a_volume_is_replaced_whole_or_not_at_all,
            volumes::replacing_takes_its_turn,
            volume_quotas::what_volumes_hold_is_counted,
            volume_quotas::a_write_beyond_the_quota_changes_nothing,
            volume_quotas::beyond_the_quota_what_does_not_grow_is_taken,
            volume_quotas::a_step_beyond_the_quota_stays_open,
            volume_quotas::an_image_beyond_the_quota_changes_nothing,
            volume_quotas::racing_writes_stop_at_the_quota,
            volume_quotas::racing_steps_stop_at_the_quota,
            volume_quotas::deleting_while_it_grows_counts_right,
            webhooks::webhooks_are_kept_with_their_secrets,
            webhooks::a_webhook_gets_later_events_of_its_owner_that_it_names,
            webhooks::deliveries_are_queued_little_by_little,
            webhooks::an_event_is_queued_once_however_many_queue,
            webhooks::due_deliveries_are_claimed_oldest_first,
            webhooks::claims_of_deliveries_race_for_different_ones,
            webhooks::webhooks_that_are_busy_are_passed_over,
            webhooks::an_attempt_ends_one_of_three_ways,
            webhooks::a_delivery_that_is_not_ended_is_due_again,
            webhooks::only_a_webhook_s_own_deliveries_are_sent_again,
            webhooks::a_webhook_goes_with_its_deliveries,
            webhooks::deliveries_do_not_keep_a_program,
            webhooks::cursors_of_other_webhook_lists_are_refused,
            model::random_histories_follow_the_model,
        );
    };
    ($backing:ty; $($module:ident::$name:ident),* $(,)?) => {
        $(
            #[tokio::test(flavor = "multi_thread", worker_threads = 2)]
            async fn $name() {
                if <$backing as $crate::contract::Backing>::is_here() {
                    $crate::contract::$module::$name::<$backing>().await;
                }
            }
        )*
    };
}
