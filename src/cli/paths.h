/* SPDX-License-Identifier: Apache-2.0 */
/** @file paths.h  Folders that commands make, and the one that `warp` is in. */
#pragma once
#include "base/base.h"

/** Makes the folders of a path, which is whole again afterwards.
 *  @param first_new  NULL, or gets the length of the first one that was not there, unless it is set
 *  @return WG_OK; WG_IO with the folder's name */
WG_MUSTCHECK wg_code cli_make_folders(char *path, size_t *first_new, wg_error *err);

/** The folder of the running executable.
 *  @return WG_OK; WG_IO */
WG_MUSTCHECK wg_code cli_own_folder(char out[4096], wg_error *err);
