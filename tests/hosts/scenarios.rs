//! What happens to the fleet. Each begins with a fleet that is well and has secrets of its own, and leaves it well for the next one.

mod alone;
mod contained;
mod cut_off;
mod evidence;
mod forgotten;
mod goes_back;
mod goes_well;
mod moments;
mod partitions;
mod power;
mod quarantined;
mod refused;

use super::fleet::Fleet;

/// When one is played, if nobody asks for it by its name.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum When {
    /// `make test-hosts`, and so before every change.
    Always,
    /// `make battery`: what takes too long to wait for.
    Battery,
}

use When::{Always, Battery};

/// One of them.
pub(crate) type Scenario = (&'static str, When, fn(&Fleet));

/// All of them, those that take long first.
pub(crate) const ALL: &[Scenario] = &[
    ("the_power_goes_at_every_step", Always, power::goes_at_every_step),
    ("the_power_goes_after_the_decision", Always, power::goes_at_every_step_after_the_decision),
    ("the_power_goes_at_every_moment", Battery, power::goes_at_every_moment),
    ("the_power_goes_and_the_coordinator_finds_out", Battery, power::goes_and_the_coordinator_finds_out),
    ("what_was_not_synced_is_lost", Always, power::what_was_not_synced_is_lost),
    ("a_cut_that_is_not_heard", Always, partitions::the_cut_is_not_heard),
    ("a_decision_that_is_not_heard", Always, partitions::the_decision_is_not_heard),
    ("partitions_in_lock", Battery, |fleet| partitions::in_step(fleet, "lock", false)),
    ("partitions_in_stage", Battery, |fleet| partitions::in_step(fleet, "stage", false)),
    ("partitions_in_arm", Battery, |fleet| partitions::in_step(fleet, "arm", false)),
    ("partitions_in_cut", Battery, |fleet| partitions::in_step(fleet, "cut", false)),
    ("partitions_in_activate", Battery, |fleet| partitions::in_step(fleet, "activate", false)),
    ("partitions_in_verify", Battery, |fleet| partitions::in_step(fleet, "verify", false)),
    ("partitions_in_confirm", Battery, |fleet| partitions::in_step(fleet, "confirm", false)),
    ("partitions_in_clean", Battery, |fleet| partitions::in_step(fleet, "clean", false)),
    ("partitions_in_revert", Battery, |fleet| partitions::in_step(fleet, "revert", true)),
    ("partitions_in_reactivate", Battery, |fleet| partitions::in_step(fleet, "reactivate", true)),
    ("partitions_in_reverify", Battery, |fleet| partitions::in_step(fleet, "reverify", true)),
    ("partitions_in_clean_on_the_way_back", Battery, |fleet| partitions::in_step(fleet, "clean", true)),
    ("a_host_is_cut_off_in_the_middle", Always, cut_off::a_host_is_cut_off),
    ("nobody_comes_back", Always, alone::nobody_comes_back),
    ("the_coordinator_sleeps", Always, alone::the_coordinator_sleeps),
    ("the_coordinator_dies_while_it_confirms", Always, alone::the_coordinator_dies_while_it_confirms),
    ("a_service_that_refuses_to_start", Always, goes_back::a_service_that_refuses_to_start),
    ("one_revert_fails", Always, goes_back::one_revert_fails),
    ("a_service_that_lies", Always, goes_back::a_service_that_lies),
    ("a_control_plane_that_does_not_start", Always, goes_back::a_control_plane_that_does_not_start),
    ("both_playbooks_rotate_and_nobody_sees_a_value", Always, goes_well::both_playbooks_rotate_and_nobody_sees_a_value),
    ("owner_mode_acl_and_attributes_stay", Always, goes_well::owner_mode_acl_and_attributes_stay),
    ("a_worker_is_isolated_and_let_back_in", Always, contained::a_worker_is_isolated_and_let_back_in),
    ("a_worker_shows_what_it_has_first", Always, evidence::a_worker_shows_what_it_has_first),
    ("whoever_isolates_dies", Battery, contained::whoever_isolates_dies),
    ("a_peer_and_the_worker_are_away", Always, contained::a_peer_and_the_worker_are_away),
    ("what_a_worker_knows_dies", Always, forgotten::what_a_worker_knows_dies),
    ("whoever_makes_it_forget_dies", Battery, forgotten::whoever_makes_it_forget_dies),
    ("a_rotation_was_under_way", Always, forgotten::a_rotation_was_under_way),
    ("a_worker_s_own_rules", Always, quarantined::a_worker_s_own_rules),
    ("rules_that_cut_off_whoever_loaded_them", Always, quarantined::rules_that_cut_off_whoever_loaded_them),
    ("a_host_starts_again", Always, cut_off::a_host_starts_again),
    ("a_host_loses_its_power", Always, cut_off::a_host_loses_its_power),
    ("a_host_and_the_coordinator_lose_their_power", Always, cut_off::a_host_and_the_coordinator_lose_their_power),
    ("the_jump_host_loses_its_power", Always, cut_off::the_jump_host_loses_its_power),
    ("the_journal_is_lost", Always, cut_off::the_journal_is_lost),
    ("a_sudo_that_refuses_from_the_middle_on", Always, cut_off::a_sudo_that_refuses_from_the_middle_on),
    ("an_account_that_is_locked_in_the_middle", Always, cut_off::an_account_that_is_locked_in_the_middle),
    ("rights_that_a_running_session_has_no_need_of", Always, cut_off::rights_that_a_running_session_has_no_need_of),
    ("the_coordinator_is_killed", Always, cut_off::the_coordinator_is_killed),
    ("a_host_that_is_cut_off", Always, refused::a_host_that_is_cut_off),
    ("a_sudo_that_asks_for_a_password", Always, refused::a_sudo_that_asks_for_a_password),
    ("a_sudo_that_records_what_it_is_sent", Always, refused::a_sudo_that_records_what_it_is_sent),
    ("a_user_whom_a_host_does_not_know", Always, refused::a_user_whom_a_host_does_not_know),
    ("a_disk_that_is_full", Always, refused::a_disk_that_is_full),
    ("a_disk_that_gets_full_while_staging", Always, refused::a_disk_that_gets_full_while_staging),
    ("a_file_that_may_not_be_replaced", Always, refused::a_file_that_may_not_be_replaced),
];
