// SPDX-License-Identifier: Apache-2.0
//! What the guests share.
#[path = "../../steps.rs"]
pub mod steps;
