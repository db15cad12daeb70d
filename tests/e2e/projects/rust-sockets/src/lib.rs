// SPDX-License-Identifier: Apache-2.0
//! What the guests share: steps, a little of PostgreSQL's protocol for those that have no driver, and
//! the driver's for those that have.
pub mod driver;
pub mod p3;
#[path = "../../steps.rs"]
pub mod steps;
pub mod web;
pub mod wire;
