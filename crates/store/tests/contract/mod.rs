//! What every store must do, as test functions over the trait. A store's own tests give them a [`Backing`].
//!
//! `contract!(Type)` makes a test of each, for a type that implements [`Backing`].

pub(crate) mod admission;
pub(crate) mod blobs;
pub(crate) mod fixture;
pub(crate) mod lists;
pub(crate) mod model;
pub(crate) mod programs;
pub(crate) mod provers;
pub(crate) mod queue;
pub(crate) mod steps;
pub(crate) mod volumes;

use async_trait::async_trait;
use coprocessor_store::Store;
use std::sync::Arc;

/// A store to test, made empty, that can be closed and opened again.
#[async_trait]
pub(crate) trait Backing: Send + Sized {
    /// An empty store.
    async fn new() -> Self;

    /// The store.
    fn store(&self) -> Arc<dyn Store>;

    /// Closes the store, as when its process ends, and opens it again. Nobody else may hold it.
    async fn reopen(&mut self);
}

/// One test per function of the contract.
#[macro_export]
macro_rules! contract {
    ($backing:ty) => {
        $crate::contract!($backing;
            blobs::content_reads_back_whatever_its_size,
            blobs::putting_again_is_no_error,
            blobs::a_digest_that_names_nothing_is_missing,
            blobs::blobs_survive_a_restart,
            programs::a_program_reads_back,
            programs::inserting_again_changes_nothing,
            programs::a_program_needs_its_blobs,
            programs::the_controller_can_be_replaced_and_tasks_keep_theirs,
            programs::a_verifying_key_is_recorded_once,
            programs::deleting_takes_everything_and_waits_for_tasks,
            programs::programs_are_listed_newest_first,
            admission::an_admitted_task_is_queued_with_its_first_event,
            admission::an_unknown_program_or_blob_is_refused,
            admission::a_key_makes_a_repeated_request_the_same_task,
            admission::keys_are_apart_by_owner_and_program,
            admission::racing_requests_with_one_key_make_one_task,
            admission::many_at_once_are_all_kept,
            lists::tasks_are_filtered_and_newest_first,
            lists::pages_hold_while_tasks_are_admitted,
            lists::cursors_of_others_are_refused,
            lists::events_are_read_on_from_a_number,
            lists::counts_follow_every_change,
            queue::the_oldest_is_claimed_first_and_once,
            queue::claims_race_for_different_tasks,
            queue::stages_are_claimed_apart,
            queue::a_lease_that_ran_out_is_claimed_again,
            queue::a_heartbeat_keeps_the_claim,
            queue::a_restart_voids_leases,
            queue::postponed_tasks_wait_for_their_time,
            queue::changes_are_told_after_the_commit,
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
            volumes::pages_and_raw_storage_read_back,
            volumes::a_snapshot_sees_no_later_write,
            volumes::a_snapshot_moves_between_threads,
            volumes::a_write_on_an_old_version_conflicts,
            volumes::an_empty_write_needs_no_version,
            volumes::volumes_are_apart,
            provers::provers_are_kept_with_their_secrets,
            model::random_histories_follow_the_model,
        );
    };
    ($backing:ty; $($module:ident::$name:ident),* $(,)?) => {
        $(
            #[tokio::test(flavor = "multi_thread", worker_threads = 2)]
            async fn $name() {
                $crate::contract::$module::$name::<$backing>().await;
            }
        )*
    };
}
