//! Inventory, playbook and what the hosts say into a plan.
