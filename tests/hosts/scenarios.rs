//! What happens to the fleet. Each begins with a fleet that is well and has secrets of its own, and leaves it well for the next one.

mod cut_off;
mod goes_back;
mod goes_well;
mod refused;

use super::fleet::Fleet;

/// One of them.
pub(crate) type Scenario = (&'static str, fn(&Fleet));

/// All of them, those that take long first.
pub(crate) const ALL: &[Scenario] = &[
    ("a_host_is_cut_off_in_the_middle", cut_off::a_host_is_cut_off),
    ("nobody_comes_back", cut_off::nobody_comes_back),
    ("a_service_that_refuses_to_start", goes_back::a_service_that_refuses_to_start),
    ("one_revert_fails", goes_back::one_revert_fails),
    ("a_service_that_lies", goes_back::a_service_that_lies),
    ("a_control_plane_that_does_not_start", goes_back::a_control_plane_that_does_not_start),
    ("both_playbooks_rotate_and_nobody_sees_a_value", goes_well::both_playbooks_rotate_and_nobody_sees_a_value),
    ("owner_mode_acl_and_attributes_stay", goes_well::owner_mode_acl_and_attributes_stay),
    ("a_host_loses_its_power", cut_off::a_host_loses_its_power),
    ("a_host_and_the_coordinator_lose_their_power", cut_off::a_host_and_the_coordinator_lose_their_power),
    ("the_jump_host_loses_its_power", cut_off::the_jump_host_loses_its_power),
    ("the_coordinator_is_killed", cut_off::the_coordinator_is_killed),
    ("a_host_that_is_cut_off", refused::a_host_that_is_cut_off),
    ("a_sudo_that_asks_for_a_password", refused::a_sudo_that_asks_for_a_password),
    ("a_user_whom_a_host_does_not_know", refused::a_user_whom_a_host_does_not_know),
    ("a_disk_that_is_full", refused::a_disk_that_is_full),
    ("a_disk_that_gets_full_while_staging", refused::a_disk_that_gets_full_while_staging),
    ("a_file_that_may_not_be_replaced", refused::a_file_that_may_not_be_replaced),
];
