/* SPDX-License-Identifier: Apache-2.0 */
/** @file warpgrid/version.h  Which libwarpgrid this is. The build takes its version from here.
 *
 *  A program finds out at run time whether the library is the one that it was compiled for by
 *  comparing WARPGRID_VERSION_STRING with wg_version(). Before 1.0 a new minor version may change
 *  the ABI: the SONAME is libwarpgrid.so.MAJOR.MINOR. */
#pragma once

#define WARPGRID_VERSION_MAJOR 0
#define WARPGRID_VERSION_MINOR 1
#define WARPGRID_VERSION_PATCH 0
/** "MAJOR.MINOR.PATCH" */
#define WARPGRID_VERSION_STRING "0.1.0"
/** A number that grows with the version: `#if WARPGRID_VERSION_NUMBER >= 0x000200`. */
#define WARPGRID_VERSION_NUMBER \
  ((WARPGRID_VERSION_MAJOR << 16) | (WARPGRID_VERSION_MINOR << 8) | WARPGRID_VERSION_PATCH)
