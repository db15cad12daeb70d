/* SPDX-License-Identifier: Apache-2.0 */
/** @file warpgrid/warpgrid.h  All of libwarpgrid. */
#pragma once
#include <warpgrid/engine.h>
#include <warpgrid/error.h>
#include <warpgrid/version.h>
